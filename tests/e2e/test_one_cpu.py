"""A sweep bound to one CPU, as under `taskset -c 0` or Slurm: one trial at a time, on one CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from raydarts.storage.files import read_lines

SPEC = """
data: {dataset: digits, limit: 96, validation_fraction: 0.25}
search:
  seed: {grid: [0, 1]}
  epochs: 2
  batch_size: 16
  space: {name: darts-cnn, channels: 4, layers: 3, nodes: 1}
sweep: {searcher: {name: grid}}
"""
BOUND = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execv(sys.argv[2], sys.argv[2:])"  # taskset -c


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2, reason="needs Linux and two CPUs"
)
def test_bound_to_one_cpu_a_sweep_runs_one_trial_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(SPEC)
    cpu = min(os.sched_getaffinity(0))
    # What Ray itself would count, and what a pod of a Ray cluster tells it, must not matter.
    misleading = {"RAY_USE_MULTIPROCESSING_CPU_COUNT": "1", "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": 2})}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            BOUND,
            str(cpu),
            sys.executable,
            *["-m", "raydarts.cli", "sweep", "two.yaml", "--name", "run"],
        ],
        env={**os.environ, **misleading, "COLUMNS": "200"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"1 of {os.cpu_count()} CPUs (by this process's CPU affinity)" in done.stdout
    assert "trials at a time: sweep 1" in done.stdout
    spans = []
    for name in ("0000", "0001"):
        times = read_lines(tmp_path / "runs" / "run" / "trials" / name / "times.jsonl")
        spans.append((times[0]["start"], times[-1]["end"]))
    for (_, ended), (began, _) in pairwise(sorted(spans)):
        assert began >= ended, f"two trials ran at once: {spans}"
