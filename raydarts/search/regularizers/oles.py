"""OLES: early stopping for each operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from raydarts import registry
from raydarts.search.moments import Moment, Step
from raydarts.search.objective import Objective
from raydarts.search.passes import Asking, Pass
from raydarts.search.regularizers.base import Regularizer
from raydarts.spaces import Space
from raydarts.spaces.cells import MixedGraph
from raydarts.states import State
from raydarts.units import Steps


class Oles(Regularizer):
    """Freezes a candidate when its training gradient no longer points in the direction of the alpha-batch's gradient.

    Each step takes the cosine of two gradients by the candidate's parameters: that of the training loss and that of the
    alpha-batch's loss. After `frequency` steps the mean is compared with `threshold`. If it is lower, the candidate's
    parameters are frozen for the rest of the search. Then a new mean starts. A step in which the candidate was not used
    (sparse relaxations) does not count. A new supernet (stages) starts with no frozen candidates.

    `similarity: whole` takes all parameters of a candidate as one vector. `similarity: columns` is the authors' code:
    for each parameter the cosines along the first dimension (output channels), averaged over the others and then over
    the parameters.

    Cost: one forward and backward pass of the alpha-batch in each step, until all candidates are frozen.
    """

    NAME = "oles"
    LANES = True
    SOURCE = "OLES (Jiang et al. 2023, NeurIPS), gradient matching; frequency 20, threshold .4"
    NEUTRAL = {"threshold": -1.0}
    CONFLICTS = {"space:darts-rnn": "candidates there have no weights of their own that could be frozen"}
    CONTRACT: ClassVar[Mapping[str, object]] = {"frequency": 2}  # two short epochs have fewer than 20 steps
    FORMULA = "freeze w_o where the mean over `frequency` steps of cos(dL_train/dw_o, dL_val/dw_o) < threshold"
    DIFFERS = (
        "The authors' code compares the alpha-batch with the weight-batch of the step before, which its first-order "
        "alpha step gives it without a further pass, column by column (`columns`), and its first mean divides 21 "
        "steps by 20; threshold and frequency are fixed numbers there. Here both batches are the step's own, at the "
        "same weights. Skip connections of stride 2 have parameters and are never frozen, as there. A frozen "
        "candidate neither moves nor decays here; there momentum and weight decay may go on, which hangs on the "
        "version of torch."
    )

    class Settings(registry.Settings):
        frequency: Steps = Field(20, ge=1, description="Steps over which the cosine is averaged.")
        threshold: float = Field(0.4, ge=-1, le=1, description="A candidate is frozen where the mean cosine is lower.")
        similarity: Literal["whole", "columns"] = Field(
            "whole",
            description="`whole` compares all parameters of a candidate as one vector. `columns` compares by "
            "output channel.",
        )

        def may_change(self) -> tuple[str, ...]:
            return ("threshold",)

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._candidates: list[list[int]] = []  # positions among the weights, for each candidate
        self._stage = 0
        self._begin()

    def _begin(self) -> None:
        self._sums: dict[int, float] = {}
        self._counts: dict[int, int] = {}
        self._stopped: set[int] = set()

    def attach(self, space: Space, objective: Objective) -> None:
        place = {id(weight): position for position, weight in enumerate(objective.weights)}
        self._candidates = [
            positions
            for module in objective.supernet.modules()
            if isinstance(module, MixedGraph)
            for key, operation in module.operations.items()
            if not key.endswith(f"-{space.SKIP}") and (positions := [place[id(w)] for w in operation.parameters()])
        ]

    def on_epoch_start(self, now: Moment) -> None:
        if now.stage != self._stage:
            self._stage = now.stage
            self._begin()

    def frozen(self) -> frozenset[int]:
        return frozenset(position for candidate in self._stopped for position in self._candidates[candidate])

    def watching(self, gradients: Sequence[Tensor], step: Step) -> Asking[None]:
        watched = [number for number in range(len(self._candidates)) if number not in self._stopped]
        if self.settings.threshold == -1.0 or not watched:
            return
        positions = [position for number in watched for position in self._candidates[number]]
        step.objective.begin_alpha_step()  # this step has its own draw, also while alpha is not trained
        with step.objective.virtual(), torch.no_grad():
            arch_weights = step.objective.arch_weights()
        other = (yield Pass("alpha", arch_weights, by_weights=positions)).gradients
        here = [gradients[position] for position in positions]
        sizes = [len(self._candidates[number]) for number in watched]
        measure = whole_similarity if self.settings.similarity == "whole" else column_similarity
        for number, value in zip(watched, measure(here, other, sizes), strict=True):
            if value is not None:
                self._count(number, value)

    def _count(self, candidate: int, value: float) -> None:
        self._sums[candidate] = self._sums.get(candidate, 0.0) + value
        self._counts[candidate] = self._counts.get(candidate, 0) + 1
        if self._counts[candidate] == self.settings.frequency:
            if self._sums[candidate] / self.settings.frequency < self.settings.threshold:
                self._stopped.add(candidate)
            del self._sums[candidate], self._counts[candidate]

    def state_dict(self) -> State:
        return {
            "stage": self._stage,
            "sums": dict(self._sums),
            "counts": dict(self._counts),
            "stopped": sorted(self._stopped),
        }

    def load_state_dict(self, state: State) -> None:
        self._stage = state["stage"]
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
        self._stopped = set(state["stopped"])


def _took_part(norms: Tensor, others: Tensor) -> Tensor:
    return (norms > 0) & (others > 0)


def whole_similarity(one: Sequence[Tensor], other: Sequence[Tensor], sizes: Sequence[int]) -> list[float | None]:
    """Returns a cosine for each group of `sizes[i]` tensors, all of a group as one vector.

    It is None if one of the two vectors is 0.
    """
    groups = [sum(tensor.numel() for tensor in group) for group in _grouped(one, sizes)]
    flat, flat_other = (torch.cat([tensor.flatten() for tensor in tensors]) for tensors in (one, other))
    norms, norms_other = (
        torch.stack(torch._foreach_norm(list(torch.split(vector, groups)))) for vector in (flat, flat_other)
    )
    dots = torch.stack([part.sum() for part in torch.split(flat * flat_other, groups)])
    return _valued(dots / (norms * norms_other), _took_part(norms, norms_other))


def column_similarity(one: Sequence[Tensor], other: Sequence[Tensor], sizes: Sequence[int]) -> list[float | None]:
    """Like `whole_similarity`, but the mean over a group's tensors of the mean cosine along their first dimension."""
    each = [nn.functional.cosine_similarity(a, b, dim=0).mean() for a, b in zip(one, other, strict=True)]
    means = torch.stack([torch.stack(group).mean() for group in _grouped(each, sizes)])
    norms, norms_other = (
        torch.stack([torch.stack(torch._foreach_norm(group)).max() for group in _grouped(tensors, sizes)])
        for tensors in (one, other)
    )
    return _valued(means, _took_part(norms, norms_other))


def _grouped(tensors: Sequence[Tensor], sizes: Sequence[int]) -> list[list[Tensor]]:
    rest = iter(tensors)
    return [[next(rest) for _ in range(size)] for size in sizes]


def _valued(values: Tensor, known: Tensor) -> list[float | None]:
    return [value if here else None for value, here in zip(values.tolist(), known.tolist(), strict=True)]
