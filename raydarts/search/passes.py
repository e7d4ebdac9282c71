"""Passes of the supernet that remedies ask for.

A remedy may need losses or gradients beside those of the step. It asks for them in a generator: it yields a `Pass` and
is sent an `Answer`. So it is written once. A search alone answers each pass by itself (`alone`). In a group of searches
one pass of all lanes answers the passes that the lanes ask for at the same time (`lane_passes`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from raydarts.search.gradients import constant, gradients_of
from raydarts.search.moments import Step

if TYPE_CHECKING:
    from raydarts.search.objective import Modes, Objective

Mode = Literal["training", "evaluation", "batch_statistics"]


class Kind(NamedTuple):
    """What passes have in common that can be run together."""

    part: Literal["weight", "alpha"]
    mode: Mode
    by: tuple[str, ...]
    by_weights: bool


@dataclass(frozen=True)
class Pass:
    """A pass over the step's batch of `part` at these arch weights. It leaves the search as it was.

    All passes of a step draw the same dropout masks and noise. The answer has the gradients of the data loss by the
    arch weights of the cell types `by`, or by the weights at the positions `by_weights`, or none.

    `mode`: as in training, in evaluation, or in evaluation with the statistics of the batch.
    """

    part: Literal["weight", "alpha"]
    arch_weights: Mapping[str, Tensor]
    by: tuple[str, ...] = ()
    by_weights: Sequence[int] | None = None
    mode: Mode = "training"

    @property
    def kind(self) -> Kind:
        return Kind(self.part, self.mode, self.by, self.by_weights is not None)


class Answer(NamedTuple):
    """The data loss, without a graph, and the gradients that were asked for, in their order."""

    loss: Tensor
    gradients: list[Tensor]


Result = TypeVar("Result")
Asking = Generator[Pass, Answer, Result]
"""Yields passes, is sent their answers, and returns a result."""


def alone(asking: Asking[Result], step: Step) -> Result:
    """Answers the passes of one search by its own supernet. Returns the result."""
    objective, kind = step.objective, None
    with ExitStack() as setting:
        try:
            asked = next(asking)
            while True:
                if asked.kind != kind:  # passes of one kind follow one another: their setting is made once
                    setting.close()
                    kind = asked.kind
                    setting.enter_context(entered(objective, asked.mode))
                    if not kind.by_weights:
                        setting.enter_context(constant(objective.weights))
                asked = asking.send(_answer(asked, objective, step))
        except StopIteration as end:
            result: Result = end.value
            return result


def _answer(asked: Pass, objective: Objective, step: Step) -> Answer:
    arch_weights = differentiable(asked.arch_weights, asked.by)
    leaves = (
        [arch_weights[name] for name in asked.by]
        if asked.by_weights is None
        else [objective.weights[position] for position in asked.by_weights]
    )
    batch = step.weight_batch if asked.part == "weight" else step.alpha_batch
    with objective.virtual(), nullcontext() if leaves else torch.no_grad():
        loss = objective.data_loss(batch, arch_weights).value
        gradients = gradients_of(loss, leaves) if leaves else []
    return Answer(loss.detach(), gradients)


def differentiable(arch_weights: Mapping[str, Tensor], by: Sequence[str]) -> dict[str, Tensor]:
    """Returns arch weights without their graph. Those of the cell types `by` are leaves."""
    return {name: weights.detach().requires_grad_(name in by) for name, weights in arch_weights.items()}


@contextmanager
def entered(objective: Modes, mode: Mode) -> Iterator[None]:
    """Sets the mode inside the context. On exit each part of the supernet has its earlier mode again."""
    if mode == "batch_statistics":
        with objective.batch_statistics():
            yield
    elif mode == "evaluation":
        with _evaluating(objective.supernet):
            yield
    else:
        yield


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
