"""A search's step against two measures: the parts `plain` and `roofline` of benchmarks/gpu.py.

`plain`: the plain DARTS of tests/parity, which is written as the paper reads, on the same device, with the same sizes.
`times_faster` is its time over that of raydarts.

`roofline`: the least time that the step's arithmetic and its memory traffic could take, and how much more it takes.
`gflop` counts products of convolutions and matrices (torch's counter). `mib` counts the inputs and outputs of each
operation that is dispatched, but those that move nothing: what a device reads and writes if no operation is merged with
another one. `flop_per_s` and `bytes_per_s` are measured here: a product of two matrices, and a copy of a large tensor.
`bound_milliseconds` is the larger of both times, `share` is it over the step's time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from step import ORDERS, plain_step, step_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


def plain(bench: Any) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for order, estimator in ORDERS.items():
        ours = bench.timed(step_of(bench.search(bench.size["batch"], estimator=estimator)), tf32=False)
        size = bench.size
        sizes = {name: value for name, value in size["space"].items() if name != "name"}
        theirs = bench.timed(plain_step(order, size["batch"], str(bench.device), size["image"], **sizes), tf32=False)
        ratio = theirs["milliseconds"] / ours["milliseconds"]
        known[order] = {"raydarts": ours, "plain": theirs, "times_faster": round(ratio, 2)}
        if bench.device.type == "cuda":  # sizes that a CPU can try say nothing
            bench.check(f"a step ({order} order) is faster than the plain DARTS's", ratio > 1, round(ratio, 2))
    return known


class Moved(TorchDispatchMode):
    """Counts the bytes of the inputs and outputs of each operation that computes or copies."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and not func.name().startswith(("aten::empty", "aten::detach", "aten::_unsafe_view")):
            tensors = {id(tensor): tensor for tensor in [*_tensors(args), *_tensors(kwargs or {}), *_tensors(result)]}
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        return result


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def counted(step: Callable[[], None]) -> tuple[int, int]:
    """Returns the floating-point operations and the bytes of a step."""
    with Moved() as moved:
        step()
    counter = FlopCounterMode(display=False)
    with counter:
        step()
    return int(counter.get_total_flops()), moved.bytes


def device_rates(bench: Any) -> tuple[float, float]:
    """Returns floating-point operations and bytes a second, as this device reaches them in float32."""
    side, length = (8192, 2**28) if bench.device.type == "cuda" else (512, 2**24)
    left, right = (torch.randn(side, side, device=bench.device) for _ in range(2))
    source = torch.randn(length, device=bench.device)
    target = torch.empty_like(source)
    product = bench.timed(lambda: torch.mm(left, right), tf32=False)["smallest"] / 1000
    copy = bench.timed(lambda: target.copy_(source), tf32=False)["smallest"] / 1000
    return 2 * side**3 / product, 8 * length / copy


def roofline(bench: Any) -> dict[str, Any]:
    flop_per_s, bytes_per_s = device_rates(bench)
    known: dict[str, Any] = {"flop_per_s": flop_per_s, "bytes_per_s": bytes_per_s}
    for order, estimator in ORDERS.items():
        step = step_of(bench.search(bench.size["batch"], estimator=estimator))
        taken = bench.timed(step, tf32=False)["milliseconds"]
        flops, moved = counted(step)
        bound = 1000 * max(flops / flop_per_s, moved / bytes_per_s)
        known[order] = {
            "gflop": flops / 1e9,
            "mib": moved / 2**20,
            "milliseconds": taken,
            "bound_milliseconds": bound,
            "share": bound / taken,
            "bound_by": "arithmetic" if flops / flop_per_s > moved / bytes_per_s else "memory",
        }
        bench.check(f"the {order}-order step has arithmetic and memory traffic", flops > 0 and moved > 0, known[order])
    return known
