"""Decisions on more evaluation seeds, out of the files of a run: made when a round ends, and made again by a reader."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raydarts.json_types import items, number, section, whole
from raydarts.runs.directory import RunDirectory
from raydarts.runs.entries import AllocationEntry
from raydarts.runs.folders import read_allocation, read_promotion
from raydarts.runs.results import retrained
from raydarts.study.allocation import Aim, Arm, affordable, step
from raydarts.study.objectives import score_of
from raydarts.study.random_cells import discovered
from raydarts.study.stages import EVALUATE, stages_of

_CLOSE = 1e-9
"""Another processor may round a probability otherwise."""


@dataclass(frozen=True)
class Terms:
    """What decides beside the scores.

    `entrants`: the genotypes of the first rung; None: there is no rung. `before`: the epochs that all rungs took.
    `epochs`: those of a retraining in `evaluate`.
    """

    aim: Aim
    max_share: float | None
    epochs: int
    entrants: int | None
    before: int

    @classmethod
    def of(cls, run: RunDirectory) -> Terms | None:
        """Those of a run. None: its spec asks for no confidence."""
        stages = stages_of(run.description())
        settings = next((stage.settings for stage in stages if stage.name == EVALUATE), {})
        confidence = number(settings.get("confidence"))
        if confidence is None:
            return None
        entrants, before = None, 0
        for stage in stages:
            if stage.section.startswith("rungs."):
                entered = sum(bool(decision["promoted"]) for decision in read_promotion(run, stage.name) or [])
                entrants = entered if entrants is None else entrants
                before += entered * len(items(stage.settings.get("seeds"))) * _epochs(stage.settings)
        aim = Aim(confidence, number(settings.get("within")) or 0.0, whole(settings.get("max_seeds")))
        return cls(aim, number(settings.get("max_share")), _epochs(settings), entrants, before)

    def entry(
        self, round_: int, scores: Mapping[str, Sequence[float]], seeds: Mapping[str, Sequence[int]]
    ) -> AllocationEntry | None:
        """The decision after a round. None: there is no score.

        `scores` of each genotype, more is better; `seeds`: those that were asked for. Random cells are in neither. The
        order in which scores came changes nothing.
        """
        spent = self.before + sum(map(len, seeds.values())) * self.epochs
        limit = None
        if self.entrants is not None:
            limit = affordable(self.max_share, self.entrants, self.epochs, spent)
        arms = [Arm(name, tuple(sorted(scores.get(name, ()))), len(each)) for name, each in seeds.items()]
        decided = step(arms, self.aim, limit)
        if decided is None:
            return None
        belief = decided.belief
        noise = belief.noise
        return {
            "round": round_,
            "first": belief.first,
            "probability": belief.probability,
            "best": dict(belief.best),
            "scores": {arm.name: len(arm.scores) for arm in arms},
            "noise": None if noise is None else {"sd": noise.sd, "freedom": noise.freedom},
            "epochs": spent,
            "add": [{"genotype": name, "seed": max(seeds[name]) + 1} for name in decided.add],
            "stop": decided.stop,
        }


def _epochs(settings: Mapping[str, object]) -> int:
    """The epochs of each retraining of a stage. Looking up a table is one."""
    return 1 if settings.get("table") is not None else whole(section(settings.get("training")).get("epochs"))


def follows_from_results(run: RunDirectory) -> bool | None:
    """Whether every decision in allocation.jsonl follows from the retrainings that it was made from.

    None: there are none.
    """
    entries, terms = read_allocation(run), Terms.of(run)
    if not entries or terms is None:
        return None if not entries else False
    score = score_of(run.description())
    values: dict[tuple[str, int], float] = {}
    for record in retrained(run, EVALUATE):
        value = record.value(score)
        if record.status == "completed" and value is not None:
            values[record.description["genotype_id"], record.description["seed"]] = score.sign * value
    first = next(items(stage.settings.get("seeds")) for stage in stages_of(run.description()) if stage.name == EVALUATE)
    entered = [each for each in discovered(read_promotion(run, EVALUATE) or []) if each["promoted"]]
    seeds = {str(decision["id"]): [whole(seed) for seed in first] for decision in entered}
    for round_, entry in enumerate(entries, start=1):
        scores = {
            name: [values[name, seed] for seed in asked if (name, seed) in values] for name, asked in seeds.items()
        }
        if not _alike(entry, terms.entry(round_, scores, seeds)):
            return False
        for each in entry["add"]:
            seeds[each["genotype"]].append(each["seed"])
    return True


def _alike(one: object, other: object) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE)
    return one == other
