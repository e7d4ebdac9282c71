"""Checkpoints: a damaged one is named and passed over."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from raydarts.errors import CheckpointError
from raydarts.runs import drive
from raydarts.runs.checkpoints import CheckpointStore
from raydarts.runs.directory import TrialDirectory
from tests.fault.fakes import FakeJob


def stored(folder: Path, epochs: int) -> CheckpointStore:
    store = CheckpointStore(folder)
    for epoch in range(1, epochs + 1):
        store.save(epoch, {"epoch": epoch, "weight": torch.full((3,), float(epoch))})
    return store


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    store = stored(tmp_path, 4)
    assert [path.name[:10] for path in sorted(tmp_path.iterdir())] == ["epoch-0003", "epoch-0004"]
    found = store.latest()
    assert found is not None
    assert found[0] == 4
    assert torch.equal(found[1]["weight"], torch.full((3,), 4.0))


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_older(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = stored(tmp_path, 2)
    newest = max(tmp_path.iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"flip": bytes(content), "truncate": bytes(content[:-50]), "empty": b""}[damage])
    with caplog.at_level(logging.WARNING, logger="raydarts"):
        found = store.latest()
    assert found is not None
    assert found[0] == 1
    assert newest.name in caplog.text


def test_a_foreign_file_is_named_and_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save({"epoch": 9}, tmp_path / "model.pt")
    with caplog.at_level(logging.WARNING, logger="raydarts"):
        assert CheckpointStore(tmp_path).latest() is None
    assert "model.pt" in caplog.text


def test_after_damage_the_rows_and_the_epochs_agree_again(tmp_path: Path) -> None:
    trial, whole = TrialDirectory(tmp_path / "cut"), TrialDirectory(tmp_path / "whole")
    settings = {"lr": 0.1, "epochs": 5}
    for folder, epochs in ((trial, 3), (whole, 5)):
        folder.path.mkdir()
        job = FakeJob(settings, "search")
        for _ in range(epochs):
            drive.advance(job, folder)
    max(trial.checkpoints.iterdir()).write_bytes(b"torn")
    job = FakeJob(settings, "search")
    assert drive.resume(job, trial) == 2
    assert len(trial.rows()) == 2
    while not job.finished:
        drive.advance(job, trial)
    assert trial.rows() == whole.rows()
    assert drive.finish(job, trial)["status"] == "completed"


def test_a_good_checkpoint_of_another_job_is_an_error(tmp_path: Path) -> None:
    trial = TrialDirectory(tmp_path)
    CheckpointStore(trial.checkpoints).save(2, {"something": "else"})
    with pytest.raises(CheckpointError, match="does not fit"):
        drive.resume(FakeJob({"lr": 0.1}, "search"), trial)
