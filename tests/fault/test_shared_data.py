"""One copy of the data for all trials of a node, under real Ray: loaded once, and no figure changes by it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from raydarts.config.loader import load_spec
from raydarts.data import splits as loading
from raydarts.execution import shared_data
from raydarts.runs.whole import open_whole
from raydarts.sweeping.runner import start_sweep
from tests.e2e.test_fused_sweep import assert_equal, merged
from tests.fault import taking


def sweep(folder: Path, name: str, processes: int, capsys: pytest.CaptureFixture[str]) -> tuple[Any, list[int], str]:
    """Run a sweep of two trials, in so many processes. Returns its run, who loaded the data, and what was printed."""
    marks = folder / f"{name}.marks"
    changes = {
        "name": name,
        "data": {"dataset": {"name": "tests.fault.marked_digits:MarkedDigits", "marks": str(marks)}},
        "search": {"probes": ["tests.fault.taking:Taking"]},
    }
    spec = merged(changes)
    spec["sweep"] = {"searcher": "grid", "fuse": "off", "max_concurrent": processes}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    loading._loaded.clear()
    assert start_sweep(load_spec(folder / f"{name}.yaml"), folder) == 0
    return open_whole(folder / name), [int(line) for line in marks.read_text().split()], capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_trials_take_the_data_from_the_object_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared, loaded_by, told = sweep(tmp_path, "shared", 2, capsys)
    assert loaded_by == [os.getpid()], "the driver alone loads them"
    assert told.count("one copy on each node for all trials (") == 1
    seen = taking.seen(shared)
    assert len({each["pid"] for each in seen} - {os.getpid()}) == 2, "two processes"
    assert all(each["writeable"] is False for each in seen)
    monkeypatch.setattr(shared_data, "SHARE", 1e-9)
    alone, loaded_by, told = sweep(tmp_path, "alone", 1, capsys)
    assert told.count("each process loads them for itself: they take 0.123 MiB") == 1
    assert set(loaded_by) == {os.getpid(), *(each["pid"] for each in taking.seen(alone))}
    assert len(set(loaded_by)) == 2, "the driver and the trials' process"
    assert all(each["writeable"] is True for each in taking.seen(alone))
    assert_equal(shared, alone)
