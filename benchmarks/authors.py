"""A search step of raydarts against the authors' own code, in CPU seconds, and whether alpha's gradients agree.

    git clone https://github.com/quark0/darts ELSEWHERE
    python benchmarks/authors.py ELSEWHERE [--rounds 3] [--json FILE]

A step is Algorithm 1 once: the alpha step and the weight step. Sizes are the paper's: 16 channels, 8 cells, 32x32
images, and batch 32; `--channels`, `--layers`, `--image`, `--batch` take others (4 nodes are fixed in their code). Each
of the four (code, order) has a process of its own with one thread. The rounds take turns. `times faster` and `second
over first` are medians of the rounds' ratios, with the smallest and largest, and the ratio of the least times. Each
process also has its peak of memory, in MiB, less what it had before the network. About 4 minutes and 14 GB of memory.

Agreement: the same weights, alpha and batches in both codes, in float64, which is slow: images of at most 8x8 and
batches of at most 4. For two steps, the largest difference of
alpha's gradient divided by its largest entry. The second step has momentum in its virtual step. Exit code 0 where
all are under 1e-9, else 1.

None of the authors' code is here. It was written for torch 0.3 and a GPU. So this is changed in torch while it runs, in
its processes alone:

- `.cuda()` returns what it is called on.
- `a.add_(x, b)`, `a.sub_(x, b)` and `a.sub(x, b)` mean a + x*b and a - x*b, as they did.
- A 1x1 convolution of stride 2 is computed as one of stride 1 on every second pixel, which is equal. oneDNN's backward
  pass of the former corrupts memory where the input has few channels.
- In float64 torch makes new tensors in float64, because their second order copies the network into a new one.

`train_search.py` is not used: it parses arguments and asks for a GPU when it is imported. The weight step is written
here as it is there: forward, backward, clipping to a norm of 5, SGD. Its data loader and accuracies are left out, on
both sides.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import psutil
import torch
from step import MEGABYTE, ORDERS, positive, ratios, raydarts_search, spread, step_of
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

CODES = ("authors", "raydarts")
FILES = ("architect.py", "genotypes.py", "model_search.py", "operations.py")
NODES = 4
CLASSES = 10
TOLERANCE = 1e-9


class NotTheirCodeError(Exception):
    """The path, or the sizes, cannot be run."""


def checkout(path: Path) -> Path:
    """Returns the folder of the convolutional search in a checkout."""
    folder = path / "cnn" if (path / "cnn").is_dir() else path
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise NotTheirCodeError(
            f"{path}: not a checkout of the authors' DARTS code: there is no {', '.join(missing)} in {folder}. "
            "Give the folder that `git clone https://github.com/quark0/darts` makes."
        )
    return folder


def adapt() -> None:
    """Changes torch in this process so that code for torch 0.3 and a GPU runs on this torch and a CPU."""

    def here(self: Any, *_arguments: Any, **_options: Any) -> Any:
        return self

    Tensor.cuda = nn.Module.cuda = here  # type: ignore[assignment, method-assign]

    def with_factor(name: str) -> None:
        today = getattr(Tensor, name)

        def method(self: Tensor, *arguments: Any, **options: Any) -> Tensor:
            if len(arguments) == 2:
                factor, other = arguments
                return today(self, other, alpha=float(factor))
            return today(self, *arguments, **options)

        setattr(Tensor, name, method)

    for name in ("add_", "sub_", "sub"):
        with_factor(name)

    usual = nn.Conv2d._conv_forward

    def convolve(self: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.kernel_size == (1, 1) and self.stride == (2, 2):
            return F.conv2d(x[:, :, ::2, ::2], weight, bias, groups=self.groups)
        return usual(self, x, weight, bias)

    nn.Conv2d._conv_forward = convolve  # type: ignore[method-assign]


class Authors:
    """Their network, architect and SGD, with the settings of our search. Call `adapt` first."""

    def __init__(self, folder: Path, order: str, arguments: argparse.Namespace, settings: Any) -> None:
        sys.path.insert(0, str(folder))
        try:
            network = importlib.import_module("model_search").Network
            architect = importlib.import_module("architect").Architect
            torch.manual_seed(0)
            self.model = network(arguments.channels, CLASSES, arguments.layers, nn.CrossEntropyLoss())
            self.alphas: list[Tensor] = self.model.arch_parameters()
            options = SimpleNamespace(
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
                arch_learning_rate=settings.arch_lr,
                arch_weight_decay=settings.arch_weight_decay,
            )
            self.architect = architect(self.model, options)
        except (ImportError, AttributeError, TypeError) as error:
            raise NotTheirCodeError(f"{folder}: not the code that this script knows: {error}") from error
        self.lr, self.clip, self.unrolled = settings.lr, settings.grad_clip, order == "second"
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )

    def step(self, weight_batch: tuple[Tensor, Tensor], alpha_batch: tuple[Tensor, Tensor]) -> Tensor:
        """Returns alpha's gradient. Their weight step adds its own to it, which they clear before the next step."""
        self.model.train()
        self.architect.step(*weight_batch, *alpha_batch, self.lr, self.optimizer, unrolled=self.unrolled)
        gradient = flat_gradient(self.alphas)
        self.optimizer.zero_grad()
        images, labels = weight_batch
        F.cross_entropy(self.model(images), labels).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return gradient


