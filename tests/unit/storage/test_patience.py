"""A storage that is full or away: waited for, then named; and no line that was reported is lost or doubled."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from raydarts.errors import InputError, StorageError
from raydarts.runs.directory import TrialDirectory
from raydarts.storage import patience
from raydarts.storage.files import append_line, read_lines, write_json
from raydarts.storage.patience import passing, patiently


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_FIRST_PAUSE", 0.02)


def failing(times: int, error: OSError) -> Callable[[], str]:
    left = iter([error] * times)

    def act() -> str:
        for each in left:
            raise each
        return "done"

    return act


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOSPC, errno.ECONNREFUSED])
def test_temporary_errors_are_retried(number: int) -> None:
    assert patiently(failing(3, OSError(number, os.strerror(number))), "here") == "done"


@pytest.mark.parametrize("error", [FileNotFoundError(2, "no"), PermissionError(13, "no"), OSError("ACCESS_DENIED")])
def test_permanent_errors_are_raised_at_once(error: OSError) -> None:
    with pytest.raises(type(error)) as raised:
        patiently(failing(1, error), "here")
    assert raised.value is error


def test_lasting_outage_names_the_place_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(patience.SECONDS, "0.1")
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"/nfs/run: .*Stale file handle.*0\.1 s.*raydarts resume RUN"):
        patiently(failing(10**6, OSError(errno.ESTALE, "Stale file handle")), "/nfs/run")
    assert 0.1 <= time.monotonic() - began < 30
    assert not passing(StorageError("once"))  # not waited for twice


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_the_time_to_wait_must_be_a_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(patience.SECONDS, text)
    with pytest.raises(InputError, match=f"RAYDARTS_STORAGE_RETRY_SECONDS={text}"):
        patiently(failing(0, OSError()), "here")


def test_a_line_that_was_written_but_not_synced_is_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, faults = os.fsync, iter([True, True, False, False])

    def faulty(descriptor: int) -> None:
        if next(faults):
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", faulty)
    append_line(tmp_path / "events.jsonl", {"event": "ask"})
    append_line(tmp_path / "events.jsonl", {"event": "ask"})  # an equal one of its own is another
    assert read_lines(tmp_path / "events.jsonl") == [{"event": "ask"}] * 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "none", str(disk)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("a disk of 128 KiB needs the right to mount one")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 1024)
    return ballast


def test_a_full_disk_is_waited_for_and_loses_no_row(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = TrialDirectory(small_disk / "trial")
    trial.create({})
    rows: list[Any] = [{"epoch": 1, "text": "y" * 4096}, {"epoch": 2, "text": "z" * 9000}]
    trial.append_row(rows[0])
    ballast = fill(small_disk)
    threading.Timer(0.5, ballast.unlink).start()
    trial.append_row(rows[1])
    assert trial.rows() == rows

    ballast = fill(small_disk)
    monkeypatch.setenv(patience.SECONDS, "0")
    with pytest.raises(StorageError, match="No space left"):
        trial.append_row({"epoch": 3, "text": "w" * 9000})
    with pytest.raises(StorageError):
        write_json(trial.path / "result.json", {"text": "v" * 9000})
    assert trial.rows() == rows  # a torn line, if there is one, is none
    assert trial.result() is None
    assert not list(trial.path.glob(".*.tmp"))
    ballast.unlink()
    trial.append_row({"epoch": 3})
    assert [row["epoch"] for row in trial.rows()] == [1, 2, 3]
