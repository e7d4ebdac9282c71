"""No interval says more than is possible, wherever one is shown."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raydarts.report import figures_cluster, stats
from raydarts.report.compare import compare_runs
from raydarts.report.gather import Run, gather
from raydarts.report.html import context
from raydarts.report.limits import ANY, COUNT, PERPLEXITY, SHARE, Limits, limits_of
from raydarts.report.tables import answered
from raydarts.study.objectives import ACCURACY, SearchScore, score_named
from raydarts.study.objectives import PERPLEXITY as PERPLEXITY_SCORE
from raydarts.trackers.wandb import report_words
from tests.synthetic_run import write_run

RANGE = re.compile(r"(-?\d+(?:\.\d+)?(?:e[+-]\d+)?) (?:% )?to (-?\d+(?:\.\d+)?(?:e[+-]\d+)?)")


@pytest.fixture(scope="module")
def near_the_limits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with accuracies up to 1 and with few skips: two values of each, far apart."""
    path = write_run(tmp_path_factory.mktemp("runs") / "high", trials=14, top_k=5)
    for number, file in enumerate(sorted(path.glob("*/*/result.json"))):
        result = json.loads(file.read_text(encoding="utf-8"))
        for key in ("metrics", "result"):
            for name in ("validation_accuracy", "test_accuracy"):
                if name in (result.get(key) or {}):
                    result[key][name] = (0.999, 0.90, 1.0)[number % 3]
        file.write_text(json.dumps(result), encoding="utf-8")
        rows = [json.loads(line) for line in (file.parent / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        for row in rows:
            row["validation_accuracy"] = (0.999, 0.90, 1.0)[number % 3]
            if "skips_normal" in row:
                row["skips_normal"] = (0, 0, 8)[number % 3]
        (file.parent / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _tables(run: Run) -> list[tuple[list[str], list[list[str]]]]:
    shown = context(run)
    tables = [shown[name] for name in ("ranking", "tested", "trials")]
    figures = [figure for _, _, figures in shown["sections"] for figure in figures if not figure.missing]  # type: ignore[union-attr]
    return [(list(each.headers), [list(row) for row in each.rows]) for each in (*tables, *figures)]  # type: ignore[attr-defined]


def test_no_interval_of_the_html_or_wandb_leaves_what_is_possible(
    near_the_limits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accuracies are in percent, skips are counts. Student's interval of .999, .9, 1 reaches 110 %."""
    monkeypatch.setattr(figures_cluster, "_DRAWN", 1)  # a drawing takes a second
    run = gather(near_the_limits)
    checked = 0
    for headers, rows in _tables(run):
        columns = [index for index, header in enumerate(headers) if "95 % interval" in header]
        for row in rows:
            for low, high in (pair for index in columns for pair in RANGE.findall(row[index])):
                checked += 1
                assert float(low) >= 0, (headers, row)
                if not any("skip connections" in cell for cell in row):
                    assert float(high) <= 100, (headers, row)
    assert checked > 20
    words = report_words.ranking(run)
    assert all(float(high) <= 100 for _, high in RANGE.findall(words))


def test_no_interval_of_the_comparison_leaves_what_is_possible(near_the_limits: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(near_the_limits, other)
    compared = compare_runs(near_the_limits, other)
    for summary in compared["runs"]:
        for name in ("supernet", "retrained", "best"):
            mean = summary[name]  # type: ignore[literal-required]
            assert mean is not None
            assert 0 <= mean["low"] <= mean["high"] <= 1
        assert summary["skips"] is not None
        assert summary["skips"]["low"] is not None
        assert summary["skips"]["low"] >= 0


def test_intervals_of_the_noise_and_of_the_answer_stay_inside(near_the_limits: Path) -> None:
    report = answered(near_the_limits)
    noise = report["noise"]
    assert noise is not None
    assert noise["seed_sd"]["high"] <= 0.5  # type: ignore[typeddict-item]
    assert noise["genotype_sd"]["high"] <= 0.5  # type: ignore[typeddict-item]
    assert -1 <= noise["attainable"]["low"] <= noise["attainable"]["high"] <= 1  # type: ignore[typeddict-item]
    assert report["answer"] is not None
    for each in report["answer"]["compared"]:  # type: ignore[union-attr]
        if each["low"] is not None:  # type: ignore[index,call-overload]
            assert -1 <= each["low"] <= each["high"] <= 1  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("score", "limits"),
    [
        (ACCURACY, SHARE),
        (PERPLEXITY_SCORE, PERPLEXITY),
        (score_named("validation_loss", "min"), COUNT),
        (replace(score_named("train_valid_gap", "min"), unit="nats"), ANY),
        (SearchScore("parameters", "min", False, name="parameters", unit="parameters"), COUNT),
        (SearchScore("skip_share", "min", True, name="skip_share", unit="share"), SHARE),
        (SearchScore("short_retrain", "max", False, name="short_retrain", unit="1"), Limits(most=1.0)),
        (score_named("eigenvalue", "min"), ANY),
    ],
)
def test_each_figure_has_its_limits(score: SearchScore, limits: Limits) -> None:
    assert limits_of(score) == limits


def test_perplexities_stay_above_1_and_counts_above_0() -> None:
    low = stats.mean_of([1.1, 9.0], PERPLEXITY)
    assert low is not None
    assert low.low == 1.0
    count = stats.mean_of([0.0, 4.0], COUNT)
    assert count is not None
    assert count.low == 0.0
    assert count.high is not None
    assert count.high > 4


def test_a_cut_interval_covers_the_true_mean_as_often_as_before() -> None:
    rng = np.random.default_rng(0)
    hits = cut = 0
    for _ in range(400):
        values = rng.beta(30, 1, 4)
        whole, inside = stats.mean_of(list(values), ANY), stats.mean_of(list(values), SHARE)
        assert whole is not None
        assert inside is not None
        assert whole.low is not None
        assert whole.high is not None
        assert inside.low is not None
        assert inside.high is not None
        hits += (whole.low <= 30 / 31 <= whole.high) == (inside.low <= 30 / 31 <= inside.high)
        cut += inside.high < whole.high
    assert hits == 400
    assert cut > 50


def test_a_difference_of_shares_stays_within_1() -> None:
    contrast = stats.largest_contrast(["a", "a", "b", "b"], [0.1, 0.9, 0.3, 1.0], [0] * 4, SHARE)
    assert contrast is not None
    assert (contrast.low, contrast.high) == (-1.0, 1.0)
