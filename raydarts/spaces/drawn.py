"""Modules that draw at random, and their generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from raydarts.spaces.lanes import of_lanes


class Drawing(nn.Module):
    """Draws at random in its passes, from `generator` (set by `draw_from`) or else from torch's global generator.

    With lanes each lane draws from its own of the `generators`.
    """

    generators: tuple[torch.Generator | None, ...] = (None,)

    @property
    def generator(self) -> torch.Generator | None:
        (generator,) = self.generators
        return generator


def draw_from(network: nn.Module, generators: torch.Generator | Sequence[torch.Generator]) -> None:
    """Makes all parts of the network that draw at random draw from this generator. With lanes each lane has its own."""
    given = (generators,) if isinstance(generators, torch.Generator) else tuple(generators)
    for module in network.modules():
        if isinstance(module, Drawing):
            module.generators = given


def draw_each(like: Tensor, lanes: int, draw: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Returns a tensor like `like`, `(batch, lanes * C, H, W)`, that `draw(lane, empty)` fills lane by lane.

    `empty` has the shape and the layout that the lane has alone. So the lane draws what it draws alone.
    """
    parts = of_lanes(like, lanes).unbind(1)
    return torch.cat([draw(lane, torch.empty_like(part)) for lane, part in enumerate(parts)], 1)


class Mask(Drawing):
    """Dropout masks: 0 with probability `probability`, else 1 / (1 - probability). In evaluation mode all are 1.

    A mask may be kept over many time steps (variational dropout: Gal, Ghahramani 2016, arXiv 1512.05287).
    """

    def __init__(self, probability: float, lanes: int = 1) -> None:
        super().__init__()
        self.probability, self.lanes = probability, lanes

    def forward(self, like: Tensor, *shape: int) -> Tensor | None:
        """Returns a mask of this shape with the dtype and device of `like`, or None if nothing is dropped.

        With lanes there is one for each lane, in a first dimension.
        """
        if not self.training or self.probability == 0.0:
            return None
        if self.lanes == 1:
            return self._drawn(like, shape, self.generator)
        return torch.stack([self._drawn(like, shape, generator) for generator in self.generators])

    def _drawn(self, like: Tensor, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        keep = 1.0 - self.probability
        return like.new_empty(shape).bernoulli_(keep, generator=generator).div_(keep)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask
