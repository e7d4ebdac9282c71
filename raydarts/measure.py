"""Running means, memory, and the guard against values that are not finite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Protocol

import psutil
import torch
from torch import Tensor, UntypedStorage

from raydarts.errors import NonFiniteError

_DECAY_GROWS = 2.0


class Meter:
    """Mean loss and accuracy over images or tokens, added up on the device (no synchronisation a batch)."""

    def __init__(self) -> None:
        self._loss: Tensor | None = None
        self._correct: Tensor | None = None
        self.count: int | Tensor = 0

    def add(self, loss: Tensor, correct: Tensor | None, count: int | Tensor) -> None:
        """A batch: its mean loss, how many of its `count` images were right (None: not counted).

        Of several lanes each has one entry for each lane. `count` may be one number for all of them.
        """
        total = loss.detach().double() * count
        self._loss = total if self._loss is None else self._loss + total
        if correct is not None:
            self._correct = correct.detach() if self._correct is None else self._correct + correct.detach()
        self.count = self.count + count

    @classmethod
    def of(cls, loss: float, correct: float, count: float) -> Meter:
        """A meter that has added these sums up."""
        meter = cls()
        if count:
            meter._loss, meter._correct = torch.tensor(loss, dtype=torch.float64), torch.tensor(int(correct))
            meter.count = int(count)
        return meter

    def sums(self) -> tuple[float, float, float]:
        """Summed loss, how many were right, of how many; what `of` takes."""
        if self._loss is None or self._correct is None:
            return (0.0, 0.0, 0.0)
        return (float(self._loss), float(self._correct), float(self.count))

    def lanes(self, count: int) -> list[Meter]:
        """Returns the meters of `count` lanes. This one has added losses `(count,)`."""
        meters = [Meter() for _ in range(count)]
        if self._loss is not None:
            losses = self._loss.unbind()
            correct = [None] * count if self._correct is None else self._correct.unbind()
            counts = self.count.tolist() if isinstance(self.count, Tensor) else [self.count] * count
            for meter, loss, right, seen in zip(meters, losses, correct, counts, strict=True):
                meter._loss, meter._correct, meter.count = loss, right, seen
        return meters

    @property
    def loss(self) -> float | None:
        return None if self._loss is None else float(self._loss) / int(self.count)

    @property
    def accuracy(self) -> float | None:
        """In [0, 1]."""
        return None if self._correct is None else int(self._correct) / int(self.count)


class Kept:
    """Counts the bytes that are kept for backward passes, each piece of memory once. `most`: at any one time.

    `apart`: tensors whose memory does not count.
    """

    def __init__(self, apart: Iterable[Tensor] = ()) -> None:
        self.most = 0
        self._now = 0
        self._holders: Counter[int] = Counter()
        self._apart = {tensor.untyped_storage().data_ptr() for tensor in apart}

    def counting(self) -> AbstractContextManager[None]:
        """Returns a context. What is kept inside it is counted until it is let go of."""
        return torch.autograd.graph.saved_tensors_hooks(partial(_Held, self), _Held.unpack)

    def hold(self, storage: UntypedStorage) -> None:
        place = storage.data_ptr()
        self._holders[place] += 1
        if self._holders[place] == 1 and place not in self._apart:
            self._now += storage.nbytes()
            self.most = max(self.most, self._now)

    def release(self, storage: UntypedStorage) -> None:
        place = storage.data_ptr()
        self._holders[place] -= 1
        if not self._holders[place]:
            del self._holders[place]
            if place not in self._apart:
                self._now -= storage.nbytes()


class _Held:
    """A tensor that is kept for a backward pass, for as long as it is."""

    def __init__(self, kept: Kept, tensor: Tensor) -> None:
        self._kept, self._tensor, self._storage = kept, tensor, tensor.untyped_storage()
        kept.hold(self._storage)

    def unpack(self) -> Tensor:
        return self._tensor

    def __del__(self) -> None:
        self._kept.release(self._storage)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Inside, torch computes on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device) -> float:
    """On a GPU the peak since the reset, elsewhere the process's resident memory now; in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return float(psutil.Process().memory_info().rss) / 2**20


def gpu_memory() -> int | None:
    """The bytes that this machine's smallest GPU has. None: it has no GPU that torch can use."""
    if not torch.cuda.is_available():
        return None
    return min(torch.cuda.get_device_properties(each).total_memory for each in range(torch.cuda.device_count()))


def require_finite(value: Tensor, what: str, epoch: int, batch: int, setting: Callable[[], str]) -> None:
    """Raise `NonFiniteError` naming epoch (from 1), batch (from 0) and the setting to look at, which is asked then."""
    if not bool(torch.isfinite(value).all()):
        raise NonFiniteError(
            f"{what} is not finite in epoch {epoch}, batch {batch}; nothing was stepped. Look at {setting()}"
        )


def setting_of(section: str, key: str, value: object, *, unclipped: bool = False) -> str:
    """A setting as a message names it, with its value. `unclipped`: gradients are not clipped there, which may help."""
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{section}.{key} ({shown})" + (f" or {section}.grad_clip (0: no clipping)" if unclipped else "")


class _Published(Protocol):
    @property
    def lr(self) -> float: ...

    @property
    def weight_decay(self) -> float: ...


def outgrown(optimizer: torch.optim.Optimizer, published: _Published) -> str:
    """Which setting of the weights' SGD made them grow without bound: `lr`, `lr_min` or `weight_decay`.

    Weight decay alone does that from lr * weight_decay = 2 on. Then the one of the two that lies further above its
    published value is meant.
    """
    group = optimizer.param_groups[0]
    lr, decay = float(group["lr"]), float(group["weight_decay"])
    if lr * decay >= _DECAY_GROWS and decay / published.weight_decay > lr / published.lr:
        return "weight_decay"
    return "lr_min" if lr > float(group.get("initial_lr", lr)) else "lr"
