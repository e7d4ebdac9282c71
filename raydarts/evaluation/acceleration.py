"""Mixed precision, memory layout and compilation: faster training with the same computation."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from raydarts.evaluation.settings import Amp
from raydarts.float32 import mixed
from raydarts.spaces.ahead import Ahead

logger = logging.getLogger("raydarts")


Passed = tuple[Tensor, Tensor | None]
"""What a pass of a discrete network gives: logits, and those of the auxiliary head if it has one."""


class Accelerated(Protocol):
    """The settings that this module reads."""

    @property
    def amp(self) -> Amp: ...

    @property
    def channels_last(self) -> bool: ...

    @property
    def compile(self) -> bool: ...


class Compiled:
    """A network whose training passes are compiled as one graph. Random numbers are drawn before each pass.

    If torch cannot make one graph (a user's own primitive may do what torch cannot trace), the network is compiled in
    pieces, and a message says so.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.ahead = Ahead(network)
        self.run = torch.compile(network, fullgraph=True)

    def __call__(self, inputs: Tensor) -> Passed:
        with self.ahead.drawn(inputs):
            try:
                return cast(Passed, self.run(inputs))
            except torch._dynamo.exc.Unsupported as reason:
                first = str(reason).strip().partition("\n")[0]
                logger.warning(
                    "compile: the network is compiled in pieces, as torch makes no one graph of it: %s", first
                )
                self.run = torch.compile(self.network)
                return cast(Passed, self.run(inputs))


class Acceleration:
    """How passes through a network are run.

    - `amp`: convolutions and linear layers compute in that type (torch.amp.autocast). Weights and losses stay in
      `precision`. With float16 the loss is scaled, so that small gradients do not vanish, and a step whose gradients
      overflow is left out (torch.amp.GradScaler).
    - `channels_last`: the memory layout of images.
    - `compile`: torch.compile compiles the forward and backward pass (see `Compiled`). It takes a while in the first
      epoch and needs a C++ compiler (on a GPU Triton). Parameters, random draws and checkpoints are the same.
    """

    def __init__(self, settings: Accelerated, device: torch.device) -> None:
        self.settings = settings
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.amp == "float16")

    def place(self, network: nn.Module, dtype: torch.dtype) -> nn.Module:
        """Returns the network on the device, in the chosen layout."""
        layout = torch.channels_last if self.settings.channels_last else torch.contiguous_format
        placed: nn.Module = network.to(self.device, dtype, memory_format=layout)  # type: ignore[call-overload]
        return placed

    def runner(self, network: nn.Module) -> Callable[[Tensor], Passed]:
        """Returns what training calls instead of the network."""
        return Compiled(network) if self.settings.compile else network

    def inputs(self, images: Tensor) -> Tensor:
        """Returns images `(n, channels, H, W)`, which arrive channels last, in the chosen layout."""
        if self.settings.channels_last:
            return images
        return images.clone(memory_format=torch.contiguous_format)  # contiguous() would do nothing for one channel

    def autocast(self) -> AbstractContextManager[object]:
        return mixed(self.device, self.settings.amp)

    def backward(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Writes the unscaled gradients of the loss into the parameters' `.grad`."""
        optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Takes the optimizer's step, unless a gradient has overflowed."""
        self.scaler.step(optimizer)
        self.scaler.update()
