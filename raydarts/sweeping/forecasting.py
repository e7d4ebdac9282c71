"""What the time left needs to know of a sweep's stages before they begin. It is kept in plan.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b

from raydarts.cluster.resources import at_a_time
from raydarts.config.loader import LoadedSpec
from raydarts.config.plan import longest
from raydarts.config.retraining import data_of
from raydarts.runs import hours
from raydarts.runs.directory import RunDirectory
from raydarts.runs.progress import stage_states
from raydarts.study.forecast import StageState
from raydarts.study.stages import SEARCH
from raydarts.sweeping.strategy import cohorts_of


def states(run: RunDirectory, loaded: LoadedSpec, available: Mapping[str, float]) -> list[StageState]:
    """The stages of a run as they stand, with what is known of them beforehand. That is kept, for `raydarts status`."""
    hours.extend_plan(run, stage_facts(loaded, available))
    return stage_states(run)


def stage_facts(loaded: LoadedSpec, available: Mapping[str, float]) -> dict[str, dict[str, object]]:
    """Of each stage: how many trials run at a time, what the scheduler plans, and which other stage's epochs cost the
    same. A rung trains the network of `evaluate` on the same data, for fewer epochs.
    """
    places = at_a_time(loaded, available)
    cohorts = cohorts_of(loaded.sweep, loaded.search, longest(loaded.search))
    facts: dict[str, dict[str, object]] = {
        SEARCH: {
            "places": places["sweep"],
            "together": loaded.sweep.trials_each,
            "cohorts": [
                {"trials": cohort.trials, "cuts": [[cut.epoch, cut.keeps] for cut in cohort.cuts]} for cohort in cohorts
            ],
        }
    }
    for stage in loaded.stages.chain():
        settings = stage.settings
        training = settings.training.model_dump(mode="json") if settings.table is None else {}
        same = {key: value for key, value in training.items() if key in _COSTLY}
        what = [same, data_of(stage, loaded.data).model_dump(mode="json"), settings.resources.model_dump(mode="json")]
        like = blake2b(json.dumps([*what, settings.table is None], sort_keys=True).encode(), digest_size=8).hexdigest()
        facts[stage.name] = {"places": places[stage.section], "like": like}
    return facts


_COSTLY = (
    "name",
    "batch_size",
    "precision",
    "tf32",
    "amp",
    "channels_last",
    "compile",
    "network",
    "augment",
    "text",
)
"""The settings of a training that decide what one epoch costs."""
