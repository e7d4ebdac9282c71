"""What a replayed sweep picks, and how good that is beside everything that was recorded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean

from raydarts.errors import GenotypeError
from raydarts.genotypes.facts import usual_kinds
from raydarts.genotypes.genotype import Genotype
from raydarts.runs.recordings import Recording, Recordings
from raydarts.study.objectives import SearchScore
from raydarts.study.replicates import means_of
from raydarts.study.standing import NOWHERE, places_within
from raydarts.sweeping.replaying import Plan, Replayed

MOST_SKIPS, PARAMETER_FREE = 0.5, 0.75
"""A cell has collapsed if more than this share of its edges are skips, or at least this share have no parameters. It is
a measure of what was picked, and no setting: the bars of a sweep are `sweep.health`."""


@dataclass(frozen=True)
class Searched:
    """One search as far as it was run: its recording, the last epoch, and how it ended."""

    recording: Recording
    epoch: int
    status: str = "completed"
    halted: bool = False

    @property
    def row(self) -> Mapping[str, object]:
        return self.recording.rows[self.epoch - 1]

    @property
    def genotype(self) -> Genotype | None:
        return self.recording.genotypes[self.epoch - 1]

    def order(self, score: SearchScore) -> float:
        """What it is ranked by, more is better. A halted search is the worst."""
        value = score.worst if self.halted else score.order(self.row)
        return -math.inf if value is None else score.sign * value

    def orders(self, score: SearchScore) -> tuple[float, ...] | None:
        """The number that it is ranked by in each of several objectives."""
        return score.worst_of_each if self.halted else score.orders(self.row)


@dataclass(frozen=True)
class Pick:
    """What a sweep ends with: a configuration with the genotypes of its searches, best first.

    `configuration`: its number among the recorded ones. `fallback`: no configuration ended healthy, and this is the
    last healthy genotype of one search.
    """

    configuration: int
    searches: tuple[Searched, ...]
    fallback: bool = False

    @property
    def genotypes(self) -> list[Genotype | None]:
        return [one.genotype for one in self.searches]

    def mean(self, score: SearchScore, *, end: bool = False) -> float | None:
        """The mean of the score's figure over the searches, or that of their records' ends."""
        return _mean(score.of(one.recording.rows[-1] if end else one.row) for one in self.searches)


def choose(searches: Mapping[int, Sequence[Searched]], score: SearchScore) -> Pick | None:
    """The pick among configurations, each with its searches (one for each search seed).

    A configuration is ranked by the mean over its searches; those that failed do not count. With one collapsed or
    stopped search it counts as collapsed or stopped. (`study.promotion` is milder: it looks at each search.)
    Configurations that nothing speaks against come first, of these the completed ones, then those that came furthest.
    Where something speaks against every configuration, the last healthy genotype of a search is picked, the latest
    epoch first; without one the first configuration all the same.

    With several objectives the front counts, then the crowding distance, among configurations that are alike in what
    comes before. The pick is then one of the ends of the first front.
    """
    known = {
        number: counted
        for number, each in searches.items()
        if (counted := [one for one in each if one.status != "failed" and one.epoch > 0])
    }
    if not known:
        return None
    tiers = {number: _tier(counted, score) for number, counted in known.items()}
    of_fronts = _places(known, tiers, score)
    ranked = sorted(
        (tiers[number], (*of_fronts.get(number, ()), -fmean(one.order(score) for one in counted)), number, counted)
        for number, counted in known.items()
    )
    (against, *_), _, number, counted = ranked[0]
    pick = Pick(number, tuple(sorted(counted, key=lambda one: -one.order(score))))
    return (_fallback(ranked, score) or pick) if against else pick


def _tier(counted: Sequence[Searched], score: SearchScore) -> tuple[bool, bool, int]:
    """Orders configurations before their scores."""
    against = any(one.halted or bool(score.against(one.row)) for one in counted)
    stopped = any(one.status == "stopped" for one in counted)
    return against, stopped, -min(one.epoch for one in counted)


def _places(
    known: Mapping[int, Sequence[Searched]], tiers: Mapping[int, tuple[bool, bool, int]], score: SearchScore
) -> dict[int, tuple[int, float]]:
    """The front and the crowding of each configuration among those of its tier. Empty with one objective."""
    if not score.several:
        return {}
    entries = [(number, tiers[number], means_of(one.orders(score) for one in each)) for number, each in known.items()]
    of_tiers = places_within(entries, score)
    return {number: of_tiers.get(number, NOWHERE).key for number in known}


def _fallback(ranked: Iterable[tuple[object, object, int, Sequence[Searched]]], score: SearchScore) -> Pick | None:
    healthy = [
        ((-epoch, -score.sign * value), number, one, epoch)
        for _, _, number, counted in ranked
        for one in counted
        for epoch in [_last_healthy(one, score)]
        if epoch and (value := score.of(one.recording.rows[epoch - 1])) is not None
    ]
    if not healthy:
        return None
    _, number, one, epoch = min(healthy, key=lambda each: (each[0], each[1]))
    return Pick(number, (replace(one, epoch=epoch),), fallback=True)


def _last_healthy(one: Searched, score: SearchScore) -> int:
    """The last epoch of a search against which nothing speaks; 0: there is none."""
    rows = one.recording.rows
    return next((epoch for epoch in range(one.epoch, 0, -1) if not score.against(rows[epoch - 1])), 0)


@dataclass(frozen=True)
class Cell:
    """Edges of the cell that is judged: all of them, skips, and those without parameters."""

    edges: int
    skips: int
    parameter_free: int

    @property
    def collapsed(self) -> bool:
        return self.skips > MOST_SKIPS * self.edges or self.parameter_free >= PARAMETER_FREE * self.edges


@cache
def cell_of(genotype: Genotype | None) -> Cell | None:
    """The judged cell of a genotype; of several the one with the most edges without parameters. None: not known."""
    if genotype is None:
        return None
    try:
        kinds = usual_kinds(genotype)
    except GenotypeError:
        return None
    cells = [cell.edges() for name, cell in genotype.cells if name in kinds.judged]
    counted = [
        Cell(
            len(edges),
            sum(primitive == kinds.skip for primitive, _ in edges),
            sum(primitive in kinds.parameter_free for primitive, _ in edges),
        )
        for edges in cells
        if edges
    ]
    return max(counted, key=lambda cell: cell.parameter_free / cell.edges, default=None)


def ended_collapsed(recording: Recording) -> bool | None:
    """Whether the record of a search ends with a collapsed cell. None: its cell is not known."""
    cell = cell_of(recording.genotypes[-1])
    return None if cell is None else cell.collapsed


def searched(replayed: Replayed) -> dict[int, tuple[Searched, ...]]:
    """The searches of a replayed sweep by their configuration."""
    searches: dict[int, dict[int, Searched]] = {}
    for trial in replayed.trials:
        one = Searched(trial.recording, trial.epoch, trial.status, trial.halted)
        searches.setdefault(trial.configuration, {})[trial.recording.seed] = one
    return {number: tuple(each.values()) for number, each in searches.items()}


def picked(replayed: Replayed, score: SearchScore) -> Pick | None:
    """What a replayed sweep picks."""
    return choose(searched(replayed), score)


def everything(plan: Plan, number: int) -> dict[int, tuple[Searched, ...]]:
    """Every recorded configuration to its end, as FIFO would leave it, with the search seeds of sweep `number`."""
    _, seeds = plan.drawn(number)
    chosen = {}
    for index, configuration in enumerate(plan.recordings.configurations):
        wanted = plan.sweep.replicates or (seeds[index],)
        runs = [configuration.runs[seed] for seed in wanted]
        chosen[index] = tuple(Searched(run, run.epochs, "completed" if run.whole else "failed") for run in runs)
    return chosen


def judged(plan: Plan, replayed: Replayed) -> dict[str, object]:
    """What one replayed sweep came to, as JSON. Figures of the pick are in the units of the rows."""
    score = plan.sweep.score
    pick, all_of = picked(replayed, score), everything(plan, replayed.number)
    best = choose(all_of, score)
    ended = {trial.name: ended_collapsed(trial.recording) for trial in replayed.trials}
    halted = [ended[trial.name] for trial in replayed.trials if trial.halted]
    finishers = [ended[trial.name] for trial in replayed.trials if trial.status == "completed"]
    statuses = [trial.status for trial in replayed.trials]
    return {
        "sweep": replayed.number,
        "trials": len(replayed.trials),
        **{status: statuses.count(status) for status in ("completed", "stopped", "failed")},
        "epochs": replayed.epochs,
        "fifo_epochs": replayed.fifo_epochs,
        "epochs_share": replayed.epochs / replayed.fifo_epochs if replayed.fifo_epochs else 1.0,
        "clock": replayed.clock,
        "halts_caught": sum(each is True for each in halted),
        "halts_caught_of": sum(each is True for each in ended.values()),
        "halts_false": sum(each is False for each in halted),
        "halts_false_of": sum(each is False for each in ended.values()),
        "finishers": len(finishers),
        "finishers_collapsed": sum(each is True for each in finishers),
        "pick": None if pick is None else _as_json(plan.recordings, pick, score),
        "best": None if best is None else _as_json(plan.recordings, best, score),
        "best_picked": pick is not None and best is not None and pick.configuration == best.configuration,
        "regret": _difference(score, best, pick),
        "below_best": _below(score, all_of, pick),
    }


def _as_json(recordings: Recordings, pick: Pick, score: SearchScore) -> dict[str, object]:
    """A pick as JSON. Figures are means over the searches of its configuration."""
    cells = [cell_of(genotype) for genotype in pick.genotypes]
    known = [cell for cell in cells if cell is not None]
    return {
        "configuration": dict(recordings.configurations[pick.configuration].config),
        "number": pick.configuration,
        "seeds": [one.recording.seed for one in pick.searches],
        "epochs": [one.epoch for one in pick.searches],
        "fallback": pick.fallback,
        "genotype_ids": [None if genotype is None else genotype.id for genotype in pick.genotypes],
        "figure": pick.mean(score),
        "skips": _mean(cell.skips for cell in known),
        "parameter_free": _mean(cell.parameter_free for cell in known),
        "edges": _mean(cell.edges for cell in known),
        "collapsed": _mean(float(cell.collapsed) for cell in known),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _difference(score: SearchScore, best: Pick | None, pick: Pick | None) -> float | None:
    """How much worse the pick's configuration is than the best one, both at the ends of their records."""
    if best is None or pick is None:
        return None
    one, other = best.mean(score, end=True), pick.mean(score, end=True)
    return None if one is None or other is None else score.sign * (one - other)


def _below(score: SearchScore, all_of: Mapping[int, Sequence[Searched]], pick: Pick | None) -> float | None:
    """How far the pick's figure lies below that of the best configuration at the end, healthy or not."""
    figures = [value for each in all_of.values() if (value := _mean(score.of(one.row) for one in each)) is not None]
    value = None if pick is None else pick.mean(score)
    return None if value is None or not figures else score.sign * (score.best(figures) - value)
