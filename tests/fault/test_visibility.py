"""A storage that the driver sees and a node does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raydarts.cluster import visibility
from raydarts.errors import StorageError
from raydarts.runs.directory import RunDirectory

ROOT = Path(__file__).parent.parent.parent


def may_unshare() -> bool:
    try:
        done = subprocess.run(
            ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], check=False, capture_output=True
        )
    except OSError:
        return False
    return done.returncode == 0


@pytest.mark.ray
@pytest.mark.skipif(not may_unshare(), reason="a mount namespace of its own needs root on Linux")
def test_a_node_that_does_not_see_the_storage_is_named_before_anything_is_made(tmp_path: Path) -> None:
    # Other tests' Ray in this process may have made the environment one of a machine without a cluster.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault.blind_node", str(tmp_path)],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert f"{tmp_path}/runs: not to be used from 1 of 2 nodes:" in done.stderr
    assert "does not see what the driver wrote there" in done.stderr
    assert "NFS" in done.stderr
    assert "s3://BUCKET/PREFIX" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_node_answers_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visibility, "_PAUSE", 0.01)
    assert visibility.look_from_node(str(tmp_path / "none"), "a") == "does not see what the driver wrote there"
    (tmp_path / "driver").touch()
    assert visibility.look_from_node(str(tmp_path), "a") is None
    assert (tmp_path / "a").exists()

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(visibility, "write_bytes", refuse)
    assert "cannot use it: PermissionError" in str(visibility.look_from_node(str(tmp_path), "b"))


def test_a_node_that_came_later_fails_as_infrastructure_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raydarts.config.spec import SweepSettings
    from raydarts.execution.trainable import JobTrainable
    from raydarts.sweep.engine import common_config

    monkeypatch.setattr(visibility, "_PAUSE", 0.01)
    trial = RunDirectory(tmp_path / "run").trial(0)
    config = {"id": "0000", "directory": str(trial.path), **common_config(SweepSettings())}
    with pytest.raises(StorageError, match=r"is not to be seen on node .*every node must reach"):
        JobTrainable(config).step()
    assert not list(tmp_path.iterdir())
