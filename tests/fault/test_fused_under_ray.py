"""A group of real searches under real Ray: its process is killed, and each trial ends as one that ran alone."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import yaml

from raydarts.config.loader import load_spec
from raydarts.runs.directory import RunDirectory
from raydarts.runs.whole import open_whole
from raydarts.sweeping.runner import start_sweep
from tests.e2e.test_fused_sweep import assert_equal, merged, sizes
from tests.here import sweeps_run_here


def kill_when_begun(run: Path, killed: list[int]) -> None:
    """Kill the process that has run the first epoch of the last trial of the group."""
    folder = run / "trials" / "0003"
    while not (folder / "times.jsonl").exists():
        time.sleep(0.005)
    pid = RunDirectory.open(run).trial(3).times()[0]["pid"]
    killed.append(pid)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_killed_group_goes_on_as_a_group_and_ends_as_trials_that_ran_alone(tmp_path: Path) -> None:
    changes = {"search": {"epochs": 4}}
    for name, fuse in (("ray", 4), ("here", "off")):
        spec = {**merged(changes), "name": name}
        spec["sweep"] = {**spec["sweep"], "fuse": fuse}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    killed: list[int] = []
    killer = threading.Thread(target=kill_when_begun, args=(tmp_path / "ray", killed), daemon=True)
    killer.start()
    assert start_sweep(load_spec(tmp_path / "ray.yaml"), tmp_path, display=False) == 0
    killer.join(1)
    with sweeps_run_here():
        assert start_sweep(load_spec(tmp_path / "here.yaml"), tmp_path, display=False) == 0
    fused, alone = open_whole(tmp_path / "ray"), open_whole(tmp_path / "here")
    assert_equal(fused, alone)
    assert [trial.result()["status"] for trial in fused.trials()] == ["completed"] * 4  # type: ignore[index]
    assert all(each[:2] == [4, 4] for each in sizes(fused).values()), "before the kill, and after it"
    for trial in fused.trials():
        assert [entry["what"] for entry in trial.failures()] == ["lost"], "one attempt of each trial"
        assert len({entry["pid"] for entry in trial.times()}) == 2
    assert len(killed) == 1
    assert not list((tmp_path / "ray" / "groups").iterdir())
