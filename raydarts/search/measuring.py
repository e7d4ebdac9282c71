"""What a search measures without learning from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from raydarts.data.batches import Batches
from raydarts.measure import Meter
from raydarts.search.estimator_truth import Asked, Compared, compared
from raydarts.search.estimators.base import Estimator
from raydarts.search.hessian import dominant_eigenvalue
from raydarts.search.model import SearchModel
from raydarts.spaces import Genotype, Space
from raydarts.tasks import Batch, Loss


class Measuring:
    """Passes over the parts `alpha` and `validation` that do not change the model."""

    def __init__(self, data: Mapping[str, Batches], batch_size: int) -> None:
        self.data = data
        self.batch_size = batch_size

    def validation(self, model: SearchModel) -> dict[str, float | None]:
        """Returns the supernet's held-out loss and metric in evaluation mode, or None if nothing is held out.

        On images, batch norms use each batch's statistics if the running ones belong to other arch weights.
        """
        meter = Meter()
        if "validation" in self.data:
            objective, data = model.objective, self.data["validation"]
            size = None if objective.running_statistics_fit() else data.batch_statistics_size(self.batch_size)
            with objective.evaluating() if size is None else objective.batch_statistics():
                meter = self._passed("validation", objective.measure, size or data.measured_size(self.batch_size))
        return model.parts.task.figures("validation", meter)

    def _passed(self, part: str, measure: Callable[[Batch], Loss], size: int) -> Meter:
        """Runs one pass over a part in batches of `size`. Nothing is learned."""
        meter, data = Meter(), self.data[part]
        for batch in data.sequential(size):
            loss = measure(batch)
            meter.add(loss.data, loss.correct, loss.count)
            data.carry(loss.memory)
        return meter

    @torch.no_grad()
    def judged(self, model: SearchModel, arch_weights: Mapping[str, Tensor]) -> float:
        """Returns the score on the alpha half with these arch weights. Higher is better.

        The supernet is in evaluation mode, except its batch norms: their running statistics belong to the arch weights
        of training.
        """
        size = self.data["alpha"].measured_size(self.batch_size)
        with model.objective.batch_statistics():
            meter = self._passed("alpha", lambda batch: model.objective.data_loss(batch, arch_weights), size)
        return model.parts.task.score(meter)

    @torch.no_grad()
    def discretisation_gap(self, model: SearchModel, genotype: Genotype) -> float:
        """Returns the loss of the genotype's cell with the supernet's weights, minus the supernet's loss.

        Both are measured in the same way, on held-out data (the alpha half if nothing is held out), in evaluation mode.
        Batch norms of images use each batch's statistics: running ones belong to the mixture.
        """
        part = "validation" if "validation" in self.data else "alpha"
        objective, data = model.objective, self.data[part]
        size = data.batch_statistics_size(self.batch_size)
        mixed = objective.arch_weights(expected=True)
        losses = []
        for weights in (mixed, discretised(model.space, genotype, mixed)):

            def measure(batch: Batch, weights: Mapping[str, Tensor] = weights) -> Loss:
                return objective.data_loss(batch, weights)

            with objective.virtual(), objective.evaluating() if size is None else objective.batch_statistics():
                loss = self._passed(part, measure, size or data.measured_size(self.batch_size)).loss
            losses.append(float("nan") if loss is None else loss)
        return losses[1] - losses[0]

    def eigenvalue(self, model: SearchModel) -> float:
        """Returns the dominant eigenvalue of the alpha Hessian on the first batch of the alpha half."""
        batch = next(iter(self.data["alpha"].sequential(self.batch_size)))
        return dominant_eigenvalue(model.objective, batch)

    def estimators(self, model: SearchModel, asked: Callable[[Estimator], Asked], epoch: int, rate: float) -> Compared:
        """Compares estimators with the gradient through many weight steps. `asked` is given the search's estimator."""
        return compared(model, self.data, self.batch_size, asked(model.architect.estimator), epoch, rate)


def discretised(space: Space, genotype: Genotype, arch_weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns arch weights in which each edge of the genotype's cells has its primitive alone, at weight 1.

    Edges that the genotype leaves out have only zeros.
    """
    chosen = {}
    for name, weights in arch_weights.items():
        spec, discrete = space.cells[name], torch.zeros_like(weights)
        for number, node in enumerate(genotype[name].nodes, spec.num_inputs):
            for primitive, src in node:
                edge = next(index for index in spec.incoming(number) if spec.edges[index].src == src)
                discrete[..., edge, spec.candidates[edge].index(primitive)] = 1
        chosen[name] = discrete
    return chosen


def recorded(space: Space, arch_weights: Mapping[str, Tensor]) -> dict[str, object]:
    """Returns arch weights for a metrics row, with the names of their edges and primitives. Layers are averaged.

    Each cell type has `edges` as [src, dst], `primitives` (one list, or one list for each edge if they differ), and
    `weights` with five digits.
    """
    record: dict[str, object] = {}
    for name, weights in arch_weights.items():
        cell = space.cells[name]
        alike = len(set(cell.candidates)) == 1
        mean = weights.detach().double().reshape(-1, *weights.shape[-2:]).mean(0)
        record[name] = {
            "edges": [list(edge) for edge in cell.edges],
            "primitives": list(cell.candidates[0]) if alike else [list(names) for names in cell.candidates],
            "weights": [[round(weight, 5) for weight in row] for row in mean.cpu().tolist()],
        }
    return record
