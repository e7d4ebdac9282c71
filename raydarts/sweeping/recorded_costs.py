"""What the genotypes of recorded searches cost: the columns `parameters` and `flops`, where no row has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from raydarts.errors import RaydartsError
from raydarts.genotypes.genotype import Genotype, inputs_of
from raydarts.runs.recordings import Recordings

COLUMNS = ("parameters", "flops")
Costs = Mapping[str, int]
Count = Callable[[Genotype], Costs]
_CHECKED = 8
"""So many genotypes whose cost was added up are counted too, and compared."""


def with_costs(recordings: Recordings, read: Collection[str], notes: list[str]) -> Recordings:
    """The recordings with the costs that a sweep reads and no row has, as the probe `network_cost` measures them.

    A row without a genotype gets none. `notes` are lines for the user. If no space of raydarts' has the genotypes,
    nothing is added.
    """
    missing = [name for name in COLUMNS if name in read and name not in recordings.columns]
    genotypes = {each.id: each for run in recordings.runs for each in run.genotypes if each is not None}
    if not missing or not genotypes:
        return recordings
    try:
        known = costs_of(genotypes.values(), _counter(with_flops="flops" in missing))
    except RaydartsError as error:
        notes.append(f"{' and '.join(missing)} cannot be counted: {error}")
        return recordings
    notes.append(f"{' and '.join(missing)}: counted for {len(known)} genotypes, of their standard networks")
    runs = tuple(
        replace(
            run,
            rows=tuple(
                row if genotype is None else {**row, **{name: known[genotype.id][name] for name in missing}}
                for row, genotype in zip(run.rows, run.genotypes, strict=True)
            ),
        )
        for run in recordings.runs
    )
    return replace(recordings, runs=runs)


def costs_of(genotypes: Collection[Genotype], count: Count) -> dict[str, Costs]:
    """The costs of each genotype by its id.

    A network costs what its edges cost, and a constant. So most costs follow from those of few networks: a genotype is
    counted only if its edges are no combination of those that were counted. Some of the others are counted as well. If
    one of them is not what was added up, all are counted.
    """
    by_edges = _ByEdges(genotypes)
    known: dict[str, Costs] = {}
    added: list[Genotype] = []
    for genotype in genotypes:
        costs = by_edges.costs(genotype)
        if costs is None:
            costs = count(genotype)
            by_edges.learn(genotype, costs)
        else:
            added.append(genotype)
        known[genotype.id] = costs
    step = max(1, len(added) // _CHECKED)
    if any(dict(count(genotype)) != dict(known[genotype.id]) for genotype in added[::step]):
        return {genotype.id: count(genotype) for genotype in genotypes}
    return known


class _ByEdges:
    """Costs as sums over edges. Edges are alike if cell type and primitive are, and if both come from an input or not.

    Edges from an input of a reduction cell have a stride. Cells with another output have another width.
    """

    def __init__(self, genotypes: Collection[Genotype]) -> None:
        import numpy as np  # noqa: PLC0415 - a command's help needs none

        self._np = np
        kinds = dict.fromkeys(kind for genotype in genotypes for kind in self._kinds(genotype))
        self._place = {kind: place for place, kind in enumerate(kinds)}
        self._rows: list[Sequence[float]] = []
        self._costs: list[Costs] = []

    @staticmethod
    def _kinds(genotype: Genotype) -> Counter[object]:
        counted: Counter[object] = Counter()
        for name, cell in genotype.cells:
            counted[name, len(cell.nodes), cell.concat] += 1
            counted.update((name, primitive, src < inputs_of(name)) for primitive, src in cell.edges())
        return counted

    def _row(self, genotype: Genotype) -> list[float]:
        row = [0.0] * len(self._place)
        for kind, number in self._kinds(genotype).items():
            row[self._place[kind]] = float(number)
        return row

    def learn(self, genotype: Genotype, costs: Costs) -> None:
        self._rows.append(self._row(genotype))
        self._costs.append(costs)

    def costs(self, genotype: Genotype) -> Costs | None:
        """What follows from the genotypes that were counted. None: nothing does."""
        if not self._rows:
            return None
        known, row = self._np.array(self._rows), self._np.array(self._row(genotype))
        shares = self._np.linalg.lstsq(known.T, row, rcond=None)[0]
        if self._np.abs(known.T @ shares - row).max() > 1e-6:
            return None
        return {name: round(sum(share * each[name] for share, each in zip(shares, self._costs, strict=True)))
                for name in self._costs[0]}  # fmt: skip


def _counter(with_flops: bool) -> Count:
    """Counts what a genotype costs. FLOPs take several times as long as parameters alone."""
    from raydarts.genotype_facts import network_cost, parameters_of  # noqa: PLC0415 - loads torch
    from raydarts.spaces import space_of  # noqa: PLC0415

    def both(genotype: Genotype) -> Costs:
        return dict(zip(COLUMNS, network_cost(space_of(genotype, ""), genotype), strict=True))

    return both if with_flops else lambda genotype: {"parameters": parameters_of(genotype)}
