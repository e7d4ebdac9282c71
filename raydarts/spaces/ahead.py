"""Draws all random numbers of a network's pass before the pass.

torch.compile makes one graph of a pass only if nothing in the pass draws from a generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from raydarts.spaces.cells import DiscreteGraph, DropPath
from raydarts.spaces.primitives import Noise


class Ahead:
    """Draws the random numbers of a network's training passes: drop-path's masks and the output of the primitive
    `noise`.

    They come from the same generators in the same order as in a normal pass. So a compiled network gets the same
    numbers, and a checkpoint of one continues in the other. Only a pass can tell the shape of each noise. So the first
    batch passes once in evaluation mode, which changes nothing.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.graphs = [module for module in network.modules() if isinstance(module, DiscreteGraph)]
        self.noises = [module for module in network.modules() if isinstance(module, Noise)]
        self._noise_like: tuple[torch.Size, dict[nn.Module, Tensor]] | None = None

    @contextmanager
    def drawn(self, inputs: Tensor) -> Iterator[None]:
        """Inside the context, one pass of the network on `inputs` draws nothing."""
        like = self._like(inputs) if self.noises else {}
        paths = self._paths()
        masks: dict[int, Tensor] = {}
        for graph in self.graphs:  # in the order of a pass
            for operations, numbers in zip(graph.operations, graph.paths, strict=True):
                for operation, path in zip(operations.children(), numbers, strict=True):
                    if isinstance(operation, Noise):
                        empty = torch.empty_like(like[operation], device=inputs.device)
                        operation.drawn = empty.normal_(generator=operation.generator)
                    if path is not None and paths is not None and paths.probability > 0:
                        masks[path] = paths.mask(len(inputs), inputs.dtype, inputs.device)
        if paths is not None and masks:
            paths.drawn = torch.stack([masks[path] for path in range(paths.paths)])
        try:
            yield
        finally:
            for noise in self.noises:
                noise.drawn = None
            if paths is not None:
                paths.drawn = None

    def _paths(self) -> DropPath | None:
        """Returns the network's drop-path, which all its cells share."""
        return self.graphs[0].drop_path if self.graphs else None

    def _like(self, inputs: Tensor) -> dict[nn.Module, Tensor]:
        """Returns, for each noise, a tensor with its shape, layout and type in a pass on `inputs`."""
        if self._noise_like is None or self._noise_like[0] != inputs.shape:
            examples: dict[nn.Module, Tensor] = {}

            def keep(noise: nn.Module, _inputs: object, output: Tensor) -> None:
                examples[noise] = torch.empty_like(output, device="meta")

            hooks = [noise.register_forward_hook(keep) for noise in self.noises]
            generators = {id(noise.generator): noise.generator for noise in self.noises if noise.generator is not None}
            states = [(generator, generator.get_state()) for generator in generators.values()]
            training = self.network.training
            self.network.eval()
            try:
                with torch.no_grad():
                    self.network(inputs)
            finally:
                self.network.train(training)
                for hook in hooks:
                    hook.remove()
                for generator, state in states:
                    generator.set_state(state)
            self._noise_like = inputs.shape, examples
        return self._noise_like[1]
