"""Looks up a genotype's accuracies in a table of trained cells, such as NAS-Bench-201's."""

from __future__ import annotations

import csv
import gzip
import math
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import IO

from raydarts.errors import DataError, GenotypeError, TrialError
from raydarts.evaluation.settings import TableSettings
from raydarts.spaces import Genotype
from raydarts.states import State

csv.field_size_limit(1_000_000)


@contextmanager
def _opened(settings: TableSettings) -> Iterator[csv.DictReader[str]]:
    """Yields the rows. Raises `DataError` with the file's name if it is absent, is no table, or lacks a column."""
    path = Path(settings.file)
    try:
        with _text(path) as file:
            rows = csv.DictReader(file)
            present = rows.fieldnames or []
            if missing := [name for name in settings.columns() if name not in present]:
                raise DataError(f"{path}: no column {', '.join(missing)} (it has {', '.join(present) or 'none'})")
            yield rows
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table (.csv or .csv.gz): {error}") from error


def _text(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def check_table(settings: TableSettings) -> None:
    """Raises `DataError` if the table cannot be used. It reads only the first line."""
    with _opened(settings):
        pass


@lru_cache(maxsize=4)
def read_table(settings: TableSettings) -> dict[str, tuple[float | None, float | None]]:
    """Returns genotype id -> (validation, test) accuracy in [0, 1], None where the table's field is empty.

    Raises `DataError` with file and line if a value is no accuracy or an architecture is invalid.
    """
    table: dict[str, tuple[float | None, float | None]] = {}
    with _opened(settings) as rows:
        for row in rows:
            where = f"{settings.file}:{rows.line_num}"
            try:
                key = Genotype.from_json(row[settings.architecture] or "", where).id
            except GenotypeError as error:
                raise DataError(str(error)) from None
            names = (settings.validation, settings.test)
            table[key] = tuple(_accuracy(row[name], name, settings.unit, where) for name in names)  # type: ignore[assignment]
    return table


def _accuracy(text: str | None, name: str, unit: str, where: str) -> float | None:
    if text is None or not text.strip():
        return None
    largest = 100.0 if unit == "percent" else 1.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= largest:
        raise DataError(
            f"{where}: {name} is {text!r}, which is no accuracy from 0 to {largest:g} (evaluate.table.unit)"
        )
    return value / largest


class Lookup:
    """An evaluation as a job of one epoch. It trains nothing and reads the table.

    The table's test accuracy is only in `result`, as after a training.
    """

    epochs = 1

    def __init__(self, settings: TableSettings, genotype: Genotype) -> None:
        self.settings = settings
        self.genotype = genotype
        self.epoch = 0
        self.metrics: dict[str, object] = {}

    @property
    def finished(self) -> bool:
        return self.epoch >= self.epochs

    def _accuracies(self) -> tuple[float | None, float | None]:
        row = read_table(self.settings).get(replace(self.genotype, space=None).id)  # a table knows only cells
        if row is None:
            raise TrialError(f"{self.settings.file}: has no row for genotype {self.genotype.id}")
        return row

    def run_epoch(self) -> dict[str, object]:
        started = time.perf_counter()
        validation, _ = self._accuracies()
        self.epoch = 1
        self.metrics = {"epoch": 1, "validation_accuracy": validation, "seconds": time.perf_counter() - started}
        return dict(self.metrics)

    def result(self) -> dict[str, object]:
        """Returns validation and test accuracy, and their source."""
        columns = {"validation": self.settings.validation, "test": self.settings.test}
        source = {"file": self.settings.file, **columns}
        return self.metrics | {"test_accuracy": self._accuracies()[1], "table": source}

    def state_dict(self) -> State:
        return {"kind": "lookup", "epoch": self.epoch, "metrics": self.metrics}

    def load_state_dict(self, state: State) -> None:
        self.epoch, self.metrics = state["epoch"], state["metrics"]
