"""The first workers of a local Ray: what they load and answer, and how a driver asks for them. Without Ray."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raydarts.cluster import first_worker, warm_workers
from raydarts.cluster.deadline import Deadline
from raydarts.cluster.warm_workers import WarmWorkers
from raydarts.errors import ClusterError

READS_THREADS = "import os\nfrom pathlib import Path\nPath('threads').write_text(os.environ['OMP_NUM_THREADS'])\n"


class FakeRay:
    """Ray as `WarmWorkers.ask` sees it. It keeps the tasks that wait, and those that are cancelled."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.waiting: list[int] = []
        self.cancelled: list[int] = []

    def remote(self, **options: Any) -> Any:
        self.options = options
        return lambda function: SimpleNamespace(remote=self._task)

    def _task(self, modules: list[str]) -> int:
        self.waiting.append(len(self.waiting))
        return self.waiting[-1]

    def cancel(self, task: int) -> None:
        self.cancelled.append(task)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a local Ray, in a process that is one of its workers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(warm_workers, "environment", dict)
    monkeypatch.setattr(warm_workers, "TRIALS", "json")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "logs").mkdir()
    return tmp_path


def loaded(workers: WarmWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ray does in a new worker with the job's runtime environment."""
    environment = workers.runtime_environment({"MINE": "kept"})
    assert environment["worker_process_setup_hook"] == f"{warm_workers.__name__}.{warm_workers.load.__name__}"
    variables = environment["env_vars"]
    assert isinstance(variables, dict)
    assert variables["MINE"] == "kept"
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    warm_workers.load()


def test_as_many_workers_are_asked_for_as_trials_start_and_none_runs_a_task(worker: Path) -> None:
    ray = FakeRay()
    asked = WarmWorkers(many=3).ask(ray, worker)  # type: ignore[arg-type]
    assert len(ray.waiting) == 3
    assert ray.options["num_cpus"] == 0
    assert list(ray.options["resources"].values()) == [1]
    assert asked(0.01) is None
    assert ray.cancelled == []
    (worker / "7.answer").write_text("")
    assert asked(5) == first_worker.Answer(None)
    assert ray.cancelled == ray.waiting


def test_a_worker_loads_what_trials_import_on_as_many_threads_as_they_have(
    worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (worker / "a_library.py").write_text(READS_THREADS)
    loaded(WarmWorkers(("a_library",), threads=5), monkeypatch)
    assert (worker / "threads").read_text() == "5"
    assert "OMP_NUM_THREADS" not in os.environ, "Ray sets it for each trial"
    assert (worker / f"{os.getpid()}.answer").read_text() == ""


def test_thread_settings_of_the_user_are_kept(worker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (worker / "another_library.py").write_text(READS_THREADS)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    loaded(WarmWorkers(("another_library",), threads=5), monkeypatch)
    assert (worker / "threads").read_text() == "2"
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_a_library_that_cannot_be_loaded_ends_the_sweep_with_its_reason(
    worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (worker / "broken_for_trials.py").write_text("raise SystemExit('libcudart.so.12 is missing')")
    workers = WarmWorkers(("broken_for_trials",))
    loaded(workers, monkeypatch)
    with pytest.raises(ClusterError) as caught:
        first_worker.check(
            lambda: workers.ask(FakeRay(), worker),  # type: ignore[arg-type]
            worker,
            "on this machine",
            Deadline(5, time.monotonic()),
        )
    first = str(caught.value).splitlines()[0]
    assert first == "processes for trials cannot start on this machine: SystemExit: libcudart.so.12 is missing"
