"""Watches what this process writes to, deletes and starts, while a fuzzer feeds it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect")


class Guard:
    """Remembers each change outside `folder`, and each process and connection that was started. One a process: an
    audit hook cannot be taken away, so it is made once and switched on and off.
    """

    def __init__(self) -> None:
        self.folder = ""
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & _WRITES)
            if writes and isinstance(path, str | bytes | os.PathLike):
                self._check(event, path)
        elif event in _CHANGES:
            for path in arguments:
                if isinstance(path, str | bytes | os.PathLike):
                    self._check(event, path)
        elif event in _STARTS:
            self.seen.append(f"{event}: {arguments!r}"[:300])

    def _check(self, event: str, path: Any) -> None:
        found = os.path.realpath(os.fsdecode(path))
        inside = found == self.folder or found.startswith(self.folder + os.sep)
        if not inside and "__pycache__" not in found and found != os.devnull:
            self.seen.append(f"{event}: {found}")


_guard: Guard | None = None


@contextmanager
def guarded() -> Iterator[tuple[Path, list[str]]]:
    """A temporary folder that is the working folder and the home, and the list of what was done outside it."""
    global _guard  # noqa: PLW0603 - an audit hook is for good
    _guard = _guard or Guard()
    before, home = Path.cwd(), os.environ.get("HOME")
    with tempfile.TemporaryDirectory(prefix="raydarts-fuzz-") as name:
        folder = Path(name).resolve()
        (folder / "home").mkdir()
        os.environ["HOME"] = str(folder / "home")
        os.chdir(folder)
        _guard.folder, _guard.seen, _guard.on = str(folder), [], True
        try:
            yield folder, _guard.seen
        finally:
            _guard.on = False
            os.chdir(before)
            if home is None:
                del os.environ["HOME"]
            else:
                os.environ["HOME"] = home
