"""SIGKILL of `raydarts search` and `raydarts evaluate` at any moment; the resumed run ends as the uninterrupted one.

Each run is the command line's own `main` in a process of its own.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.runs.identity import differences
from tests import forked

pytestmark = pytest.mark.slow

MEASURED = ("seconds", "memory_mb")
EPOCHS = 3
SPEC = f"""
data: {{dataset: digits, limit: 120, validation_fraction: 0.2}}
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


def command_line(folder: Path, arguments: tuple[Any, ...]) -> None:
    """`raydarts ARGUMENTS` in `folder`: what a started process does."""
    os.chdir(folder)
    sys.argv = ["raydarts", *map(str, arguments)]
    from raydarts.cli import main

    main()


def run(folder: Path, *arguments: Any) -> None:
    output = folder / "output.txt"
    assert forked.ended(forked.start(command_line, folder, arguments, output=output), 300) == 0, output.read_text()


def rows(run_path: Path) -> list[str]:
    found = list(run_path.glob("*/*/metrics.jsonl"))
    return found[0].read_text().splitlines() if found else []


class Rows:
    """Whether a run has this many rows."""

    def __init__(self, run_path: Path, number: int) -> None:
        self._run_path, self._number = run_path, number

    def __call__(self) -> bool:
        return len(rows(self._run_path)) >= self._number


def kill_when(folder: Path, run_path: Path, epoch: int, delay: float, *arguments: Any) -> bool:
    """Start, wait until `epoch` rows are there and `delay` seconds more, kill. Whether it was killed before its end."""
    kill = (Rows(run_path, epoch), delay)
    process = forked.start(command_line, folder, arguments, output=folder / "output.txt", kill=kill)
    code = forked.ended(process)
    assert code in (0, -signal.SIGKILL), (folder / "output.txt").read_text()
    return code != 0


def final(run_path: Path) -> dict[str, Any]:
    """The last checkpoint's state, the result, the metrics; what is measured (time, memory) left out."""
    (trial,) = [path.parent for path in run_path.glob("*/*/trial.json")]
    checkpoint = max((trial / "checkpoints").glob(f"epoch-{EPOCHS:04d}-*.pt"))
    found = {
        "checkpoint": torch.load(checkpoint, weights_only=True),
        "result": json.loads((trial / "result.json").read_text()),
        "rows": [json.loads(line) for line in (trial / "metrics.jsonl").read_text().splitlines()],
    }
    return _compared(found)


def _compared(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _compared(item) for key, item in value.items() if key not in MEASURED}
    return [_compared(item) for item in value] if isinstance(value, list | tuple) else value


def compare(tmp_path: Path, *arguments: Any) -> None:
    """Kill after the first row, again at moments drawn anew each time, then let it end."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "genotype.json").write_text(json.dumps(GENOTYPE))
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    run(tmp_path, *arguments, "--name", "whole")
    assert kill_when(tmp_path, killed, 1, 0.0, *arguments, "--name", "killed")
    for epoch in (1, 2):  # may come too late: then it has ended
        if not list(killed.glob("*/*/result.json")):
            kill_when(tmp_path, killed, epoch, random.random() * 0.3, "resume", killed)
    if not list(killed.glob("*/*/result.json")):
        run(tmp_path, "resume", killed)
    assert list(differences(final(whole), final(killed))) == []


def test_a_killed_search_ends_to_the_last_bit(tmp_path: Path) -> None:
    """Under one estimator: a kill knows of none. Each of them resumes to the last bit in contract/test_resume.py."""
    changed = ("search.estimator=finite_difference", "search.space.nodes=1")
    compare(tmp_path, "search", "spec.yaml", *(word for each in changed for word in ("--set", each)))


def test_a_killed_evaluation_ends_to_the_last_bit(tmp_path: Path) -> None:
    changed = ("--set", "evaluate.checkpoint_every=2")
    compare(tmp_path, "evaluate", "genotype.json", "--spec", "spec.yaml", "--seed", "3", *changed)


@pytest.mark.parametrize("delay", [0.0, 0.2, 0.5])
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
        assert not [path for path in tmp_path.glob("runs/*") if not path.name.startswith(".")]


def ended_when_made(folder: Path, arguments: tuple[Any, ...]) -> None:
    """`raydarts ARGUMENTS`, whose process ends at once when the run is there."""
    from raydarts import single

    single.remember = lambda run: os._exit(77)  # the first call after the run is made
    command_line(folder, arguments)


def test_a_run_that_is_there_can_go_on(tmp_path: Path) -> None:
    """A kill right after a run appears, before anything else is written."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "genotype.json").write_text(json.dumps(GENOTYPE))
    commands = {"search": ("search", "spec.yaml"), "retraining": ("evaluate", "genotype.json", "--spec", "spec.yaml")}
    for name, arguments in commands.items():
        process = forked.start(ended_when_made, tmp_path, (*arguments, "--name", name), output=tmp_path / "output.txt")
        assert forked.ended(process, 300) == 77, (tmp_path / "output.txt").read_text()
        run(tmp_path, "resume", tmp_path / "runs" / name)
        assert len(rows(tmp_path / "runs" / name)) == EPOCHS
