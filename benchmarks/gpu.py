"""What raydarts costs and how exactly it computes on a GPU, and whether that is right. There is no data to download.

    python benchmarks/gpu.py [--json FILE] [--rounds 20] [--size small] [--parts PART ...] [--seconds 300]

Prints one JSON object. `checks` says of each claim whether it held, with the figure: exit 0 where all did, 1 where one
did not or a part raised (its traceback is in the JSON), 2 without a CUDA device. `--device cpu --size small` tries the
script itself. It is made to end within 8 minutes on one H100: parts of lanes begin nothing new `--seconds` after the
start, and what they left out is said. The file is written after each part.

`search`: milliseconds of a step of Algorithm 1 (median, smallest, largest of the rounds) and the peak memory in MiB,
first and second order, without and with TF32. `alpha_error`: relative error (L2, all entries) of alpha's gradient
against the same in float64 on the same device, and of the second-order term alone (exact_hvp less first_order).
`evaluation`: time and memory of a step of a retraining of the paper's cell, as it is, with TF32, in bfloat16, and
compiled. `resume`: whether a search that was killed and resumed ends bit-identical. `lanes_exact`, `lanes_bits`,
`lanes_speed`, `lanes_processes`: searches as lanes of one supernet. `graphs`: their steps as CUDA graphs. See
benchmarks/gpu_lanes.py. `plain`, `roofline`: a step against the plain DARTS of tests/parity, and against what its
arithmetic and its memory traffic take at least. See benchmarks/gpu_bounds.py. `sweeps`: searches an hour of real
sweeps through the command, as lanes, one at a time, and in processes that share the GPU. It alone needs Ray. See
benchmarks/gpu_sweeps.py.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from gpu_bounds import plain, roofline
from gpu_lanes import PLANS, graphs, lanes_bits, lanes_exact, lanes_processes, lanes_speed
from gpu_sweeps import sweeps
from step import ORDERS, step_of
from torch import Tensor

from raydarts.data.base import ImageArrays
from raydarts.data.settings import DataSettings
from raydarts.data.splits import Splits, split
from raydarts.evaluation.evaluation import Evaluation
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.float32 import arithmetic
from raydarts.measure import Meter, peak_memory_mb, reset_peak_memory
from raydarts.runs.identity import differences
from raydarts.search.model import copied
from raydarts.search.moments import Step
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Genotype

CELL = [["sep_conv_3x3", 0], ["sep_conv_3x3", 1], ["sep_conv_3x3", 0], ["sep_conv_3x3", 1],
        ["sep_conv_3x3", 1], ["skip_connect", 0], ["skip_connect", 0], ["dil_conv_3x3", 2]]  # fmt: skip
POOLED = [["max_pool_3x3", 0], ["max_pool_3x3", 1], ["skip_connect", 2], ["max_pool_3x3", 1],
          ["max_pool_3x3", 0], ["skip_connect", 2], ["skip_connect", 2], ["max_pool_3x3", 1]]  # fmt: skip
DARTS_V2 = {"normal": CELL, "normal_concat": [2, 3, 4, 5], "reduce": POOLED, "reduce_concat": [2, 3, 4, 5]}
SIZES: dict[str, dict[str, Any]] = {
    "paper": {"batch": 64, "exact_batch": 16, "space": {"name": "darts-cnn"}, "image": 32, "evaluation_batch": 96,
              "network": {"channels": 36, "layers": 20, "auxiliary_weight": 0.4}},
    "small": {"batch": 8, "exact_batch": 8, "space": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 2},
              "image": 8, "evaluation_batch": 8, "network": {"channels": 4, "layers": 3, "auxiliary_weight": 0.4}},
}  # fmt: skip


class Bench:
    """The device, the sizes, the random images, and what was found."""

    def __init__(self, device: str, size: str, rounds: int, seconds: float) -> None:
        self.device, self.size, self.rounds, self.seconds = torch.device(device), SIZES[size], rounds, seconds
        self.name, self.plan = size, PLANS[size]
        self.started = time.perf_counter()
        self.checks: list[dict[str, Any]] = []

    def splits(self, images: int) -> Splits:
        draws = np.random.default_rng(0)
        pixels = draws.integers(0, 256, (images, self.size["image"], self.size["image"], 3), dtype=np.uint8)
        labels = draws.permutation(np.arange(images) % 10)
        arrays = ImageArrays.of("random", pixels, labels, pixels[:1], labels[:1], 10)
        return split(arrays, DataSettings(validation_fraction=0))

    def search(self, batch: int, **settings: Any) -> Search:
        plain = {"batch_size": batch, "space": self.size["space"], "alpha_init": 1e-3} | settings
        return Search(SearchSettings.model_validate(plain), self.splits(2 * batch), self.device)

    def evaluation(self, **settings: Any) -> Evaluation:
        batch = self.size["evaluation_batch"]
        plain = {"batch_size": batch, "network": self.size["network"], "epochs": 2} | settings
        genotype = Genotype.from_json(DARTS_V2)
        data = self.splits(max(batch, 20))  # of ten classes
        return Evaluation(EvaluationSettings.model_validate(plain), genotype, data, 0, self.device)

    def check(self, name: str, ok: bool, figure: Any) -> None:
        self.checks.append({"name": name, "ok": bool(ok), "figure": figure})

    def late(self) -> bool:
        return time.perf_counter() - self.started > self.seconds

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def timed(self, step: Callable[[], None], tf32: bool) -> dict[str, float]:
        """The first rounds warm up (and compile); memory is the peak of the others."""
        times = []
        with arithmetic(tf32=tf32):
            for number in range(self.rounds + 3):
                if number == 3:
                    reset_peak_memory(self.device)
                self.wait()
                started = time.perf_counter()
                step()
                self.wait()
                times.append(1000 * (time.perf_counter() - started))
        kept = times[3:]
        return {
            "milliseconds": round(median(kept), 2),
            "smallest": round(min(kept), 2),
            "largest": round(max(kept), 2),
            "first": round(times[0], 1),
            "peak_mib": round(peak_memory_mb(self.device), 1),
        }


def search_steps(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for order, estimator in ORDERS.items():
        for tf32 in (False, True):
            job = bench.search(bench.size["batch"], estimator=estimator)
            found[f"{order}{', TF32' if tf32 else ''}"] = bench.timed(step_of(job), tf32)
    ratio = found["second"]["milliseconds"] / found["first"]["milliseconds"]
    bench.check("a second-order step costs more than a first-order step", ratio > 1, round(ratio, 2))
    return found


def relative(one: Tensor, exact: Tensor) -> float:
    return float((one.double() - exact).norm() / exact.norm())


def alpha_errors(bench: Bench) -> dict[str, Any]:
    """Equal seeds give equal weights, alpha and batches, whatever the precision."""

    def gradient(estimator: str, precision: str, tf32: bool) -> Tensor:
        job = bench.search(bench.size["exact_batch"], estimator=estimator, precision=precision)
        job.supernet.train()
        with arithmetic(tf32=tf32):
            job.architect.gradient(Step(job.objective, *next(job.loop.batches())))
        return torch.cat([alpha.grad.flatten() for alpha in job.objective.alphas]).double()  # type: ignore[union-attr]

    kinds = {"float64": ("float64", False), "float32": ("float32", False), "TF32": ("float32", True)}
    first = {name: gradient("first_order", *kind) for name, kind in kinds.items()}
    second = {name: gradient("exact_hvp", *kind) for name, kind in kinds.items()}
    found: dict[str, Any] = {}
    for name in ("float32", "TF32"):
        term, exact = second[name] - first[name], second["float64"] - first["float64"]
        found[name] = {
            "first_order": relative(first[name], first["float64"]),
            "exact_hvp": relative(second[name], second["float64"]),
            "second_order_term": relative(term, exact),
        }
    error = found["float32"]["first_order"]
    bench.check("in float32 alpha's gradient is within 1 % of float64's", error < 0.01, error)
    if bench.device.type == "cuda" and torch.cuda.get_device_capability(bench.device) >= (8, 0):
        other = found["TF32"]["first_order"]
        bench.check("TF32 rounds more than float32, so the flag acts", other > 2 * error, other)
    return found


def evaluation_steps(bench: Bench) -> dict[str, Any]:
    """Drop-path acts; `compiled` is compared with `plain` by its loss in the same first step."""
    ways: dict[str, dict[str, Any]] = {
        "plain": {},
        "TF32": {"tf32": True},
        "bfloat16": {"amp": "bfloat16"},
        "compiled": {"compile": True},
        "compiled, bfloat16": {"compile": True, "amp": "bfloat16"},
    }
    found: dict[str, Any] = {}
    losses: dict[str, float] = {}
    for name, settings in ways.items():
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        job = bench.evaluation(**settings)
        job.network.train()
        job.network.drop_path.probability = 0.2  # type: ignore[union-attr]
        batch = next(job.parts["search"].epoch(job.settings.batch_size, job.streams["order"], job.streams["augment"]))

        def step(job: Evaluation = job, batch: Any = batch, name: str = name) -> None:
            meter = Meter()
            job._step(batch, 0, meter)
            losses.setdefault(name, float(meter.loss or 0.0))

        found[name] = bench.timed(step, bool(settings.get("tf32")))
        if settings.get("compile"):
            counted = torch._dynamo.utils.counters
            graphs, breaks = counted["stats"]["unique_graphs"], sum(counted["graph_break"].values())
            found[name] |= {"graphs": graphs, "graph_breaks": breaks}
            bench.check(f"{name}: one graph, no break", graphs == 1 and breaks == 0, [graphs, breaks])
    apart = abs(losses["compiled"] / losses["plain"] - 1)
    bench.check("compiled: the first step's loss is that without compile", apart < 1e-3, apart)
    return found


def resumed(bench: Bench) -> dict[str, Any]:
    """Reported for both; checked where no max pool is (its backward pass on a GPU may add in any order)."""
    spaces = {
        "darts-cnn": SIZES["small"]["space"],
        "nasbench201": {"name": "nasbench201", "channels": 4, "cells_per_stage": 1},
    }
    found: dict[str, Any] = {}
    for name, space in spaces.items():
        whole, first, second = (bench.search(16, space=space, epochs=2) for _ in range(3))
        first.run_epoch()
        second.load_state_dict(copied(first.state_dict()))
        for job in (whole, second):
            while not job.finished:
                job.run_epoch()
        states = [{k: v for k, v in job.state_dict().items() if k != "metrics"} for job in (whole, second)]
        found[name] = not list(differences(*states))
    bench.check("a resumed search (nasbench201) ends bit-identical", found["nasbench201"], found["nasbench201"])
    return found


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "lanes_exact": lanes_exact,
    "lanes_bits": lanes_bits,
    "resume": resumed,
    "alpha_error": alpha_errors,
    "search": search_steps,
    "plain": plain,
    "roofline": roofline,
    "graphs": graphs,
    "lanes_speed": lanes_speed,
    "lanes_processes": lanes_processes,
    "sweeps": sweeps,
    "evaluation": evaluation_steps,
}
"""What is right comes before what is fast, and the compilation last."""


def run(
    device: str, size: str, rounds: int, parts: list[str], file: Path | None = None, seconds: float = 300
) -> dict[str, Any]:
    bench = Bench(device, size, rounds, seconds)
    on_gpu = bench.device.type == "cuda"
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(bench.device) if on_gpu else platform.processor() or "CPU",
        "capability": list(torch.cuda.get_device_capability(bench.device)) if on_gpu else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if on_gpu else None,
        "cudnn": torch.backends.cudnn.version() if on_gpu else None,
        "python": platform.python_version(),
        "size": size,
        "rounds": rounds,
    }
    for name in parts:
        began = time.perf_counter()
        try:
            result[name] = PARTS[name](bench)
        except Exception:  # the other parts are still worth their figures
            result[name] = {"error": traceback.format_exc()}
            bench.check(f"{name} runs", False, None)
        result.setdefault("part_seconds", {})[name] = round(time.perf_counter() - began, 1)
        result["checks"] = bench.checks
        result["ok"] = all(check["ok"] for check in bench.checks)
        if file is not None:
            file.write_text(json.dumps(result, indent=2) + "\n")
    return result


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=SIZES, default="paper")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        print("gpu.py: torch sees no CUDA device here; nothing was measured", file=sys.stderr)
        return 2
    parts = [name for name in PARTS if name in asked.parts]
    result = run(asked.device, asked.size, asked.rounds, parts, asked.json, asked.seconds)
    print(json.dumps(result, indent=2))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
