"""Checkpoints: one that is damaged, unreadable or another job's is named and passed over, and nothing in it is run."""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.errors import CheckpointError
from raydarts.execution import drive
from raydarts.runs.checkpoints import CheckpointStore, Refused
from raydarts.runs.directory import SupersededError, TrialDirectory
from raydarts.runs.identity import differences, identity
from tests.fault.fakes import FakeJob

SETTINGS = {"lr": 0.1, "epochs": 5}


def stored(folder: Path, epochs: int) -> CheckpointStore:
    store = CheckpointStore(folder, {"kind": "test"})
    for epoch in range(1, epochs + 1):
        store.save(epoch, {"epoch": epoch, "weight": torch.full((3,), float(epoch))})
    return store


def trial_at(path: Path, epochs: int, settings: dict[str, Any] = SETTINGS) -> TrialDirectory:
    """A trial `epochs` epochs on."""
    trial = TrialDirectory(path)
    trial.create({"kind": "search", "config": settings})
    job = FakeJob(settings, "search")
    for _ in range(epochs):
        drive.keep(job, trial, drive.ran(job))
    return trial


def opened(trial: TrialDirectory) -> FakeJob:
    job = drive.open_job(lambda: FakeJob(SETTINGS, "search"), trial)
    assert isinstance(job, FakeJob)
    return job


def to_the_end(trial: TrialDirectory) -> list[dict[str, Any]]:
    job = opened(trial)
    while not job.finished:
        drive.keep(job, trial, drive.ran(job))
    assert drive.finish(job, trial)["status"] == "completed"
    return trial.rows()


def put(folder: Path, epoch: int, content: bytes) -> Path:
    """A file that has a checkpoint's name, with the right digest."""
    path = folder / f"epoch-{epoch:04d}-{hashlib.sha256(content).hexdigest()[:16]}.pt"
    path.write_bytes(content)
    return path


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    store = stored(tmp_path, 4)
    assert [path.name[:10] for path in store.files()] == ["epoch-0004", "epoch-0003"]
    assert torch.equal(store.read(store.files()[0])["weight"], torch.full((3,), 4.0))


def test_a_foreign_file_is_named_and_half_a_checkpoint_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({"epoch": 9}, tmp_path / "model.pt")
    (tmp_path / ".epoch-0003-0123456789abcdef.pt.1234.tmp").write_bytes(b"half")
    store = stored(tmp_path, 1)
    with caplog.at_level(logging.WARNING, logger="raydarts"):
        store.tidy()
    assert "model.pt" in caplog.text
    assert {path.suffix for path in tmp_path.iterdir()} == {".pt"}


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.path,))


