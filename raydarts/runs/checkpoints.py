"""Checkpoints that are whole and their own job's, or not used.

Each carries a digest of its bytes in its name, and inside it the identity of the job that made it.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import logging
import re
from collections.abc import Callable, Mapping

from raydarts.errors import DamagedError
from raydarts.runs.identity import differences
from raydarts.states import State
from raydarts.storage.place import FilePlace, delete, entries, make_folder, read_bytes, rename, write_bytes

logger = logging.getLogger("raydarts")
_NAME = re.compile(r"^epoch-(\d{4,9})-([0-9a-f]{16})\.pt$")
_PARTS = {"identity", "state"}


class Refused(Exception):  # noqa: N818 - a verdict on a file, not a failure of the program
    """Why a checkpoint is not used. `damaged`: its bytes are not those that were written; nothing is lost with it."""

    def __init__(self, reason: str, *, damaged: bool = False) -> None:
        super().__init__(reason)
        self.damaged = damaged


def digest(content: bytes) -> str:
    """What a checkpoint's name says of its bytes."""
    return hashlib.sha256(content).hexdigest()[:16]


def short(error: Exception) -> str:
    """An error that a file's content caused, on one line of bounded length."""
    return f"{type(error).__name__}: {' '.join(str(error)[:300].split())}"


def named(places: list[str]) -> str:
    """The first few of the places where two things differ."""
    return ", ".join(places[:3]) + (", ..." if len(places) > 3 else "")


class CheckpointStore:
    """The newest `keep` checkpoints of one job, as `epoch-0003-DIGEST.pt` in `folder`.

    `identity` (JSON-able) is kept in each and asked of each that is read. `guard` is called before each
    change on disk, and raises where this process may no longer write.
    """

    def __init__(
        self,
        folder: FilePlace,
        identity: Mapping[str, object],
        keep: int = 2,
        guard: Callable[[], None] | None = None,
    ) -> None:
        self.folder = folder
        self.identity = dict(identity)
        self.keep = keep
        self._guard = guard or (lambda: None)

    def save(self, epoch: int, state: State) -> FilePlace:
        import torch  # noqa: PLC0415 - reading results needs no torch

        buffer = io.BytesIO()
        torch.save({"identity": self.identity, "state": state}, buffer)
        content = buffer.getvalue()
        self._guard()
        make_folder(self.folder)
        path = self.folder / f"epoch-{epoch:04d}-{digest(content)}.pt"
        write_bytes(path, content)
        files = self.files()
        later = [old for old in files if old != path and self.epoch(old) >= epoch]
        for old in later + [file for file in files if file not in later][self.keep :]:
            delete(old)
        return path

    def files(self) -> list[FilePlace]:
        """Newest first."""
        files = [entry for entry in entries(self.folder) if _NAME.match(entry.place.name)]
        files.sort(key=lambda entry: (self.epoch(entry.place), entry.modified_ns), reverse=True)
        return [entry.place for entry in files]

    @staticmethod
    def epoch(path: FilePlace) -> int:
        """The epoch that a checkpoint's name claims."""
        match = _NAME.match(path.name)
        return int(match[1]) if match else -1

    def read(self, path: FilePlace) -> State:
        """The job's state. Raises `Refused` where the file is damaged, unreadable or another job's.

        Only tensors and plain values are read (`torch.load(weights_only=True)`): nothing in it is executed.
        """
        import torch  # noqa: PLC0415

        try:
            content = read_bytes(path)
        except DamagedError as error:  # a link, or no file
            raise Refused(str(error), damaged=True) from None
        match = _NAME.match(path.name)
        if match is None or digest(content) != match[2]:
            raise Refused("damaged or cut short (its digest does not match)", damaged=True)
        try:
            saved = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        except MemoryError:
            raise
        except Exception as error:  # what a file that is no checkpoint makes of the reader is not known beforehand
            raise Refused(f"cannot be read ({short(error)})") from error
        if not isinstance(saved, dict) or set(saved) != _PARTS or not isinstance(saved["state"], dict):
            raise Refused("holds no job's state")
        places = list(itertools.islice(differences(saved["identity"], self.identity), 4))
        if places:
            raise Refused(f"is another job's, which differs in {named(places)}")
        state: State = saved["state"]
        return state

    def tidy(self) -> None:
        """Name what is no checkpoint, and remove what a kill left half-written."""
        for entry in entries(self.folder):
            path = entry.place
            if path.name.startswith(".") and path.name.endswith(".tmp") and not entry.is_folder:
                self._guard()
                delete(path)
            elif not _NAME.match(path.name) and path.suffix != ".refused":
                logger.warning("%s: is no checkpoint of raydarts; not used", path)

    def set_aside(self, path: FilePlace) -> None:
        """Rename a refused checkpoint, so that it is neither met again nor deleted by later ones."""
        self._guard()
        rename(path, f"{path.name}.refused")
