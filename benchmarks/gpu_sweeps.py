"""Searches an hour of real sweeps on one GPU: the part `sweeps` of benchmarks/gpu.py. It needs Ray.

`raydarts sweep SPEC --stage search` runs for each data set in three ways: each search in a process with a share of the
GPU, one search at a time, and all searches in one process, as lanes. Data: scikit-learn's digits, and random images of
CIFAR-10's size, whose searches take as long as those of real ones. Steps are CUDA graphs (`search.cuda_graph: auto`).

`searches_an_hour`: how many, by the time from the first epoch's start to the last one's end. `seconds` is that time,
`command_seconds` that of the whole command, Ray's start included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from gpu_lanes import LATE

from raydarts.runs.directory import RunDirectory

DATA: dict[str, dict[str, Any]] = {
    "digits": {"data": {"dataset": "digits"}, "batch_size": 32, "space": {"channels": 4, "layers": 3, "nodes": 2}},
    "images of CIFAR-10's size": {"data": {"dataset": {"name": "npz"}}, "batch_size": 64, "space": {}},
    "try": {"data": {"dataset": "digits", "limit": 40}, "batch_size": 8,
            "space": {"channels": 4, "layers": 3, "nodes": 1}},
}  # fmt: skip
PLANS: dict[str, dict[str, Any]] = {
    "paper": {"data": ["digits", "images of CIFAR-10's size"], "searches": 8, "epochs": 2, "images": 4096},
    "small": {"data": ["try"], "searches": 2, "epochs": 1, "images": 64},
}
"""By the size that gpu.py is asked for."""


def ways(searches: int, gpu: bool) -> dict[str, dict[str, Any]]:
    """Settings of `sweep`. Without a GPU only the command and the files are tried."""
    one = {"cpus": 1, "gpus": 1 if gpu else 0}
    share = {"cpus": 1, "gpus": 1 / searches if gpu else 0}
    return {
        "a process for each search": {"fuse": "off", "resources": share},
        "one after the other": {"fuse": "off", "resources": one, "max_concurrent": 1},
        "lanes of one process": {"fuse": searches, "resources": one},
    }


def spec(of: dict[str, Any], plan: dict[str, Any], way: dict[str, Any], file: Path) -> dict[str, Any]:
    dataset = of["data"]["dataset"]
    data = of["data"] if isinstance(dataset, str) else {"dataset": {**dataset, "file": str(file)}}
    search = {
        "epochs": plan["epochs"],
        "batch_size": of["batch_size"],
        "space": {"name": "darts-cnn", **of["space"]},
        "estimator": "first_order",
        "seed": {"grid": list(range(plan["searches"]))},
    }
    return {"name": "gpu", "data": data, "search": search, "sweep": {"searcher": "grid", "scheduler": "fifo", **way}}


def random_images(file: Path, count: int) -> None:
    draws = np.random.default_rng(0)
    parts = {"train": count, "test": 20}
    arrays = {f"{part}_images": draws.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for part, n in parts.items()}
    arrays |= {f"{part}_labels": draws.permutation(np.arange(n) % 10) for part, n in parts.items()}
    np.savez(file, **arrays)


def swept(settings: dict[str, Any], folder: Path, seconds: float) -> dict[str, Any]:
    """Runs the command, and returns its figures. Raises `RuntimeError` if it fails or a search did not complete."""
    file = folder / "spec.yaml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    command = [sys.executable, "-m", "raydarts.cli", "sweep", str(file), "--stage", "search", "--storage", str(folder)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    whole = time.perf_counter() - started
    trials = [trial for run in folder.glob("gpu-*") for trial in RunDirectory.open(run).trials()]
    completed = sum((trial.result() or {}).get("status") == "completed" for trial in trials)
    asked = len(settings["search"]["seed"]["grid"])
    if done.returncode != 0 or completed != asked:
        raise RuntimeError(
            f"exit code {done.returncode}, {completed} of {asked} searches completed\n{done.stderr[-3000:]}"
        )
    epochs = [epoch for trial in trials for epoch in trial.times()]
    taken = max(epoch["end"] for epoch in epochs) - min(epoch["start"] for epoch in epochs)
    return {
        "searches_an_hour": round(3600 * asked / taken, 1),
        "seconds": round(taken, 2),
        "command_seconds": round(whole, 1),
        "in_a_process": max(epoch.get("lanes", 1) for epoch in epochs),
    }


def sweeps(bench: Any) -> dict[str, Any]:
    plan, gpu = PLANS[bench.name], bench.device.type == "cuda"
    known: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "images.npz")
        random_images(file, plan["images"])
        for data in plan["data"]:
            rows = known[data] = {}
            for number, (way, settings) in enumerate(ways(plan["searches"], gpu).items()):
                place = Path(folder, f"{len(known)}-{number}")
                place.mkdir()
                wanted = spec(DATA[data], plan, settings, file)
                rows[way] = dict(LATE) if bench.late() else swept(wanted, place, 180)
    done = [row for rows in known.values() for row in rows.values() if "in_a_process" in row]
    bench.check("sweeps of searches complete", bool(done), len(done))
    if gpu:
        for data, rows in known.items():
            rates = {way: row["searches_an_hour"] for way, row in rows.items() if "searches_an_hour" in row}
            if len(rates) == len(rows):
                best = max(rates, key=rates.__getitem__)
                bench.check(f"{data}: lanes give the most searches an hour", best.startswith("lanes"), rates)
    return known
