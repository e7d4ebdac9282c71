"""The dominant eigenvalue of the alpha Hessian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from raydarts.search.gradients import constant
from raydarts.tasks import Batch

if TYPE_CHECKING:
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
    with objective.virtual(), constant(objective.weights):
        loss = objective.data_loss(batch, objective.arch_weights(expected=True)).value
        gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, alphas, create_graph=True)])

        def product(vector: np.ndarray) -> np.ndarray:
            direction = torch.from_numpy(np.ascontiguousarray(vector.reshape(-1))).to(gradient)
            products = torch.autograd.grad(gradient, alphas, direction, retain_graph=True)
            return torch.cat([part.flatten() for part in products]).double().cpu().numpy()

        size = sum(sizes)
        if size <= DENSE:
            return float(np.linalg.eigvalsh(np.stack([product(row) for row in np.eye(size)])).max())
        from scipy.sparse.linalg import LinearOperator, eigsh  # noqa: PLC0415 - a third of a second, for one probe

        start = np.random.default_rng(0).standard_normal(size)
        operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
        return float(eigsh(operator, k=1, which="LA", v0=start, tol=tolerance, return_eigenvectors=False)[0])
