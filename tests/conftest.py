"""What all tests share: one Ray for the whole session."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raydarts.cluster import authentication, gate

# Before torch is imported. Networks this small are slower on several threads, and the other workers need the CPUs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray gives its workers a niceness of 15. Beside other tests they would hardly run, and limits of time would pass.
os.environ.setdefault("RAY_worker_niceness", "0")
# Three Rays may start at a time on two cores. The product's own limit is for one.
os.environ.setdefault("RAYDARTS_START_SECONDS", "150")

from tests.here import sweeps_run_here
from tests.objects import S3, use

ROOT = Path(__file__).parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Workers that start Ray at once, some with a token and some before there is one, would refuse each other.

    Whatever test imports Ray first, a local Ray stays on loopback: a command in the same process refuses another one.
    """
    gate.prepare(None)
    # Many small objects, few cycles: with the default of 700, looking for cycles took a twelfth of the time.
    gc.set_threshold(50_000, 20, 20)
    # A shell that starts the tests in the background has their processes ignore Ctrl-C, which some tests send.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        authentication.make_token()
        # Which runs this user made is noted there (`runs/trust.py`); tests leave the real folder alone.
        os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="raydarts-tests-state-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["XDG_STATE_HOME"], ignore_errors=True)


def pytest_runtest_setup() -> None:
    """What was imported stays. Looking through it for garbage again and again took a fifteenth of the time."""
    if next(_begun) in (1, 30, 100, 300, 900):
        gc.collect()
        gc.freeze()


_begun = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uses `ray_session` needs Ray. Tests that start one of their own say so themselves."""
    for item in items:
        if "ray_session" in getattr(item, "fixturenames", ()):
            item.add_marker("ray")


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray with two CPUs and a GPU that is not there, started once; workers find the tests' own modules."""
    from raydarts.cluster.gate import set_environment

    set_environment()
    import ray

    from raydarts.cluster.local import _SYSTEM, _without_unused_servers

    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with _without_unused_servers():
        ray.init(
            address="local",
            num_cpus=2,
            num_gpus=1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _system_config=_SYSTEM,
            runtime_env={"env_vars": {"PYTHONPATH": path}},
        )
    yield
    ray.shutdown()


@pytest.fixture
def local_sweeps() -> Iterator[None]:
    """Sweeps run their trials in this process, without Ray."""
    with sweeps_run_here():
        yield


@pytest.fixture(autouse=True)
def auth_mode() -> Iterator[None]:
    """What a test's own code sets for a Ray to come stays with it: a Ray that is imported has read it already."""
    found = os.environ.get("RAY_AUTH_MODE")
    yield
    if found is None:
        os.environ.pop("RAY_AUTH_MODE", None)
    else:
        os.environ["RAY_AUTH_MODE"] = found


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Networks this small are slower on several threads, on a busy machine by an order of magnitude."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def quick_eigenvalue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of the state in place of the dominant eigenvalue, which takes longer than the rest of a tiny search.

    With real eigenvalues: tests/unit/search/test_hessian.py, and test_darts_ada.py beside it.
    """

    from raydarts.search import measuring

    def squares(objective: Any, batch: Any) -> float:
        return float(sum(alpha.detach().square().sum() for alpha in objective.alpha_by_type.values()))

    monkeypatch.setattr(measuring, "dominant_eigenvalue", squares)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    server = S3()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """An S3 server with a bucket called `bucket`, which this process and its children use."""
    use(s3_server, monkeypatch)
    return s3_server
