"""Reading results: promotion and ranking, by hand-worked cases."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.study import promotion
from raydarts.study.objectives import ACCURACY, PERPLEXITY, SearchScore
from raydarts.study.ranking import evaluation_rows, ranking
from raydarts.study.results import TrialRecord


def record(
    name: str, status: str, accuracy: float | None, *, epochs: int = 5, genotype: str | None = None, skips: int = 0
) -> TrialRecord:
    rows = [{"epoch": epoch + 1, "validation_accuracy": accuracy} for epoch in range(epochs)]
    result: dict[str, Any] = {"status": status}
    if status != "failed":
        result |= {"genotype": {"id": genotype or name}, "genotype_id": genotype or name, "skips": {"normal": skips}}
    return TrialRecord(name, status, {}, rows, result)


RECORDS = [
    record("a", "completed", 0.7),
    record("b", "stopped", 0.9, epochs=2),
    record("c", "failed", 0.99),
    record("d", "completed", 0.8, genotype="same"),
    record("e", "stopped", 0.5, epochs=4),
    record("f", "completed", 0.6, genotype="same"),
    record("g", "completed", 0.95, skips=7),
    record("h", "completed", None),
]


def test_completed_come_first_then_stopped_by_epochs_and_failed_never() -> None:
    ordered = promotion.promotion_order(RECORDS, SearchScore(**asdict(ACCURACY)))
    assert [found.id for found in ordered] == ["g", "d", "a", "f", "h", "e", "b"]
    ordered = promotion.promotion_order(RECORDS, SearchScore("validation_accuracy", "min", True))
    assert [found.id for found in ordered] == ["f", "a", "d", "g", "h", "e", "b"]


def test_promotion_takes_distinct_genotypes_that_did_not_collapse() -> None:
    decisions = promotion.promotion(RECORDS, SearchScore(**asdict(ACCURACY)), top_k=2, max_skips=3)
    assert [found["id"] for found in decisions if found["promoted"]] == ["same", "a"]
    collapsed = decisions[0]
    assert (collapsed["id"], collapsed["promoted"]) == ("g", False)
    assert "7 in normal; max_skips is 3" in collapsed["reason"]
    assert decisions[1]["trials"] == ["d", "f"]


def row(genotype: str, seed: int, validation: float | None, test: float | None, status: str = "completed") -> Any:
    return {
        "genotype": genotype,
        "seed": seed,
        "status": status,
        "validation_accuracy": validation,
        "test_accuracy": test,
    }


def test_ranking_is_by_mean_validation_with_the_sample_deviation() -> None:
    rows = [row("x", 0, 0.8, 0.9), row("y", 0, 0.9, 0.7), row("x", 1, 0.84, 0.9), row("y", 1, None, None, "failed")]
    first, second = ranking(rows, ACCURACY)
    assert (first["genotype"], first["n"], first["validation_std"]) == ("y", 1, None)
    assert second["validation_mean"] == pytest.approx(0.82)
    assert second["validation_std"] == pytest.approx(0.04 / 2**0.5)
    assert second["test_std"] == 0.0


def test_a_report_of_a_run_with_nothing_in_it_is_json(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "r", kind="sweep", spec={"score": ACCURACY.to_json()})
    run.trial(0).create({"index": 0, "config": {}, "choices": {}})
    run.trial(0).append_row({"epoch": 1, "weight_loss": float("nan")})
    report = results.report_json(run)
    assert report["trials"][0]["status"] == "pending"
    assert report["trials"][0]["metrics"]["weight_loss"] is None
    json.dumps(report, allow_nan=False)


def test_a_language_model_counts_by_its_best_epoch_wherever_it_is_ordered() -> None:
    """Its last epoch may be worse than the one whose weights it keeps."""
    rows = [{"epoch": 1, "validation_perplexity": 90.0}, {"epoch": 2, "validation_perplexity": 400.0}]
    what = {"genotype_id": "g", "seed": 0}
    done = TrialRecord("g-seed0", "completed", what, rows, {"result": {"validation_perplexity": 90.0}})
    assert done.value(PERPLEXITY) == 90.0
    assert evaluation_rows([done], PERPLEXITY)[0]["validation_perplexity"] == 90.0
