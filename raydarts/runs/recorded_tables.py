"""Tables of recorded searches: JSON, or JSON packed with gzip. docs/replay.md says what they hold.

Two shapes are read. In the general one a run has `config`, `seed` and `rows`. In the other one, that of RobustDARTS'
published logs, a run has lists by epoch (`epoch_valid_acc`, in percent) beside its settings.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

from raydarts.errors import GenotypeError, Problem, SpecError, shortened
from raydarts.genotypes.genotype import Genotype
from raydarts.runs.recordings import Recording, Recordings, row_of
from raydarts.storage.place import Place

_LARGEST = 2_000_000_000  # bytes, unpacked
_LISTS = {
    "epoch_valid_acc": "validation_accuracy",
    "epoch_train_acc": "weight_accuracy",
    "epoch_valid_loss": "validation_loss",
    "epoch_train_loss": "weight_loss",
}
"""Lists by epoch of RobustDARTS' shape, and what raydarts calls the figure."""
_PAIRS = {"alpha_hessian_largest_eigenvalue": "eigenvalue"}
"""Lists of `[epoch, value]`, whose epochs count from 0."""
_SHARES = ("epoch_valid_acc", "epoch_train_acc")
_ACCURACY, _GENOTYPES = "epoch_valid_acc", "epoch_genotype"
_TASK = ("space", "dataset")
_LABELS = ("kind", "id", "name", "run", "path", "file", "log", "commit", "host", "date", "time", "status", "genotype")
_RESULTS = (
    *("acc", "accuracy", "loss", "error", "err", "perplexity", "ppl", "mb", "params", "parameters", "flops"),
    *("time", "seconds", "hours", "epochs", "eigenvalue"),
)
_STATUSES = ("completed", "stopped", "failed", "halted")


def is_table(place: Place) -> bool:
    """Whether a place is a table, and no run directory."""
    return isinstance(place, Path) and (place.is_file() or place.name.endswith((".json", ".json.gz")))


def read_table(path: Path) -> Recordings:
    """Reads a table. Raises `SpecError` with every problem of it."""
    value = _parsed(path)
    runs = value.get("runs") if isinstance(value, Mapping) else value
    if not isinstance(runs, list):
        raise _error(path, 'must be a list of runs, or {"runs": [...]}: docs/replay.md shows one')
    table = _Table(path)
    recordings = [run for number, each in enumerate(runs) if (run := table.run(number, each)) is not None]
    table.check_task()
    if table.problems:
        raise SpecError(table.problems)
    most = max((run.epochs for run in recordings), default=0)
    finished = [_finished(run, table.statuses.get(run.where), most) for run in recordings]
    cut = [run for run in finished if not run.whole]
    if cut:
        table.notes.append(
            f"{path}: {len(cut)} of {len(finished)} runs end before epoch {most} ({_listed(cut)}); in a replay they "
            "fail where their rows end"
        )
    return Recordings(tuple(finished), tuple(table.notes))


def _listed(runs: Sequence[Recording]) -> str:
    names = [run.where.rsplit(": ", maxsplit=1)[-1] for run in runs]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _finished(run: Recording, status: str | None, most: int) -> Recording:
    """A run is whole if its status says so. Without a status it is if it has as many epochs as any."""
    whole = status == "completed" if status is not None else run.epochs == most
    return Recording(run.where, run.config, run.seed, run.rows, run.genotypes, whole)


def _error(path: Path, message: str, line: int = 0) -> SpecError:
    return SpecError([Problem(str(path), line, "", message)])


def _parsed(path: Path) -> object:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            with gzip.open(path) as stream:
                content = stream.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _error(path, f"cannot be read: {reason}") from error
    if len(content) > _LARGEST:
        raise _error(path, f"is larger than {_LARGEST:,} bytes unpacked")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _error(path, f"is not UTF-8 text (byte {error.start}); allowed: JSON, or JSON packed with gzip") from None
    except json.JSONDecodeError as error:
        raise _error(path, f"is not JSON: {error.msg}", error.lineno) from None
    except (ValueError, RecursionError) as error:
        raise _error(path, f"is not JSON that can be read: {error}") from None


