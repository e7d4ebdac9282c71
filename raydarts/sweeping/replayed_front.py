"""The Pareto front of a replayed sweep beside the one that FIFO would have found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raydarts.study.front import named, points_of
from raydarts.study.objectives import SearchScore
from raydarts.study.pareto import Box, fronts
from raydarts.study.replicates import means_of
from raydarts.sweeping.picks import Searched

Front = dict[int, dict[str, float]]
"""Figures of all objectives by the number of a recorded configuration."""


def counted(searches: Mapping[int, Sequence[Searched]], score: SearchScore) -> Front:
    """The configurations that count for a front: all of their searches are completed, and nothing speaks against one.

    Each has the mean of its search seeds.
    """
    known: Front = {}
    for number, each in searches.items():
        if any(one.status != "completed" or one.halted or score.against(one.row) for one in each):
            continue
        figures = named(score, means_of(score.figures(one.row) for one in each))
        if figures is not None:
            known[number] = figures
    return known


def judged_front(
    swept: Mapping[int, Sequence[Searched]], everything: Mapping[int, Sequence[Searched]], score: SearchScore
) -> dict[str, object]:
    """The front of a replayed sweep as JSON. `everything`: every recorded configuration to its end, as FIFO leaves it.

    Hypervolumes are shares of one box around all that counts of everything (`Box.around`).
    """
    own, whole = counted(swept, score), counted(everything, score)
    if not whole:
        return {"front": [], "hypervolume": None, "hypervolume_fifo": None, "hypervolume_share": None}
    box = Box.around(points_of(whole.values(), score))
    points = points_of(own.values(), score)
    numbers = fronts(points)
    members = [
        {"configuration": number, **figures}
        for (number, figures), front in zip(own.items(), numbers, strict=True)
        if front == 1
    ]
    volume, best = box.hypervolume(points), box.hypervolume(points_of(whole.values(), score))
    return {
        "front": members,
        "hypervolume": volume,
        "hypervolume_fifo": best,
        "hypervolume_share": volume / best,
    }
