"""One search step of raydarts against the plain DARTS of tests/parity, first and second order, in one run.

    python benchmarks/step.py [--rounds 5] [--threads N] [--device cuda] [--json FILE]

The paper's search network (16 channels, 8 cells, 4 nodes, 32x32 images, 10 classes) on random images,
batch 32. A step is Algorithm 1 once: the alpha step and the weight step. Each of the four (implementation,
order) lives in a process of its own, so that its peak memory is its own, and the rounds take turns, so that
what else the machine does falls on all alike. Times are medians over rounds with the smallest and largest;
ratios are medians of the rounds' ratios. Memory is the largest resident size that the process had in
its steps, less what it had with torch loaded and nothing built (on a GPU: torch's peak of allocated memory).
About 10 minutes on 2 CPU cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from raydarts.cpus import usable_cpus

ORDERS = {"first": "first_order", "second": "finite_difference"}
IMPLEMENTATIONS = ("plain", "raydarts")
MEGABYTE = 2**20


def raydarts_search(order: str, batch: int, device: str = "cpu", image: int = 32, **settings: Any) -> Any:
    """A search of random images. `settings` are those of a search beside its batch size and order."""
    import numpy as np  # noqa: PLC0415

    from raydarts.data.base import ImageArrays  # noqa: PLC0415
    from raydarts.data.settings import DataSettings  # noqa: PLC0415
    from raydarts.data.splits import split  # noqa: PLC0415
    from raydarts.search.search import Search  # noqa: PLC0415
    from raydarts.search.settings import SearchSettings  # noqa: PLC0415

    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (2 * batch, image, image, 3), dtype=np.uint8)
    labels = draws.integers(0, 10, 2 * batch)
    arrays = ImageArrays.of("random", images, labels, images[:1], labels[:1], 10)
    plain = {"batch_size": batch, "estimator": ORDERS[order], **settings}
    return Search(SearchSettings.model_validate(plain), split(arrays, DataSettings(validation_fraction=0)), device)


def step_of(search: Any, batches: Any = None) -> Callable[[], None]:
    """A function that takes one step of a search, always on the same batches."""
    from raydarts.search.moments import Step  # noqa: PLC0415

    search.supernet.train()
    weight_batch, draw = next(search.loop.batches()) if batches is None else (batches[0], lambda: batches[1])
    both = Step(search.objective, weight_batch, draw)

    def step() -> None:
        search.architect.gradient(both)
        search.architect.step()
        search.loop.weight_gradient(search.model, both)
        search.weight_optimizer.step()

    return step


def raydarts_step(order: str, batch: int, device: str) -> Callable[[], None]:
    """A function that takes one step of raydarts' own search, at the paper's size."""
    return step_of(raydarts_search(order, batch, device))


def plain_step(
    order: str, batch: int, device: str, image: int = 32, channels: int = 16, layers: int = 8, nodes: int = 4
) -> Callable[[], None]:
    """A function that takes one step of the plain DARTS."""
    import torch  # noqa: PLC0415

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "parity"))
    import plain_darts  # noqa: PLC0415

    torch.manual_seed(0)
    model = plain_darts.Supernet(channels, layers, nodes).to(device)
    edges = sum(range(2, 2 + nodes))
    alphas = [(1e-3 * torch.randn(edges, 8, device=device)).requires_grad_() for _ in range(2)]
    darts = plain_darts.Darts(model, alphas, ORDERS[order])
    batches = [
        (torch.randn(batch, 3, image, image, device=device), torch.randint(10, (batch,), device=device))
        for _ in range(2)
    ]
    return lambda: darts.step(*batches)


def worker(connection: Any, implementation: str, order: str, arguments: argparse.Namespace) -> None:
    """Takes a step for each message, and answers with its seconds and the peak memory so far, in MiB."""
    import psutil  # noqa: PLC0415
    import torch  # noqa: PLC0415

    import raydarts.search.search  # noqa: F401, PLC0415 - loaded by both, so that both begin alike

    torch.set_num_threads(arguments.threads)
    on_gpu = arguments.device != "cpu"
    before = psutil.Process().memory_info().rss
    make = raydarts_step if implementation == "raydarts" else plain_step
    step = make(order, arguments.batch, arguments.device)
    while connection.recv():
        started = time.perf_counter()
        step()
        if on_gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        connection.send((seconds, (torch.cuda.max_memory_allocated() if on_gpu else peak) / MEGABYTE))


def measure(arguments: argparse.Namespace) -> dict[tuple[str, str], tuple[list[float], float]]:
    """Seconds of each round after the first, which only warms up, and the peak memory."""
    context = multiprocessing.get_context("spawn")
    ends = {}
    for order in ORDERS:
        for implementation in IMPLEMENTATIONS:
            mine, theirs = context.Pipe()
            context.Process(target=worker, args=(theirs, implementation, order, arguments), daemon=True).start()
            ends[implementation, order] = mine
    found: dict[tuple[str, str], tuple[list[float], float]] = {key: ([], 0.0) for key in ends}
    for number in range(arguments.rounds + 1):
        for key, end in ends.items():
            end.send(True)
            seconds, peak = end.recv()
            found[key] = (found[key][0] + [seconds] * (number > 0), peak)
            print(f"round {number}  {key[1]:6} {key[0]:8} {seconds:7.2f} s  {peak:6.0f} MiB", file=sys.stderr)
    for end in ends.values():
        end.send(False)
    return found


def ratios(one: list[float], other: list[float]) -> list[float]:
    return [a / b for a, b in zip(one, other, strict=True)]


def spread(values: list[float], digits: int = 2) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def positive(text: str) -> int:
    """Returns a count from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of at least 1")
    return number


def summary(found: dict[tuple[str, str], tuple[list[float], float]]) -> dict[str, Any]:
    """Everything the table shows, as data."""
    table = {}
    for order in ORDERS:
        (plain, plain_memory), (ours, memory) = found["plain", order], found["raydarts", order]
        table[order] = {
            "plain_seconds": plain,
            "raydarts_seconds": ours,
            "times_faster": ratios(plain, ours),
            "plain_peak_mib": plain_memory,
            "raydarts_peak_mib": memory,
            "memory_ratio": memory / plain_memory,
        }
    second_to_first = {name: ratios(found[name, "second"][0], found[name, "first"][0]) for name in IMPLEMENTATIONS}
    return {"orders": table, "second_to_first": second_to_first}


def show(result: dict[str, Any], arguments: argparse.Namespace) -> None:
    import torch  # noqa: PLC0415

    where = torch.cuda.get_device_name() if arguments.device != "cpu" else f"{arguments.threads} CPU threads"
    print(
        f"{where}, torch {torch.__version__}, {platform.machine()}; "
        f"{arguments.rounds} rounds, batch {arguments.batch}\n"
    )
    print("| order | plain, s | raydarts, s | times faster | plain, MiB | raydarts, MiB | memory ratio |")
    print("|---|---|---|---|---|---|---|")
    for order, row in result["orders"].items():
        print(
            f"| {order} | {spread(row['plain_seconds'])} | {spread(row['raydarts_seconds'])} "
            f"| {spread(row['times_faster'])} | {row['plain_peak_mib']:.0f} | {row['raydarts_peak_mib']:.0f} "
            f"| {row['memory_ratio']:.2f} |"
        )
    for name, values in result["second_to_first"].items():
        print(f"\nsecond order costs {spread(values)} times first order in {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = summary(measure(arguments))
    show(result, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
