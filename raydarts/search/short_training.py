"""A short training of a search's genotype from scratch, to see what its cell is worth without the supernet's weights.

It draws from generators of its own and leaves the search as it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from raydarts.data.batches import Batches
from raydarts.measure import Meter
from raydarts.optimizers import SGD
from raydarts.spaces import Genotype, Space
from raydarts.spaces.regularization import RecurrentNetworkSettings
from raydarts.streams import derived_seed

if TYPE_CHECKING:
    from raydarts.search.model import Parts

_STREAM = "short_training"


@dataclass(frozen=True)
class ShortTraining:
    """A small network of the genotype, trained for `epochs` epochs while the learning rate falls to 0.

    `channels` and `layers` are those of a network of images, `units` of a recurrent one. `lr` None is 0.025 on images
    and 20 on text.
    """

    epochs: int
    lr: float | None = None
    channels: int = 8
    layers: int = 6
    units: int = 64
    auxiliary_weight: float = 0.0
    stem: Literal["cifar", "imagenet"] = "cifar"


class _Logits(nn.Module):
    """A network of images without its auxiliary output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)[0]
        return logits


def trained_shortly(
    settings: ShortTraining,
    space: Space,
    genotype: Genotype,
    parts: Parts,
    data: Mapping[str, Batches],
    batch_size: int,
) -> float:
    """Returns the score of the trained network on held-out data (the alpha half if nothing is held out).

    The score is the task's: accuracy on images, minus the loss on text. Equal genotypes of a search train alike.
    """
    task, streams = parts.task, parts.streams
    text = task.KIND == "text"
    size: Any = RecurrentNetworkSettings(units=settings.units) if text else settings
    with streams.globally(_STREAM):
        bare = space.network(genotype, task, size).to(device=streams.device, dtype=parts.dtype)
        network = bare if text else _Logits(bare)
        draws = [torch.Generator(streams.device) for _ in range(3)]
        for number, generator in enumerate(draws):
            generator.manual_seed(derived_seed(streams.seed, f"{_STREAM}/{number}"))
        getattr(bare, "draw_from", _ignore)(draws[2])
        lr = settings.lr if settings.lr is not None else 20.0 if text else 0.025
        momentum, decay = (0.0, 8e-7) if text else (0.9, 3e-4)
        optimizer = SGD(network.parameters(), lr, momentum=momentum, weight_decay=decay)
        learned = data["weight"]
        network.train()
        for epoch in range(settings.epochs):
            falling = lr * (1 + math.cos(math.pi * epoch / settings.epochs)) / 2
            for batch in learned.epoch(batch_size, draws[0], draws[1]):
                optimizer.param_groups[0]["lr"] = falling * batch.lr_scale
                loss = task.loss(network, batch)
                optimizer.zero_grad(set_to_none=True)
                (loss.value if loss.penalty is None else loss.value + loss.penalty).backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 0.25 if text else 5.0)
                optimizer.step()
                learned.carry(loss.memory)
        meter = Meter()
        held = data["validation"] if "validation" in data else data["alpha"]
        network.eval()
        with torch.no_grad():
            for batch in held.sequential(held.measured_size(batch_size)):
                loss = task.loss(network, batch)
                meter.add(loss.data, loss.correct, loss.count)
                held.carry(loss.memory)
        return task.score(meter)


def _ignore(generator: torch.Generator) -> None:
    """A network without draws takes no generator."""
