"""A storage that the driver sees and a node does not. With a real node: tests/fault/test_multinode.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raydarts.cluster import visibility
from raydarts.errors import StorageError
from raydarts.runs.directory import RunDirectory


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
    from raydarts.sweeping.engine import common_config

    monkeypatch.setattr(visibility, "_PAUSE", 0.01)
    trial = RunDirectory(tmp_path / "run").trial(0)
    config = {"id": "0000", "directory": str(trial.path), **common_config(SweepSettings())}
    with pytest.raises(StorageError, match=r"is not to be seen on node .*every node must reach"):
        JobTrainable(config).step()
    assert not list(tmp_path.iterdir())
