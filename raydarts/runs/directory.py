"""A run on disk: one folder with the spec, the events, and a folder for each trial and evaluation."""

from __future__ import annotations

import os
import platform
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from raydarts.errors import RunError
from raydarts.runs import lock
from raydarts.runs.files import append_line, plain, read_json, read_lines, write_json, write_lines
from raydarts.runs.place import (
    Place,
    delete,
    each,
    entries,
    exists,
    make_folder,
    place_of,
    publish,
    take_over,
    write_bytes,
)

FORMAT = 1
FINAL = ("completed", "stopped", "failed")
NOT_SCALAR = ("genotype", "arch_weights")
"""What a metrics row may hold beside numbers and strings; left out where a trial's last metrics are shown."""


class SupersededError(Exception):
    """Another attempt has taken this trial over; whoever sees this stops without writing."""


class TrialDirectory:
    """One trial's folder. After `claim()` every write first makes sure that no newer attempt took over."""

    def __init__(self, path: str | Place) -> None:
        self.path = place_of(path)
        self._token: str | None = None

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def checkpoints(self) -> Place:
        return self.path / "checkpoints"

    @property
    def exists(self) -> bool:
        return exists(self.path / "trial.json")

    def create(self, description: Mapping[str, Any]) -> None:
        """Write trial.json: what is to be run."""
        make_folder(self.path)
        write_json(self.path / "trial.json", description)

    def description(self) -> dict[str, Any]:
        found = read_json(self.path / "trial.json")
        if found is None:
            raise RunError(f"{self.path}: holds no trial.json, so it is no trial of a raydarts run")
        return dict(found)

    def claim(self, **about: Any) -> None:
        """Take the trial over: attempts that claimed it before can no longer write. `about` is kept with who did."""
        token = uuid.uuid4().hex
        owner = {"token": token, "pid": os.getpid(), "host": platform.node(), **about}
        write_json(self.path / "owner.json", owner)
        self._token = token
        take_over(self.path)

    def check(self) -> None:
        """Raise `SupersededError` where a newer attempt claimed the trial."""
        if self._token is None:
            return
        owner = read_json(self.path / "owner.json")
        if owner is None or owner["token"] != self._token:
            raise SupersededError(self.id)

    def owner(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = read_json(self.path / "owner.json")
        return found

    def halt(self, reason: str) -> None:
        """Note why the trial was stopped for now. That is no result: whoever opens its job goes on with it."""
        write_json(self.path / "halted.json", {"reason": reason, "epochs": len(self.rows())})

    def halted(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = read_json(self.path / "halted.json")
        return found

    def goes_on(self) -> None:
        """A halted trial is halted no more."""
        self.check()
        delete(self.path / "halted.json")

    def append_row(self, row: Mapping[str, Any]) -> None:
        self.check()
        append_line(self.path / "metrics.jsonl", row)

    def rows(self) -> list[dict[str, Any]]:
        """The metrics, one row an epoch; of an epoch met twice the last."""
        return list({row.get("epoch"): row for row in read_lines(self.path / "metrics.jsonl")}.values())

    def append_time(self, entry: Mapping[str, Any]) -> None:
        """Note when and where an epoch ran. Epochs that are run again stay: that time was spent too."""
        self.check()
        append_line(self.path / "times.jsonl", entry)

    def times(self) -> list[dict[str, Any]]:
        """An entry for each epoch run, `epoch`, `start` and `end` (seconds since 1970), `host`, `pid`."""
        return read_lines(self.path / "times.jsonl")

    def append_failure(self, entry: Mapping[str, Any]) -> None:
        """Note what befell the trial from outside: see `faults.py`."""
        self.check()
        append_line(self.path / "failures.jsonl", entry)

    def failures(self) -> list[dict[str, Any]]:
        """Those notes, in the order of time."""
        return read_lines(self.path / "failures.jsonl")

    def keep_rows(self, epoch: int) -> None:
        """Drop the rows of epochs after `epoch`: they will be run again."""
        self.check()
        path = self.path / "metrics.jsonl"
        if exists(path):
            write_lines(path, [row for row in self.rows() if row.get("epoch", 0) <= epoch])

    def write_result(self, result: Mapping[str, Any]) -> None:
        self.check()
        write_json(self.path / "result.json", result)

    def result(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = read_json(self.path / "result.json")
        return found


class RunDirectory:
    """One run's folder, `STORAGE/NAME`: on a disk or in an object store (`place.py`)."""

    def __init__(self, path: str | Place) -> None:
        self.path = place_of(path).absolute()
        self._check: lock.Check = lambda: None

    @classmethod
    def create(
        cls,
        path: str | Place,
        *,
        kind: str,
        spec: Mapping[str, Any],
        text: str = "",
        question: str = "",
        command: Sequence[str] = (),
        builder: str | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> RunDirectory:
        """Make a new run; one that is already there is never touched. `more` is kept in run.json too."""
        path = place_of(path).absolute()
        description = {
            "format": FORMAT,
            "kind": kind,
            "name": path.name,
            "id": uuid.uuid4().hex,
            "question": question,
            "spec": plain(spec),
            "builder": builder,
            "versions": _versions(),
            "git_commit": _git_commit(),
            "command": list(command),
            **plain(more or {}),
        }

        def draft(folder: Place) -> None:
            write_bytes(folder / "spec.yaml", text.encode())
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
    def open(cls, path: str | Place) -> RunDirectory:
        """An existing run. Raises `RunError` where `path` is none."""
        run = cls(path)
        run.description()
        return run

    @property
    def name(self) -> str:
        return self.path.name

    def description(self) -> dict[str, Any]:
        """run.json."""
        if not self.path.is_dir():
            raise RunError(f"{self.path}: there is no such run")
        try:
            found = read_json(self.path / "run.json")
        except ValueError as error:
            raise RunError(f"{self.path / 'run.json'}: is not JSON: {error}") from error
        if not isinstance(found, dict) or "kind" not in found or "spec" not in found:
            raise RunError(f"{self.path}: holds no run.json of raydarts, so it is no run")
        if found.get("format") != FORMAT:
            raise RunError(f"{self.path}: written in format {found.get('format')}; this raydarts reads format {FORMAT}")
        return found

    def trial(self, index: int) -> TrialDirectory:
        return TrialDirectory(self.path / "trials" / f"{index:04d}")

    def trials(self) -> list[TrialDirectory]:
        return folders(self.path / "trials")

    def evaluation(self, genotype_id: str, seed: int) -> TrialDirectory:
        return TrialDirectory(self.path / "evaluations" / f"{genotype_id}-seed{seed}")

    def evaluations(self) -> list[TrialDirectory]:
        return folders(self.path / "evaluations")

    def append_event(self, event: Mapping[str, Any]) -> None:
        self._check()
        append_line(self.path / "events.jsonl", event)

    def events(self) -> list[dict[str, Any]]:
        return read_lines(self.path / "events.jsonl")

    def write(self, name: str, value: Any) -> None:
        """A file of the run's own, such as promotion.json."""
        self._check()
        write_json(self.path / name, value)

    def read(self, name: str) -> Any:
        return read_json(self.path / name)

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
        return lock.held(self.path)


def folders(parent: Place) -> list[TrialDirectory]:
    """The trials that lie in a folder, by name."""
    found = [TrialDirectory(entry.place) for entry in entries(parent) if entry.is_folder]
    there = each(lambda trial: trial.exists, found, parent)
    return [trial for trial, is_there in zip(found, there, strict=True) if is_there]


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("raydarts", "torch", "torchvision", "ray", "optuna", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _git_commit() -> str | None:
    """The commit of the sources that run: of the wheel that `make wheel` made, or of the git checkout they lie in."""
    here = Path(__file__).parent
    packaged = here.parent / "COMMIT"
    if packaged.exists():
        return packaged.read_text(encoding="utf-8").strip()
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
