"""Skip connections and edges of a genotype, counted in its JSON for each cell type."""

from __future__ import annotations

from collections.abc import Mapping

from raydarts.genotypes.genotype import OF_OWN_SPACES, usual_skip
from raydarts.json_types import number


def count_skips(genotype: Mapping[str, object]) -> dict[str, int]:
    """Returns skip connections for each cell type of a genotype's JSON. The genotype or the usual rule says what
    counts.
    """
    named = genotype.get("skip")

    def count(value: object, name: str) -> int:
        if isinstance(value, str):
            return int(value == name)
        return sum(count(item, name) for item in value) if isinstance(value, list | tuple) else 0

    return {
        key: count(value, named if isinstance(named, str) else usual_skip(key))
        for key, value in genotype.items()
        if not key.endswith("concat") and key not in OF_OWN_SPACES
    }


def count_edges(genotype: Mapping[str, object]) -> dict[str, int]:
    """Returns the chosen edges for each cell type of a genotype's JSON."""

    def count(value: object) -> int:
        if isinstance(value, str):
            return 1
        return sum(count(item) for item in value) if isinstance(value, list | tuple) else 0

    return {
        key: count(value)
        for key, value in genotype.items()
        if key != "skip" and not key.endswith("concat") and key not in OF_OWN_SPACES
    }


def skips_of(row: Mapping[str, object]) -> dict[str, int]:
    """Returns skip connections for each cell type in one epoch's row: the probe's, else counted in its genotype."""
    probed = {key[len("skips_") :]: int(number(row[key]) or 0) for key in row if key.startswith("skips_")}
    if probed:
        return probed
    genotype = row.get("genotype")
    return count_skips(genotype) if isinstance(genotype, Mapping) else {}
