"""The dominant eigenvalue of the alpha Hessian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from raydarts.search.estimators.base import constant
from raydarts.tasks import Batch

if TYPE_CHECKING:
    from raydarts.search.objective import Objective

DENSE = 40


def dominant_eigenvalue(objective: Objective, batch: Batch, tolerance: float = 1e-3) -> float:
    """Largest eigenvalue of d2L_val/dalpha2 on one batch, over the alpha of all cell types (RobustDARTS, section 4).

    L_val is the data loss, without penalties and without alpha's weight decay (the authors' code adds its
    1e-3 to the diagonal). Hessian-vector products come from automatic differentiation; Lanczos (ARPACK)
    asks for them until the eigenvalue is known to the relative `tolerance`. It begins at a fixed vector,
    so that equal states give equal values. Up to `DENSE` alphas the whole Hessian takes fewer products. The
    supernet is in training mode, and no trace is left in it. Of a random relaxation it is the Hessian in the
    expected arch weights: a draw is no state.
    """
    alphas = list(objective.alpha_by_type.values())
    sizes = [alpha.numel() for alpha in alphas]
    with objective.virtual(), constant(objective.weights):
        loss = objective.data_loss(batch, objective.arch_weights(expected=True)).value
        gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, alphas, create_graph=True)])

        def product(vector: np.ndarray) -> np.ndarray:
            direction = torch.from_numpy(np.ascontiguousarray(vector.reshape(-1))).to(gradient)
            found = torch.autograd.grad(gradient, alphas, direction, retain_graph=True)
            return torch.cat([part.flatten() for part in found]).double().cpu().numpy()

        size = sum(sizes)
        if size <= DENSE:
            return float(np.linalg.eigvalsh(np.stack([product(row) for row in np.eye(size)])).max())
        start = np.random.default_rng(0).standard_normal(size)
        operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
        return float(eigsh(operator, k=1, which="LA", v0=start, tol=tolerance, return_eigenvectors=False)[0])
