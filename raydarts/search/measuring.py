"""What a search looks at without learning from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from raydarts.data.batches import Batches
from raydarts.measure import Meter
from raydarts.search.hessian import dominant_eigenvalue
from raydarts.search.model import SearchModel
from raydarts.spaces import Space


class Measuring:
    """Passes over the parts `alpha` and `validation` that leave the model as it was."""

    def __init__(self, data: Mapping[str, Batches], batch_size: int) -> None:
        self.data = data
        self.batch_size = batch_size

    def validation(self, model: SearchModel) -> dict[str, float | None]:
        """Held-out loss and accuracy of the supernet in evaluation mode (None where nothing is held out)."""
        if "validation" not in self.data:
            return {"validation_loss": None, "validation_accuracy": None}
        meter = Meter()
        model.supernet.eval()
        for batch in self.data["validation"].sequential(4 * self.batch_size):
            loss = model.objective.measure(batch)
            meter.add(loss.data, loss.correct, loss.count)
        model.supernet.train()
        return {"validation_loss": meter.loss, "validation_accuracy": meter.accuracy}

    @torch.no_grad()
    def judged(self, model: SearchModel, arch_weights: Mapping[str, Tensor]) -> float:
        """Accuracy on the alpha half with these arch weights.

        In evaluation mode, but for batch norms: their running statistics are those of the arch weights in training.
        """
        meter = Meter()
        with model.objective.batch_statistics():
            for batch in self.data["alpha"].sequential(4 * self.batch_size):
                loss = model.objective.data_loss(batch, arch_weights)
                meter.add(loss.data, loss.correct, loss.count)
        return float(meter.accuracy or 0.0)

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
