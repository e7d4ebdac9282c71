"""What genotypes cost: parameters as retrained, FLOPs as recorded or counted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache

from raydarts.errors import RaydartsError
from raydarts.json_types import number
from raydarts.report.gather import Run

MOST_COUNTED = 20
"""Most genotypes whose FLOPs are counted for one report, the best ones: each takes a quarter of a second."""


def parameters(run: Run) -> dict[str, int]:
    """Returns genotype id -> parameters of the retrained network."""
    return {each.genotype_id: each.parameters for each in run.retrainings if each.parameters is not None}


def flops(run: Run) -> dict[str, float]:
    """Returns genotype id -> FLOPs of its standard evaluation network, of retrained genotypes.

    The probe `network_cost` recorded them, or they are counted for the best genotypes. A genotype of somebody's own
    code is left out: counting would run that code.
    """
    known: dict[str, float] = {}
    for name, searches in run.searches_by_genotype.items():
        counts = [number(search.rows[-1].get("flops")) for search in searches if search.rows]
        known.update((name, count) for count in counts[:1] if count is not None)
    genotypes = {each.genotype_id: each.genotype for each in run.retrainings if each.genotype}
    for name in run.ranked[:MOST_COUNTED]:
        if name not in known and name in genotypes:
            counted = _counted(json.dumps(genotypes[name], sort_keys=True))
            known |= {} if counted is None else {name: float(counted)}
    return {name: known[name] for name in run.ranked if name in known}


@lru_cache(maxsize=256)
def _counted(genotype: str) -> int | None:
    content = json.loads(genotype)
    if "space" in content or any(":" in name for name in _words(content)):  # `module:Class`
        return None
    from raydarts.genotype_facts import facts  # noqa: PLC0415 - torch takes seconds to import
    from raydarts.genotypes.genotype import Genotype  # noqa: PLC0415

    try:
        return facts(Genotype.from_json(content))["flops"]
    except (RaydartsError, ValueError, KeyError, IndexError):  # what a file brought is no network
        return None


def _words(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _words(item)
