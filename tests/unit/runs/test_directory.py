"""The run directory: tearing, locking, fencing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raydarts.errors import RunError
from raydarts.runs.directory import RunDirectory, SupersededError, TrialDirectory
from raydarts.storage.files import append_line, read_lines


def a_run(folder: Path) -> RunDirectory:
    return RunDirectory.create(folder / "quick", kind="sweep", spec={"name": "quick"}, text="name: quick\n")


def test_a_run_keeps_what_it_was_made_with(tmp_path: Path) -> None:
    a_run(tmp_path)
    found = RunDirectory.open(tmp_path / "quick").description()
    assert found["spec"] == {"name": "quick"}
    assert found["versions"]["python"]
    assert (tmp_path / "quick" / "spec.yaml").read_text() == "name: quick\n"
    assert [path.name for path in tmp_path.iterdir()] == ["quick"]


def test_a_name_in_use_is_refused_with_the_way_on(tmp_path: Path) -> None:
    a_run(tmp_path)
    with pytest.raises(RunError, match=r"raydarts resume .*another --name"):
        a_run(tmp_path)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"kind": "sweep"}'])
def test_folder_without_a_run_json_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError):
        RunDirectory.open(tmp_path)
    with pytest.raises(RunError, match="no such run"):
        RunDirectory.open(tmp_path / "absent")


def test_a_torn_last_line_is_left_out_and_closed_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_line(path, {"epoch": 1})
    with path.open("a") as file:
        file.write('{"epoch": 2, "weight_lo')
    assert read_lines(path) == [{"epoch": 1}]
    append_line(path, {"epoch": 2, "loss": float("nan")})
    assert read_lines(path) == [{"epoch": 1}, {"epoch": 2, "loss": None}]


def test_a_second_driver_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    hold = "import sys, time; from raydarts.runs.directory import RunDirectory as R\n"
    hold += f"with R({str(run.path)!r}).locked(): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert run.in_use()
        with pytest.raises(RunError, match=f"pid {holder.pid}"), run.locked():
            pass
    finally:
        holder.kill()
        holder.wait()
    with run.locked():
        assert run.in_use()
    assert not run.in_use()


def test_an_orphan_can_no_longer_write(tmp_path: Path) -> None:
    orphan, heir = TrialDirectory(tmp_path), TrialDirectory(tmp_path)
    orphan.claim()
    orphan.append_row({"epoch": 1})
    heir.claim()
    with pytest.raises(SupersededError):
        orphan.append_row({"epoch": 2})
    with pytest.raises(SupersededError):
        orphan.write_result({"status": "completed"})
    heir.append_row({"epoch": 2})
    assert [row["epoch"] for row in heir.rows()] == [1, 2]
    heir.keep_rows(1)
    assert heir.rows() == [{"epoch": 1}]


def test_when_and_where_each_epoch_ran_is_kept_even_of_those_run_again(tmp_path: Path) -> None:
    """Through `drive`, as every job is run: a timeline must show the work that a kill undid."""
    from raydarts.execution import drive

    class Ticking:
        epoch, epochs, finished = 0, 2, False

        def run_epoch(self) -> dict[str, Any]:
            self.epoch += 1
            return {"epoch": self.epoch, "arch_weights": {}, "accuracy": 0.5}

        def result(self) -> dict[str, Any]:
            return {}

        def state_dict(self) -> dict[str, Any]:
            return {"epoch": self.epoch}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.epoch = state["epoch"]

    trial = TrialDirectory(tmp_path / "0000")
    trial.create({"kind": "search", "config": {}})
    first_job = Ticking()
    drive.keep(first_job, trial, drive.ran(first_job), checkpoint_every=5)
    again = drive.open_job(Ticking, trial)
    assert again.epoch == 0
    drive.keep(again, trial, drive.ran(again), checkpoint_every=5)
    assert [row["epoch"] for row in trial.rows()] == [1]
    assert [entry["epoch"] for entry in trial.times()] == [1, 1]
    first, second = trial.times()
    assert first["start"] <= first["end"] <= second["start"]
    assert set(first) == {"epoch", "start", "end", "host", "pid", "of"}
    assert drive.finish(again, trial)["metrics"] == {"epoch": 1, "accuracy": 0.5}


def test_a_run_from_a_wheel_names_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from raydarts.runs import provenance

    (tmp_path / "runs").mkdir()
    (tmp_path / "COMMIT").write_text("0123abcd\n")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "runs" / "provenance.py"))
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec={})
    assert run.description()["git_commit"] == "0123abcd"
