"""The Pareto front of a search with several objectives: its members, and the hypervolume that they dominate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from raydarts.study.configurations import Configuration
from raydarts.study.objectives import SearchScore
from raydarts.study.pareto import Box, Point, fronts
from raydarts.study.results import TrialRecord

REFERENCE = "the worst of each objective among those that count, and a tenth of their range more"
"""What the reference point of the hypervolume is, in words."""


class FrontMember(TypedDict):
    """A trial, or with replicates a configuration. `figures`: what it came to in each objective, by metric."""

    name: str
    trials: Sequence[str]
    genotypes: Sequence[str]
    figures: dict[str, float]


class FrontReport(TypedDict):
    """`counted`: how many trials (or configurations) the front is of: completed ones that nothing speaks against.

    `hypervolume`: the share of the box from `ideal` to `reference` that the front dominates. None: nothing counts.
    """

    of: str
    counted: int
    objectives: dict[str, str]
    members: Sequence[FrontMember]
    hypervolume: float | None
    ideal: dict[str, float] | None
    reference: dict[str, float] | None


def counted(records: Sequence[TrialRecord], groups: Sequence[Configuration], score: SearchScore) -> list[FrontMember]:
    """The trials that count for the front: completed ones that nothing speaks against. Empty with one objective.

    With replicates they are configurations, with the mean of their search seeds. One with a trial that something speaks
    against does not count.
    """
    if not score.several:
        return []
    units: list[tuple[str, Sequence[TrialRecord]]] = [(record.id, (record,)) for record in records]
    if groups:
        units = [(group.name, group.trials) for group in groups if group.status == "completed"]
    means = {group.name: group.means for group in groups}
    members: list[FrontMember] = []
    for name, trials in units:
        done = [record for record in trials if record.status == "completed"]
        if not done or any(score.against(record.judged) for record in done):
            continue
        known = means[name] if groups else named(score, done[0].figures(score))
        if known is not None:
            genotypes = dict.fromkeys(record.genotype_id for record in done if record.genotype_id is not None)
            ids = [record.id for record in done]
            members.append({"name": name, "trials": ids, "genotypes": list(genotypes), "figures": dict(known)})
    return members


def points_of(figures: Iterable[Mapping[str, float]], score: SearchScore) -> list[Point]:
    """Figures of all objectives as points of `study.pareto`."""
    return [score.costs([each[objective.metric] for objective in score.each]) for each in figures]


def named(score: SearchScore, figures: tuple[float, ...] | None) -> dict[str, float] | None:
    """Figures of all objectives by metric."""
    return None if figures is None else dict(zip((each.metric for each in score.each), figures, strict=True))


def front_of(records: Sequence[TrialRecord], groups: Sequence[Configuration], score: SearchScore) -> FrontReport | None:
    """The front of a run. None: it has one objective. `groups`: its configurations, empty without replicates."""
    if not score.several:
        return None
    members = counted(records, groups, score)
    points = points_of((member["figures"] for member in members), score)
    report: FrontReport = {
        "of": "configurations" if groups else "trials",
        "counted": len(points),
        "objectives": {each.metric: each.mode for each in score.each},
        "members": [],
        "hypervolume": None,
        "ideal": None,
        "reference": None,
    }
    if not points:
        return report
    first = [member for member, number in zip(members, fronts(points), strict=True) if number == 1]
    lead = score.each[0]
    report["members"] = sorted(first, key=lambda each: (-lead.sign * each["figures"][lead.metric], each["name"]))
    box = Box.around(points)
    report["hypervolume"] = box.hypervolume(points)
    report["ideal"] = named(score, score.costs(box.ideal))  # the sign turns a cost back into the figure
    report["reference"] = named(score, score.costs(box.reference))
    return report
