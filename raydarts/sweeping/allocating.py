"""`evaluate` with a confidence: after each round of retrainings seeds are added, until the first place is sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raydarts.config.loader import LoadedSpec
from raydarts.config.spec import EvaluateSettings
from raydarts.runs.allocations import Terms
from raydarts.runs.directory import RunDirectory
from raydarts.runs.entries import AllocationEntry
from raydarts.runs.folders import ALLOCATION, in_words, read_allocation
from raydarts.study.results import TrialRecord
from raydarts.study.stages import EVALUATE, Stage
from raydarts.sweeping.retraining import RetrainingStage, promote


def stage_of(run: RunDirectory, loaded: LoadedSpec, stage: Stage[EvaluateSettings]) -> RetrainingStage:
    """A stage of retraining as a source of trials."""
    decisions = promote(run, loaded, stage)
    terms = Terms.of(run) if stage.name == EVALUATE else None
    return RetrainingStage(run, stage, decisions) if terms is None else AllocatingStage(run, stage, decisions, terms)


class AllocatingStage(RetrainingStage):
    """Begins with the spec's seeds. Then in rounds: when all retrainings have ended, `terms` decide.

    A decision is a line of allocation.jsonl before any of its trials exists. A driver that takes the run over asks for
    the trials of all lines again, and decides only on what comes after. No decision is made while a retraining of a
    candidate runs. So it follows from the scores alone, and not from which process was faster.
    """

    pauses = True

    def __init__(
        self,
        run: RunDirectory,
        stage: Stage[EvaluateSettings],
        decisions: Sequence[Mapping[str, object]],
        terms: Terms,
    ) -> None:
        self._terms = terms
        self._news: list[str] = []
        super().__init__(run, stage, decisions)
        self._seeds = {name: list(stage.settings.seeds) for name in self._chosen if name not in self._random}
        entries = read_allocation(run)
        for entry in entries:
            self._carry_out(entry)
        self._rounds = len(entries)
        self._stopped = any(entry["stop"] is not None for entry in entries)
        self._open = self._of_candidates()
        self._decide()

    def ended(self, record: TrialRecord) -> None:
        super().ended(record)
        self._open.discard(record.id)
        self._decide()

    def news(self) -> list[str]:
        news, self._news = self._news, []
        return news

    def _decide(self) -> None:
        """Decide on more seeds if nothing that was asked for is left to do."""
        while not self._open and not self._stopped:
            scores = {name: [self.score.sign * each for each in values] for name, values in self._scores.items()}
            entry = self._terms.entry(self._rounds + 1, scores, self._seeds)
            if entry is None:
                return
            self._run.append(ALLOCATION, {**entry})
            self._rounds, self._stopped = entry["round"], entry["stop"] is not None
            self._news.append(in_words(entry, self._terms.aim.within))
            self._carry_out(entry)
            self._open = self._of_candidates()

    def _of_candidates(self) -> set[str]:
        """The retrainings that are left to do. No decision waits for those of random cells."""
        return {trial.id for genotype, _, trial, _ in self._waiting if genotype not in self._random}

    def _carry_out(self, entry: AllocationEntry) -> None:
        for each in entry["add"]:
            self._seeds[each["genotype"]].append(each["seed"])
            self._ask(each["genotype"], each["seed"])
