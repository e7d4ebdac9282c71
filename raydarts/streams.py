"""Named random streams of one seed.

Data order, augmentation, weight initialisation, alpha initialisation and dropout each draw from a
generator of their own, so that changing one (a larger batch, one more regularizer) leaves the draws of
the others as they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from raydarts.states import State


def derived_seed(seed: int, name: str) -> int:
    """A 63-bit seed of its own for `name`, equal on every machine (SHA-256 of both)."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class Share:
    """Which rows of a batch are this process's: the `rank`-th of `size` equal parts, in order.

    Processes that train one network together draw for the whole batch, each from a generator equal to the others',
    and take their own rows: together they see what one process alone would.
    """

    rank: int = 0
    size: int = 1

    def whole(self, rows: int) -> int:
        """How many rows the whole batch has, of which `rows` are here."""
        return rows * self.size

    def of(self, whole: Tensor, dim: int = 0) -> Tensor:
        """This process's rows of what was drawn for the whole batch."""
        rows = whole.shape[dim] // self.size
        return whole.narrow(dim, self.rank * rows, rows)


WHOLE = Share()
"""One process, which has every row."""


class Streams:
    """The generators of one job, made when first asked for, on `device`."""

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self.device = torch.device(device)
        self._generators: dict[str, torch.Generator] = {}
        self._still = False

    def __getitem__(self, name: str) -> torch.Generator:
        if name not in self._generators:
            generator = torch.Generator(device=self.device)
            generator.manual_seed(derived_seed(self.seed, name))
            self._generators[name] = generator
        return self._generators[name]

    @contextmanager
    def globally(self, name: str) -> Iterator[None]:
        """Seed torch's global generator for code that knows no other (module initialisation), then put it back."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derived_seed(self.seed, name))
            yield

    @contextmanager
    def governing(self) -> Iterator[None]:
        """Inside, code that draws from torch's global generators draws from this job's own; outside they are as before.

        Torch seeds its global generators at random in each process, so what draws from them (a remedy or
        data set from outside) would neither repeat nor resume.
        """
        on_gpu = self.device.type == "cuda"
        with torch.random.fork_rng(devices=[self.device] if on_gpu else []):
            torch.set_rng_state(self._host().get_state())
            if on_gpu:
                torch.cuda.set_rng_state(self["global"].get_state(), self.device)
            yield
            self._host().set_state(torch.get_rng_state())
            if on_gpu:
                self["global"].set_state(torch.cuda.get_rng_state(self.device))

    def _host(self) -> torch.Generator:
        """What governs the CPU's global generator."""
        if "global_cpu" not in self._generators:
            self._generators["global_cpu"] = torch.Generator().manual_seed(derived_seed(self.seed, "global_cpu"))
        return self._generators["global_cpu"]

    @contextmanager
    def replayed(self, name: str) -> Iterator[None]:
        """Inside, `name` draws; on leaving, it is where it was on entering."""
        if self._still:
            yield
            return
        state = self[name].get_state()
        try:
            yield
        finally:
            self[name].set_state(state)

    @contextmanager
    def still(self) -> Iterator[None]:
        """Inside, nothing draws, and `replayed` leaves the generators alone: no CUDA graph can capture their states."""
        before, self._still = self._still, True
        try:
            yield
        finally:
            self._still = before

    def state_dict(self) -> State:
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def load_state_dict(self, state: State) -> None:
        """Sets every generator. One that the state does not hold was not asked for then: it starts anew."""
        for name, generator in self._generators.items():
            generator.manual_seed(derived_seed(self.seed, name))
        for name, value in state.items():
            generator = self._host() if name == "global_cpu" else self[name]
            generator.set_state(value.cpu())
