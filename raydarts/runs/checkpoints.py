"""Checkpoints that are whole or not used: each carries a digest of its bytes in its name."""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raydarts.runs.files import write_bytes

logger = logging.getLogger("raydarts")
_NAME = re.compile(r"^epoch-(\d{4,})-([0-9a-f]{16})\.pt$")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class CheckpointStore:
    """The newest `keep` checkpoints of one job, as `epoch-0003-DIGEST.pt` in `folder`.

    `guard` is called before each write, and raises where this process may no longer write.
    """

    def __init__(self, folder: Path, keep: int = 2, guard: Callable[[], None] | None = None) -> None:
        self.folder = folder
        self.keep = keep
        self._guard = guard

    def save(self, epoch: int, state: dict[str, Any]) -> Path:
        import torch  # noqa: PLC0415 - reading results needs no torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        if self._guard is not None:
            self._guard()
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"epoch-{epoch:04d}-{_digest(content)}.pt"
        write_bytes(path, content)
        files = self._files()
        later = [old for old in files if old != path and self._epoch(old) >= epoch]
        for old in later + [file for file in files if file not in later][self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """The newest good checkpoint's epoch and state; damaged ones are named in a warning and passed over."""
        if not self.folder.is_dir():
            return None
        for path in sorted(self.folder.iterdir()):
            if not _NAME.match(path.name) and not path.name.endswith(".tmp"):
                logger.warning("%s: is no checkpoint of raydarts; not used", path)
        for path in self._files():
            state = self._read(path)
            if state is not None:
                return self._epoch(path), state
        return None

    def _read(self, path: Path) -> dict[str, Any] | None:
        import torch  # noqa: PLC0415

        content = path.read_bytes()
        match = _NAME.match(path.name)
        if match is None or _digest(content) != match[2]:
            logger.warning("%s: damaged or cut short (its digest does not match); using an older checkpoint", path)
            return None
        try:
            state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            logger.warning("%s: cannot be read (%s); using an older checkpoint", path, error)
            return None
        if not isinstance(state, dict):
            logger.warning("%s: holds no job's state; using an older checkpoint", path)
            return None
        return state

    def _files(self) -> list[Path]:
        """Newest first."""
        found = [path for path in self.folder.iterdir() if _NAME.match(path.name)] if self.folder.is_dir() else []
        return sorted(found, key=lambda path: (self._epoch(path), path.stat().st_mtime_ns), reverse=True)

    @staticmethod
    def _epoch(path: Path) -> int:
        match = _NAME.match(path.name)
        return int(match[1]) if match else -1
