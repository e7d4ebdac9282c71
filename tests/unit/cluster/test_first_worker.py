"""The first worker, asked by a driver: each way in which it cannot start is an error with its reason. Without Ray."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raydarts.cluster import first_worker
from raydarts.cluster.deadline import Deadline
from raydarts.errors import ClusterError


class FakeRay:
    """Ray as `check` sees it. `answer`: what `ray.get` does; None: no answer comes. `begin`: what a request starts."""

    def __init__(self, answer: Callable[[], Any] | None, begin: Callable[[], None] = lambda: None) -> None:
        self._answer, self._begin = answer, begin
        self.modules: list[str] = []

    def remote(self, **options: Any) -> Callable[[Any], Any]:
        assert options["max_retries"] == 0
        return lambda function: SimpleNamespace(options=lambda **more: SimpleNamespace(remote=self._ask))

    def _ask(self, modules: list[str]) -> str:
        self.modules = modules
        self._begin()
        return "answer"

    def wait(self, answers: list[str], timeout: float) -> tuple[list[str], list[str]]:
        if self._answer is not None:
            return answers, []
        time.sleep(0.01)
        return [], answers

    def get(self, answer: str, timeout: float) -> Any:
        assert self._answer is not None
        return self._answer()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(first_worker, "environment", dict)
    monkeypatch.setattr(first_worker, "_this_node", lambda ray: None)
    monkeypatch.setattr(first_worker, "_GRACE", 0.05)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    return tmp_path


def ask(ray: FakeRay, session: Path, seconds: float = 0.3, modules: tuple[str, ...] = ()) -> str | None:
    deadline = Deadline(seconds, time.monotonic())
    try:
        asking = partial(first_worker.ask_by_task, ray, modules)  # type: ignore[arg-type]
        first_worker.check(asking, session, "on this machine", deadline)
    except ClusterError as error:
        return str(error)
    return None


def worker(session: Path, process: subprocess.Popen[bytes]) -> None:
    """What Ray writes when it starts one."""
    with (session / "logs" / "raylet.out").open("a") as file:
        file.write(f"[2026-11-27 07:56:04,255 I 1 1] (raylet) Started worker process with pid {process.pid}\n")


def test_one_that_answers_is_well_and_is_asked_for_what_trials_import(session: Path) -> None:
    ray = FakeRay(lambda: None)
    assert ask(ray, session, modules=("torch",)) is None
    assert ray.modules == ["raydarts.execution.trainable", "torch"]


def test_one_that_ends_while_it_starts_is_told_with_its_last_words(session: Path) -> None:
    def begin() -> None:
        process = subprocess.Popen([sys.executable, "-S", "-c", "pass"])
        process.wait()
        worker(session, process)

    ended = "processes for trials cannot start on this machine: the worker's process ended while it started\n"
    assert ask(FakeRay(None, begin), session, seconds=20) == (
        ended + "  it wrote no error: the system may have killed it, or a library or sitecustomize.py ended it"
    )

    def begin_and_write() -> None:
        begin()
        (session / "logs" / "raylet.err").write_text("Traceback\nSystemExit: the licence has run out\n")

    assert ask(FakeRay(None, begin_and_write), session, seconds=20) == (
        ended + "  Traceback\n  SystemExit: the licence has run out"
    )


def test_one_that_hangs_and_one_that_never_begins_are_told_when_the_time_is_over(session: Path) -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    told = (
        "processes for trials cannot start on this machine: the worker's process does not answer in time\n"
        "  a slower machine may need more time: set RAYDARTS_START_SECONDS (now 0.3)"
    )
    try:
        assert ask(FakeRay(None, lambda: worker(session, process)), session) == told
        assert ask(FakeRay(None), session) == told
    finally:
        process.kill()
        process.wait()


def crash() -> None:
    raise RuntimeError("The worker died unexpectedly\nA worker died by SIGSEGV")


def test_one_that_dies_with_the_request_is_told(session: Path) -> None:
    told = ask(FakeRay(crash), session)
    assert told is not None
    assert told.startswith("processes for trials cannot start on this machine: A worker died by SIGSEGV")


def test_one_that_cannot_import_what_trials_do_is_told_with_the_trace_and_files_that_hide_modules(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session / "path").mkdir()
    (session / "path" / "broken_library.py").write_text("raise SystemExit('libcudart.so.12 is missing')")
    (session / "path" / "antigravity.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(session / "path"))
    monkeypatch.syspath_prepend(str(session / "path"))
    ray = FakeRay(lambda: first_worker.look(["broken_library"]))
    told = ask(ray, session)
    assert told is not None
    first, *rest = told.splitlines()
    assert first.endswith("cannot start on this machine: SystemExit: libcudart.so.12 is missing")
    assert any("broken_library.py" in line for line in rest)
    hiding = session / "path" / "antigravity.py"
    assert rest[-1] == f"  {hiding} hides a module of Python or of a package, which has the same name: rename it"
