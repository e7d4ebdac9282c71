"""A stand-in for an object store that counts what is asked of it. Its objects are files in a folder."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from raydarts.storage import objects
from raydarts.storage.place import Place, place_of


class CountedStore:
    """Counts requests by key: `opened` objects, `listed` folders, and `asked` whether something is there."""

    def __init__(self, folder: Path) -> None:
        from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

        self._files = SubTreeFileSystem(str(folder), LocalFileSystem())
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Begin to count anew."""
        self.opened: Counter[str] = Counter()
        self.listed: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()

    def requests(self) -> int:
        return sum(map(Counter.total, (self.opened, self.listed, self.asked)))

    def open_input_stream(self, key: str) -> Any:
        with self._lock:
            self.opened[key] += 1
        return self._files.open_input_stream(key)

    def get_file_info(self, what: Any) -> Any:
        with self._lock:
            if isinstance(what, str):
                self.asked[what] += 1
            else:
                self.listed[what.base_dir] += 1
        return self._files.get_file_info(what)

    def open_output_stream(self, key: str) -> Any:
        self._files.create_dir(key.rpartition("/")[0], recursive=True)  # a store has no folders to make
        return self._files.open_output_stream(key)

    def delete_file(self, key: str) -> None:
        self._files.delete_file(key)


def counted_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Place, CountedStore]:
    """From here on every object store of this process is this one. Returns a place in it."""
    store = CountedStore(folder)
    monkeypatch.setattr(objects, "_filesystem", lambda *_: store)
    monkeypatch.setattr(objects, "_tails", {})
    return place_of("s3://bucket/runs"), store
