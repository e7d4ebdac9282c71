"""A run as a report reads it: each file at most once, however many tables and figures are made from it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NoReturn, TypeVar, cast

from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.entries import RunEntry
from raydarts.runs.reading import Damage
from raydarts.storage.place import Place

T = TypeVar("T")


class _Kept:
    """What was read, by what was asked. An error is not kept: the next reader asks again."""

    def __init__(self) -> None:
        self._values: dict[Hashable, object] = {}

    def once(self, what: Hashable, read: Callable[[], T]) -> T:
        if what not in self._values:
            self._values[what] = read()
        return cast(T, self._values[what])


class TrialSnapshot(TrialDirectory):
    """A trial whose files are read once, when they are first asked for."""

    def __init__(self, path: str | Place, damage: Damage | None = None) -> None:
        super().__init__(path, damage)
        self._kept = _Kept()

    def read(self, name: str) -> Any:
        return self._kept.once(name, lambda: super(TrialSnapshot, self).read(name))

    def lines(self, name: str) -> list[Any]:
        return list(self._kept.once((name, "lines"), lambda: super(TrialSnapshot, self).lines(name)))

    def check(self) -> NoReturn:
        raise _read_only(self.path)


class RunSnapshot(RunDirectory):
    """A run whose files and folders are read once, when they are first asked for; so are those of its trials.

    What changes on the storage later is not seen: make a new one to look again. Do not change what it returns, and do
    not write through it.
    """

    def __init__(self, path: str | Place, damage: Damage | None = None) -> None:
        super().__init__(path, damage)
        self._kept = _Kept()
        self._check = self._refuse

    def _refuse(self) -> NoReturn:
        raise _read_only(self.path)

    def _trial(self, path: Place) -> TrialSnapshot:
        return self._kept.once(("trial", path), lambda: TrialSnapshot(path, self.damage))

    def description(self) -> RunEntry:
        return self._kept.once("description", super().description)

    def read(self, name: str) -> Any:
        return self._kept.once(name, lambda: super(RunSnapshot, self).read(name))

    def lines(self, name: str) -> list[Any]:
        return list(self._kept.once((name, "lines"), lambda: super(RunSnapshot, self).lines(name)))

    def in_use(self) -> bool:
        return self._kept.once("in use", super().in_use)

    def folders(self, name: str) -> list[TrialDirectory]:
        return list(self._kept.once(("folder", name), lambda: super(RunSnapshot, self).folders(name)))


def _read_only(path: Place) -> RuntimeError:
    return RuntimeError(f"{path}: a snapshot is for reading; write through RunDirectory or TrialDirectory")
