"""What a search looks at without learning from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from raydarts.data.batches import Batches
from raydarts.measure import Meter
from raydarts.search.hessian import dominant_eigenvalue
from raydarts.search.model import SearchModel
from raydarts.spaces import Space
from raydarts.tasks import Batch, Loss


class Measuring:
    """Passes over the parts `alpha` and `validation` that leave the model as it was."""

    def __init__(self, data: Mapping[str, Batches], batch_size: int) -> None:
        self.data = data
        self.batch_size = batch_size

    def validation(self, model: SearchModel) -> dict[str, float | None]:
        """Held-out loss of the supernet in evaluation mode, and its figure (None where nothing is held out).

        Of images batch norms take each batch's own statistics where the running ones are of other arch weights.
        """
        meter = Meter()
        if "validation" in self.data:
            objective, data = model.objective, self.data["validation"]
            size = None if objective.running_statistics_fit() else data.own_statistics_size(self.batch_size)
            with objective.evaluating() if size is None else objective.batch_statistics():
                meter = self._passed("validation", objective.measure, size or data.measured_size(self.batch_size))
        return model.parts.task.figures("validation", meter)

    def _passed(self, part: str, measure: Callable[[Batch], Loss], size: int) -> Meter:
        """One pass over a part, `size` at a time, from which nothing is learned."""
        meter, data = Meter(), self.data[part]
        for batch in data.sequential(size):
            loss = measure(batch)
            meter.add(loss.data, loss.correct, loss.count)
            data.carry(loss.memory)
        return meter

    @torch.no_grad()
    def judged(self, model: SearchModel, arch_weights: Mapping[str, Tensor]) -> float:
        """The score (the higher the better) on the alpha half with these arch weights.

        In evaluation mode, but for batch norms: their running statistics are those of the arch weights in training.
        """
        size = self.data["alpha"].measured_size(self.batch_size)
        with model.objective.batch_statistics():
            meter = self._passed("alpha", lambda batch: model.objective.data_loss(batch, arch_weights), size)
        return model.parts.task.score(meter)

    def eigenvalue(self, model: SearchModel) -> float:
        """The dominant eigenvalue of the alpha Hessian on the alpha half's first batch."""
        batch = next(iter(self.data["alpha"].sequential(self.batch_size)))
        return dominant_eigenvalue(model.objective, batch)


def recorded(space: Space, arch_weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arch weights for a metrics row, with the names of their edges and primitives; the mean over layers.

    For each cell type `edges` as [src, dst], `primitives` (one list, or one for each edge where they differ),
    `weights` with five digits.
    """
    found = {}
    for name, weights in arch_weights.items():
        cell = space.cells[name]
        alike = len(set(cell.candidates)) == 1
        mean = weights.detach().double().reshape(-1, *weights.shape[-2:]).mean(0)
        found[name] = {
            "edges": [list(edge) for edge in cell.edges],
            "primitives": list(cell.candidates[0]) if alike else [list(own) for own in cell.candidates],
            "weights": [[round(weight, 5) for weight in row] for row in mean.cpu().tolist()],
        }
    return found
