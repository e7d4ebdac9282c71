"""`evaluate` with a confidence: after each round of retrainings seeds are added, until the first place is sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raydarts.config.allocation import AllocatedSettings
from raydarts.config.loader import LoadedSpec
from raydarts.config.spec import EvaluateSettings
from raydarts.runs.directory import RunDirectory
from raydarts.runs.entries import AllocationEntry
from raydarts.runs.folders import ALLOCATION, in_words, read_allocation, read_promotion
from raydarts.study.allocation import Aim, Arm, Step, affordable, step
from raydarts.study.results import TrialRecord
from raydarts.study.stages import GIVEN, Stage
from raydarts.sweep.retraining import RetrainingStage, promote


def stage_of(run: RunDirectory, loaded: LoadedSpec, stage: Stage[EvaluateSettings]) -> RetrainingStage:
    """A stage of retraining as a source of trials."""
    decisions = promote(run, loaded, stage)
    if isinstance(stage.settings, AllocatedSettings) and stage.settings.aim is not None:
        return AllocatingStage(run, loaded, stage, stage.settings, stage.settings.aim, decisions)
    return RetrainingStage(run, stage, decisions)


class AllocatingStage(RetrainingStage):
    """Begins with the spec's seeds. Then in rounds: when all retrainings have ended, `allocation.step` decides.

    A decision is a line of allocation.jsonl before any of its trials exists. A driver that takes the run over asks for
    the trials of all lines again, and decides only on what comes after. No decision is made while a retraining runs.
    So it follows from the scores alone, and not from which process was faster.
    """

    pauses = True

    def __init__(
        self,
        run: RunDirectory,
        loaded: LoadedSpec,
        stage: Stage[EvaluateSettings],
        settings: AllocatedSettings,
        aim: Aim,
        decisions: Sequence[Mapping[str, object]],
    ) -> None:
        self._aim = aim
        self._settings = settings
        self._entrants, self._before = _rungs(run, loaded) if stage.source != GIVEN else (None, 0)
        self._news: list[str] = []
        super().__init__(run, stage, decisions)
        self._seeds = {genotype: list(settings.seeds) for genotype in self._chosen if genotype not in self._random}
        entries = read_allocation(run)
        for entry in entries:
            self._carry_out(entry)
        self._rounds = len(entries)
        self._stopped = any(entry["stop"] is not None for entry in entries)
        self._open = {trial.id for _, _, trial, _ in self._waiting}
        self._decide()

    def ended(self, record: TrialRecord) -> None:
        super().ended(record)
        self._open.discard(record.id)
        self._decide()

    def news(self) -> list[str]:
        news, self._news = self._news, []
        return news

    def _decide(self) -> None:
        """Decide on more seeds if nothing that was asked for is left to do. Failed seeds may make several rounds."""
        while not self._open and not self._stopped:
            asked = sum(len(seeds) for seeds in self._seeds.values())  # random cells are the baseline, and not counted
            spent = self._before + asked * self._settings.epochs
            limit = None
            if self._entrants is not None:
                limit = affordable(self._settings.max_share, self._entrants, self._settings.epochs, spent)
            arms = [Arm(genotype, self._sorted(genotype), len(seeds)) for genotype, seeds in self._seeds.items()]
            decided = step(arms, self._aim, limit)
            if decided is None:
                return
            entry = self._entry(decided, arms, spent)
            self._run.append(ALLOCATION, {**entry})
            self._rounds, self._stopped = entry["round"], entry["stop"] is not None
            self._news.append(in_words(entry, self._aim.within))
            self._carry_out(entry)
            self._open = {trial.id for _, _, trial, _ in self._waiting}

    def _sorted(self, genotype: str) -> tuple[float, ...]:
        """A genotype's scores, more is better, in an order that does not depend on which came first."""
        return tuple(sorted(self.score.sign * each for each in self._scores.get(genotype, ())))

    def _entry(self, decided: Step, arms: Sequence[Arm], spent: int) -> AllocationEntry:
        belief = decided.belief
        noise = belief.noise
        return {
            "round": self._rounds + 1,
            "first": belief.first,
            "probability": belief.probability,
            "best": dict(belief.best),
            "scores": {arm.name: len(arm.scores) for arm in arms},
            "noise": None if noise is None else {"sd": noise.sd, "freedom": noise.freedom},
            "epochs": spent,
            "add": [{"genotype": name, "seed": max(self._seeds[name]) + 1} for name in decided.add],
            "stop": decided.stop,
        }

    def _carry_out(self, entry: AllocationEntry) -> None:
        for each in entry["add"]:
            self._seeds[each["genotype"]].append(each["seed"])
            self._ask(each["genotype"], each["seed"])


def _rungs(run: RunDirectory, loaded: LoadedSpec) -> tuple[int | None, int]:
    """How many genotypes the first rung had, and the epochs that all rungs took. None: there is no rung."""
    entrants, epochs = None, 0
    for stage in loaded.stages.chain():
        if stage.section.startswith("rungs."):
            entered = sum(bool(decision["promoted"]) for decision in read_promotion(run, stage.name) or [])
            entrants = entered if entrants is None else entrants
            epochs += entered * len(stage.settings.seeds) * stage.settings.epochs
    return entrants, epochs
