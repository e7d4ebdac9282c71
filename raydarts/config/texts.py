"""Checks whether texts are long enough for their columns, when the spec is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch

from raydarts.data.parts import batches
from raydarts.data.settings import DataSettings, TextSettings
from raydarts.data.splits import load_splits
from raydarts.errors import DataError
from raydarts.evaluation.language_settings import LanguageSettings
from raydarts.search.settings import SearchSettings

Add = Callable[[str, str], None]
"""Tells a problem: the dotted path, and what is wrong."""


def check_search(data: DataSettings, drawn: Iterable[SearchSettings], add: Add, where: str = "data") -> None:
    """Checks the parts that a search learns from and is measured on. Data that do not exist yet are not checked."""
    sizes: dict[tuple[str, str, int], TextSettings] = {}
    for settings in drawn:
        for part in ("weight", "alpha"):
            sizes["search.batch_size", part, settings.batch_size] = settings.text
        sizes["search.text.measured_columns", "validation", settings.text.measured_columns] = settings.text
    _check(data, sizes, add, where)


def check_training(data: DataSettings, training: object, add: Add, where: str, path: str) -> None:
    """Checks the parts that a retraining learns from and is measured on. `path` is its place in the spec."""
    if isinstance(training, LanguageSettings):
        keys = {"search": "batch_size", "validation": "text.measured_columns", "test": "test_columns"}
        sizes = {(f"{path}.{keys[part]}", part, size): training.text for part, size in training.columns.items()}
        _check(data, sizes, add, where)


def _check(data: DataSettings, sizes: Mapping[tuple[str, str, int], TextSettings], add: Add, where: str) -> None:
    dataset = data.dataset.build()
    if data.kind != "text" or not dataset.at_hand:
        return
    try:
        splits = load_splits(data)
    except DataError as error:
        add(where, str(error))
        return
    for (path, part, columns), text in sizes.items():
        try:
            batches(splits, part, "cpu", torch.float32, None, text).require(columns)
        except DataError as error:
            add(path, str(error))
