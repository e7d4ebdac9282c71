"""What is learned from data of a kind: its batches, its loss, and the figure it is told in.

A data source says its task, a space which kind it can be searched on; the loop, the estimators and the remedies know
neither.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from raydarts.errors import InputError
from raydarts.measure import Meter


class Batch(NamedTuple):
    """Images: `inputs` `(n, channels, H, W)` normalised, channels last in memory; `targets` `(n,)` class numbers.

    Text: token numbers `(T, B)` and the tokens that follow each; `memory`, the network's hidden state before the first
    of them (None: none yet); `lr_scale`, by which the weights' learning rate is multiplied in this batch's step.

    Text of several lanes: `lengths`, how many of the T time steps each lane has, if they differ. The rest is filled up.
    """

    inputs: Tensor
    targets: Tensor
    memory: Tensor | None = None
    lr_scale: float = 1.0
    lengths: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Loss:
    """A batch's loss. `value` is what is descended, penalties included; `data` the data loss alone, without a graph.

    `count` images or tokens, of which `correct` are right (None: not counted). `penalty`: what the network adds to the
    training loss, not yet in `value`. `memory`: the hidden state after the batch, without a graph.

    Of a network with lanes, `value`, `data`, `correct` and `penalty` have one entry a lane. `count` is one lane's, or
    `(lanes,)` if the lanes differ in it.
    """

    value: Tensor
    data: Tensor
    correct: Tensor | None
    count: int | Tensor
    penalty: Tensor | None = None
    memory: Tensor | None = None


class Task(ABC):
    """What is learned. `KIND` of the data; `FIGURE`: what a part's loss is told as besides."""

    KIND: ClassVar[str]
    FIGURE: ClassVar[str]

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch, *arch_weights: Mapping[str, Tensor]) -> Loss:
        """The data loss of a batch: of a supernet with its arch weights, or of a network without."""

    @abstractmethod
    def figure(self, meter: Meter) -> float | None:
        """`FIGURE`, of what the meter has seen; None where that is nothing."""

    @abstractmethod
    def score(self, meter: Meter) -> float:
        """What a selection compares: the higher the better."""

    def figures(self, part: str, meter: Meter) -> dict[str, float | None]:
        """A part's metrics."""
        return {f"{part}_loss": meter.loss, f"{part}_{self.FIGURE}": self.figure(meter)}

    @classmethod
    def metrics(cls) -> tuple[str, ...]:
        """What every search on such data reports each epoch."""
        return tuple(f"{part}_{name}" for part in ("weight", "alpha", "validation") for name in ("loss", cls.FIGURE))


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean over the rows `(rows, classes)`. With lanes, `(lanes, rows, classes)`, it is `(lanes,)`."""
    if logits.dim() == 2:
        return nn.functional.cross_entropy(logits, targets)
    rows = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return rows.view(targets.shape).mean(1)


def mean_over_steps(x: Tensor, lengths: Tensor) -> Tensor:
    """Returns each lane's mean `(lanes,)` of `(lanes, T, ...)` over its first time steps, 0 of a lane without any."""
    steps = x.flatten(2).mean(2)
    inside = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    return torch.where(inside, steps, 0.0).sum(1) / lengths.clamp(min=1)


@dataclass(frozen=True)
class Classification(Task):
    """Images `(channels, height, width)` of `num_classes` classes: cross entropy, told as accuracy in [0, 1]."""

    image_shape: tuple[int, int, int]
    num_classes: int

    KIND: ClassVar[str] = "image"
    FIGURE: ClassVar[str] = "accuracy"

    def loss(self, network: nn.Module, batch: Batch, *arch_weights: Mapping[str, Tensor]) -> Loss:
        logits = network(batch.inputs, *arch_weights)
        loss = _cross_entropy(logits, batch.targets)
        correct = (logits.detach().argmax(-1) == batch.targets).sum(-1)
        return Loss(loss, loss.detach(), correct, batch.targets.shape[-1])

    def figure(self, meter: Meter) -> float | None:
        return meter.accuracy

    def score(self, meter: Meter) -> float:
        return float(meter.accuracy or 0.0)


@dataclass(frozen=True)
class LanguageModelling(Task):
    """The next of `vocabulary_size` tokens: cross entropy (nats a token), told as perplexity, exp(mean loss).

    The network is called with `memory` and gives `(logits (T, B, vocabulary), memory, penalty)`.
    """

    vocabulary_size: int

    KIND: ClassVar[str] = "text"
    FIGURE: ClassVar[str] = "perplexity"

    def loss(self, network: nn.Module, batch: Batch, *arch_weights: Mapping[str, Tensor]) -> Loss:
        count: int | Tensor = batch.targets.shape[-2:].numel()
        if batch.lengths is None:
            output = network(batch.inputs, *arch_weights, memory=batch.memory)
            loss = _cross_entropy(output.logits.flatten(-3, -2), batch.targets.flatten(-2))
        else:
            lengths = torch.tensor(batch.lengths, device=batch.inputs.device)
            output = network(batch.inputs, *arch_weights, memory=batch.memory, lengths=batch.lengths)
            rows = nn.functional.cross_entropy(output.logits.flatten(0, 2), batch.targets.flatten(), reduction="none")
            loss = mean_over_steps(rows.view(batch.targets.shape), lengths)
            count = lengths * batch.targets.shape[-1]
        return Loss(loss, loss.detach(), None, count, output.penalty, output.memory)

    def figure(self, meter: Meter) -> float | None:
        return None if meter.loss is None else perplexity(meter.loss)

    def score(self, meter: Meter) -> float:
        return -math.inf if meter.loss is None else -meter.loss


LARGEST_EXPONENT = 700.0


def perplexity(loss: float) -> float:
    """exp(loss), loss in nats a token; finite where the exponential would overflow."""
    return math.exp(min(loss, LARGEST_EXPONENT))


TASKS: dict[str, type[Task]] = {task.KIND: task for task in (Classification, LanguageModelling)}

Wanted = TypeVar("Wanted", bound=Task)


def required(task: Task, kind: type[Wanted]) -> Wanted:
    """`task`, where it is of this kind. Raises `InputError`."""
    if not isinstance(task, kind):
        raise InputError(f"this needs {kind.KIND} data, not {task.KIND}")
    return task
