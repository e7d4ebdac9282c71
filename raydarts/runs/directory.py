"""A run on disk: one folder with the spec, the events, and a folder for each trial and evaluation."""

from __future__ import annotations

import os
import platform
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from raydarts.errors import DamagedError, RunError
from raydarts.json_types import whole
from raydarts.runs.entries import FaultEntry, HaltedEntry, OwnerEntry, RunEntry, TimeEntry
from raydarts.runs.provenance import git_commit, machine, versions
from raydarts.runs.reading import Damage, read_record, read_records
from raydarts.storage import lock
from raydarts.storage.files import append_line, plain, write_json, write_lines
from raydarts.storage.inside import Inside
from raydarts.storage.objects import ObjectPlace
from raydarts.storage.place import (
    Place,
    delete,
    each,
    entries,
    exists,
    inside,
    make_folder,
    place_of,
    publish,
    take_over,
    write_bytes,
)
from raydarts.study.history import Event
from raydarts.study.results import ResultEntry, Row, TrialEntry

FORMAT = 1
_INDEX = re.compile(r"\d{4,8}")
_RETRAINING = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*-seed\d{1,19}")
FINAL = ("completed", "stopped", "failed")


class SupersededError(Exception):
    """Another attempt has taken this trial over; whoever sees this stops without writing."""


class TrialDirectory:
    """One trial's folder. After `claim()` every write first makes sure that no newer attempt took over.

    `files` is the way to its files, which follows no link below the run. With a `damage`, what is damaged is noted
    there and left out; without, reading it raises `DamagedError`.
    """

    def __init__(self, path: str | Place, damage: Damage | None = None) -> None:
        self.path = place_of(path)
        self.files = _way_to(self.path)
        self.damage = damage
        self._token: str | None = None

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def checkpoints(self) -> Place:
        return self.path / "checkpoints"

    def read(self, name: str) -> Any:
        """What a file of the trial holds; None where it is absent, or damaged and that is noted."""
        return read_record(self.files / name, self.damage)

    def lines(self, name: str) -> list[Any]:
        """The lines of a file of the trial; none where it is absent."""
        return read_records(self.files / name, self.damage)

    @property
    def exists(self) -> bool:
        return exists(self.files / "trial.json")

    def is_begun(self) -> bool:
        """Whether anything lies here but what a kill left half-written. What is no folder is noted as damage."""
        try:
            return any(not entry.place.name.startswith(".") for entry in entries(self.files))
        except DamagedError as error:
            if self.damage is None:
                raise
            self.damage.note(self.files, error)
            return False

    def create(self, description: Mapping[str, object]) -> None:
        """Write trial.json: what is to be run."""
        make_folder(self.files)
        write_json(self.files / "trial.json", description)

    def description(self) -> TrialEntry:
        """trial.json; empty where it is damaged, and that is noted. It must be of this folder."""
        file = self.files / "trial.json"
        description: TrialEntry | None = self.read("trial.json")
        problem = (
            f"{self.path}: holds no trial.json, so it is left out"
            if description is None
            else _elsewhere(self, description)
        )
        if description is not None and problem is None:
            return description
        if self.damage is None:
            raise DamagedError(problem)
        if not self.damage.at(file):
            self.damage.note(file, DamagedError(problem))
        return {}

    def claim(self, **about: object) -> None:
        """Take the trial over: attempts that claimed it before can no longer write. `about` is kept with who did."""
        token = uuid.uuid4().hex
        owner = {"token": token, "pid": os.getpid(), "host": platform.node(), **about}
        write_json(self.files / "owner.json", owner)
        self._token = token
        take_over(self.files)

    def check(self) -> None:
        """Raise `SupersededError` where a newer attempt claimed the trial."""
        if self._token is None:
            return
        owner = self.owner()
        if owner is None or owner["token"] != self._token:
            raise SupersededError(self.id)

    def owner(self) -> OwnerEntry | None:
        owner: OwnerEntry | None = self.read("owner.json")
        return owner

    def halt(self, reason: str, paused: bool = False) -> None:
        """Note why the trial was stopped for now. That is no result: whoever opens its job goes on with it.

        `paused`: a scheduler lets it wait for other trials.
        """
        write_json(self.files / "halted.json", {"reason": reason, "epochs": len(self.rows()), "paused": paused})

    def halted(self) -> HaltedEntry | None:
        halted: HaltedEntry | None = self.read("halted.json")
        return halted

    def goes_on(self) -> None:
        """A halted trial is halted no more."""
        self.check()
        delete(self.files / "halted.json")

    def append_row(self, row: Mapping[str, object]) -> None:
        self.check()
        append_line(self.files / "metrics.jsonl", row)

    def rows(self) -> list[Row]:
        """The metrics, one row an epoch; of an epoch met twice the last."""
        return list({row.get("epoch"): row for row in self.lines("metrics.jsonl")}.values())

    def append_time(self, entry: Mapping[str, object]) -> None:
        """Note when and where an epoch ran. Epochs that are run again stay: that time was spent too."""
        self.check()
        append_line(self.files / "times.jsonl", entry)

    def times(self) -> list[TimeEntry]:
        """An entry for each epoch run, `epoch`, `start` and `end` (seconds since 1970), `host`, `pid`."""
        return self.lines("times.jsonl")

    def append_failure(self, entry: Mapping[str, object]) -> None:
        """Note what befell the trial from outside: see `faults.py`."""
        self.check()
        append_line(self.files / "failures.jsonl", entry)

    def failures(self) -> list[FaultEntry]:
        """Those notes, in the order of time."""
        return self.lines("failures.jsonl")

    def keep_rows(self, epoch: int) -> None:
        """Drop the rows of epochs after `epoch`: they will be run again."""
        self.check()
        path = self.files / "metrics.jsonl"
        if exists(path):
            write_lines(path, [row for row in self.rows() if whole(row.get("epoch")) <= epoch])

    def write_result(self, result: Mapping[str, object]) -> None:
        self.check()
        write_json(self.files / "result.json", result)

    def result(self) -> ResultEntry | None:
        result: ResultEntry | None = self.read("result.json")
        return result


