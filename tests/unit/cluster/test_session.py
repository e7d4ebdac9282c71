"""The folder of a local Ray: short enough for its sockets, private, and gone when it is not needed."""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from raydarts.cluster import session
from raydarts.errors import ClusterError


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short folder that stands for /tmp, and no other."""
    made = Path(tempfile.mkdtemp(prefix="b", dir="/tmp"))
    for name in ("RAY_TMPDIR", "TMPDIR", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    yield made
    shutil.rmtree(made)


def test_session_folder_is_private_short_and_removed(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(base))
    folder = session.make_folder()
    assert folder.path.parent == base
    assert folder.note is None
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert len(f"{folder.path}{session._SOCKET}") <= 107
    (folder.path / "session").mkdir()
    folder.remove()
    assert list(base.iterdir()) == []


def test_unusable_tmpdir_is_replaced_and_the_replacement_is_named(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (base / "file").touch()
    (base / ("x" * 80)).mkdir()
    for place, reason in (
        (base / ("x" * 80), r"too long for the sockets of Ray: at most \d\d bytes"),
        (base / "missing", "No such file or directory"),
        (base / "file", "Not a directory"),
    ):
        monkeypatch.setenv("TMPDIR", str(place))
        folder = session.make_folder()
        folder.remove()
        assert folder.note is not None
        assert folder.note.startswith(f"TMPDIR={place}: ")
        assert re.search(reason, folder.note)
        assert folder.note.endswith(f"Ray's files are in {folder.path} instead")
        assert folder.path.parent == Path("/tmp")


def test_a_folder_of_the_longest_name_still_fits_and_the_next_does_not(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = session.LONGEST_SOCKET - len("/rd") - 8 - len(session._SOCKET) - len(str(base)) - 1
    for length, fits in ((room, True), (room + 1, False)):
        monkeypatch.setenv("TMPDIR", str(base / ("y" * length)))
        (base / ("y" * length)).mkdir()
        folder = session.make_folder()
        folder.remove()
        assert (folder.path.parent.parent == base) is fits


def test_a_full_disk_is_told_and_where_no_place_is_left_nothing_starts(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(base))
    usage = shutil.disk_usage(base)
    monkeypatch.setattr(session.shutil, "disk_usage", lambda path: usage._replace(free=5 << 20))
    with pytest.raises(ClusterError) as refused:
        session.make_folder()
    for words in (
        f"TMPDIR={base}: the disk has 5 MiB left, and Ray needs 64",
        "/var/tmp: the disk",
        "Set RAY_TMPDIR to",
    ):
        assert words in str(refused.value)
    assert list(base.iterdir()) == []


def test_only_folders_of_killed_drivers_are_removed(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(base))
    running, killed = session.make_folder(), session.make_folder()
    killed.lock.close()  # as its process' end does
    (base / "rd12345678").mkdir()  # somebody else's
    (base / "rdlinkedxx").mkdir()
    (base / "rdlinkedxx" / "raydarts-driver").symlink_to(base / "target")
    folder = session.make_folder()
    assert sorted(base.iterdir()) == sorted([running.path, folder.path, base / "rd12345678", base / "rdlinkedxx"])
    for each in (running, folder):
        each.remove()
