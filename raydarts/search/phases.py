"""A search in stages: which supernet each stage has, and which candidates continue (P-DARTS, DrNAS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from raydarts.errors import InputError
from raydarts.search.moments import Moment, SearchStage
from raydarts.search.regularizers.base import Regularizer
from raydarts.spaces import CellSpec, Space


def plan_stages(regularizers: Sequence[Regularizer], epochs: int) -> tuple[SearchStage, ...]:
    """Returns the stages of the remedy that has some, or one stage.

    Raises `InputError` if two remedies have stages, or if a remedy's settings do not fit them.
    """
    plans = {r.registered: planned for r in regularizers if (planned := r.stages(epochs))}
    if len(plans) > 1:
        raise InputError(f"{' and '.join(plans)} both cut the search into stages: choose one of them")
    stages = next(iter(plans.values()), (SearchStage(epochs),))
    if sum(stage.epochs for stage in stages) != epochs:
        raise ValueError(f"{next(iter(plans))}: its stages do not add up to {epochs} epochs")
    for regularizer in regularizers:
        regularizer.check_stages(stages)
    return stages


def moment(stages: Sequence[SearchStage], epoch: int) -> Moment:
    """Returns the position of `epoch` (from 0). After the last epoch it is the end of the last stage."""
    epochs = sum(stage.epochs for stage in stages)
    first = 0
    for number, stage in enumerate(stages):
        if epoch < first + stage.epochs or number == len(stages) - 1:
            return Moment(epoch, epochs, number, epoch - first, stage.epochs)
        first += stage.epochs
    raise ValueError("no stages")


def strongest(space: Space, arch_weights: Mapping[str, Tensor], count: int) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Returns the `count` candidates with the largest arch weights on each edge, in the space's order, for each cell
    type.

    `none` ranks like any other candidate (P-DARTS' code). But if the selection never picks `none`, an edge whose
    strongest candidates are all `none` keeps its strongest other candidate instead, so that something is left to pick.
    Of equal candidates the earlier one wins.
    """
    strongest_of = {}
    for name, cell in space.cells.items():
        rows = []
        for weights, candidates in zip(arch_weights[name].tolist(), cell.candidates, strict=True):
            ranked = sorted(range(len(candidates)), key=lambda index: -weights[index])
            kept = ranked[:count]
            if not space.KEEPS_ALL_EDGES and all(candidates[index] == space.ZERO for index in kept):
                kept[-1] = next(index for index in ranked if candidates[index] != space.ZERO)
            rows.append(tuple(candidates[index] for index in sorted(kept)))
        strongest_of[name] = tuple(rows)
    return strongest_of


def narrowed(space: Space, candidates: Mapping[str, tuple[tuple[str, ...], ...]] | None, layers: int | None) -> Space:
    """Returns the space with these candidates and this many layers. None leaves them as they are."""
    if candidates is None and layers is None:
        return space
    cells: Mapping[str, CellSpec] = space.cells
    if candidates is not None:
        cells = {name: replace(cell, candidates=candidates[name]) for name, cell in cells.items()}
    return space.narrowed(cells, layers)


def carried(old: Space, alphas: Mapping[str, Tensor], new: Space) -> dict[str, Tensor]:
    """Returns alpha of the candidates that `new` kept of `old`, `(num_edges, kept)` for each cell type."""
    kept_alpha = {}
    for name, cell in new.cells.items():
        columns = [
            [before.index(primitive) for primitive in kept]
            for before, kept in zip(old.cells[name].candidates, cell.candidates, strict=True)
        ]
        alpha = alphas[name].detach()
        kept_alpha[name] = alpha.gather(1, alpha.new_tensor(columns).long())
    return kept_alpha