def torch_bytes(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def forged(kind: str, trial: TrialDirectory, trap: Path) -> bytes:
    """What an enemy, or an accident, may put in the place of the newest checkpoint, with the right digest."""
    good = {"identity": identity(trial), "state": FakeJob(SETTINGS, "search").state_dict() | {"epoch": 3}}
    return {
        "empty": b"",
        "text": b"not a checkpoint at all",
        "cut": torch_bytes(good)[:-200],
        "pickle": pickle.dumps(good | {"state": Bomb(trap)}, protocol=2),
        "pickle-in-torch": torch_bytes(good | {"state": Bomb(trap)}),
        "pickle-in-state": torch_bytes(good | {"state": good["state"] | {"total": Bomb(trap)}}),
        "list": torch_bytes([1, 2]),
        "no-identity": torch_bytes(good["state"]),
        "state-is-text": torch_bytes(good | {"state": "epoch 3"}),
        "state-lacks": torch_bytes(good | {"state": {"epoch": 3}}),
        "state-has-more": torch_bytes(good | {"state": good["state"] | {"extra": 1}}),
        "state-of-another-type": torch_bytes(good | {"state": good["state"] | {"generator": "torch"}}),
        "wrong-epoch": torch_bytes(good | {"state": good["state"] | {"epoch": 7}}),
        "deep": torch_bytes(good | {"state": {"epoch": nested(300)}}),
    }[kind]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


KINDS = ["empty", "text", "cut", "pickle", "pickle-in-torch", "pickle-in-state", "list", "no-identity", "state-is-text",
         "state-lacks", "state-has-more", "state-of-another-type", "wrong-epoch", "deep"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_forged_checkpoint_gives_way_to_the_older(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trial, whole, trap = trial_at(tmp_path / "cut", 2), trial_at(tmp_path / "whole", 5), tmp_path / "trap"
    bad = put(trial.checkpoints, 3, forged(kind, trial, trap))
    trial.append_row({"epoch": 3, "trace": "of the refused"})
    with caplog.at_level(logging.WARNING, logger="raydarts"):
        assert to_the_end(trial) == whole.rows()
    assert not trap.exists()
    assert f"{bad}: refused: " in caplog.text
    assert "going on from epoch 2" in caplog.text
    assert len(caplog.text) < 1000
    assert bad.with_name(bad.name + ".refused").exists()  # set aside, not deleted


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_older(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    trial, whole = trial_at(tmp_path / "cut", 3), trial_at(tmp_path / "whole", 5)
    newest = max(trial.checkpoints.iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"flip": bytes(content), "truncate": bytes(content[:-50]), "empty": b""}[damage])
    with caplog.at_level(logging.WARNING, logger="raydarts"):
        assert opened(trial).epoch == 2
    assert len(trial.rows()) == 2
    assert f"{newest}: refused: damaged or cut short" in caplog.text
    assert to_the_end(trial) == whole.rows()


def test_job_restarts_with_equal_results_when_all_checkpoints_are_damaged(tmp_path: Path) -> None:
    trial, whole = trial_at(tmp_path / "cut", 3), trial_at(tmp_path / "whole", 5)
    for path in trial.checkpoints.iterdir():
        path.write_bytes(b"torn")
    assert to_the_end(trial) == whole.rows()


@pytest.mark.parametrize(
    ("other", "named"),
    [({"seed": 1}, r"search\.seed"), ({"lr": 0.2}, r"search\.lr"), ({"estimator": "exact"}, r"search\.estimator")],
)
def test_a_checkpoint_of_another_job_of_the_same_shapes_is_refused(
    other: dict[str, Any], named: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trial, whole = trial_at(tmp_path / "cut", 2), trial_at(tmp_path / "whole", 5)
    foreign = trial_at(tmp_path / "foreign", 4, SETTINGS | other)
    newest = max(foreign.checkpoints.iterdir())
    newest.rename(trial.checkpoints / newest.name)
    with caplog.at_level(logging.WARNING, logger="raydarts"):
        assert to_the_end(trial) == whole.rows()
    assert f"{newest.name}: refused: is another job's, which differs in {named}".replace("\\", "") in caplog.text


def test_foreign_checkpoints_are_named_and_not_touched(tmp_path: Path) -> None:
    trial = trial_at(tmp_path / "trial", 2)
    trial.create({"kind": "search", "config": SETTINGS | {"seed": 5}})  # somebody edited it
    before = {path: path.read_bytes() for path in trial.path.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=r"2 epochs were run: .*epoch-0002.*search\.seed.*epoch-0001") as error:
        opened(trial)
    assert f"move {trial.checkpoints} away" in str(error.value)
    assert {path: path.read_bytes() for path in trial.path.rglob("*") if path.is_file()} == before


def test_a_foreign_checkpoint_in_a_trial_not_begun_is_refused_and_the_trial_begins(tmp_path: Path) -> None:
    trial, whole = trial_at(tmp_path / "new", 0), trial_at(tmp_path / "whole", 5)
    trial.checkpoints.mkdir()
    put(trial.checkpoints, 3, forged("no-identity", trial, tmp_path))
    assert to_the_end(trial) == whole.rows()


def test_an_orphan_neither_renames_nor_removes(tmp_path: Path) -> None:
    trial = trial_at(tmp_path, 2)
    trial.claim()
    max(trial.checkpoints.iterdir()).write_bytes(b"torn")
    half = trial.checkpoints / ".half.tmp"
    half.write_bytes(b"")
    TrialDirectory(tmp_path).claim()
    before = sorted(trial.checkpoints.iterdir())
    with pytest.raises(SupersededError):
        opened(trial)
    half.unlink()
    with pytest.raises(SupersededError):
        opened(trial)
    assert sorted(trial.checkpoints.iterdir()) == [path for path in before if path != half]


def test_error_outside_a_checkpoint_refuses_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full memory or an absent disk ends the attempt; the checkpoint stays."""
    trial = trial_at(tmp_path, 2)
    for error in (torch.OutOfMemoryError("GPU"), MemoryError(), OSError("the disk was away")):
        monkeypatch.setattr(FakeJob, "load_state_dict", lambda self, state, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(type(error)):
            opened(trial)
    assert not list(trial.checkpoints.glob("*.refused"))


def test_reading_names_the_reason(tmp_path: Path) -> None:
    store = stored(tmp_path, 1)
    other = CheckpointStore(tmp_path, {"kind": "other"})
    with pytest.raises(Refused, match="another job's, which differs in kind"):
        other.read(store.files()[0])


def test_a_moved_run_is_the_same_job_and_a_changed_one_is_not(tmp_path: Path) -> None:
    def of(name: str, data: dict[str, Any], seed: int = 0) -> dict[str, Any]:
        from raydarts.runs.directory import RunDirectory

        run = RunDirectory.create(tmp_path / name, kind="sweep", spec={"data": data, "sweep": {"trials": len(name)}})
        trial = run.trial(len(name))
        trial.create({"index": len(name), "kind": "search", "config": {"seed": seed}, "choices": {}})
        return identity(trial)

    one = of("a", {"dataset": {"name": "x", "root": "/here", "workers": 2}, "limit": 10})
    assert one == of("aa", {"dataset": {"name": "x", "root": "/there", "workers": 4}, "limit": 10})
    assert one != of("b", {"dataset": {"name": "x", "root": "/here", "workers": 2}, "limit": 11})
    assert one != of("c", {"dataset": {"name": "x", "root": "/here", "workers": 2}, "limit": 10}, seed=1)


def test_differences_are_found_to_the_last_bit() -> None:
    nan = torch.tensor([float("nan"), 1.0])
    one = {"a": [1, {"b": nan}], "c": float("nan"), "d": torch.zeros(2)}
    assert list(differences(one, {"a": (1, {"b": nan.clone()}), "c": float("nan"), "d": torch.zeros(2)})) == []
    other = {"a": [1.0, {"b": torch.tensor([float("nan"), 1.0000001])}], "d": torch.zeros(2, 1), "e": None}
    assert list(differences(one, other)) == ["a[0]", "a[1].b", "c", "d", "e"]
