"""Searches as lanes of one supernet on a GPU: the parts `lanes_exact` to `lanes_processes` of benchmarks/gpu.py.

`lanes_exact`: three searches in a group on the device, in float64, against each of them alone on the CPU, from the same
weights, alpha and batches. `lanes_bits`: whether a group that runs twice ends with equal bits, and whether a lane that
diverges leaves the others' bits as they are. `graphs`: the time of a step as a CUDA graph and without, K = 1 and 8,
and how far apart both end. `lanes_speed`: a step of a search alone (K = 1: a group of one search runs as an ordinary
search) and of groups. `lanes_processes`: as many processes, with a search each, share the device.

Figures of `lanes_speed`, by size, order and K. First order is there twice, once with `search.amp: bfloat16`.
`milliseconds`: of a step of the whole group, the least of the rounds, with packing and unpacking.
`times_more_searches`: K times the time alone over the group's time. `operations`: what a step dispatches to torch.
`reads`: how often a step waits for a value. `peak_mib`: the peak of memory. On a GPU also `launches`, the kernels that
a step starts, and `busy_milliseconds`, how long they compute. All are without CUDA graphs.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from fused import Dispatched
from torch import Tensor

from raydarts.data.base import ImageArrays
from raydarts.data.settings import DataSettings
from raydarts.data.splits import Splits, split
from raydarts.measure import peak_memory_mb, reset_peak_memory
from raydarts.runs.identity import differences
from raydarts.search.fused import FusedSearch
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.tasks import Batch

ORDERS: dict[str, dict[str, Any]] = {
    "first": {"estimator": "first_order"},
    "second": {"estimator": "finite_difference"},
    "first (bfloat16)": {"estimator": "first_order", "amp": "bfloat16"},
}
SIZES: dict[str, dict[str, Any]] = {
    "quick": {"image": 8, "batch": 32, "steps": 16, "space": {"channels": 4, "layers": 3, "nodes": 2}},
    "small": {"image": 16, "batch": 32, "steps": 8, "space": {"channels": 8, "layers": 5, "nodes": 2}},
    "paper": {"image": 32, "batch": 64, "steps": 4, "space": {}},
    "try": {"image": 8, "batch": 8, "steps": 3, "space": {"channels": 4, "layers": 3, "nodes": 1}},
}
PLANS: dict[str, dict[str, Any]] = {
    "paper": {"sizes": ["quick", "small", "paper"], "lanes": [1, 2, 4, 8, 16], "rounds": 3,
              "processes": [("quick", 8), ("paper", 4)]},
    "small": {"sizes": ["try"], "lanes": [1, 2], "rounds": 1, "processes": [("try", 2)]},
}  # fmt: skip
"""By the size that gpu.py is asked for."""
TINY: dict[str, dict[str, Any]] = {
    "darts-cnn": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 1},
    "nasbench201": {"name": "nasbench201", "channels": 4, "cells_per_stage": 1},
}
EXACT = 1e-9


def splits(images: int, side: int) -> Splits:
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 256, (images, side, side, 3), dtype=np.uint8)
    labels = draws.permutation(np.arange(images) % 10)
    arrays = ImageArrays.of("random", pixels, labels, pixels[:1], labels[:1], 10)
    return split(arrays, DataSettings(validation_fraction=0))


def tiny(device: torch.device, seed: int, **settings: Any) -> Search:
    """A search in float64 of two steps an epoch. Seed and rates differ."""
    plain = {"seed": seed, "lr": 0.02 * (1 + seed), "arch_lr": 0.03 * (1 + seed), "alpha_init": 0.1, "batch_size": 10}
    asked = {"precision": "float64", "epochs": 3, "space": TINY["darts-cnn"], **plain, **settings}
    return Search(SearchSettings.model_validate(asked), splits(40, 8), device)


def moved(batch: Batch, device: torch.device) -> Batch:
    return batch._replace(inputs=batch.inputs.to(device), targets=batch.targets.to(device))


def begun_alike(here: Search, there: Search) -> None:
    """Gives `there` the weights, alpha and batches of `here`: a GPU's generator draws others."""
    there.supernet.load_state_dict(here.supernet.state_dict())
    with torch.no_grad():
        for name, alpha in here.alphas.items():
            there.alphas[name].copy_(alpha)
    drawn = [(batch, draw()) for batch, draw in here.loop.batches()]
    for search in (here, there):

        def batches(device: torch.device = search.device) -> Iterator[tuple[Batch, Callable[[], Batch]]]:
            return ((moved(one, device), partial(moved, other, device)) for one, other in drawn)

        search.loop.batches = batches  # type: ignore[method-assign]


