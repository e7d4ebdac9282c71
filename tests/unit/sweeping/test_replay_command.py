"""`raydarts replay` and benchmarks/honest.py, as a user calls them."""

from __future__ import annotations

import json
import logging
import re
import shlex
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests import planted_records, synthetic_run
from tests.commands import run_here
from tests.scripts import script

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "replay.md"
S1 = ROOT.parent / "shared/data/nas/robustdarts_s1_cifar10_runs.json.gz"


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The benchmark sets levels of loggers, which are set back so."""
    for name in ("raydarts", "ray"):
        caplog.set_level(logging.ERROR, name)


def honest(file: Path, out: Path, *more: str) -> dict[str, Any]:
    with mock.patch.object(sys, "argv", ["honest.py", str(file), "--json", str(out), *more]):
        assert script("benchmarks/honest.py").main() == 0
    return dict(json.loads(out.read_text(encoding="utf-8")))


def test_the_table_on_the_page_is_replayed_by_the_command_on_the_page(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    table = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    command = re.search(r"^    raydarts (replay recorded\.json .*?)$", text, re.MULTILINE)
    assert table is not None
    assert command is not None
    (tmp_path / "recorded.json").write_text(table[1], encoding="utf-8")
    done = run_here(*shlex.split(command[1]), cwd=tmp_path)
    assert done.code == 0, done.err
    assert "replayed sweeps of 2 configurations" in done.out
    told = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert told["summary"]["picks"][0]["configuration"] == {"lr": 0.1}
    assert told["summary"]["pick_collapsed"]["mean"] == 0
    assert len(told["sweeps"]) == 20


def test_a_run_directory_is_replayed(tmp_path: Path) -> None:
    run = synthetic_run.write_run(tmp_path / "run", trials=12)
    done = run_here("replay", run, "--sweeps", 3, "--set", "sweep.searcher=grid", "--set", "sweep.scheduler=asha")
    assert done.code == 0, done.err
    assert "2 of 12 trials did not run to their end" in done.out
    assert "share of FIFO's epochs" in done.out


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    file = planted_records.write(tmp_path / "runs.json", planted_records.runs(configurations=3, seeds=1, epochs=3))
    done = run_here("replay", file, "--set", "sweep.scheduler=pbt", "--set", "sweep.objective=entropy")
    assert done.code == 2
    assert "no record can answer it" in done.err
    assert "needs the column entropy" in done.err
    assert run_here("replay", tmp_path / "absent.json").code == 2
    assert run_here("replay", tmp_path).code == 2


ROW = {"scheduler", "objective", "default", "epochs_share", "skips", "parameter_free", "parameters"} | {
    "accuracy_below_best",
    "collapsed_share",
    "halts_caught",
    "halts_false",
}


@pytest.mark.parametrize(
    "world", [{"nodes": 4, "epochs": 20}, {"nodes": 3, "epochs": 15, "seeds": 1}], ids=["4 nodes", "3 nodes, one seed"]
)
def test_honest_has_a_row_for_each_scheduler_and_objective(tmp_path: Path, world: dict[str, Any]) -> None:
    runs = planted_records.runs(configurations=8, **world)
    runs[3]["epoch_valid_acc"] = runs[3]["epoch_valid_acc"][:7]
    file = planted_records.write(tmp_path / "runs.json.gz", runs)
    result = honest(file, tmp_path / "out.json", "--sweeps", "3")
    rows = result["rows"]
    assert len({(row["scheduler"], row["objective"]) for row in rows}) == len(rows) == 8
    (default,) = [row for row in rows if row["default"]]
    assert set(default) >= ROW
    assert default["collapsed_share"] == 0
    assert default["objective"] == "healthy_accuracy"
    for row in rows:
        for key in ("skips", "epochs_share", "parameters", "accuracy_below_best"):
            low, high = row[f"{key}_interval"]
            assert low <= row[key] <= high
        if row["objective"] == "validation_accuracy":
            assert row["collapsed_share"] == 1
            assert row["halts_caught"] == row["halts_false"] == 0
    assert honest(file, tmp_path / "again.json", "--sweeps", "3")["rows"] == rows


def test_honest_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = planted_records.write(tmp_path / "runs.json", [{"lr": 1}])
    with mock.patch.object(sys, "argv", ["honest.py", str(file)]):
        assert script("benchmarks/honest.py").main() == 2
    assert "run 0: has neither rows nor epoch_valid_acc" in capsys.readouterr().err


@pytest.mark.skipif(not S1.is_file(), reason="the published runs are not in shared/data/nas")
def test_the_default_reaches_its_figures_on_the_published_grid() -> None:
    """The bars of the published grid, on 30 sweeps."""
    module = script("benchmarks/honest.py")
    recordings = module.read([S1])
    plan = module.plan(recordings, module.DEFAULT_SCHEDULER, "healthy_accuracy", 8)
    row = module.row(plan, module.DEFAULT_SCHEDULER, "healthy_accuracy", list(module.sweeps_of(plan, 30)))
    assert row["default"]
    assert row["collapsed_share"] == 0
    assert 1.5 <= row["skips"] <= 3.0
    assert row["accuracy_below_best"] <= 2.5
    assert row["accuracy_below_best_worst"] <= 5
    assert row["parameters"] >= 2.5e6
    assert row["epochs_share"] <= 0.56
    assert row["fifo_pick_share"] >= 0.7
    assert row["finishers_collapsed_share"] <= 0.01
    assert row["halts_caught"] >= 5
