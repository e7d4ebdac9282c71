"""The gate to Ray: the place where a driver imports Ray first.

Ray and Tune read some variables once, when they are imported. So the gate sets all of them before it imports Ray, for
the case at hand: a Ray of this process' own (`address` None), or a running cluster's. It does not depend on what else
was imported, or in which order.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from types import ModuleType

from raydarts.cluster.hiding import hiding_files
from raydarts.errors import ClusterError
from raydarts.loading import loading

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Named for other systems, but "0" is what makes Ray take 127.0.0.1 for the node and listen there alone. An explicit
address of 127.0.0.1 does not: Ray turns it back into the outward address."""
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def set_environment() -> None:
    """What both cases need. What the user set stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def prepare(address: str | None) -> None:
    """Set all that Ray reads when it is imported. A command calls this before it loads a spec, whose own modules may
    import Ray.

    A local Ray always stays on loopback, whatever the user set: who wants it reachable gives --address.
    """
    set_environment()
    _ask_for_no_widgets()
    if address is None:
        os.environ[LOOPBACK] = "0"


def _ask_for_no_widgets() -> None:
    """In a notebook, Ray and tqdm (which Optuna loads) tell the user to install ipywidgets. Nothing here needs them."""
    logging.getLogger("ray.widgets").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "IProgress not found")


def import_ray(address: str | None) -> ModuleType:
    """Ray, imported with the settings of the case.

    Raises `ClusterError` where it cannot be imported or another module has its name, and where somebody imported it
    before with settings that would let a local Ray listen on every interface. A Ray that the caller has
    started already is the caller's, and is taken as it is.
    """
    prepare(address)
    constants = sys.modules.get("ray._private.ray_constants")
    try:
        import ray  # noqa: PLC0415 - the gate

        if hasattr(ray, "init"):
            with loading():
                import ray.tune.execution.class_cache  # noqa: PLC0415 - most of what a driver loads, in the same try
    except Exception as error:  # no memory; or a module that takes the place of one that Ray needs raises anything
        raise ClusterError(
            "\n".join([f"Ray cannot be imported: {type(error).__name__}: {error}", *hiding_files()])
        ) from error
    if not hasattr(ray, "init"):
        raise ClusterError(f"{ray.__file__ or list(ray.__path__)} is not Ray, and has its name: rename it")
    if address is None and constants is not None and constants.ENABLE_RAY_CLUSTER and not ray.is_initialized():
        raise ClusterError(
            "Ray was imported before raydarts could set it up, so a local Ray would listen on every network interface. "
            "Call raydarts.cluster.gate.prepare(None) before the first `import ray` of this process, "
            f"or set {LOOPBACK}=0 in its environment"
        )
    return ray


def is_connected() -> bool:
    """Whether this process is connected to a Ray. Does not import it."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
