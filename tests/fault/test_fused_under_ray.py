"""A group of real searches under real Ray: its process is killed, and each trial ends as one that ran alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from raydarts.config.loader import load_spec
from raydarts.runs.whole import open_whole
from raydarts.sweeping.runner import start_sweep
from tests.e2e.test_fused_sweep import assert_equal, merged, sizes
from tests.here import sweeps_run_here


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_killed_group_goes_on_as_a_group_and_ends_as_trials_that_ran_alone(tmp_path: Path) -> None:
    mark = tmp_path / "killed"
    killing = {"name": "tests.fault.killing:KillsItsProcess", "mark": str(mark), "epoch": 2}
    changes = {"search": {"epochs": 4, "probes": [killing]}}
    for name, fuse in (("ray", 4), ("here", "off")):
        spec = {**merged(changes), "name": name}
        spec["sweep"] = {**spec["sweep"], "fuse": fuse}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    assert start_sweep(load_spec(tmp_path / "ray.yaml"), tmp_path, display=False) == 0
    assert mark.exists()
    with sweeps_run_here():
        assert start_sweep(load_spec(tmp_path / "here.yaml"), tmp_path, display=False) == 0
    fused, alone = open_whole(tmp_path / "ray"), open_whole(tmp_path / "here")
    assert_equal(fused, alone)
    assert [trial.result()["status"] for trial in fused.trials()] == ["completed"] * 4  # type: ignore[index]
    assert all(each[:2] == [4, 4] for each in sizes(fused).values()), "before the kill, and after it"
    for trial in fused.trials():
        assert [entry["what"] for entry in trial.failures()] == ["lost"], "one attempt of each trial"
        pids = [str(entry["pid"]) for entry in trial.times()]
        assert pids[0] == mark.read_text()
        assert len({*pids[1:]}) == 1
        assert pids[0] != pids[1]
    assert not list((tmp_path / "ray" / "groups").iterdir())
