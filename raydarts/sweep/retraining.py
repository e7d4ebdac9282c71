"""Every stage after the search, as a source of trials: a rung, `evaluate` or a transfer retrains what it was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from raydarts.config.allocation import AllocatedSettings
from raydarts.config.loader import LoadedSpec
from raydarts.config.spec import EvaluateSettings
from raydarts.json_types import number
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import read_promotion, retraining, write_promotion
from raydarts.runs.results import read_trial
from raydarts.study.history import Decision
from raydarts.study.objectives import score_of
from raydarts.study.promotion import admission, narrowing, promotion
from raydarts.study.ranking import evaluation_rows
from raydarts.study.results import TrialRecord
from raydarts.study.stages import EVALUATE, GIVEN, SEARCH, Stage


def promote(run: RunDirectory, loaded: LoadedSpec, stage: Stage[EvaluateSettings]) -> list[dict[str, object]]:
    """Which genotypes a stage retrains, decided once and kept in its promotion.json with the reasons."""
    decisions = read_promotion(run, stage.name)
    if decisions is None:
        decisions = _decide(run, loaded, stage)
        write_promotion(run, stage.name, decisions)
    return decisions


def _decide(run: RunDirectory, loaded: LoadedSpec, stage: Stage[EvaluateSettings]) -> list[dict[str, object]]:
    bars = (stage.settings.top_k, stage.settings.max_skips)
    if stage.source == SEARCH:
        return promotion(results.trials(run), loaded.sweep.score, *bars)
    if stage.source == GIVEN:
        kept = run.description().get("genotypes") or {}
        return admission([dict(each) for each in kept["candidates"]], *bars)
    before = read_promotion(run, stage.source) or []
    score = score_of(run.description())
    records = results.retrained(run, stage.source)
    sizes = _sizes(records) if isinstance(stage.settings, AllocatedSettings) and stage.settings.aim else None
    return narrowing(before, evaluation_rows(records, score), stage.source, score, *bars, sizes)


def _sizes(records: Iterable[TrialRecord]) -> dict[str, float]:
    """The parameters of each genotype's network, as its retrainings counted them."""
    sizes: dict[str, float] = {}
    for record in records:
        measured = record.result.get("result") or {}
        if (parameters := number(measured.get("parameters"))) is not None:
            sizes[record.description["genotype_id"]] = parameters
    return sizes


class RetrainingStage:
    """Every promoted genotype once per evaluation seed, the promising first.

    The first seed of each genotype comes first, the best-ranked genotype at the front. Of further seeds those of the
    genotype with the best mean so far come first, so that were the run cut off (by a budget, a lost cluster), the best
    would have the most seeds. What was begun before is finished first. Order changes no result.
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
    ) -> tuple[bool, bool, float, int, int]:
        known = self._scores.get(genotype)
        first = self._turn[seed] == 0
        worth = 0.0 if first else self.score.sign * fmean(known) if known else float("-inf")
        return (not begun, not first, -worth, self._turn[seed], self._rank[genotype])

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
    return {"kind": "evaluation", **named, **what, "trials": decision["trials"]}
