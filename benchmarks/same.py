"""Does this tree compute what an earlier commit computed, to the last bit?

    python benchmarks/same.py COMMIT [--only NAME ...] [--keep FOLDER]

Runs searches, retrainings and sweeps of digits and of a text through the command line, once with the code of COMMIT and
once with the code of this folder, on this machine, and compares every row, genotype and ranking. Columns that COMMIT
does not write are left out. Where COMMIT ranked by a metric, this tree ranks by the same plain figure. Then the runs of
COMMIT are read by this tree's `report --json`, which must say the same or refuse them by name.
Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TIMES = {"seconds", "memory_mb", "started", "finished", "time", "seconds_per_epoch", "epoch_seconds"}
IMAGES = """
data: {dataset: digits, limit: 120, validation_fraction: 0.25}
search:
  epochs: 3
  batch_size: 16
  arch_lr: 0.02
  augment: {crop_padding: 1, flip: true}
  space: {name: SPACE, channels: 4, layers: 3}
"""
EVALUATE = """
evaluate:
  top_k: 2
  seeds: [0, 1]
  training: {epochs: 2, batch_size: 16, drop_path: 0.2, network: {channels: 4, layers: 3, auxiliary_weight: 0.4}}
"""
SWEEP = "  seed: {grid: [0, 1]}\n  estimator: {grid: [first_order, finite_difference]}\n"
TEXT = """
data: {dataset: {name: pydoc_topics, vocabulary_size: 200}, limit: 4000, alpha_fraction: 0.3}
search:
  epochs: 2
  batch_size: 8
  lr: 5
  lr_min: 5
  momentum: 0
  grad_clip: 0.25
  text: {bptt: 10}
  space: {name: darts-rnn, nodes: 2, units: 8}
  estimator: {name: finite_difference, xi: lr, epsilon: 0.01, grad_clip: 0.25}
"""


def of_images(space: str = "darts-cnn", more: str = "", after: str = "") -> str:
    size = "cells_per_stage: 1" if space == "nasbench201" else "layers: 3, nodes: 2"
    return IMAGES.replace("SPACE", space).replace("layers: 3", size) + more + after


SPECS: dict[str, tuple[str, str]] = {
    "first-order": ("search", of_images(more="  estimator: first_order\n")),
    "finite-difference": (
        "search",
        of_images(more="  estimator: finite_difference\n  regularizers: [{name: drop_path, probability: 0.2}, oles]\n"),
    ),
    "exact": ("search", of_images(more="  estimator: exact_hvp\n  regularizers: [beta_decay, partial_channels]\n")),
    "gumbel": ("search", of_images(more="  relaxation: gumbel\n")),
    "nasbench201": ("search", of_images("nasbench201")),
    "text": ("search", TEXT),
    "grid": ("sweep", of_images(more=SWEEP, after="sweep: {searcher: grid, max_concurrent: 1}" + EVALUATE)),
    "asha": (
        "sweep",
        of_images(
            more="  arch_lr: {loguniform: [0.001, 0.1]}\n",
            after="sweep: {searcher: {name: optuna, trials: 6, startup_trials: 2}, max_concurrent: 1, "
            "scheduler: {name: asha, grace_period: 1, reduction_factor: 2}}",
        ).replace("  arch_lr: 0.02\n", ""),
    ),
}


def raydarts(tree: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "raydarts.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def results(run: Path) -> dict[str, Any]:
    """All that a run has computed, by file."""
    kept: dict[str, Any] = {}
    for file in sorted(run.rglob("*")):
        name = str(file.relative_to(run))
        if file.name == "metrics.jsonl":
            kept[name] = [without_times(json.loads(line)) for line in file.read_text().splitlines()]
        elif file.name in ("genotype.json", "promotion.json", "result.json"):
            kept[name] = without_times(json.loads(file.read_text()))
    return kept


def as_before(then: Any, now: Any) -> Any:
    """`now` without the columns that `then` does not have."""
    if isinstance(then, dict) and isinstance(now, dict):
        return {key: as_before(then[key], value) for key, value in now.items() if key in then}
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        return [as_before(*pair) for pair in zip(then, now, strict=True)]
    return now


def compute(tree: Path, folder: Path, names: list[str], plain: bool = False) -> None:
    """`plain`: sweeps rank by accuracy alone, which was the default before there were objectives."""
    for name in names:
        command, spec = SPECS[name]
        (folder / f"{name}.yaml").write_text(spec)
        more = ["--set", "sweep.objective=validation_accuracy"] if plain and command == "sweep" else []
        done = raydarts(tree, folder, command, f"{name}.yaml", "--name", name, *more)
        if done.returncode:
            sys.exit(f"{name} failed with the code of {tree}:\n{done.stdout}{done.stderr}")
        print(f"  {name}: computed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--only", nargs="+", choices=list(SPECS), default=list(SPECS))
    parser.add_argument("--keep", type=Path, help="a folder for the runs of COMMIT; it is used again where it is there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        before = arguments.keep or Path(made) / "before"
        after, tree = Path(made) / "after", Path(made) / "tree"
        before.mkdir(parents=True, exist_ok=True)
        after.mkdir()
        missing = [name for name in arguments.only if not (before / "runs" / name / "status.json").exists()]
        if missing:
            subprocess.run(
                ["git", "worktree", "add", "-q", "--detach", str(tree), arguments.commit], cwd=ROOT, check=True
            )
            try:
                print(f"code of {arguments.commit}")
                compute(tree, before, missing)
            finally:
                subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)
        print("code of this folder")
        earlier = ["git", "cat-file", "-e", f"{arguments.commit}:raydarts/study/objectives/base.py"]
        plain = subprocess.run(earlier, cwd=ROOT, capture_output=True, check=False).returncode != 0
        compute(ROOT, after, arguments.only, plain)
        differ = 0
        for name in arguments.only:
            then, now = (results(folder / "runs" / name) for folder in (before, after))
            now = {file: as_before(then.get(file), value) for file, value in now.items()}
            files = [file for file in sorted({*then, *now}) if then.get(file) != now.get(file)]
            differ += bool(files)
            rows = sum(len(value) for file, value in now.items() if file.endswith(".jsonl"))
            print(f"{name}: {'DIFFERS in ' + ', '.join(files) if files else f'same, {len(now)} files, {rows} rows'}")
            if SPECS[name][0] == "sweep":
                reports = [raydarts(ROOT, folder, "report", f"runs/{name}", "--json") for folder in (before, after)]
                if reports[0].returncode:
                    print(f"  run of {arguments.commit}: refused: {reports[0].stderr.strip()}")
                    continue
                rankings = [json.loads(done.stdout)["ranking"] for done in reports]
                same = without_times(rankings[0]) == without_times(rankings[1])
                differ += not same
                print(f"  run of {arguments.commit}, read by this tree: {'same' if same else 'ANOTHER'} ranking")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
