"""The dominant eigenvalue of the alpha Hessian."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from raydarts.errors import NonFiniteError
from raydarts.search.gradients import constant
from raydarts.spaces.second_derivatives import twice_differentiable
from raydarts.tasks import Batch

if TYPE_CHECKING:
    from raydarts.search.lanes import LaneObjective
    from raydarts.search.objective import Objective

TOLERANCE = 1e-3
_NOTHING = 1e-12
"""A rest of a product is rounding if its norm is at most this share of the largest |eigenvalue|."""


def dominant_eigenvalue(objective: Objective, batch: Batch, tolerance: float = TOLERANCE) -> float:
    """Returns the largest eigenvalue of d2L_val/dalpha2 on one batch, over alpha of all cell types (RobustDARTS,
    section 4).

    L_val is the data loss, without penalties and without alpha's weight decay. The authors' code adds its 1e-3 to the
    diagonal, and computes the whole Hessian. Here automatic differentiation computes Hessian-vector products, and
    `lanczos` asks for them. It starts at a fixed vector, so equal states give equal values.

    The supernet is in training mode. Its state is the same afterwards. With a random relaxation this is the Hessian in
    the expected arch weights, because a draw is not a state. Raises `NonFiniteError` if a
    product is not finite.
    """
    alphas = list(objective.alpha_by_type.values())
    with differentiable_gradient(objective, batch) as gradient:

        def product(vectors: Sequence[np.ndarray]) -> list[np.ndarray]:
            direction = torch.from_numpy(vectors[0]).to(gradient)
            return [_flat(torch.autograd.grad(gradient, alphas, direction, retain_graph=True))]

        return _together([lanczos(gradient.numel(), tolerance)], product, [gradient.numel()])[0]


@contextmanager
def differentiable_gradient(objective: Objective, batch: Batch) -> Iterator[Tensor]:
    """Yields dL_val/dalpha as one vector, with the graph that its products with the Hessian need."""
    alphas = list(objective.alpha_by_type.values())
    with objective.virtual(), constant(objective.weights), twice_differentiable():
        loss = objective.data_loss(batch, objective.arch_weights(expected=True)).value
        yield torch.cat([part.flatten() for part in torch.autograd.grad(loss, alphas, create_graph=True)])


def dominant_eigenvalues(objective: LaneObjective, batch: Batch, lanes: Sequence[int]) -> dict[int, float]:
    """Returns the `dominant_eigenvalue` of each of these lanes. Each product is computed for all lanes at once."""
    alphas = [list(lane.alpha_by_type.values()) for lane in objective.lanes]
    leaves = [alpha for each in alphas for alpha in each]
    sizes = [sum(alpha.numel() for alpha in each) for each in alphas]
    with objective.virtual(), constant(objective.weights), twice_differentiable():
        arch_weights = [lane.arch_weights(expected=True) for lane in objective.lanes]
        loss = objective.data_loss(batch, arch_weights).value.sum()
        gradients = torch.autograd.grad(loss, leaves, create_graph=True)

        def product(vectors: Sequence[np.ndarray]) -> list[np.ndarray]:
            directions = torch.from_numpy(np.concatenate(vectors)).to(gradients[0])
            parts = torch.split(directions, [alpha.numel() for alpha in leaves])
            each = [part.view_as(alpha) for part, alpha in zip(parts, leaves, strict=True)]
            products = torch.autograd.grad(gradients, leaves, each, retain_graph=True)
            return np.split(_flat(products), np.cumsum(sizes)[:-1])

        asking = [lanczos(size, TOLERANCE) if lane in lanes else None for lane, size in enumerate(sizes)]
        found = _together(asking, product, sizes)
    return {lane: found[lane] for lane in lanes}


def _flat(tensors: Sequence[Tensor]) -> np.ndarray:
    return torch.cat([tensor.flatten() for tensor in tensors]).double().cpu().numpy()


Lanczos = Generator[np.ndarray, np.ndarray, float]


def lanczos(size: int, tolerance: float) -> Lanczos:
    """Yields vectors, is sent their products with a symmetric matrix, and returns its largest eigenvalue.

    Each product is made orthogonal to all vectors before it, so that rounding repeats no eigenvalue. It ends when the
    residual |A v - theta v| is at most `tolerance * |theta|`, theta being the largest eigenvalue so far and v its unit
    vector. Theta's error falls with the residual's square: at 1e-3 it was about 1e-6 of theta. Theta is exact after
    `size` products, and before that if the products span no more. Searches took 7 to 17 products. ARPACK
    (`scipy.sparse.linalg.eigsh`) takes at least 20, and asks for those of one matrix at a time.
    """
    vector = np.random.default_rng(0).standard_normal(size)
    vector /= np.linalg.norm(vector)
    basis = np.empty((0, size))
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        product = yield vector
        if not np.isfinite(product).all():
            raise NonFiniteError(
                "the Hessian of the alpha loss is not finite, so its dominant eigenvalue is unknown; look at search.lr "
                "and search.arch_lr"
            )
        basis = np.vstack([basis, vector])
        diagonal.append(float(vector @ product))
        for _ in range(2):  # once leaves a rest of rounding
            product = product - basis.T @ (basis @ product)
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
        largest, left = float(values[-1]), float(np.linalg.norm(product))
        spent = len(basis) == size or left <= _NOTHING * np.abs(values).max()  # no further vector is of the matrix
        if spent or left * abs(vectors[-1, -1]) <= tolerance * abs(largest):
            return largest
        beside.append(left)
        vector = product / left


def _together(
    asking: Sequence[Lanczos | None],
    product: Callable[[Sequence[np.ndarray]], list[np.ndarray]],
    sizes: Sequence[int],
) -> list[float]:
    """Answers all that ask by one `product` at a time, and returns what they found. None asks nothing: NaN."""
    found = [float("nan")] * len(asking)
    vectors = [np.zeros(size) for size in sizes]
    going = {lane: each for lane, each in enumerate(asking) if each is not None}
    for lane, each in going.items():
        vectors[lane] = next(each)
    while going:
        products = product(vectors)
        for lane, each in list(going.items()):
            try:
                vectors[lane] = each.send(products[lane])
            except StopIteration as end:
                found[lane] = end.value
                vectors[lane] = np.zeros(sizes[lane])
                del going[lane]
    return found
