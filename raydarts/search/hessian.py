"""The dominant eigenvalue of the alpha Hessian."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from raydarts.search.gradients import constant
from raydarts.spaces.second_derivatives import twice_differentiable
from raydarts.tasks import Batch

if TYPE_CHECKING:
    from raydarts.search.lanes import LaneObjective
    from raydarts.search.objective import Objective

DENSE = 40


def dominant_eigenvalue(objective: Objective, batch: Batch, tolerance: float = 1e-3) -> float:
    """Returns the largest eigenvalue of d2L_val/dalpha2 on one batch, over alpha of all cell types (RobustDARTS,
    section 4).

    L_val is the data loss, without penalties and without alpha's weight decay. The authors' code adds its 1e-3 to the
    diagonal. Automatic differentiation computes Hessian-vector products. Lanczos (ARPACK) uses them until it knows the
    eigenvalue to the relative `tolerance`. It starts at a fixed vector, so equal states give equal values. With at most
    `DENSE` alphas the whole Hessian is computed, which takes fewer products.

    The supernet is in training mode. Its state is the same afterwards. With a random relaxation this is the Hessian in
    the expected arch weights, because a draw is not a state.
    """
    alphas = list(objective.alpha_by_type.values())
    sizes = [alpha.numel() for alpha in alphas]
    with differentiable_gradient(objective, batch) as gradient:

        def product(vector: np.ndarray) -> np.ndarray:
            direction = torch.from_numpy(np.ascontiguousarray(vector.reshape(-1))).to(gradient)
            products = torch.autograd.grad(gradient, alphas, direction, retain_graph=True)
            return torch.cat([part.flatten() for part in products]).double().cpu().numpy()

        size = sum(sizes)
        if size <= DENSE:
            return _largest(np.stack([product(row) for row in np.eye(size)]))
        from scipy.sparse.linalg import LinearOperator, eigsh  # noqa: PLC0415 - a third of a second, for one probe

        start = np.random.default_rng(0).standard_normal(size)
        operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
        return float(eigsh(operator, k=1, which="LA", v0=start, tol=tolerance, return_eigenvectors=False)[0])


@contextmanager
def differentiable_gradient(objective: Objective, batch: Batch) -> Iterator[Tensor]:
    """Yields dL_val/dalpha as one vector, with the graph that its products with the Hessian need."""
    alphas = list(objective.alpha_by_type.values())
    with objective.virtual(), constant(objective.weights), twice_differentiable():
        loss = objective.data_loss(batch, objective.arch_weights(expected=True)).value
        yield torch.cat([part.flatten() for part in torch.autograd.grad(loss, alphas, create_graph=True)])


def _largest(hessian: np.ndarray) -> float:
    return float(np.linalg.eigvalsh(hessian).max())


def has_whole_hessian(objective: Objective) -> bool:
    """Returns whether `dominant_eigenvalue` computes the whole Hessian."""
    return sum(alpha.numel() for alpha in objective.alpha_by_type.values()) <= DENSE


def dominant_eigenvalues(objective: LaneObjective, batch: Batch, lanes: Sequence[int]) -> dict[int, float]:
    """Returns the `dominant_eigenvalue` of each of these lanes. Each product is computed for all lanes at once.

    It computes the whole Hessian, so it is for lanes for which `has_whole_hessian` is true. Lanczos would ask for
    another number of products in each lane.
    """
    alphas = [list(lane.alpha_by_type.values()) for lane in objective.lanes]
    leaves = [alpha for each in alphas for alpha in each]
    with objective.virtual(), constant(objective.weights), twice_differentiable():
        arch_weights = [lane.arch_weights(expected=True) for lane in objective.lanes]
        loss = objective.data_loss(batch, arch_weights).value.sum()
        gradients = torch.autograd.grad(loss, leaves, create_graph=True)
        rows: list[list[Tensor]] = [[] for _ in alphas]
        for position, alpha in enumerate(alphas[0]):
            for entry in range(alpha.numel()):
                direction = torch.zeros_like(alpha).view(-1)
                direction[entry] = 1
                outputs = gradients[position :: len(alphas[0])]  # by the same alpha of each lane
                products = torch.autograd.grad(
                    outputs, leaves, [direction.view_as(alpha)] * len(outputs), retain_graph=True
                )
                for lane, row in enumerate(rows):
                    mine = products[lane * len(alphas[0]) : (lane + 1) * len(alphas[0])]
                    row.append(torch.cat([part.flatten() for part in mine]))
    return {lane: _largest(torch.stack(rows[lane]).double().cpu().numpy()) for lane in lanes}