def learnt(search: Search) -> dict[str, dict[str, Tensor]]:
    """Everything that an epoch trains, by kind and name."""
    weights, state = dict(search.supernet.named_parameters()), search.weight_optimizer.state
    return {
        "weights": {name: weight.detach() for name, weight in weights.items()},
        "statistics": dict(search.supernet.named_buffers()),
        "alpha": {name: alpha.detach() for name, alpha in search.alphas.items()},
        "momentum": {name: state[weight]["momentum_buffer"] for name, weight in weights.items()},
    }


def apart(one: Search, other: Search) -> float:
    """The largest relative difference (L2) of all weights, of all running statistics, of alpha, and of momentum."""
    worst = 0.0
    for kind, values in learnt(one).items():
        theirs = learnt(other)[kind]
        mine, exact = (
            torch.cat([each.double().flatten().cpu() for each in side.values()]) for side in (values, theirs)
        )
        worst = max(worst, float((mine - exact).norm() / exact.norm()))
    return worst


def same_bits(one: Search, other: Search) -> bool:
    return not list(differences(learnt(one), learnt(other)))


def run_group(searches: Sequence[Search], epochs: int = 1) -> list[Any]:
    """Returns the outcomes of the last epoch."""
    group, outcomes = FusedSearch(), []
    for _ in range(epochs):
        outcomes = group.run_epoch(searches)
    return outcomes


def lanes_exact(bench: Any) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for estimator in ("first_order", "finite_difference", "exact_hvp"):
        here = [tiny(torch.device("cpu"), seed, estimator=estimator) for seed in range(3)]
        there = [tiny(bench.device, seed, estimator=estimator) for seed in range(3)]
        for pair in zip(here, there, strict=True):
            begun_alike(*pair)
        for search in here:
            search.run_epoch()
        failed = [outcome for outcome in run_group(there) if isinstance(outcome, Exception)]
        if failed:
            raise failed[0]
        known[estimator] = max(apart(lane, alone) for lane, alone in zip(there, here, strict=True))
        name = f"three lanes ({estimator}) equal the CPU's searches in float64"
        bench.check(name, known[estimator] < EXACT, known[estimator])
    return known


def lanes_bits(bench: Any) -> dict[str, Any]:
    """Reported for both spaces; checked where no max pool is (its backward pass on a GPU may add in any order)."""
    known: dict[str, Any] = {}
    for name, space in TINY.items():

        def three(of: Any = space, **middle: Any) -> list[Search]:
            each: list[dict[str, Any]] = [{}, middle, {}]
            return [tiny(bench.device, seed, space=of, **each[seed]) for seed in range(3)]

        first, again, broken = three(), three(), three(lr=1e160)
        run_group(first)
        run_group(again)
        outcomes = run_group(broken)
        known[name] = {
            "repeated": all(same_bits(*pair) for pair in zip(first, again, strict=True)),
            "diverged": isinstance(outcomes[1], Exception),
            "others_untouched": all(same_bits(first[lane], broken[lane]) for lane in (0, 2)),
        }
    for what, claim in (
        ("repeated", "a group that runs twice (nasbench201) ends with equal bits"),
        ("diverged", "a lane of rate 1e160 fails"),
        ("others_untouched", "it leaves the other lanes' bits (nasbench201)"),
    ):
        bench.check(claim, known["nasbench201"][what], known["nasbench201"][what])
    return known


def sized(size: str, order: str, seed: int, device: torch.device, data: Splits, **more: Any) -> Search:
    chosen = SIZES[size]
    plain = {"seed": seed, "lr": 0.01 * (1 + seed), "epochs": 10**6, "batch_size": chosen["batch"], "probes": [],
             "cuda_graph": False}  # fmt: skip
    space = {"name": "darts-cnn", **chosen["space"]}
    settings = SearchSettings.model_validate({**plain, "space": space, **ORDERS[order], **more})
    return Search(settings, data, device)


def data_of(size: str, steps: int | None = None) -> Splits:
    return splits(2 * SIZES[size]["batch"] * (steps or SIZES[size]["steps"]), SIZES[size]["image"])


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(run: Callable[[], Any], device: torch.device) -> float:
    wait(device)
    started = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - started


