"""A sweep's trials each compute under their own TF32 setting, in processes that run one after another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest

from raydarts.float32 import state
from raydarts.search.moments import EpochReport
from raydarts.search.probes.base import Probe
from raydarts.storage.place import Place
from tests.commands import run_here


class Rounding(Probe):
    """How the process that runs the search multiplies."""

    NAME = "rounding"
    SOURCE = "these tests"
    METRICS: ClassVar[tuple[str, ...]] = ("tf32_matmul", "tf32_conv")

    def measure(self, report: EpochReport) -> dict[str, float | int | None]:
        return {f"tf32_{name}": int(allowed) for name, allowed in state().items()}


SPEC = """
data: {dataset: digits, limit: 64}
search:
  epochs: 1
  batch_size: 16
  seed: {grid: [0, 1]}
  tf32: {grid: [true, false]}
  space: {name: nasbench201, channels: 2, cells_per_stage: 1}
  estimator: first_order
  probes: [tests.e2e.test_tf32:Rounding]
sweep: {searcher: grid, resources: {cpus: 1}, max_concurrent: 1}
"""


def rows(run: Place | Path) -> list[tuple[bool, int, int]]:
    """Of each trial: its setting, what the probe saw, the process."""
    found = []
    for trial in sorted((Path(str(run)) / "trials").iterdir()):
        setting = json.loads((trial / "trial.json").read_text())["config"]["tf32"]
        (row,) = [json.loads(line) for line in (trial / "metrics.jsonl").read_text().splitlines()]
        (times,) = [json.loads(line) for line in (trial / "times.jsonl").read_text().splitlines()]
        assert row["tf32_matmul"] == row["tf32_conv"]
        found.append((setting, row["tf32_conv"], times["pid"]))
    return found


@pytest.mark.usefixtures("local_sweeps")
def test_each_trial_has_its_own_setting_in_a_process_that_ran_another(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    done = run_here("sweep", "spec.yaml", "--storage", tmp_path, "--name", "run", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    found = rows(tmp_path / "run")
    assert [(setting, seen) for setting, seen, _ in found] == [(True, 1), (False, 0)] * 2
    assert len({process for _, _, process in found}) < len(found)  # a process ran trials of both settings
    assert json.loads((tmp_path / "run" / "run.json").read_text())["spec"]["search"]["tf32"] == {"grid": [True, False]}
