"""Modules that draw at random, and their generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Drawing(nn.Module):
    """Draws at random in its passes, from `generator` (set by `draw_from`) or else from torch's global generator."""

    generator: torch.Generator | None = None


def draw_from(network: nn.Module, generator: torch.Generator) -> None:
    """Makes all parts of the network that draw at random draw from `generator`."""
    for module in network.modules():
        if isinstance(module, Drawing):
            module.generator = generator


class Mask(Drawing):
    """Dropout masks: 0 with probability `probability`, else 1 / (1 - probability). In evaluation mode all are 1.

    A mask may be kept over many time steps (variational dropout: Gal, Ghahramani 2016, arXiv 1512.05287).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, like: Tensor, *shape: int) -> Tensor | None:
        """Returns a mask of this shape with the dtype and device of `like`, or None if nothing is dropped."""
        if not self.training or self.probability == 0.0:
            return None
        keep = 1.0 - self.probability
        return like.new_empty(shape).bernoulli_(keep, generator=self.generator).div_(keep)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask
