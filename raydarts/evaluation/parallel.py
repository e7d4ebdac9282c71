"""Several processes train one network together. Each has a share of every batch, and all have equal weights.

A batch is divided evenly among the processes. So batch size and learning rate mean the same as for one process. One
all-reduce sums the gradients after the backward pass in a fixed order, so that equal runs give equal bits. The networks
are small (a few million parameters), so little is gained by overlapping it with the backward pass. torch's
DistributedDataParallel does that, and the order of its sums changes after its first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from raydarts.errors import InputError
from raydarts.measure import Meter
from raydarts.spaces.primitives import Noise, Norm
from raydarts.streams import Share


class Team:
    """The processes of torch.distributed's default group, or only this process if there is none.

    All of them must call the same methods in the same order.
    """

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.share = Share(dist.get_rank(), dist.get_world_size()) if together else Share()

    @property
    def alone(self) -> bool:
        return self.share.size == 1

    def require_divisible(self, batch: int) -> None:
        """Raises `InputError` if a batch of `batch` images cannot be divided evenly."""
        if batch % self.share.size:
            raise InputError(
                f"a batch of {batch} images cannot be divided evenly among {self.share.size} workers; change "
                "evaluate.training.batch_size or evaluate.resources.workers"
            )

    def prepare(self, network: nn.Module, sync_batch_norm: bool) -> None:
        """Prepares a network, in place, to be trained together. The keys of its state stay. A single process changes
        nothing.

        With `sync_batch_norm` batch norms normalise by the whole batch, as one process would. Without it, each process
        uses its own rows. Raises `InputError` if an operation draws for each of its rows (`noise`).
        """
        if self.alone:
            return
        if any(isinstance(module, Noise) for module in network.modules()):
            raise InputError("the primitive noise draws for the rows it sees, which differ between workers; use one")
        if sync_batch_norm:
            _synchronise(network)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replaces each gradient by the mean over the processes, which is the whole batch's gradient."""
        if self.alone:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.share.size
        for gradient, mean in zip(gradients, torch.split(flat, [each.numel() for each in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def mean(self, value: Tensor) -> Tensor:
        """Returns the mean of a tensor over the processes, without a graph."""
        total = value.detach().clone()
        if not self.alone:
            dist.all_reduce(total)
            total /= self.share.size
        return total

    def total(self, meter: Meter, device: torch.device) -> Meter:
        """Returns what all processes have measured as one meter."""
        if self.alone:
            return meter
        sums = torch.tensor(meter.sums(), dtype=torch.float64, device=device)
        dist.all_reduce(sums)
        return Meter.of(*sums.tolist())

    def agree_on_buffers(self, network: nn.Module) -> None:
        """Gives all processes the batch-norm statistics of the first one.

        Without synchronisation each has its own.
        """
        if not self.alone:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)


class SyncedNorm(Norm):
    """Batch norm by the statistics of the whole batch. Each process has equally many rows of it.

    In exact arithmetic it equals the batch norm of one process: mean and biased variance normalise, the running
    variance is unbiased. Two sums are exchanged, the mean first, because a variance from sums of squares loses digits.
    torch's SyncBatchNorm needs a GPU.
    """

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        if not self.training or scale is not None:
            return super().forward(x, scale)
        values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        count = values.numel() // values.shape[1] * dist.get_world_size()
        mean = _summed(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = _summed(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * (count / (count - 1)))
        normed = centred * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            normed = normed * self.weight[:, None, None] + self.bias[:, None, None]
        return normed.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        momentum = cast(float, self.momentum)
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            cast(Tensor, running).lerp_(value.to(cast(Tensor, running).dtype), momentum)
        cast(Tensor, self.num_batches_tracked).add_(1)


def _summed(value: Tensor) -> Tensor:
    """Returns the sum over the processes, differentiable. Each process gets the gradients of all."""
    return cast(Tensor, all_reduce(value))  # type: ignore[no-untyped-call]


def _synchronise(network: nn.Module) -> None:
    """Replaces each batch norm by a `SyncedNorm` with the same parameters and buffers."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, _synced(child))


def _synced(norm: nn.BatchNorm2d) -> SyncedNorm:
    mean = cast(Tensor, norm.running_mean)
    made = SyncedNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, device=mean.device, dtype=mean.dtype)
    made.load_state_dict(norm.state_dict())
    return made.train(norm.training)