class OneStep:
    """Counts in one step: from when a search asks for its second pair of batches until it asks for the third."""

    def __init__(self, first_lane: Search, run: Callable[[], Any]) -> None:
        self._loop, self._run = first_lane.loop, run

    def between(self, start: Callable[[], Any], stop: Callable[[], Any]) -> None:
        usual = self._loop.batches

        def batches() -> Iterator[tuple[Batch, Callable[[], Batch]]]:
            for number, pair in enumerate(usual()):
                if number in (1, 2):
                    (start if number == 1 else stop)()
                yield pair

        self._loop.batches = batches  # type: ignore[method-assign]
        try:
            self._run()
        finally:
            self._loop.batches = usual  # type: ignore[method-assign]

    def dispatched(self) -> dict[str, int]:
        mode = Dispatched()
        self.between(mode.__enter__, lambda: mode.__exit__(None, None, None))
        return {"operations": sum(mode.counts.values()), "reads": mode.reads}

    def launched(self) -> dict[str, float]:
        """Counts kernels, their time, copies, and waits for the device, by torch's profiler."""
        kinds = torch.profiler.ProfilerActivity
        profile = torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA])
        self.between(profile.start, profile.stop)
        names: Counter[str] = Counter()
        busy = 0.0
        for event in profile.events() or []:
            if event.device_type == torch.autograd.DeviceType.CUDA:
                names["copies" if event.name.startswith(("Memcpy", "Memset")) else "launches"] += 1
                busy += event.time_range.elapsed_us() / 1000
            elif "Synchronize" in event.name and event.name.startswith("cuda"):
                names["waits"] += 1
        return {name: names[name] for name in ("launches", "copies", "waits")} | {"busy_milliseconds": busy}


def measured(size: str, searches: Sequence[Search], rounds: int) -> dict[str, Any]:
    """The figures of one search alone, or of a group."""
    device, group = searches[0].device, FusedSearch()

    def run() -> None:
        for outcome in group.run_epoch(searches):
            if isinstance(outcome, Exception):
                raise outcome

    run()
    reset_peak_memory(device)
    seconds = [seconds_of(run, device) for _ in range(rounds)]
    row: dict[str, Any] = {
        "milliseconds": 1000 * min(seconds) / SIZES[size]["steps"],
        "largest": 1000 * max(seconds) / SIZES[size]["steps"],
        "peak_mib": peak_memory_mb(device),
    }
    step = OneStep(searches[0], run)
    row |= step.dispatched()
    if device.type == "cuda":
        row |= step.launched()
    return row


