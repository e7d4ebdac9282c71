"""DARTS-PT: perturbation-based selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.search.moments import Tuning
from raydarts.search.selection.argmax import Argmax
from raydarts.search.selection.base import Judge, Selection
from raydarts.spaces import CellSpec, Genotype, Space
from raydarts.states import State
from raydarts.streams import Streams
from raydarts.units import Epochs


def _crowded(space: Space, spec: CellSpec) -> list[int]:
    """Returns the nodes with more incoming edges than a genotype keeps."""
    nodes = range(spec.num_inputs, spec.num_inputs + spec.num_nodes)
    return [node for node in nodes if len(spec.incoming(node)) > space.EDGES_PER_NODE]


class Perturbation(Selection):
    """Keeps the candidates and edges without which the supernet's score falls the most.

    After the search, one edge of each cell type at a time is decided, in random order. Each candidate's arch weight is
    set to 0 in turn, while the others stay. The supernet's score on the alpha half is measured: accuracy, or on text
    -loss. The candidate whose removal gives the lowest score gets weight 1, the others 0. Then the nodes are decided,
    in random order. Each incoming edge is removed in turn. The two edges (darts-rnn: one) whose removal gives the
    lowest score stay.

    Between two decisions the weights are trained for `tuning_epochs` epochs with a new optimizer, at `lr_factor` times
    the search's first learning rate. If `lr_min` is set, the rate falls to it along a cosine. With `train_alpha`, alpha
    of the undecided edges is trained too. `none` is no candidate, except in a space that keeps every edge
    (nasbench201), where no edges are removed either. Of equal candidates the earlier wins, of equal edges the lower.
    Until everything is decided, the genotype is argmax's of the arch weights with the decisions imposed.

    Cost: tuning_epochs * (decisions - 1) epochs after the search's. There is one decision for each edge of a cell, and
    one for each node with more than two edges (darts-rnn: one). In DARTS' cell these are 14 + 3 decisions, 80 epochs
    (authors' default of 10: 160), and 220 forward passes over the alpha half. In nasbench201 they are 25 epochs and 30
    passes. Rejected candidates are left out of all further passes.

    DARTS-PT (fix-alpha) leaves alpha as it was drawn: an alpha warm-up over all epochs of the search, and `train_alpha`
    false.
    """

    NAME = "perturbation"
    SOURCE = "DARTS-PT (Wang et al. 2021, arXiv 2108.04392), section 4 and algorithm 1; 5 epochs of tuning"
    REMEDY = True
    CONFLICTS = {
        "regularizer:darts_es|darts_ada|darts_plus": (
            "it stops the search with an earlier epoch's genotype, before this selection begins"
        )
    }
    FORMULA = "o*(e) = argmin over o of accuracy (text: -loss) of the supernet without o on e; a node's edges likewise"
    DIFFERS = (
        "Paper and the authors' scripts tune for 5 epochs, their code's default is 10. As in their code normal and "
        "reduction cell decide side by side and the learning rate stays lr/10 (their cosine schedule is made and never "
        "stepped). They judge in training mode, on augmented batches, which moves the batch norms' running "
        "statistics; here on images as they are, with each batch's statistics and no trace. Their DARTS space has no "
        "`none`; in S3 `none` can win there and becomes a skip connection in the genotype, here it never does. "
        "They train an epoch more after the last decision (nasbench201: decide the last one an epoch early)."
    )

    class Settings(registry.Settings):
        tuning_epochs: Epochs = Field(5, ge=1, description="Epochs of training between two decisions.")
        lr_factor: float = Field(
            0.1, gt=0, description="The learning rate between decisions is this times `search.lr`."
        )
        lr_min: float | None = Field(
            None, ge=0, description="Learning rate that it falls to along a cosine. `null` keeps it constant."
        )
        train_alpha: bool = Field(True, description="Whether alpha of the undecided edges is trained too.")

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._argmax = Argmax(Argmax.Settings())
        self._generator: torch.Generator | None = None
        self._rows: dict[str, dict[int, list[float]]] = {}
        self._pruned: dict[str, list[int]] = {}
        self._imposed: dict[str, tuple[Tensor, Tensor]] = {}  # of each cell type: which edges are decided, their rows

    def bind(self, streams: Streams) -> None:
        self._generator = streams["perturbation"]

    def epochs(self, space: Space) -> int:
        edges = max(len(cell.edges) for cell in space.cells.values())
        nodes = 0 if space.KEEPS_ALL_EDGES else max(len(_crowded(space, cell)) for cell in space.cells.values())
        return int(self.settings.tuning_epochs * max(1, edges + nodes - 1))

    def tuning(self, lr: float) -> Tuning:
        first = lr * self.settings.lr_factor
        lowest = self.settings.lr_min
        return Tuning(first, first if lowest is None else lowest, self.settings.train_alpha)

    def decide(self, epoch: int, space: Space, arch_weights: Mapping[str, Tensor], judge: Judge) -> None:
        if epoch % self.settings.tuning_epochs:
            return
        for name, spec in space.cells.items():
            # What the cell type before has just decided is imposed already.
            current = self.project(dict(arch_weights))
            rows, pruned = self._rows.setdefault(name, {}), self._pruned.setdefault(name, [])
            undecided = [edge for edge in range(len(spec.edges)) if edge not in rows]
            crowded = [] if space.KEEPS_ALL_EDGES else [node for node in _crowded(space, spec) if node not in pruned]
            if undecided:
                edge = self._draw(undecided)
                rows[edge] = self._strongest(name, edge, spec.candidates[edge], space, current, judge)
            elif crowded:
                node = self._draw(crowded)
                for edge in self._weakest(name, spec.incoming(node), space.EDGES_PER_NODE, current, judge):
                    rows[edge] = [0.0] * len(spec.candidates[edge])
                pruned.append(node)
            self._imposed.pop(name, None)

    def _draw(self, among: Sequence[int]) -> int:
        if self._generator is None:
            raise ValueError("bind() comes before the first decision")
        device = self._generator.device
        return among[int(torch.randint(len(among), (), generator=self._generator, device=device))]

    def _strongest(
        self, name: str, edge: int, candidates: Sequence[str], space: Space, current: dict[str, Tensor], judge: Judge
    ) -> list[float]:
        """Returns the edge's new row: 1 for the candidate whose removal gives the lowest score."""
        allowed = [
            index for index, primitive in enumerate(candidates) if primitive != space.ZERO or space.KEEPS_ALL_EDGES
        ]
        chosen = min(allowed, key=lambda index: judge(_without(current, name, edge, index)))
        return [float(index == chosen) for index in range(len(candidates))]

    def _weakest(
        self, name: str, edges: Sequence[int], kept: int, current: dict[str, Tensor], judge: Judge
    ) -> list[int]:
        """Returns all but the `kept` edges whose removal gives the lowest score."""
        left = {edge: judge(_without(current, name, edge)) for edge in edges}
        return sorted(edges, key=lambda edge: (left[edge], edge))[kept:]

    def project(self, arch_weights: dict[str, Tensor]) -> dict[str, Tensor]:
        projected = dict(arch_weights)
        for name, rows in self._rows.items():
            weights = projected[name]
            if name not in self._imposed:
                open_row = [0.0] * weights.shape[1]
                edges = range(len(weights))
                fixed = weights.new_tensor([rows.get(edge, open_row) for edge in edges])
                self._imposed[name] = torch.tensor([[edge in rows] for edge in edges], device=weights.device), fixed
            decided, fixed = self._imposed[name]
            projected[name] = torch.where(decided, fixed, weights)
        return projected

    def __call__(self, space: Space, arch_weights: Mapping[str, Tensor]) -> Genotype:
        return self._argmax(space, arch_weights)

    def state_dict(self) -> State:
        return {
            "rows": {name: {edge: list(row) for edge, row in rows.items()} for name, rows in self._rows.items()},
            "pruned": {name: list(nodes) for name, nodes in self._pruned.items()},
        }

    def load_state_dict(self, state: State) -> None:
        self._rows = {name: {edge: list(row) for edge, row in rows.items()} for name, rows in state["rows"].items()}
        self._pruned = {name: list(nodes) for name, nodes in state["pruned"].items()}
        self._imposed.clear()


def _without(
    arch_weights: Mapping[str, Tensor], name: str, edge: int, candidate: int | None = None
) -> dict[str, Tensor]:
    """Returns the arch weights with one candidate's set to 0, or all candidates' of the edge (None)."""
    changed = arch_weights[name].clone()
    changed[edge if candidate is None else (edge, candidate)] = 0.0
    return {**arch_weights, name: changed}
