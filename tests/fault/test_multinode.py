"""Several nodes: two removed in mid-run change no bit of what comes out, and each trial has what it asked for.

And one that does not see the storage, which the driver sees.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raydarts.cluster.resources import check_resources
from raydarts.config.loader import load_spec
from raydarts.errors import ResourceError, SpecError
from raydarts.runs.directory import RunDirectory
from tests.alone import figures, run_here
from tests.fault.nodes import REAL
from tests.variables import without_ray

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.usefixtures("one_thread")


def may_unshare() -> bool:
    """Whether a process may have a mount namespace of its own: root on Linux."""
    try:
        done = subprocess.run(
            ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], check=False, capture_output=True
        )
    except OSError:
        return False
    return done.returncode == 0


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What `tests.fault.nodes` left, and where. It runs without what other tests' Ray has put into the environment."""
    folder = tmp_path_factory.mktemp("nodes")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault.nodes", str(folder), *(["--blind"] if may_unshare() else [])],
        cwd=ROOT,
        env={**without_ray(), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text()), folder


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["search", "evaluation"])
def test_a_node_removed_in_mid_run_changes_no_bit_and_loses_nothing_reported(
    found: tuple[dict[str, Any], Path], kind: str
) -> None:
    run = RunDirectory.open(found[1] / "faulty" / "run")
    (fault,) = [each for each in found[0]["removed"] if each["kind"] == kind]
    trials = run.trials() if kind == "search" else run.evaluations()
    for trial in trials:
        result = trial.result()
        assert result is not None
        assert result["status"] == "completed"
        rows, expected = run_here(trial, run)
        assert figures(trial.rows()) == rows
        assert figures([result["result"]]) == [expected]
        before = figures(fault["rows"].get(trial.id, []))
        assert figures(trial.rows())[: len(before)] == before
        assert len(trial.times()) <= len(rows) + 1  # the epoch under way was run again, no other
    hit = [each for each in found[0]["places"] if each["kind"] == kind and each["trial"] == fault["trial"]]
    assert hit[0]["node"] == fault["node"]
    assert hit[-1]["node"] != fault["node"]


@pytest.mark.ray
def test_each_node_loads_the_data_once(found: tuple[dict[str, Any], Path]) -> None:
    attempts = len(found[0]["places"])
    assert found[0]["loads"] == len({each["node"] for each in found[0]["places"]}) < attempts


def at_once(times: dict[str, list[dict[str, float]]]) -> int:
    """The most trials that were in an epoch at the same time."""
    spans = [(entry["start"], entry["end"]) for entries in times.values() for entry in entries]
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


@pytest.mark.ray
def test_each_trial_is_given_what_it_asked_for(found: tuple[dict[str, Any], Path]) -> None:
    assert {each["given"]["accel"] for each in found[0]["places"]} == {1.0}
    halves, both = found[0]["halves"], found[0]["both"]
    assert [each["given"]["accel"] for each in halves["places"]] == [0.5] * 3
    nodes = {each["node"] for each in halves["places"]}
    assert len(nodes) == 1  # the only one that is left
    assert at_once(halves["times"]) == 2  # two share an accelerator, never three
    assert [each["given"]["accel"] for each in both["places"]] == [2.0] * 2
    assert len({each["node"] for each in both["places"]}) == 1  # the only one that has two
    assert at_once(both["times"]) == 1


@pytest.mark.ray
def test_a_node_that_does_not_see_the_storage_is_named_before_anything_is_made(
    found: tuple[dict[str, Any], Path],
) -> None:
    """What a node answers in other cases: tests/unit/cluster/test_visibility.py."""
    facts, folder = found
    if "nodes" not in facts:
        pytest.skip("a mount namespace of its own needs root on Linux")
    assert f"{folder}/blind/runs: not to be used from 1 of {facts['nodes']} nodes:" in facts["refused"]
    assert "does not see what the driver wrote there" in facts["refused"]
    assert "NFS" in facts["refused"]
    assert "s3://BUCKET/PREFIX" in facts["refused"]
    assert not list((folder / "blind").iterdir())


def test_custom_resources_are_checked_when_the_spec_is_read_and_before_the_start(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(REAL.replace("accel: 1}", "accel: 1.5}", 1))
    with pytest.raises(SpecError, match="accel: above 1 only whole amounts"):
        load_spec(spec)
    spec.write_text(REAL.replace("accel: 1}", "GPU: 1}", 1))
    with pytest.raises(SpecError, match="GPU is no name of one's own"):
        load_spec(spec)
    spec.write_text(REAL)
    with pytest.raises(ResourceError, match=r"sweep.resources.custom.accel: 1 accel asked for each trial, but this"):
        check_resources(load_spec(spec))
