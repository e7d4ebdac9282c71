"""Partial channel connections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from raydarts import registry
from raydarts.errors import InputError
from raydarts.registry import Around, Idle
from raydarts.search.moments import SearchStage
from raydarts.search.regularizers.base import Regularizer
from raydarts.spaces import Space
from raydarts.spaces.lanes import of_lanes
from raydarts.spaces.transform import MixedEdge, MixedTransform

Part = Annotated[int, Field(ge=1)]


class _Partial(MixedTransform):
    """Sends the first 1/k of the channels through the candidates and the rest past them, then shuffles them."""

    LANES = True

    def __init__(self, k: int) -> None:
        self.k = k

    @classmethod
    def fused(cls, transforms: Sequence[_Partial]) -> MixedTransform:
        """Returns the first one. A supernet has one k, and its lanes with it."""
        if any(transform.k != transforms[0].k for transform in transforms):
            raise InputError("partial_channels: the lanes of one supernet have the same k")
        return transforms[0]

    def share(self, channels: int) -> int:
        if channels % self.k:
            raise InputError(f"partial_channels: a layer has {channels} channels, which k = {self.k} does not divide")
        return channels // self.k

    def on_edge(
        self, output: Tensor, source: Tensor, edge: MixedEdge, module: nn.Module | None, *, training: bool
    ) -> Tensor:
        if edge.lanes > 1:
            return self._on_lanes(output, source, edge)
        share = output.shape[1]
        rest = source[:, share:]
        if edge.stride > 1:
            rest = nn.functional.max_pool2d(rest, edge.stride, ceil_mode=True)
        # Shuffled, channel g * share + j of the concatenation is j * k + g: the groups side by side in a last
        # dimension, stacked channels-last, which is how the supernet's tensors lie.
        groups = [group.permute(0, 2, 3, 1) for group in (output, *torch.split(rest, share, 1))]
        return torch.stack(groups, -1).flatten(-2).permute(0, 3, 1, 2)

    @staticmethod
    def _on_lanes(output: Tensor, source: Tensor, edge: MixedEdge) -> Tensor:
        """Returns the same for each lane. Tensors are `(n, H, W, lanes, channels)`, as they lie in memory."""
        passing = of_lanes(output.permute(0, 2, 3, 1), edge.lanes, 3)
        share = passing.shape[4]
        rest = of_lanes(source.permute(0, 2, 3, 1), edge.lanes, 3)[..., share:]
        if edge.stride > 1:
            images = rest.flatten(3).permute(0, 3, 1, 2)
            images = nn.functional.max_pool2d(images, edge.stride, ceil_mode=True)
            rest = of_lanes(images.permute(0, 2, 3, 1), edge.lanes, 3)
        groups = (passing, *torch.split(rest, share, 4))
        return torch.stack(groups, -1).flatten(3).permute(0, 3, 1, 2)


class PartialChannels(Regularizer):
    """Sends only 1/k of an edge's channels through its candidates. The rest bypasses them. Then channels are shuffled.

    `k` is a number, or a list with one number for each stage of the search (DrNAS: 6, then 4). Where the edge halves
    the resolution, the other channels are max-pooled (2x2). Memory and arithmetic of the candidates fall to about 1/k,
    those of 1x1 convolutions to 1/k^2. `k` must divide the channels of every layer.
    """

    NAME = "partial_channels"
    LANES = True
    SOURCE = "PC-DARTS (Xu et al. 2020, arXiv 1907.05737), section 3.2, eq. 2; DrNAS (arXiv 2006.10355): k by stage"
    NEUTRAL = {"k": 1}
    FORMULA = "edge(x) = shuffle_k(concat(sum_o w_o o(x[:C/k]), x[C/k:]))"
    DIFFERS = (
        "Paper: the channels are sampled by a mask. Authors' code, and ours: always the first C/k, and a shuffle of "
        "the result (k groups), so that other channels come first at the next edge. k: 4 on CIFAR-10, 2 on ImageNet "
        "(both paper and code); DrNAS 6 then 4 (CIFAR-10), 6 then 3 (ImageNet), 4 then 2 (NAS-Bench-201). Where a side "
        "is odd the pooling rounds up, as the candidates do (the authors' code fails there)."
    )
    CONFLICTS = {"space:darts-rnn": "its states are vectors, all of whose entries a gate mixes; they have no channels"}
    CONTRACT: ClassVar[Mapping[str, object]] = {"k": 2}  # 4 does not divide the two channels of the contract tests

    class Settings(registry.Settings):
        k: Part | tuple[Part, ...] = Field(
            4,
            description="1/k of the channels pass through the candidates. A list has one k for each stage of the "
            "search.",
        )

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._stage = 0

    @property
    def _each(self) -> tuple[int, ...]:
        k: int | tuple[int, ...] = self.settings.k
        return k if isinstance(k, tuple) else (k,)

    def check(self, space: Space, epochs: int) -> None:
        # Layers are some powers of two times as wide as the first.
        channels = getattr(space.settings, "channels", None)
        for k in self._each:
            if channels is not None and channels % k:
                raise InputError(
                    f"k = {k} does not divide the {channels} channels of the space's first layer; "
                    "choose another k or space.channels"
                )

    def check_stages(self, stages: Sequence[SearchStage]) -> None:
        if isinstance(self.settings.k, tuple) and len(self.settings.k) != len(stages):
            raise InputError(
                f"partial_channels: k has {len(self.settings.k)} values and the search {len(stages)} stages; "
                "give one for each stage, or a single number"
            )

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if isinstance(self.settings.k, tuple) and all(k == 1 for k in self.settings.k):
            yield Idle(
                "k", "is 1 in every stage, and all channels pass; leave partial_channels out, or write 2 or more"
            )

    def on_stage_start(self, stage: int) -> None:
        self._stage = stage

    def transform(self) -> MixedTransform | None:
        k = self._each[self._stage] if isinstance(self.settings.k, tuple) else self.settings.k
        return _Partial(k) if k > 1 else None