class RunDirectory:
    """One run's folder, `STORAGE/NAME`: on a disk or in an object store (`place.py`).

    `files` and `damage` are as a trial's, and go to its trials.
    """

    def __init__(self, path: str | Place, damage: Damage | None = None) -> None:
        self.path = place_of(path).absolute()
        self.files = inside(self.path)
        self.damage = damage
        self._check: lock.Check = lambda: None

    @classmethod
    def create(
        cls,
        path: str | Place,
        *,
        kind: str,
        spec: Mapping[str, object],
        text: str = "",
        question: str = "",
        command: Sequence[str] = (),
        builder: str | None = None,
        more: Mapping[str, object] | None = None,
        begin: Callable[[RunDirectory], None] | None = None,
    ) -> RunDirectory:
        """Make a new run; one that is already there is never touched. `more` is kept in run.json too.

        `begin` writes what the run must hold from the first moment, so that a kill leaves no run without it.
        """
        path = place_of(path).absolute()
        description = {
            "format": FORMAT,
            "kind": kind,
            "name": path.name,
            "id": uuid.uuid4().hex,
            "question": question,
            "spec": plain(spec),
            "builder": builder,
            "versions": versions(),
            "git_commit": git_commit(),
            "machine": machine(),
            "command": list(command),
            **plain(more or {}),
        }

        def draft(folder: Place) -> None:
            write_bytes(folder / "spec.yaml", text.encode())
            if begin is not None:
                begin(cls(folder))
            write_json(folder / "run.json", description)

        cls.check_new(path)
        try:
            publish(draft, path)
        except OSError as error:
            raise RunError(f"{path}: the run directory cannot be made: {error.strerror or error}") from error
        return cls(path)

    @staticmethod
    def check_new(path: str | Place) -> None:
        """Raise `RunError` where a new run cannot be made at `path`, because something is there."""
        path = place_of(path).absolute()
        try:
            if exists(path):
                hint = f"'raydarts resume {path}' goes on with it, or give" if exists(path / "run.json") else "give"
                raise RunError(f"{path} already exists; {hint} the new run another --name")
        except OSError as error:
            raise RunError(f"{path}: the run directory cannot be made: {error.strerror or error}") from error

    @classmethod
    def open(cls, path: str | Place, damage: Damage | None = None) -> Self:
        """An existing run. Raises `RunError` where `path` is none: without run.json nothing else can be read."""
        run = cls(path, damage)
        run.description()
        return run

    @property
    def name(self) -> str:
        return self.path.name

    def description(self) -> RunEntry:
        """run.json."""
        if not self.path.is_dir():
            raise RunError(f"{self.path}: there is no such run")
        description: RunEntry | None = read_record(self.files / "run.json")
        if description is None:
            raise RunError(f"{self.path}: holds no run.json of raydarts, so it is no run")
        if description.get("format") != FORMAT:
            raise RunError(
                f"{self.path}: written in format {description.get('format')}; this raydarts reads format {FORMAT}"
            )
        return description

    def _trial(self, path: Place) -> TrialDirectory:
        return TrialDirectory(path, self.damage)

    def trial(self, index: int) -> TrialDirectory:
        return self._trial(self.path / "trials" / f"{index:04d}")

    def trials(self) -> list[TrialDirectory]:
        return self.folders("trials")

    def evaluation(self, genotype_id: str, seed: int) -> TrialDirectory:
        return self._trial(self.path / "evaluations" / f"{genotype_id}-seed{seed}")

    def evaluations(self) -> list[TrialDirectory]:
        return self.folders("evaluations")

    def append_event(self, event: Mapping[str, object]) -> None:
        self._check()
        append_line(self.files / "events.jsonl", event)

    def events(self) -> list[Event]:
        return self.lines("events.jsonl")

    def write(self, name: str, value: object) -> None:
        """A file of the run's own, such as promotion.json."""
        self._check()
        write_json(self.files / name, value)

    def append(self, name: str, entry: Mapping[str, object]) -> None:
        """A line of a file of the run's own, such as allocation.jsonl."""
        self._check()
        append_line(self.files / name, entry)

    def lines(self, name: str) -> list[Any]:
        """The lines of such a file; none where it is absent."""
        return read_records(self.files / name, self.damage)

    def read(self, name: str) -> Any:
        """What such a file holds; None where it is absent, or damaged and that is noted."""
        return read_record(self.files / name, self.damage)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this driver. The lock ends with the process, however it ends (`lock.py`)."""
        with lock.hold(self.path) as check:
            self._check = check
            take_over(self.path)
            try:
                yield
            finally:
                self._check = lambda: None

    def in_use(self) -> bool:
        """Whether a driver holds the run now."""
        try:
            return lock.held(self.path)
        except DamagedError as error:
            if self.damage is None:
                raise
            self.damage.note(self.files / "lock", error)
            return False

    def folders(self, name: str) -> list[TrialDirectory]:
        """The trials that lie in one of the run's folders, by name: `trials`, `evaluations`, `stages/NAME`.

        A folder with nothing in it but what a kill left half-written is one that was about to be made. Every other
        folder without a trial.json is damage.
        """
        try:
            listed = entries(self.files / name)
        except DamagedError as error:
            if self.damage is None:
                raise
            self.damage.note(self.files / name, error)
            return []
        pattern = _INDEX if name == "trials" else _RETRAINING
        trials = []
        for entry in listed:
            trial = self._trial(self.path / name / entry.place.name)
            if pattern.fullmatch(entry.place.name):
                trials.append(trial)
            elif entry.is_folder and trial.exists and self.damage is not None:
                problem = f"{trial.path}: is no name of a trial's folder, so it is left out; move it away"
                self.damage.note(trial.files, DamagedError(problem))
        there = each(lambda trial: trial.exists if self.damage is None else trial.is_begun(), trials, self.path)
        return [trial for trial, is_there in zip(trials, there, strict=True) if is_there]


def _elsewhere(trial: TrialDirectory, description: TrialEntry) -> str | None:
    """What is wrong with a trial.json that is none of this folder's."""
    name, of_search = trial.path.name, trial.path.parent.name == "trials"
    if not of_search and not _RETRAINING.fullmatch(name):
        return None  # a folder by itself
    needed = () if of_search else ("genotype_id", "genotype", "seed")
    if missing := [key for key in needed if description.get(key) is None]:
        return f"{trial.path / 'trial.json'}: damaged: {', '.join(missing)} missing"
    meant = (
        f"{description.get('index', int(name)):04d}"
        if of_search
        else f"{description['genotype_id']}-seed{description['seed']}"
    )
    if meant == name:
        return None
    return f"{trial.path / 'trial.json'}: damaged: is the one of {meant}, and lies in the folder of another trial"


def _way_to(trial: Place) -> Inside | ObjectPlace:
    """The way to a trial's folder from its run's, which follows from where it lies."""
    if isinstance(trial, ObjectPlace):
        return trial
    above = trial.parent
    if above.name in ("trials", "evaluations"):
        return Inside(above.parent, (above.name, trial.name))
    if above.parent.name == "stages":
        return Inside(above.parent.parent, ("stages", above.name, trial.name))
    return Inside(trial)
