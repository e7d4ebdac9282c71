"""SIGKILL of `raydarts search` and `raydarts evaluate` at any moment; the resumed run ends as the uninterrupted one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.registry import members

MEASURED = ("seconds", "memory_mb")
EPOCHS = 3
SPEC = f"""
data: {{dataset: digits, limit: 200, validation_fraction: 0.2}}
search:
  epochs: {EPOCHS}
  batch_size: 16
  arch_lr: 0.05
  augment: {{crop_padding: 1, flip: true, cutout_length: 3, cutout_probability: 0.7}}
  space: {{name: darts-cnn, channels: 2, layers: 3, nodes: 2}}
  estimator: first_order
  regularizers: [{{name: drop_path, probability: 0.4}}, beta_decay]
evaluate:
  training:
    epochs: {EPOCHS}
    batch_size: 16
    drop_path: 0.4
    augment: {{crop_padding: 1, flip: true, cutout_length: 3}}
    network: {{channels: 4, layers: 5}}
"""
CELL = [["sep_conv_3x3", 0], ["skip_connect", 1], ["max_pool_3x3", 0], ["dil_conv_5x5", 2]]
GENOTYPE = {"normal": CELL, "normal_concat": [2, 3], "reduce": CELL, "reduce_concat": [2, 3]}


def command(*arguments: Any) -> list[str]:
    return [sys.executable, "-m", "raydarts.cli", *map(str, arguments)]


def run(folder: Path, *arguments: Any) -> None:
    subprocess.run(command(*arguments), cwd=folder, check=True, capture_output=True, timeout=300)


def rows(run_path: Path) -> list[str]:
    found = list(run_path.glob("*/*/metrics.jsonl"))
    return found[0].read_text().splitlines() if found else []


def kill_when(folder: Path, run_path: Path, epoch: int, delay: float, *arguments: Any) -> bool:
    """Start, wait until `epoch` rows are there and `delay` seconds more, kill. Whether it was killed before its end."""
    process = subprocess.Popen(
        command(*arguments), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    limit = time.monotonic() + 120
    while process.poll() is None and len(rows(run_path)) < epoch:
        assert time.monotonic() < limit, "no progress"
        time.sleep(0.005)
    time.sleep(delay)
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def final(run_path: Path) -> tuple[Any, Any, Any]:
    """The last checkpoint's state, the result, the metrics; what is measured (time, memory) left out."""
    (trial,) = [path.parent for path in run_path.glob("*/*/trial.json")]
    checkpoint = max((trial / "checkpoints").glob(f"epoch-{EPOCHS:04d}-*.pt"))
    state = torch.load(checkpoint, weights_only=True)
    return tuple(
        _plain(value)
        for value in (
            state,
            json.loads((trial / "result.json").read_text()),
            [json.loads(line) for line in (trial / "metrics.jsonl").read_text().splitlines()],
        )
    )  # type: ignore[return-value]


def _plain(value: Any) -> Any:
    """Tensors to their bytes, so that `==` compares to the last bit."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in MEASURED}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def compare(tmp_path: Path, *start: Any) -> None:
    """Kill after the first row, again in mid-epoch at a moment drawn anew each time, then let it end."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "genotype.json").write_text(json.dumps(GENOTYPE))
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    run(tmp_path, *start, "--name", "whole")
    assert kill_when(tmp_path, killed, 1, 0.0, *start, "--name", "killed")
    kill_when(tmp_path, killed, 2, random.random() * 0.2, "resume", killed)  # may come too late: then it has ended
    done = list(killed.glob("*/*/result.json"))
    if not done:
        run(tmp_path, "resume", killed)
    one, other = final(whole), final(killed)
    for name, expected, found in zip(("checkpoint", "result", "metrics"), one, other, strict=True):
        assert found == expected, name


@pytest.mark.parametrize("estimator", list(members("estimator")))
def test_a_killed_search_ends_to_the_last_bit(estimator: str, tmp_path: Path) -> None:
    compare(tmp_path, "search", "spec.yaml", "--set", f"search.estimator={estimator}")


def test_a_killed_evaluation_ends_to_the_last_bit(tmp_path: Path) -> None:
    compare(tmp_path, "evaluate", "genotype.json", "--spec", "spec.yaml", "--seed", "3")


@pytest.mark.parametrize("delay", [0.0, 4.0])
def test_killed_before_the_first_epoch_has_ended(delay: float, tmp_path: Path) -> None:
    """While it loads, builds, or trains its first epoch: nothing is there, or a run that goes on from epoch 0."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    killed = tmp_path / "runs" / "killed"
    kill_when(tmp_path, killed, 0, delay, "search", "spec.yaml", "--name", "killed")
    if killed.exists():
        if not list(killed.glob("*/*/result.json")):
            run(tmp_path, "resume", killed)
        assert len(rows(killed)) == EPOCHS
    else:
        assert list((tmp_path / "runs").glob("*")) == [] if (tmp_path / "runs").exists() else True
