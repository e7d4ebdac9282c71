"""A run as a certificate sees it: figures out of rows, and what its files say in two ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raydarts.report.certificate.figures import contradictions, from_rows
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.study.objectives import Score, SearchScore, score_of, search_score_of
from raydarts.study.results import TrialRecord
from raydarts.study.stages import EVALUATE, SEARCH, Stage, stages_of


@dataclass(frozen=True)
class Facts:
    """A run as a certificate sees it. The figures of `searched` and `retrained` are those of their rows."""

    run: RunDirectory
    description: Mapping[str, object]
    searched: Sequence[TrialRecord]
    retrained: Mapping[str, Sequence[TrialRecord]]
    contradictions: Sequence[str]

    @property
    def score(self) -> Score:
        return score_of(self.description)

    @property
    def search_score(self) -> SearchScore:
        return search_score_of(self.description)

    @property
    def stages(self) -> list[Stage[Mapping[str, object]]]:
        """The stages of retraining. A run of `raydarts evaluate` has one."""
        listed = stages_of(self.description)
        if not listed and self.retrained:
            return [Stage(EVALUATE, EVALUATE, SEARCH, {})]
        return listed

    @classmethod
    def of(cls, run: RunDirectory) -> Facts:
        description = run.description()
        score, search_score = score_of(description), search_score_of(description)
        searched = results.trials(run)
        names = [stage.name for stage in stages_of(description)]
        names += [EVALUATE] if EVALUATE not in names and results.evaluations(run) else []
        retrained = {name: results.retrained(run, name) for name in names}
        told = [*contradictions(SEARCH, searched, search_score)]
        for name, records in retrained.items():
            told += contradictions(name, records, score)
        return cls(
            run,
            description,
            [from_rows(record, search_score) for record in searched],
            {name: [from_rows(record, score) for record in records] for name, records in retrained.items()},
            told,
        )
