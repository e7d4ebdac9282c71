"""The random cells that `evaluate` retrains beside the discovered genotypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raydarts.config.loader import LoadedSpec
from raydarts.config.spec import EvaluateSettings, random_cells_of
from raydarts.evaluation.lookup import read_table
from raydarts.genotypes.genotype import Genotype
from raydarts.json_types import section
from raydarts.search.random_cells import Healthy, Size, draw_cells, spaces_of
from raydarts.study.random_cells import random_cell


def random_decisions(
    loaded: LoadedSpec,
    stage: EvaluateSettings,
    decisions: Sequence[Mapping[str, object]],
    discovered: set[str],
) -> list[dict[str, object]]:
    """Returns a decision for each random cell of a stage. They have the sizes of the promoted genotypes in turn.

    `discovered`: the ids of all genotypes of the searches. None of them is drawn. There are fewer cells than the stage
    asks for if the space holds no more, and none if no genotype was promoted.
    """
    count, seed = random_cells_of(stage), loaded.sweep.seed
    promoted = [Genotype.from_json(section(each["genotype"])) for each in decisions if each["promoted"]]
    spaces = spaces_of(loaded.drawn)
    sizes = [size for genotype in promoted if (size := Size.of(genotype, spaces)) is not None]
    if not count or not sizes:
        return []
    taken = discovered | {str(each["id"]) for each in decisions}
    listed = None if stage.table is None else set(read_table(stage.table))
    cells = draw_cells(sizes, count, seed, Healthy.of(loaded.sweep.score, stage.max_skips), taken, listed)
    return [
        random_cell(cell.id, cell.to_json(), cell.skips(), number, len(cells), count, seed)
        for number, cell in enumerate(cells, start=1)
    ]
