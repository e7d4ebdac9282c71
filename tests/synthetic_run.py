"""Runs that never happened, written through `raydarts.runs` as a sweep would: with planted effects, or none."""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raydarts.execution import drive
from raydarts.genotypes.facts import cell_facts
from raydarts.genotypes.genotype import Genotype, describe_genotype
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.storage.place import append
from raydarts.study.objectives import ACCURACY, SearchScore
from raydarts.study.promotion import promotion

Rows = list[dict[str, Any]]
PRIMITIVES = ("max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3")
OPS = ("none", *PRIMITIVES, "skip_connect", "dil_conv_5x5")
EDGES = [[src, dst] for dst in range(2, 6) for src in range(dst)]
START = 1_760_000_000.0
EVIL = "<script>alert('xss')</script><img src=x onerror=alert(1)>"


@dataclass(frozen=True)
class Planted:
    """How the world is. `order`: skips that second order spares; `strength`: skips that full strength spares;
    `accuracy`: what second order adds to supernet accuracy; `lie`: supernet accuracy gained by a skip;
    `harm`: retrained accuracy lost by a skip. A setting `nothing` has no effect ever."""

    order: float = 0.0
    strength: float = 0.0
    accuracy: float = 0.0
    lie: float = 0.0
    harm: float = 0.0


NOISE = Planted()
EFFECTS = Planted(order=2.5, strength=4.0, accuracy=0.0, lie=0.01, harm=0.012)


def genotype(skips: int, rng: random.Random) -> dict[str, Any]:
    """A DARTS genotype with `skips` (of 8) skip connections in its normal cell."""
    cells: dict[str, Any] = {}
    for name, count in (("normal", skips), ("reduce", 1)):
        ops = ["skip_connect"] * count + [rng.choice(PRIMITIVES) for _ in range(8 - count)]
        rng.shuffle(ops)
        sources = [src for node in range(2, 6) for src in sorted(rng.sample(range(node), 2))]
        cells[name] = [[op, src] for op, src in zip(ops, sources, strict=True)]
        cells[f"{name}_concat"] = [2, 3, 4, 5]
    return cells


