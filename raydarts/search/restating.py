"""The state of a search under other settings: what a checkpoint holds of its settings, replaced by the new ones.

Most settings are in no checkpoint: a search reads them in each epoch. Only the optimizers and the learning rate's
schedule keep theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from raydarts.search.model import optimizer_settings
from raydarts.search.settings import SearchSettings
from raydarts.states import State


class _Kept(NamedTuple):
    """What the optimizers keep of a search's settings. `lr` and `lr_min` are those of the schedule."""

    lr: float
    lr_min: float
    momentum: float
    weight_decay: float
    arch_lr: float
    arch_betas: tuple[float, float]
    arch_weight_decay: float


def _kept(settings: SearchSettings, *, tuning: bool) -> _Kept:
    """`tuning`: while a selection decides, which has a schedule of its own."""
    final = optimizer_settings(settings, [component.build() for component in settings.regularizers])
    lr, lr_min = final["lr"], settings.lr_min
    if tuning:
        plan = settings.selection.build().tuning(final["lr"])
        lr, lr_min = plan.lr, plan.lr_min
    return _Kept(
        lr,
        lr_min,
        settings.momentum,
        final["weight_decay"],
        final["arch_lr"],
        settings.arch_betas,
        final["arch_weight_decay"],
    )


def restated(state: State, before: SearchSettings, now: SearchSettings) -> State:
    """Returns the state of a search with the settings `before` for one with the settings `now`.

    Only what differs between the two is changed: momentum buffers, random streams and what a remedy has changed itself
    stay. A new learning rate stands where its own schedule would stand after as many epochs.
    """
    old, new = (_kept(settings, tuning=bool(state["tuning"])) for settings in (before, now))
    searching = [_kept(settings, tuning=False) for settings in (before, now)]
    past = [(position, _changed(each, *searching)) for position, each in state["past"]]
    return {**_changed(state, old, new), "past": past}


def _changed(state: Mapping[str, Any], old: _Kept, new: _Kept) -> State:
    weights: dict[str, Any] = {}
    schedule: dict[str, Any] = {}
    if (old.lr, old.lr_min) != (new.lr, new.lr_min):
        lr = _annealed(new, state["schedule"])
        weights = {"lr": lr, "initial_lr": new.lr}
        schedule = {"base_lrs": [new.lr], "eta_min": new.lr_min, "_last_lr": [lr]}
    weights |= {
        key: getattr(new, key) for key in ("momentum", "weight_decay") if getattr(old, key) != getattr(new, key)
    }
    pairs = {"lr": "arch_lr", "betas": "arch_betas", "weight_decay": "arch_weight_decay"}
    alpha = {key: getattr(new, name) for key, name in pairs.items() if getattr(old, name) != getattr(new, name)}
    return {
        **state,
        "weight_optimizer": _with(state["weight_optimizer"], weights),
        "alpha_optimizer": _with(state["alpha_optimizer"], alpha),
        "schedule": {**state["schedule"], **schedule},
    }


def _with(optimizer: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {**optimizer, "param_groups": [{**group, **changes} for group in optimizer["param_groups"]]}


def _annealed(kept: _Kept, schedule: Mapping[str, Any]) -> float:
    """The learning rate after as many epochs of a cosine as the schedule has seen."""
    share = schedule["last_epoch"] / schedule["T_max"]
    return kept.lr_min + (kept.lr - kept.lr_min) * (1 + math.cos(math.pi * share)) / 2
