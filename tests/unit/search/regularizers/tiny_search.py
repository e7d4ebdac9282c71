"""A search of seconds, and the moments of one, for the remedies' tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.registry import Choose
from raydarts.search.moments import EpochReport, Moment, Step
from raydarts.search.regularizers.base import Regularizer
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Space

SPACE = {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1}


def tiny_search(*regularizers: Any, **changes: Any) -> Search:
    plain = {
        "epochs": 2,
        "batch_size": 16,
        "arch_lr": 0.05,
        "precision": "float64",
        "space": SPACE,
        "estimator": "first_order",
        "regularizers": list(regularizers),
        **changes,
    }
    return Search(SearchSettings.model_validate(plain), load_splits(DataSettings(limit=64)))


def first_step(job: Search, epoch: int) -> Step:
    """The first step of an epoch, its annealing done."""
    for regularizer in job.regularizers:
        regularizer.on_epoch_start(Moment(epoch, job.settings.epochs))
    job.supernet.train()
    return Step(job.objective, *next(job.loop.batches()))


def remedy(name: str, **settings: Any) -> Regularizer:
    found: Regularizer = Choose("regularizer").parse({"name": name, **settings}).build()
    return found


def space(name: str, **settings: Any) -> Space:
    found: Space = Choose("space").parse({"name": name, **settings}).build()
    return found


def report(epoch: int, epochs: int = 50, **given: Any) -> EpochReport:
    """Of an epoch, from 1; `eigenvalue` is what measuring finds."""
    eigenvalue = given.pop("eigenvalue", None)
    fields: dict[str, Any] = {"space": None, "arch_weights": {}, "metrics": {}, **given}
    return EpochReport(epoch, epochs, measure_eigenvalue=lambda: float(eigenvalue), **fields)


def all_state(job: Search) -> dict[str, Tensor]:
    """Weights with batch-norm statistics, alpha, momentum, and Adam's moments, by name."""
    found = dict(job.supernet.state_dict())
    found |= {f"alpha {name}": alpha.detach() for name, alpha in job.alphas.items()}
    for name, optimizer in (("sgd", job.weight_optimizer), ("adam", job.architect.optimizer)):
        for number, state in optimizer.state_dict()["state"].items():
            found |= {f"{name} {number} {key}": value for key, value in state.items() if isinstance(value, Tensor)}
    return {name: value.clone() for name, value in found.items()}


def with_eigenvalues(monkeypatch: pytest.MonkeyPatch, value: Callable[[int], float]) -> None:
    """The dominant eigenvalue after each epoch, from 1, is what `value` says."""
    measure = Search._measure

    def measured(self: Search, meters: Any, seconds: Any, validation: Any, eigenvalue: Any) -> None:
        measure(self, meters, seconds, validation, lambda model: value(self.epoch))

    monkeypatch.setattr(Search, "_measure", measured)
