"""Tiny searches with remedies, for the contract tests: what a remedy needs beside it is chosen with it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import AnySplits, load_splits
from raydarts.data.text import TextTokens
from raydarts.data.text_splits import TextSplits
from raydarts.registry import Member, members
from raydarts.runs.identity import differences
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings

FAMILIES = ("regularizer", "relaxation", "selection")
REMEDIES: dict[str, type[Member]] = {
    f"{family}:{name}": member for family in FAMILIES for name, member in members(family).items() if member.REMEDY
}
REGULARIZERS = [key for key in REMEDIES if key.startswith("regularizer:")]
ESTIMATORS = [
    name for name, member in members("estimator").items() if (member.effective(member.Settings()) or {})["name"] == name
]
"""Without those that act like another one at their defaults, to the last bit."""


def chosen(key: str, **settings: Any) -> dict[str, Any]:
    """A remedy by its `family:name`, at settings under which it acts within two short epochs."""
    family, _, name = key.partition(":")
    return {"name": name, **getattr(members(family)[name], "CONTRACT", {}), **settings}


def spec(parts: Iterable[Mapping[str, Any]], keys: Iterable[str]) -> dict[str, Any]:
    """Search settings with these parts; `keys` bring the relaxation that they require."""
    plain: dict[str, Any] = {"regularizers": []}
    for key, part in zip(keys, parts, strict=True):
        family = key.partition(":")[0]
        if family == "regularizer":
            plain["regularizers"].append(part)
        else:
            plain[family] = part
    for key in keys:
        for requirement in REMEDIES[key].REQUIRES:
            family, _, names = requirement.partition(":")
            plain.setdefault(family, names.split("|")[0])
    return plain


@cache
def _splits(limit: int) -> AnySplits:
    return load_splits(DataSettings(limit=limit))


@cache
def text_splits() -> TextSplits:
    """A text of eleven tokens in which some follow others more often than not."""
    draws = np.random.default_rng(0)
    tokens = np.cumsum(draws.choice([1, 3, 4], 164, p=[0.7, 0.2, 0.1])) % 11
    source = TextTokens("steps", tokens, tokens[136:], tokens[136:], tuple(map(str, range(11))))
    return TextSplits(source, tokens[:136], tokens[:76], tokens[76:136])


RECURRENT: dict[str, Any] = {
    "seed": 3,  # skip connections are chosen under every estimator, so that a limit on them acts
    "batch_size": 4,
    "lr": 0.5,
    "grad_clip": 0.25,
    "momentum": 0.0,
    "arch_lr": 0.05,
    "alpha_init": 0.1,
    "precision": "float64",
    "text": {"bptt": 6, "short_probability": 0.3, "measured_columns": 3},
    "space": {"name": "darts-rnn", "nodes": 2, "units": 3, "input_dropout": 0.1, "cell_dropout": 0.1},
}


def recurrent(estimator: Any, changes: Mapping[str, Any], *, epochs: int = 2) -> Search:
    plain = {"epochs": epochs, "estimator": estimator, **RECURRENT, **changes}
    return Search(SearchSettings.model_validate(plain), text_splits())


def search(estimator: Any, changes: Mapping[str, Any], *, epochs: int = 2, limit: int = 16) -> Search:
    plain = {
        "epochs": epochs,
        "batch_size": 8,
        "arch_lr": 0.05,
        "alpha_init": 0.1,
        "precision": "float64",
        "space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1},
        "estimator": estimator,
        **changes,
    }
    return Search(SearchSettings.model_validate(plain), _splits(limit))


def run(job: Search) -> Search:
    while not job.finished:
        job.run_epoch()
    return job


def learned(job: Search) -> dict[str, Tensor]:
    """Weights with batch-norm statistics, alpha and the genotype's text, after the whole search."""
    return _state(run(job))


def learned_by_epoch(job: Search) -> Iterator[dict[str, Tensor]]:
    """What `learned` gives, after each epoch. The genotype is in the last one alone: some are selected at the end."""
    while not job.finished:
        job.run_epoch()
        yield {name: value.clone() for name, value in _state(job).items()}


def _state(job: Search) -> dict[str, Tensor]:
    found = {f"w.{name}": value for name, value in job.supernet.state_dict().items()}
    found |= {f"alpha.{name}": value.detach() for name, value in job.alphas.items()}
    if job.finished:
        text = str(job.result()["genotype"]).encode()
        found["genotype"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    return found


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def finite(found: Mapping[str, Tensor]) -> bool:
    return all(bool(torch.isfinite(value.double()).all()) for value in found.values())


def learned_after_a_kill(whole: Search, second: Search) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What two searches learn of which the second goes on from the first one's epoch, through a file's bytes."""
    whole.run_epoch()
    buffer = io.BytesIO()
    torch.save(whole.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    second.load_state_dict(state)
    assert list(differences(state, second.state_dict())) == []  # what else a checkpoint is refused for
    return learned(whole), learned(second)
