"""benchmarks/scale.py at a small size, and its figures on epochs whose utilisation is known."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from raydarts.cluster.local import _without_unused_servers
from tests import forked
from tests.scripts import script


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    return script("benchmarks/scale.py")


def run(*arguments: str) -> int:
    """The benchmark, in a process of its own: it starts a Ray of its own."""
    with _without_unused_servers():
        code: int = script("benchmarks/scale.py").main(arguments)
    return code


@pytest.mark.ray
def test_the_benchmark_runs_both_stages_and_counts_them(tmp_path: Path) -> None:
    # With one GPU there is one process for each stage. Two: the next test.
    size = "--gpus 1 --trials 6 --epochs 4 --grace 1 --top-k 2 --seeds 1 --evaluation-epochs 2 --compression 2400"
    output = tmp_path / "output"
    process = forked.start(run, *size.split(), "--json", str(tmp_path / "found.json"), output=output)
    assert forked.ended(process, 300) == 0, output.read_text()
    assert "utilisation_before_tail" in output.read_text()
    found = json.loads((tmp_path / "found.json").read_text())
    search, evaluate = found["stages"]["search"], found["stages"]["evaluate"]
    assert (search["trials"], evaluate["trials"], evaluate["epochs"]) == (6, 2, 4)
    assert search["gpus_used"] == evaluate["gpus_used"] == 1
    assert 0 < search["utilisation"] <= 1
    assert found["written"]["events"] >= 2 * 6  # an ask and a tell of each


def test_utilisation_tail_and_stall_of_known_epochs(scale: ModuleType) -> None:
    rows = [("a", "0", 0.0, 4.0), ("b", "1", 1.0, 3.0), ("c", "1", 5.0, 6.0), ("a", "0", 4.5, 8.0)]
    found = scale.measure(sorted((scale.Epoch(*row) for row in rows), key=lambda epoch: epoch.start), 2, 3600.0)
    assert found["wall_seconds"] == found["simulated_hours"] == 8.0
    assert found["utilisation"] == pytest.approx((4 + 2 + 1 + 3.5) / 16)
    assert found["utilisation_before_tail"] == pytest.approx((4 + 0.5 + 2) / 10)
    assert found["utilisation_all_running"] == pytest.approx((3 + 0.5 + 2) / 8)
    assert (found["ramp_seconds"], found["tail_seconds"]) == (1.0, 3.0)
    assert found["longest_stall_seconds"] == 2.0
    assert found["mean_gap_between_epochs"] == 0.5
