"""The first workers of a local Ray. They import what trials need before a trial asks for them, and are kept for trials.

To an actor, as a trial's process is, Ray gives an idle worker which has run no task. So these run none. A task asks for
something that no machine has, so it waits for ever. Ray starts an idle worker for each such task. Each new worker calls
`load`, which imports the modules and writes down how that went. Then the tasks are cancelled.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from raydarts.cluster.first_worker import TRIALS, Answer, Asked, environment, look
from raydarts.loading import loading

_LOADS, _THREADS = "RAYDARTS_WORKER_LOADS", "RAYDARTS_WORKER_THREADS"
FOLDER = "RAY_TMPDIR"
"""The folder of the local Ray, in the environment of its processes."""
_HOOK = f"{__name__}.load"
_NOWHERE = "raydarts-waits-for-ever"
_LOOK = 0.05


@dataclass(frozen=True)
class WarmWorkers:
    """`many`: how many trials start at once. `threads`: of each. `modules`: what a trial imports, beside its class."""

    modules: Sequence[str] = ()
    many: int = 1
    threads: int = 1

    def runtime_environment(self, variables: Mapping[str, str]) -> dict[str, object]:
        """The job's runtime environment: `variables`, and what its workers import as they start."""
        named = {_LOADS: ",".join([TRIALS, *self.modules]), _THREADS: str(self.threads)}
        return {"env_vars": {**variables, **named}, "worker_process_setup_hook": _HOOK}

    def ask(self, ray: ModuleType, folder: Path) -> Asked:
        """Start them. The first answer counts: the others are on their way."""
        waits = ray.remote(num_cpus=0, max_retries=0, resources={_NOWHERE: 1}, runtime_env=environment())(look)
        tasks = [waits.remote([]) for _ in range(self.many)]

        def wait(seconds: float) -> Answer | None:
            end = time.monotonic() + seconds
            while (answer := _first(folder)) is None and time.monotonic() < end:
                time.sleep(_LOOK)
            if answer is not None:
                for task in tasks:
                    ray.cancel(task)
            return answer

        return wait


def _first(folder: Path) -> Answer | None:
    for file in sorted(folder.glob("*.answer")):
        return Answer(file.read_text(encoding="utf-8") or None)
    return None


def load() -> None:
    """Called in each worker of a local Ray before its first task. Never raises: Ray would end the worker in silence."""
    with _threads(os.environ[_THREADS]), loading():
        problem = look(os.environ[_LOADS].split(","))
    file = Path(os.environ[FOLDER]) / f"{os.getpid()}.writing"
    with suppress(OSError):  # the driver then gets no answer in time
        file.write_text(problem or "", encoding="utf-8")
        file.rename(file.with_suffix(".answer"))


@contextmanager
def _threads(many: str) -> Iterator[None]:
    """Libraries read how many threads they use when they are loaded. Ray sets this variable too, but later."""
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    os.environ["OMP_NUM_THREADS"] = many
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]
