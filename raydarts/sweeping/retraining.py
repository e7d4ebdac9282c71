"""Every stage after the search, as a source of trials: a rung, `evaluate` or a transfer retrains what it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from raydarts.config.allocation import AllocatedSettings
from raydarts.config.loader import LoadedSpec
from raydarts.config.spec import EvaluateSettings
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import read_promotion, retraining, write_promotion
from raydarts.runs.promotions import decisions_on_genotypes
from raydarts.runs.results import read_trial
from raydarts.study.history import Decision
from raydarts.study.objectives import score_of
from raydarts.study.random_cells import mark, only_random
from raydarts.study.results import TrialRecord
from raydarts.study.stages import EVALUATE, Stage
from raydarts.sweeping.random_baseline import random_decisions


def promote(run: RunDirectory, loaded: LoadedSpec, stage: Stage[EvaluateSettings]) -> list[dict[str, object]]:
    """Which genotypes a stage retrains, decided once and kept in its promotion.json with the reasons."""
    decisions = read_promotion(run, stage.name)
    if decisions is None:
        decisions = _decide(run, loaded, stage)
        write_promotion(run, stage.name, decisions)
    return decisions


def _decide(run: RunDirectory, loaded: LoadedSpec, stage: Stage[EvaluateSettings]) -> list[dict[str, object]]:
    settings = stage.settings
    equal = isinstance(settings, AllocatedSettings) and settings.aim is not None
    decisions = decisions_on_genotypes(run, stage.source, settings.top_k, settings.max_skips, at_equal_size=equal)
    discovered = {str(record.genotype_id) for record in results.trials(run) if record.genotype_id is not None}
    return decisions + random_decisions(loaded, settings, decisions, discovered)


class RetrainingStage:
    """Every promoted genotype once per evaluation seed, the promising first.

    The first seed of each genotype comes first, the best-ranked genotype at the front. Of further seeds those of the
    genotype with the best mean so far come first, so that were the run cut off (by a budget, a lost cluster), the best
    would have the most seeds. Random cells come after all others. What was begun before is finished first. Order
    changes no result.
    """

    pauses = False

    def __init__(
        self, run: RunDirectory, stage: Stage[EvaluateSettings], decisions: Sequence[Mapping[str, object]]
    ) -> None:
        self.score = score_of(run.description())
        self._run, self._stage = run, stage.name
        self._chosen = {str(decision["id"]): decision for decision in decisions if decision["promoted"]}
        self._rank = {genotype: rank for rank, genotype in enumerate(self._chosen)}
        self._turn: dict[int, int] = {}
        self._random = {str(decision["id"]) for decision in only_random(self._chosen.values())}
        self._scores: dict[str, list[float]] = {}
        self._waiting: list[tuple[str, int, TrialDirectory, bool]] = []
        self._total = 0
        for seed in stage.settings.seeds:
            for genotype in self._chosen:
                self._ask(genotype, seed)

    def _ask(self, genotype: str, seed: int) -> None:
        """One more retraining, begun by an earlier driver or not."""
        self._turn.setdefault(seed, len(self._turn))
        trial = retraining(self._run, self._stage, genotype, seed)
        if not trial.exists:
            trial.create(_description(self._stage, self._chosen[genotype], seed))
        self._total += 1
        if trial.result() is None:
            self._waiting.append((genotype, seed, trial, trial.owner() is not None))
        else:
            self._count(read_trial(trial))

    def total(self) -> int:
        return self._total

    def remaining(self) -> int:
        return len(self._waiting)

    def next_trial(self, idle: bool = False) -> TrialDirectory | None:
        if not self._waiting:
            return None
        chosen = min(self._waiting, key=lambda each: self._priority(*each))
        self._waiting.remove(chosen)
        return chosen[2]

    def _priority(
        self, genotype: str, seed: int, trial: TrialDirectory, begun: bool
    ) -> tuple[bool, bool, bool, float, int, int]:
        known = self._scores.get(genotype)
        first = self._turn[seed] == 0
        worth = 0.0 if first else self.score.sign * fmean(known) if known else float("-inf")
        return (not begun, genotype in self._random, not first, -worth, self._turn[seed], self._rank[genotype])

    def reported(self, trial: TrialDirectory, epoch: int, row: Mapping[str, object]) -> Decision:
        """Every retraining runs to its end."""
        return Decision.CONTINUE

    def reason(self, trial: TrialDirectory) -> str | None:
        """None: no rule stops a retraining."""
        return None

    def settled(self) -> list[TrialRecord]:
        """None: no retraining waits."""
        return []

    def news(self) -> list[str]:
        """None: nothing is decided on retrainings."""
        return []

    def ended(self, record: TrialRecord) -> None:
        self._count(record)

    def _count(self, record: TrialRecord) -> None:
        """What a completed retraining measured counts in the order of the others."""
        value = record.value(self.score)
        if record.status == "completed" and value is not None:
            self._scores.setdefault(record.description["genotype_id"], []).append(value)


def _description(stage: str, decision: Mapping[str, object], seed: int) -> dict[str, object]:
    """A retraining's trial.json. Those of `evaluate` name no stage, as in runs that had no other."""
    what = {"genotype_id": decision["id"], "genotype": decision["genotype"], "seed": seed}
    named = {} if stage == EVALUATE else {"stage": stage}
    return {"kind": "evaluation", **named, **what, "trials": decision["trials"], **mark(decision)}
