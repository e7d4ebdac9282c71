"""Gradients of losses by some leaves, while all others are constants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def constant(leaves: Sequence[Tensor]) -> Iterator[None]:
    """Makes these tensors constants inside the context. Gradients of all others are then cheaper.

    Pass all weights or all alphas. On exit, the tensors that were trained before are trained again. A weight that its
    module holds fixed stays fixed.
    """
    learning = [leaf for leaf in leaves if leaf.requires_grad]
    for leaf in learning:
        leaf.requires_grad_(False)
    try:
        yield
    finally:
        for leaf in learning:
            leaf.requires_grad_(True)


def gradients_of(loss: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Returns dloss/dleaf for each leaf. The losses of several lanes are summed, because no leaf is in two of them.

    The gradient is 0 if a sparse relaxation has left the leaf out of the pass, or if the module holds it fixed. A loss
    has no graph if every edge drew `none`. Then all gradients are 0.
    """
    loss = loss.sum() if loss.dim() else loss
    learning = [leaf for leaf in leaves if leaf.requires_grad] if loss.requires_grad else []
    gradients = iter(torch.autograd.grad(loss, learning, materialize_grads=True) if learning else ())
    return [next(gradients) if loss.requires_grad and leaf.requires_grad else torch.zeros_like(leaf) for leaf in leaves]