def attempted(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns the figures, or the error. What comes after is still worth its time."""
    try:
        return work()
    except Exception:
        return {"error": traceback.format_exc()}
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


LATE = {"left_out": "no time was left"}


def lanes_speed(bench: Any) -> dict[str, Any]:
    known = {f"{size}, {order} order": speeds(bench, size, order) for size in bench.plan["sizes"] for order in ORDERS}
    failed = [
        f"{name}, {lanes}"
        for name, rows in known.items()
        for lanes, row in rows.items()
        if "OutOfMemoryError" not in row.get("error", "OutOfMemoryError")  # what does not fit is a figure
    ]
    bench.check("every group runs, or does not fit into the memory", not failed, failed)
    return known


def speeds(bench: Any, size: str, order: str) -> dict[str, Any]:
    """The figures of each K."""
    data = data_of(size)
    searches: list[Search] = []
    rows: dict[str, Any] = {}

    def figures(lanes: int) -> dict[str, Any]:
        searches.extend(sized(size, order, seed, bench.device, data) for seed in range(len(searches), lanes))
        return measured(size, searches[:lanes], bench.plan["rounds"])

    for lanes in bench.plan["lanes"]:
        row = dict(LATE) if bench.late() else attempted(partial(figures, lanes))
        solo = rows.get("K = 1", row).get("milliseconds")
        if solo and "milliseconds" in row:
            row["times_more_searches"] = lanes * solo / row["milliseconds"]
        rows[f"K = {lanes}"] = row
    return rows


class Timed:
    """The time of each step of a search or group but those before the `first`: those of a graph warm up."""

    def __init__(self, group: FusedSearch, searches: Sequence[Search], first: int) -> None:
        self._group, self._searches, self._first = group, searches, first

    def milliseconds(self) -> float:
        loop, device = self._searches[0].loop, self._searches[0].device
        usual, times = loop.batches, []

        def batches() -> Iterator[tuple[Batch, Callable[[], Batch]]]:
            for number, pair in enumerate(usual()):
                if number >= self._first:
                    wait(device)
                    times.append(time.perf_counter())
                yield pair

        loop.batches = batches  # type: ignore[method-assign]
        try:
            for outcome in self._group.run_epoch(self._searches):
                if isinstance(outcome, Exception):
                    raise outcome
        finally:
            loop.batches = usual  # type: ignore[method-assign]
        return 1000 * min(after - before for before, after in pairwise(times))


def graphs(bench: Any) -> dict[str, Any]:
    """A step with a CUDA graph and without: whether both end with equal bits, and what each takes.

    On a CPU there is no graph: both are the same then, and nothing is compared.
    """
    known: dict[str, Any] = {}
    for size in bench.plan["sizes"]:
        for order in ORDERS:
            for lanes in (1, min(8, max(bench.plan["lanes"]))):
                if bench.late():
                    known[f"{size}, {order} order, K = {lanes}"] = dict(LATE)
                    continue
                row = attempted(partial(_graphed, bench, size, order, lanes))
                known[f"{size}, {order} order, K = {lanes}"] = row
    rows = {name: row for name, row in known.items() if "times_faster" in row}
    if bench.device.type == "cuda":
        refused = {name: row["refused"] for name, row in rows.items() if row["refused"]}
        bench.check("no step is refused a graph", rows and not refused, refused)
        # Of a search alone another supernet is captured, that of a group of one. Its rounding grows within few steps.
        # Max pools may add in any order, so bits are the tests' claim (tests/gpu/test_gpu_graphs.py).
        worst = max((row["apart"] for name, row in rows.items() if not name.endswith("K = 1")), default=1.0)
        bench.check("an epoch of a group's graphs ends within rounding of an epoch without", worst < 1e-2, worst)
        slow = {name: row["times_faster"] for name, row in rows.items() if row["times_faster"] < 1}
        bench.check("a graph makes no step slower", not slow, slow)
    return known


def _graphed(bench: Any, size: str, order: str, lanes: int) -> dict[str, Any]:
    data, found = data_of(size, 6), {}
    for graph in (False, True):
        searches = [sized(size, order, seed, bench.device, data, cuda_graph=graph) for seed in range(lanes)]
        group = FusedSearch()
        milliseconds = Timed(group, searches, 4).milliseconds()
        found[graph] = milliseconds, searches, group
    (plain, without, _), (repeated, graphed, group) = found[False], found[True]
    return {
        "milliseconds": plain,
        "graph_milliseconds": repeated,
        "times_faster": plain / repeated,
        "apart": max(apart(one, other) for one, other in zip(graphed, without, strict=True)),
        "refused": None if group._repeated is None else group._repeated.refused,
        "replays": 0 if group._repeated is None else group._repeated.replays,
    }


def alone(
    gate: Any, answers: Any, size: str, order: str, seed: int, device: str, epochs: int
) -> None:  # in a process of its own
    """Runs a search. All processes begin at the same time."""
    try:
        place = torch.device(device)
        if place.type == "cpu":
            torch.set_num_threads(1)
        search = sized(size, order, seed, place, data_of(size))
        search.run_epoch()
        wait(place)
        gate.wait(120)
        started = time.perf_counter()
        for _ in range(epochs):
            search.run_epoch()
        wait(place)
        answers.put((started, time.perf_counter(), peak_memory_mb(place)))
    except Exception:
        gate.abort()
        answers.put(traceback.format_exc())


def shared(size: str, count: int, device: torch.device, epochs: int) -> dict[str, Any]:
    """`count` searches of first order: in as many processes at the same time, and as one group."""
    context = multiprocessing.get_context("spawn")
    gate, answers = context.Barrier(count), context.Queue()
    workers = [
        context.Process(target=alone, args=(gate, answers, size, "first", seed, str(device), epochs), daemon=True)
        for seed in range(count)
    ]
    for worker in workers:
        worker.start()
    try:
        told = [answers.get(timeout=180) for _ in workers]
    finally:
        for worker in workers:
            worker.join(20)
            worker.terminate()
    if failures := [each for each in told if isinstance(each, str)]:
        raise RuntimeError(failures[0])
    processes = max(end for _, end, _ in told) - min(start for start, _, _ in told)
    group = FusedSearch()
    data = data_of(size)
    searches = [sized(size, "first", seed, device, data) for seed in range(count)]
    group.run_epoch(searches)
    reset_peak_memory(device)
    lanes = seconds_of(lambda: [group.run_epoch(searches) for _ in range(epochs)], device)
    steps = SIZES[size]["steps"] * epochs
    return {
        "searches": count,
        "processes_milliseconds": 1000 * processes / steps,
        "lanes_milliseconds": 1000 * lanes / steps,
        "times_faster": processes / lanes,
        "processes_peak_mib": sum(peak for _, _, peak in told),
        "lanes_peak_mib": peak_memory_mb(device),
    }


def lanes_processes(bench: Any) -> dict[str, Any]:
    """A step of all searches. The processes share the device as CUDA lets them; there is no MPS."""
    known: dict[str, Any] = {}
    for size, count in bench.plan["processes"]:
        work = partial(shared, size, count, bench.device, bench.plan["rounds"])
        known[size] = dict(LATE) if bench.late() else attempted(work)
    failed = [size for size, row in known.items() if "error" in row]
    bench.check("processes and lanes share the device", not failed, failed)
    return known