class _Table:
    """Reads the runs of one table, and keeps all of its problems."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.statuses: dict[str, str] = {}
        self._tasks: dict[str, dict[str, int]] = {}
        self._genotypes: dict[str, Genotype] = {}
        self._unseeded: dict[str, int] = {}

    def _wrong(self, number: int, message: str) -> None:
        self.problems.append(Problem(f"{self.path}: run {number}", 0, "", message))

    def run(self, number: int, value: object) -> Recording | None:
        """The recording of run `number`, counted from 0. None: it has a problem, or no epoch, which is noted."""
        before = len(self.problems)
        if not isinstance(value, Mapping):
            self._wrong(number, f"must be an object, not {shortened(json.dumps(value), 60)}")
            return None
        for key in _TASK:
            if isinstance(value.get(key), str):
                self._tasks.setdefault(key, {}).setdefault(value[key], number)
        config = self._config(number, value)
        if "rows" in value:
            epochs = self._rows(number, value["rows"])
        elif any(key.startswith("epoch_") and isinstance(item, list) for key, item in value.items()):
            epochs = self._lists(number, value)
        else:
            self._wrong(number, f"has neither rows nor {_ACCURACY}; docs/replay.md shows both shapes")
            return None
        seed = self._seed(number, value, config)
        where = f"{self.path}: run {number}"
        status = value.get("status")
        if status is not None:
            if status in _STATUSES:
                self.statuses[where] = status
            else:
                self._wrong(number, f"status is {shortened(json.dumps(status), 40)}; allowed: {', '.join(_STATUSES)}")
        if len(self.problems) > before:
            return None
        if not epochs:
            self.notes.append(f"{where} has no epoch and is left out")
            return None
        rows = tuple(row_of(epoch, figures, genotype) for epoch, (figures, genotype) in enumerate(epochs, start=1))
        return Recording(where, config, seed, rows, tuple(genotype for _, genotype in epochs))

    def check_task(self) -> None:
        """Figures of different spaces or data cannot be compared."""
        for key, values in self._tasks.items():
            if len(values) > 1:
                shown = ", ".join(f"{name} (run {number})" for name, number in list(values.items())[:4])
                self.problems.append(
                    Problem(str(self.path), 0, key, f"runs are of several: {shown}; write a file for each {key}")
                )

    def _config(self, number: int, value: Mapping[str, object]) -> dict[str, object]:
        if "config" in value:
            if not isinstance(value["config"], Mapping):
                self._wrong(number, "config must be an object: the settings by name")
                return {}
            return {key: item for key, item in value["config"].items() if key != "seed"}
        return {
            key: item
            for key, item in value.items()
            if isinstance(item, str | int | float | bool) and _is_setting(key) and _is_plain(item)
        }

    def _seed(self, number: int, value: Mapping[str, object], config: Mapping[str, object]) -> int:
        inner = value.get("config")
        seed = value.get("seed", inner.get("seed") if isinstance(inner, Mapping) else None)
        if seed is None:  # runs of a configuration are numbered in their order
            key = json.dumps(config, sort_keys=True, default=str)
            self._unseeded[key] = self._unseeded.get(key, -1) + 1
            return self._unseeded[key]
        if isinstance(seed, float) and seed.is_integer():
            seed = int(seed)
        if isinstance(seed, bool) or not isinstance(seed, int):
            self._wrong(number, f"seed is {shortened(json.dumps(seed), 40)}; allowed: a whole number")
            return 0
        return seed

    def _rows(self, number: int, rows: object) -> list[tuple[Mapping[str, object], Genotype | None]]:
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            self._wrong(number, "rows must be a list of objects, one for each epoch")
            return []
        for place, row in enumerate(rows, start=1):
            if row.get("epoch", place) != place:
                self._wrong(
                    number,
                    f"row {place} has epoch {shortened(json.dumps(row['epoch']), 20)}; epochs are 1, 2, 3, ... without "
                    "a gap",
                )
                return []
        figures = [{key: item for key, item in row.items() if key != "genotype"} for row in rows]
        genotypes = [self._genotype(number, place, row.get("genotype")) for place, row in enumerate(rows, start=1)]
        return list(zip(figures, genotypes, strict=True))

    def _lists(self, number: int, value: Mapping[str, object]) -> list[tuple[Mapping[str, object], Genotype | None]]:
        """The epochs of RobustDARTS' shape. An epoch counts if its accuracy was written."""
        accuracies = value.get(_ACCURACY)
        if not isinstance(accuracies, list):
            self._wrong(number, f"{_ACCURACY} is missing: a list with the accuracy of each epoch, in percent")
            return []
        columns: dict[str, Callable[[int], object]] = {}
        for key, items in value.items():
            if key in _PAIRS:
                columns[_PAIRS[key]] = self._pairs(number, key, items).get
            elif key.startswith("epoch_") and key != _GENOTYPES:
                if not isinstance(items, list):
                    self._wrong(number, f"{key} must be a list with a value for each epoch")
                    continue
                scale = 0.01 if key in _SHARES else 1.0
                columns[_LISTS.get(key, key.removeprefix("epoch_"))] = _scaled(items, scale)
                if key in _SHARES and (wrong := [item for item in items if _is_number(item) and not 0 <= item <= 100]):
                    self._wrong(number, f"{key} holds {wrong[0]}; allowed: 0 to 100 (percent)")
        genotypes = value.get(_GENOTYPES) or []
        if not isinstance(genotypes, list):
            self._wrong(number, f"{_GENOTYPES} must be a list with a genotype for each epoch")
            genotypes = []
        epochs: list[tuple[Mapping[str, object], Genotype | None]] = []
        for index in range(len(accuracies)):
            figures = {name: item for name, column in columns.items() if _is_number(item := column(index))}
            genotype = genotypes[index] if index < len(genotypes) else None
            epochs.append((figures, self._genotype(number, index + 1, genotype)))
        return epochs

    def _pairs(self, number: int, key: str, items: object) -> dict[int, object]:
        pairs = items if isinstance(items, list) else None
        if pairs is None or not all(_is_pair(pair) for pair in pairs):
            if items is not None:
                self._wrong(number, f"{key} must be a list of [epoch, value], where epochs count from 0")
            return {}
        return {int(epoch): item for epoch, item in pairs}

    def _genotype(self, number: int, epoch: int, value: object) -> Genotype | None:
        if value is None:
            return None
        key = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        if key not in self._genotypes:
            where = f"{self.path}: run {number}, epoch {epoch}"
            try:
                self._genotypes[key] = Genotype.from_json(value, where)
            except GenotypeError as error:
                self._wrong(number, f"epoch {epoch}: {str(error).removeprefix(f'{where}: ')}")
                return None
        return self._genotypes[key]


def _scaled(items: Sequence[object], scale: float) -> Callable[[int], object]:
    def value(index: int) -> object:
        item = items[index] if index < len(items) else None
        return item * scale if _is_number(item) else None

    return value


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and _is_number(value[0])


def _is_plain(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _is_setting(key: str) -> bool:
    """Whether a scalar of RobustDARTS' shape is a setting. Others are labels and results."""
    return (
        key not in (*_TASK, *_LABELS, "seed")
        and not key.startswith(("epoch_", "final_", "best_", "test_"))
        and key.lower().rsplit("_", maxsplit=1)[-1] not in _RESULTS
    )
