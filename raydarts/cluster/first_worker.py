"""The first worker: asked once, before anything is made, whether processes of trials can start at all.

Ray tries again and again where its workers end while they start, and says nothing. So a driver starts one with a time
limit. Where no answer comes, the worker's own last words are the reason. On a cluster a task asks; how the workers of
a local Ray answer is in `warm_workers.py`.
"""

from __future__ import annotations

import importlib
import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import psutil

from raydarts.cluster import ray_logs
from raydarts.cluster.deadline import SECONDS, Deadline
from raydarts.cluster.hiding import hiding_files
from raydarts.errors import ClusterError

if TYPE_CHECKING:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_LOOK, _GRACE = 0.5, 3.0
_LINES = 12
TRIALS = "raydarts.execution.trainable"


@dataclass(frozen=True)
class Answer:
    """What a worker answered. `problem`: why a trial could not begin there; None: it could."""

    problem: str | None


Asked = Callable[[float], Answer | None]
"""Waits for an answer for so many seconds. None: there is none yet."""


def ask_by_task(ray: ModuleType, modules: Sequence[str]) -> Asked:
    """Ask a worker of this node by a task."""
    asked = ray.remote(num_cpus=0, max_retries=0, runtime_env=environment())(look)
    answer = asked.options(scheduling_strategy=_this_node(ray)).remote([TRIALS, *modules])

    def wait(seconds: float) -> Answer | None:
        if not ray.wait([answer], timeout=seconds)[0]:
            return None
        try:
            return Answer(ray.get(answer, timeout=_GRACE))
        except Exception as error:  # the worker crashed, or could not even read what it was asked
            return Answer(str(error))

    return wait


def check(ask: Callable[[], Asked], session: Path, where: str, deadline: Deadline) -> None:
    """Raise `ClusterError` where the worker that `ask` asks does not answer in time, or names a problem.

    `session`: the folder of Ray's session, whose logs are read if they lie on this machine.
    """
    known = len(ray_logs.workers(session))
    problem = _wait(ask(), session, known, deadline)
    if problem is None:
        return
    new = ray_logs.workers(session)[known:]
    if isinstance(problem, _Unanswered):
        lines = ray_logs.of_workers(session, new)
        if problem.ended and not lines:
            lines = ["it wrote no error: the system may have killed it, or a library or sitecustomize.py ended it"]
        if not problem.ended:
            lines = [*lines, f"a slower machine may need more time: set {SECONDS} (now {deadline.seconds:g})"]
    else:
        lines = [line for line in problem.text.splitlines() if line.strip()][-_LINES:]
    log = "".join(f"\n  {line}" for line in [*lines, *hiding_files()])
    raise ClusterError(f"processes for trials cannot start {where}: {problem.text.splitlines()[-1].strip()}{log}")


class _Problem:
    def __init__(self, text: str) -> None:
        self.text = text


class _Unanswered(_Problem):
    """`ended`: the worker's process is gone; else it still does something else than answer."""

    def __init__(self, ended: bool) -> None:
        super().__init__(
            "the worker's process ended while it started" if ended else "the worker's process does not answer in time"
        )
        self.ended = ended


def _wait(asked: Asked, session: Path, known: int, deadline: Deadline) -> _Problem | None:
    """None where the worker answered that all is well."""
    ended_since: float | None = None
    while True:
        answer = asked(_LOOK)
        now = time.monotonic()
        if answer is not None:
            return None if answer.problem is None else _Problem(answer.problem)
        new = ray_logs.workers(session)[known:]
        if not new or any(_is_alive(pid) for pid in new):
            ended_since = None
        elif ended_since is None:
            ended_since = now
        elif now - ended_since > _GRACE:
            return _Unanswered(ended=True)
        if not deadline.left():
            return _Unanswered(ended=False)


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def environment() -> dict[str, dict[str, str]]:
    """The variables that Tune gives a trial's process, so that the first trial takes over the one that starts here."""
    from ray.tune.execution import class_cache  # noqa: PLC0415 - after the gate

    handed_on = {name: os.environ[name] for name in class_cache.ENV_VARS_TO_PROPAGATE if name in os.environ}
    return {"env_vars": {**class_cache.DEFAULT_ENV_VARS, **handed_on}}


def _this_node(ray: ModuleType) -> NodeAffinitySchedulingStrategy:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415 - after the gate

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)


def look(modules: Sequence[str]) -> str | None:
    """Run in the worker: None, or why a trial could not begin there."""
    for name in modules:
        try:
            importlib.import_module(name)
        except BaseException:  # a module may raise anything, SystemExit too
            return traceback.format_exc()
    return None
