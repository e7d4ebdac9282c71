"""A run on disk: one folder with the spec, the events, and a folder for each trial and evaluation."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from raydarts.errors import RunError
from raydarts.runs.files import append_line, plain, read_json, read_lines, write_json, write_lines

FORMAT = 1
FINAL = ("completed", "stopped", "failed")
NOT_SCALAR = ("genotype", "arch_weights")
"""What a metrics row may hold beside numbers and strings; left out where a trial's last metrics are shown."""


class SupersededError(Exception):
    """Another attempt has taken this trial over; whoever sees this stops without writing."""


class TrialDirectory:
    """One trial's folder. After `claim()` every write first makes sure that no newer attempt took over."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._token: str | None = None

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def exists(self) -> bool:
        return (self.path / "trial.json").exists()

    def create(self, description: Mapping[str, Any]) -> None:
        """Write trial.json: what is to be run."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "trial.json", description)

    def description(self) -> dict[str, Any]:
        found = read_json(self.path / "trial.json")
        if found is None:
            raise RunError(f"{self.path}: holds no trial.json, so it is no trial of a raydarts run")
        return dict(found)

    def claim(self) -> None:
        """Take the trial over: attempts that claimed it before can no longer write."""
        token = uuid.uuid4().hex
        write_json(self.path / "owner.json", {"token": token, "pid": os.getpid(), "host": platform.node()})
        self._token = token
        (self.path / "halted.json").unlink(missing_ok=True)

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
        """Note why the trial was stopped for now. That is no result: whoever claims the trial goes on with it."""
        write_json(self.path / "halted.json", {"reason": reason, "epochs": len(self.rows())})

    def halted(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = read_json(self.path / "halted.json")
        return found

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

    def keep_rows(self, epoch: int) -> None:
        """Drop the rows of epochs after `epoch`: they will be run again."""
        self.check()
        path = self.path / "metrics.jsonl"
        if path.exists():
            write_lines(path, [row for row in self.rows() if row.get("epoch", 0) <= epoch])

    def write_result(self, result: Mapping[str, Any]) -> None:
        self.check()
        write_json(self.path / "result.json", result)

    def result(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = read_json(self.path / "result.json")
        return found


class RunDirectory:
    """One run's folder: `STORAGE/NAME`."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()

    @classmethod
    def create(
        cls,
        path: Path,
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
        path = Path(path).absolute()
        if path.exists():
            hint = f"'raydarts resume {path}' goes on with it, or give" if (path / "run.json").exists() else "give"
            raise RunError(f"{path} already exists; {hint} the new run another --name")
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
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
        try:
            draft.mkdir(parents=True)
            write_json(draft / "run.json", description)
            (draft / "spec.yaml").write_text(text, encoding="utf-8")
            draft.rename(path)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise RunError(f"{path}: the run directory cannot be made: {error.strerror}") from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
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
        append_line(self.path / "events.jsonl", event)

    def events(self) -> list[dict[str, Any]]:
        return read_lines(self.path / "events.jsonl")

    def write(self, name: str, value: Any) -> None:
        """A file of the run's own, such as promotion.json."""
        write_json(self.path / name, value)

    def read(self, name: str) -> Any:
        return read_json(self.path / name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this driver. The lock ends with the process, however it ends."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "unknown"
                raise RunError(
                    f"{self.path}: in use by another raydarts (pid {holder}); wait for it or end it first"
                ) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} on {platform.node()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def in_use(self) -> bool:
        """Whether a driver holds the run now."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False


def folders(parent: Path) -> list[TrialDirectory]:
    """The trials that lie in a folder, by name."""
    if not parent.is_dir():
        return []
    found = [TrialDirectory(path) for path in sorted(parent.iterdir()) if path.is_dir()]
    return [trial for trial in found if trial.exists]


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("raydarts", "torch", "torchvision", "ray", "optuna", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _git_commit() -> str | None:
    """The commit of the sources that run, where they lie in a git checkout."""
    here = Path(__file__).parent
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
