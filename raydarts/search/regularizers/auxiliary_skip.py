"""The auxiliary skip connection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from raydarts import registry
from raydarts.errors import InputError
from raydarts.search.moments import Moment
from raydarts.search.regularizers.base import Regularizer
from raydarts.spaces import Space
from raydarts.spaces.lanes import plus_weighted
from raydarts.spaces.primitives import FactorizedReduce, convolution
from raydarts.spaces.transform import MixedEdge, MixedTransform
from raydarts.states import State
from raydarts.tasks import Classification


class _AddSkip(MixedTransform):
    """Adds `coefficient` times a skip connection over all channels of the source to every edge."""

    LANES = True

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self.coefficient = 0.0

    @classmethod
    def fused(cls, transforms: Sequence[_AddSkip]) -> MixedTransform:
        return _AddSkips(transforms)

    def build(self, edge: MixedEdge) -> nn.Module | None:
        if edge.stride > 1:
            return FactorizedReduce(edge.channels, edge.channels, False, edge.lanes)
        if self.operation == "skip":
            return None
        identity = convolution(edge.channels, edge.channels, 1, edge.lanes)
        nn.init.dirac_(identity.weight, edge.lanes)
        return identity

    def on_edge(
        self, output: Tensor, source: Tensor, edge: MixedEdge, module: nn.Module | None, *, training: bool
    ) -> Tensor:
        if module is None:
            skipped = source
        else:
            skipped = module(torch.relu(source) if getattr(module, "PREACTIVATED", False) else source)
        return self.added(output, skipped)

    def added(self, output: Tensor, skipped: Tensor) -> Tensor:
        return _plus(output, skipped, [self.coefficient])


class _AddSkips(_AddSkip):
    """The skip connections of several lanes, each with its own coefficient."""

    def __init__(self, transforms: Sequence[_AddSkip]) -> None:
        super().__init__(transforms[0].operation)
        self.transforms = transforms

    def added(self, output: Tensor, skipped: Tensor) -> Tensor:
        return _plus(output, skipped, [transform.coefficient for transform in self.transforms])


def _plus(output: Tensor, skipped: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Returns output + c * skipped, with a coefficient for each lane. `search.amp` rounds no coefficient.

    A CPU would round the factor of `torch.add` to the type of the output. A GPU does not.
    """
    exact = torch.promote_types(output.dtype, torch.float32)
    if len(set(coefficients)) == 1 and (output.is_cuda or output.dtype == exact):
        return torch.add(output, skipped, alpha=coefficients[0])
    return plus_weighted(output, output.new_tensor(coefficients, dtype=exact), skipped)


class AuxiliarySkip(Regularizer):
    """Adds a separate skip connection, which is no candidate, to every edge, and fades it out.

    Its coefficient starts at `start`. In epoch e (from 0) of E, `schedule` gives:

    - `linear`: start * (1 - e / E)
    - `cosine`: start * (1 + cos(pi * e / E)) / 2
    - `slow_cosine`: start * cos(pi / 2 * e / E)
    - `constant`: start

    At stride 2 the skip connection is a factorized reduce with its own weights. At stride 1 it is the identity, or with
    `operation` `conv1` a 1x1 convolution that starts as the identity. It acts in evaluation mode too. While a selection
    decides, the coefficient stays at its last value.
    """

    NAME = "auxiliary_skip"
    LANES = True
    SOURCE = "DARTS- (Chu et al. 2021, arXiv 2009.01027), section 3, algorithm 1"
    NEUTRAL = {"start": 0.0}
    FORMULA = "edge(x) = sum_o w_o o(x) + c * skip(x), c = start * (1 - epoch / epochs)"
    DIFFERS = (
        "The authors' code has all four schedules, over 50 epochs by hand; its default is constant, the paper's is "
        "linear. As in the code, the last epoch's coefficient is not 0 (linear: start / epochs)."
    )

    class Settings(registry.Settings):
        start: float = Field(1.0, ge=0, description="The skip connection's coefficient in the first epoch.")
        schedule: Literal["linear", "cosine", "slow_cosine", "constant"] = Field(
            "linear", description="How the coefficient falls over the epochs."
        )
        operation: Literal["skip", "conv1"] = Field(
            "skip",
            description="What stands on edges of stride 1: the identity, or a 1x1 convolution that begins as the "
            "identity.",
        )

        def may_change(self) -> tuple[str, ...]:
            return ("start",) if self.start > 0 else ()  # at 0 there is no operation, so it must not come or go

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._coefficient = 0.0
        self._transform: _AddSkip | None = None

    def check(self, space: Space, epochs: int) -> None:
        if self.settings.operation == "conv1" and space.TASK is not Classification:
            raise InputError(
                f"operation conv1 is a convolution, and the states of {space.registered} are vectors: choose skip"
            )

    def transform(self) -> MixedTransform | None:
        if self.settings.start == 0:
            return None
        self._transform = _AddSkip(self.settings.operation)
        self._transform.coefficient = self._coefficient
        return self._transform

    def on_epoch_start(self, now: Moment) -> None:
        self._set(self.settings.start * self._remaining(now.epoch / now.epochs))

    def _remaining(self, passed: float) -> float:
        return {
            "linear": 1 - passed,
            "cosine": (1 + math.cos(math.pi * passed)) / 2,
            "slow_cosine": math.cos(math.pi / 2 * passed),
            "constant": 1.0,
        }[self.settings.schedule]

    def _set(self, coefficient: float) -> None:
        self._coefficient = coefficient
        if self._transform is not None:
            self._transform.coefficient = coefficient

    def state_dict(self) -> State:
        return {"coefficient": self._coefficient}  # no epoch starts while a selection decides

    def load_state_dict(self, state: State) -> None:
        self._set(state["coefficient"])