def flat_gradient(alphas: list[Tensor]) -> Tensor:
    return torch.cat([alpha.grad.flatten() for alpha in alphas if alpha.grad is not None])


def ours(order: str, arguments: argparse.Namespace, batch: int, **settings: Any) -> Any:
    space = {"name": "darts-cnn", "channels": arguments.channels, "layers": arguments.layers, "nodes": NODES}
    return raydarts_search(order, batch, image=arguments.image, space=space, **settings)


def plain(batch: Any) -> tuple[Tensor, Tensor]:
    return batch.inputs.contiguous(), batch.targets


def steps(code: str, order: str, folder: Path, arguments: argparse.Namespace) -> Callable[[], None]:
    """A function that takes one step. Both codes get the same images."""
    search = ours(order, arguments, arguments.batch)
    if code == "raydarts":
        return step_of(search)
    adapt()
    weight_batch, draw = next(search.loop.batches())
    batches = [plain(weight_batch), plain(draw())]
    theirs = Authors(folder, order, arguments, search.settings)
    del search

    def step() -> None:
        theirs.step(*batches)

    return step


def worker(connection: Any, code: str, order: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Takes a step for each message. Answers with its CPU seconds and the peak of memory so far, in MiB."""
    torch.set_num_threads(1)
    before = psutil.Process().memory_info().rss
    try:
        step = steps(code, order, folder, arguments)
        while connection.recv():
            started = time.process_time()
            step()
            seconds = time.process_time() - started
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
            connection.send((seconds, peak / MEGABYTE))
    except Exception as error:
        connection.send(
            error if isinstance(error, NotTheirCodeError) else NotTheirCodeError(f"{code}, {order} order: {error!r}")
        )


Measured = dict[tuple[str, str], tuple[list[float], float]]
"""CPU seconds of each round, and the peak of memory, by code and order."""


def measure(folder: Path, arguments: argparse.Namespace) -> Measured:
    """Measures all rounds after the first, which only warms up."""
    context = multiprocessing.get_context("spawn")
    ends = {}
    for order in ORDERS:
        for code in CODES:
            mine, theirs = context.Pipe()
            context.Process(target=worker, args=(theirs, code, order, folder, arguments), daemon=True).start()
            theirs.close()
            ends[code, order] = mine
    known: Measured = {key: ([], 0.0) for key in ends}
    for number in range(arguments.rounds + 1):
        for (code, order), end in ends.items():
            try:
                end.send(True)
                answer = end.recv()
            except (EOFError, BrokenPipeError, ConnectionResetError) as error:
                raise NotTheirCodeError(f"{code}, {order} order: its process ended; is there enough memory?") from error
            if isinstance(answer, Exception):
                raise answer
            seconds, peak = answer
            known[code, order] = (known[code, order][0] + [seconds] * (number > 0), peak)
            print(f"round {number}  {order:6} {code:8} {seconds:7.3f} CPU s  {peak:6.0f} MiB", file=sys.stderr)
    for end in ends.values():
        end.send(False)
    return known


def same_weights(theirs: nn.Module, search: Any) -> None:
    """Gives their network our weights."""
    candidates = importlib.import_module("genotypes").PRIMITIVES
    modules: list[tuple[nn.Module, nn.Module]] = [
        (theirs.stem, search.supernet.stem),
        (theirs.classifier, search.supernet.classifier),
    ]
    for their_cell, cell in zip(theirs.cells, search.supernet.cells, strict=True):
        modules += [(their_cell.preprocess0, cell.preprocess0), (their_cell.preprocess1, cell.preprocess1)]
        for index, (mixed, edge) in enumerate(zip(their_cell._ops, cell.edges, strict=True)):
            for name, operation in zip(candidates, mixed._ops, strict=True):
                if list(operation.parameters()):
                    places = (f"edge{index}-{name}", f"from{edge.src}-{name}")
                    (mine,) = [cell.operations[key] for key in places if key in cell.operations]
                    modules.append((operation, mine))
    met = set()
    with torch.no_grad():
        for one, other in modules:
            for parameter, value in zip(one.parameters(), other.parameters(), strict=True):
                parameter.copy_(value)
                met.add(id(parameter))
    if met != {id(parameter) for parameter in theirs.parameters()}:
        raise NotTheirCodeError("their network has weights that ours does not have")


def agreement(folder: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Returns the relative difference of alpha's gradient in each of two steps, by order."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    adapt()
    small = argparse.Namespace(**vars(arguments) | {"image": min(arguments.image, 8), "batch": min(arguments.batch, 4)})
    differences: dict[str, list[float]] = {}
    for order in ORDERS:
        search = ours(order, small, small.batch, precision="float64")
        theirs = Authors(folder, order, small, search.settings)
        same_weights(theirs.model, search)
        with torch.no_grad():
            for alpha, value in zip(theirs.alphas, search.objective.alphas, strict=True):
                alpha.copy_(value)
        weight_batch, draw = next(search.loop.batches())
        both = weight_batch, draw()
        step, batches = step_of(search, both), [plain(batch) for batch in both]
        differences[order] = []
        for _ in range(2):
            step()
            gradient = theirs.step(*batches)
            apart = (flat_gradient(search.objective.alphas) - gradient).abs().max() / gradient.abs().max()
            differences[order].append(float(apart))
    return differences


def agreed(folder: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Returns `agreement`, computed in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        try:
            return pool.apply(agreement, (folder, arguments))
        except (ValueError, RuntimeError) as error:  # a size that one of the two codes refuses
            raise NotTheirCodeError(f"these sizes do not run: {error}") from error


def summary(known: Measured) -> dict[str, Any]:
    orders = {}
    for order in ORDERS:
        (theirs, their_memory), (mine, memory) = known["authors", order], known["raydarts", order]
        orders[order] = {
            "authors_cpu_seconds": theirs,
            "raydarts_cpu_seconds": mine,
            "times_faster": ratios(theirs, mine),
            "times_faster_least": min(theirs) / min(mine),
            "authors_peak_mib": their_memory,
            "raydarts_peak_mib": memory,
        }
    second = {code: ratios(known[code, "second"][0], known[code, "first"][0]) for code in CODES}
    least = {code: min(known[code, "second"][0]) / min(known[code, "first"][0]) for code in CODES}
    return {"orders": orders, "second_to_first": second, "second_to_first_least": least}


def show(result: dict[str, Any], arguments: argparse.Namespace) -> None:
    print(
        f"one thread, torch {torch.__version__}, {platform.machine()}; {arguments.rounds} rounds; "
        f"{arguments.channels} channels, {arguments.layers} cells, {NODES} nodes, {arguments.image}x{arguments.image}, "
        f"batch {arguments.batch}\n"
    )
    print("| order | authors, CPU s | raydarts, CPU s | times faster | of the least | memory, MiB: authors, raydarts |")
    print("|---|---|---|---|---|---|")
    for order, row in result["orders"].items():
        print(
            f"| {order} | {spread(row['authors_cpu_seconds'], 3)} | {spread(row['raydarts_cpu_seconds'], 3)} "
            f"| {spread(row['times_faster'])} | {row['times_faster_least']:.2f} "
            f"| {row['authors_peak_mib']:.0f}, {row['raydarts_peak_mib']:.0f} |"
        )
    for code, values in result["second_to_first"].items():
        print(
            f"\n{code}: second order costs {median(values):.2f} times first order "
            f"({min(values):.2f} to {max(values):.2f}; least over least {result['second_to_first_least'][code]:.2f})"
        )
    for order, apart in result["agreement"].items():
        print(
            f"\n{order} order: alpha's gradients differ by {apart[0]:.1e} in the first step and "
            f"{apart[1]:.1e} in the second"
        )


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="a checkout of the authors' code")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--channels", type=positive, default=16)
    parser.add_argument("--layers", type=positive, default=8)
    parser.add_argument("--image", type=positive, default=32)
    parser.add_argument("--batch", type=positive, default=32)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(given)
    try:
        folder = checkout(arguments.path).resolve()
        result: dict[str, Any] = {"agreement": agreed(folder, arguments)}
        result |= summary(measure(folder, arguments))
    except NotTheirCodeError as error:
        print(f"authors.py: {error}", file=sys.stderr)
        return 2
    show(result, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(apart < TOLERANCE for each in result["agreement"].values() for apart in each) else 1


if __name__ == "__main__":
    sys.exit(main())
