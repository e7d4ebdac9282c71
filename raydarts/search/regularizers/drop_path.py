"""Scheduled drop-path in search."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from raydarts import registry
from raydarts.search.moments import Moment
from raydarts.search.regularizers.base import Regularizer
from raydarts.spaces.transform import MixedEdge, MixedTransform
from raydarts.streams import Streams


class _DropEdges(MixedTransform):
    """Drops an image's whole path through a mixed operation and scales the kept paths by 1 / (1 - p).

    On text it drops the path of one column in one time step.
    """

    LANES = True

    def __init__(self) -> None:
        self.probability = 0.0
        self.generator: torch.Generator | None = None

    @classmethod
    def fused(cls, transforms: Sequence[_DropEdges]) -> MixedTransform:
        return _DropLanes(transforms)

    def on_edge(
        self, output: Tensor, source: Tensor, edge: MixedEdge, module: nn.Module | None, *, training: bool
    ) -> Tensor:
        if self.probability == 0.0 or not training:
            return output
        return output * self.mask(output.new_empty((output.shape[0], *(1,) * (output.dim() - 1))))

    def mask(self, empty: Tensor) -> Tensor:
        """Returns a scaled mask of this shape. Nothing is drawn if nothing can be dropped."""
        if self.probability == 0.0:
            return empty.fill_(1.0)
        keep = 1.0 - self.probability
        return empty.bernoulli_(keep, generator=self.generator) / keep


class _DropLanes(MixedTransform):
    """Drops the paths of several lanes. Each lane has its own probability and draws its own masks."""

    def __init__(self, transforms: Sequence[_DropEdges]) -> None:
        self.transforms = transforms

    def on_edge(
        self, output: Tensor, source: Tensor, edge: MixedEdge, module: nn.Module | None, *, training: bool
    ) -> Tensor:
        if not training or all(transform.probability == 0.0 for transform in self.transforms):
            return output
        shape = (output.shape[0], *(1,) * (output.dim() - 1))
        masks = [transform.mask(output.new_empty(shape)) for transform in self.transforms]
        channels = output.shape[1] // edge.lanes
        return output * torch.cat(masks, 1).repeat_interleave(channels, 1)


class DropPath(Regularizer):
    """Drop-path on every edge of the supernet. Its probability rises linearly: p * epoch / (epochs - 1)."""

    NAME = "drop_path"
    LANES = True
    SOURCE = "RobustDARTS (Zela et al. 2020, arXiv 1909.09656), section 5.1: 0, .2, .4, .6; ScheduledDropPath: NASNet"
    FORMULA = "edge <- keep / (1 - q) * edge; for each image keep ~ Bernoulli(1 - q), q = p * epoch / (epochs - 1)"
    DIFFERS = (
        "As in the authors' search code a whole edge is dropped, skip connections too, for each image by itself; "
        "their code ramps cutout along with it, which is the remedy scheduled_cutout here."
    )
    NEUTRAL = {"probability": 0.0}

    class Settings(registry.Settings):
        probability: float = Field(
            0.2, ge=0, lt=1, description="Probability that an edge is dropped in the last epoch. It rises from 0."
        )

        def may_change(self) -> tuple[str, ...]:
            return ("probability",)

    @property
    def from_zero(self) -> bool:
        return True

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._drop = _DropEdges()

    def bind(self, streams: Streams) -> None:
        self._drop.generator = streams["dropout"]

    def transform(self) -> MixedTransform | None:
        return self._drop if self.settings.probability > 0 else None

    def on_epoch_start(self, now: Moment) -> None:
        self._drop.probability = self.settings.probability * now.progress
