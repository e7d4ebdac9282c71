"""What the genotypes of recorded searches cost: the columns `parameters` and `flops`, where no row has them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from raydarts.errors import RaydartsError
from raydarts.genotypes.genotype import Genotype
from raydarts.runs.recordings import Recordings

COLUMNS = ("parameters", "flops")


def with_costs(recordings: Recordings, read: Collection[str], notes: list[str]) -> Recordings:
    """The recordings with the costs that a sweep reads and no row has, as the probe `network_cost` measures them.

    A row without a genotype gets none. `notes` are lines for the user. Where the standard network of a genotype is not
    known, its space is none of raydarts', nothing is added.
    """
    missing = [name for name in COLUMNS if name in read and name not in recordings.columns]
    genotypes = {each.id: each for run in recordings.runs for each in run.genotypes if each is not None}
    if not missing or not genotypes:
        return recordings
    count = _counter(with_flops="flops" in missing)
    known: dict[str, dict[str, int]] = {}
    for name, genotype in genotypes.items():
        try:
            known[name] = count(genotype)
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


def _counter(with_flops: bool) -> Callable[[Genotype], dict[str, int]]:
    """Counts what a genotype costs. FLOPs take several times as long as parameters alone."""
    from raydarts.genotype_facts import network_cost, parameters_of  # noqa: PLC0415 - loads torch
    from raydarts.spaces import space_of  # noqa: PLC0415

    def both(genotype: Genotype) -> dict[str, int]:
        return dict(zip(COLUMNS, network_cost(space_of(genotype, ""), genotype), strict=True))

    return both if with_flops else lambda genotype: {"parameters": parameters_of(genotype)}