def _draw(index: int, rng: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """Choices as a random search with search seeds 0 to 3 makes them, and the configuration."""
    seed = index % 4
    order = rng.choice(["first_order", "finite_difference"])
    choices: dict[str, Any] = {"search.seed": seed, "search.estimator": order}
    if order == "finite_difference":
        choices["search.estimator[finite_difference].xi"] = rng.choice([0.01, 0.1, "lr"])
        choices["search.estimator[finite_difference].epsilon"] = 10 ** rng.uniform(-3, -1)
    choices["search.regularizers.0.strength"] = rng.uniform(0, 1)
    choices["search.nothing"] = rng.choice(["a", "b", "c"])
    under = "search.estimator[finite_difference]."
    estimator = {key.removeprefix(under): value for key, value in choices.items() if key.startswith(under)}
    remedy = {"name": "beta_decay", "strength": choices["search.regularizers.0.strength"]}
    config = {"seed": seed, "epochs": 6, "estimator": {"name": order, **estimator}, "regularizers": [remedy]}
    return choices, {**config, "nothing": choices["search.nothing"]}


def world(choices: dict[str, Any], planted: Planted, rng: random.Random) -> tuple[int, float]:
    """Skips in the normal cell and supernet accuracy of a search."""
    second = choices["search.estimator"] == "finite_difference"
    strength = choices["search.regularizers.0.strength"]
    luck = random.Random(choices["search.seed"]).gauss(0, 0.4)
    skips = 4.5 - planted.order * (second - 0.5) - planted.strength * (strength - 0.5) + luck + rng.gauss(0, 1)
    skips = min(8, max(0, round(skips)))
    accuracy = 0.85 + planted.accuracy * second + planted.lie * skips + 0.3 * 0.01 * luck + rng.gauss(0, 0.01)
    return skips, min(1.0, accuracy)


def spec(question: str) -> dict[str, Any]:
    return {
        "name": "synthetic",
        "question": question,
        "search": {"epochs": 6},
        "sweep": {"searcher": {"name": "random", "trials": 0}, "metric": "validation_accuracy", "mode": "max"},
        "evaluate": {"top_k": 4, "seeds": [0, 1, 2]},
        "score": ACCURACY.to_json(),
    }


def _write_search(
    trial: TrialDirectory,
    found: dict[str, Any],
    accuracy: float,
    skips: int,
    clock: float,
    rng: random.Random,
    epochs: int,
) -> Rows:
    facts = cell_facts(Genotype.from_json(found))
    rows, times = [], []
    for epoch in range(1, epochs + 1):
        share = epoch / epochs
        rest = (1 - 0.1 - 0.5 * share) / (len(OPS) - 1)
        weights = [[round(0.1 + 0.5 * share, 4) if op == "skip_connect" else round(rest, 4) for op in OPS]] * len(EDGES)
        cell = {"edges": EDGES, "primitives": list(OPS), "weights": weights}
        row = {
            "epoch": epoch,
            "weight_loss": 2 - share,
            "validation_accuracy": accuracy - 0.3 * (1 - share),
            "validation_loss": 1 - accuracy * share,
            "eigenvalue": 0.1 + 0.05 * skips * share + rng.random() * 0.02,
            "skips_normal": round(skips * share),
            "skips_reduce": 1,
            "arch_weights": {"normal": cell, "reduce": cell},
            "genotype": found,
            **facts,
            "seconds": 20.0,
            "lr": 0.025,
        }
        rows.append(row)
        begin = clock + 20 * (epoch - 1)
        times.append({"epoch": epoch, "start": begin, "end": begin + 19, "host": trial_host(trial), "pid": 7})
    _write_lines(trial, rows, times)
    return rows


def _write_lines(trial: TrialDirectory, rows: Rows, times: Rows) -> None:
    """What `append_row` and `append_time` write epoch by epoch: on a disk at once, as all values are of JSON's types.

    In an object store each appended line is of its own, and so it is here.
    """
    for name, values in (("metrics.jsonl", rows), ("times.jsonl", times)):
        lines = [json.dumps(value, allow_nan=False).encode() + b"\n" for value in values]
        for part in [b"".join(lines)] if isinstance(trial.files, Path) else lines:
            append(trial.files / name, part)


def trial_host(trial: TrialDirectory) -> str:
    return f"node-{sum(trial.id.encode()) % 3}"


def _complete(trial: TrialDirectory, found: dict[str, Any] | None, rows: Rows, **result: Any) -> None:
    metrics = {key: value for key, value in rows[-1].items() if key not in ("genotype", "arch_weights")}
    trial.write_result(
        {
            "status": "completed",
            "epochs": len(rows),
            "metrics": metrics,
            "genotype": found,
            "seconds": 20.0 * len(rows),
            **(describe_genotype(found) if found else {}),
            "result": result,
        }
    )


def write_run(
    path: Path,
    *,
    trials: int = 24,
    seed: int = 0,
    planted: Planted = EFFECTS,
    top_k: int = 8,
    question: str = "Why?",
    epochs: int = 6,
) -> Path:
    """A finished run of `trials` searches; the last failed, the one before it was stopped."""
    rng = random.Random(seed)
    text = "# Question: is it real?\nname: synthetic\n"
    command = ["raydarts", "sweep", "synthetic.yaml", "--name", path.name]
    run = RunDirectory.create(path, kind="sweep", spec=spec(question), text=text, question=question, command=command)
    for index in range(trials):
        choices, config = _draw(index, rng)
        trial = run.trial(index)
        trial.create({"kind": "search", "index": index, "config": config, "choices": choices})
        skips, accuracy = world(choices, planted, rng)
        found = genotype(skips, rng)
        rows = _write_search(trial, found, accuracy, skips, START + 40 * index, rng, epochs)
        if index == trials - 1:
            drive.fail(trial, f"ValueError: diverged {EVIL}")
        elif index == trials - 2:
            drive.stop(trial, describe_genotype)
        else:
            _complete(trial, found, rows)
    _retrain(run, planted, top_k, rng, START + 40 * trials + 200)
    run.write("status.json", {"status": "completed"})
    return path


def _retrain(run: RunDirectory, planted: Planted, top_k: int, rng: random.Random, clock: float) -> None:
    decisions = promotion(results.trials(run), SearchScore(**asdict(ACCURACY)), top_k, None)
    run.write("promotion.json", decisions)
    for number, decision in enumerate(entry for entry in decisions if entry["promoted"]):
        skips = decision["skips"]["normal"]
        own = rng.gauss(0, 0.002)
        for seed in range(3):
            trial = run.evaluation(decision["id"], seed)
            what = {"genotype_id": decision["id"], "genotype": decision["genotype"], "seed": seed}
            trial.create({"kind": "evaluation", **what, "trials": decision["trials"]})
            base = 0.95 - planted.harm * skips + (own if planted != NOISE else 0.0)
            final = base + rng.gauss(0, 0.004)
            rows, times = [], []
            for epoch in (1, 2, 3):
                accuracy = final - 0.1 * math.exp(-epoch) * (epoch < 3)
                rows.append({"epoch": epoch, "validation_accuracy": accuracy, "seconds": 50.0})
                begin = clock + 150 * number + 50 * (epoch - 1)
                place = {"host": trial_host(trial), "pid": 8 + seed}
                times.append({"epoch": epoch, "start": begin, "end": begin + 49, **place})
            _write_lines(trial, rows, times)
            parameters = 3_000_000 - 200_000 * skips + 1000 * number
            _complete(trial, None, rows, test_accuracy=final - 0.01, validation_accuracy=final, parameters=parameters)
