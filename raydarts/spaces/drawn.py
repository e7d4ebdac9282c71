"""Modules that draw at random, and where from."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Drawing(nn.Module):
    """Draws at random in its passes. `generator` is set by `draw_from`; without one torch's global generator draws."""

    generator: torch.Generator | None = None


def draw_from(network: nn.Module, generator: torch.Generator) -> None:
    """All parts of the network that draw at random draw from `generator`."""
    for module in network.modules():
        if isinstance(module, Drawing):
            module.generator = generator


class Mask(Drawing):
    """Dropout masks: 0 with probability `probability`, else 1 / (1 - probability); in evaluation mode all are 1.

    A mask may be kept over many time steps (variational dropout: Gal, Ghahramani 2016, arXiv 1512.05287).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, like: Tensor, *shape: int) -> Tensor | None:
        """A mask of this shape, of the dtype and on the device of `like`; None: nothing is dropped."""
        if not self.training or self.probability == 0.0:
            return None
        keep = 1.0 - self.probability
        return like.new_empty(shape).bernoulli_(keep, generator=self.generator).div_(keep)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask
