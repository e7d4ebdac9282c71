"""benchmarks/estimators.py: its intervals, its tables, and that it ends where the unroll is wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from raydarts.search.probes.estimator_truth import label
from raydarts.search.settings import SearchSettings
from tests.scripts import ROOT, script

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def estimators() -> Any:
    return script("benchmarks/estimators.py")


def test_intervals_stay_inside_what_is_possible(estimators: Any) -> None:
    middle, low, high = estimators.of_cosines([0.9, 0.99, 0.2, -0.3])
    assert -1 < low < middle < high < 1
    middle, low, high = estimators.of_ratios([0.01, 0.02, 5.0])
    assert 0 < low < middle < high
    assert middle == pytest.approx((0.01 * 0.02 * 5.0) ** (1 / 3))
    # Student's t with 2 degrees of freedom is 4.303.
    assert estimators.plain([1, 2, 3]) == pytest.approx(
        [2, 2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)], rel=1e-4
    )


@pytest.mark.parametrize("part", ["darts-cnn", "nasbench201", "nasbench201-sgd", "defects", "text"])
def test_every_estimator_of_a_part_has_words(estimators: Any, part: str) -> None:
    for plain in estimators.PARTS[part](3).values():
        settings = SearchSettings.model_validate(plain)
        assert settings.seed == 3
        for probe in settings.probes:
            for chosen in getattr(probe.settings, "estimators", ()):
                (name,) = estimators.renamed({label(chosen): 0})
                assert name in estimators.WORDS


def test_genotypes_are_compared_edge_by_edge(estimators: Any) -> None:
    one = "|skip_connect~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|avg_pool_3x3~2|"
    other = one.replace("skip_connect~0", "none~0")
    found = estimators.choices(one)
    assert len(found) == 6
    assert sum(a != b for a, b in zip(found, estimators.choices(other), strict=True)) == 1


def row(epoch: int, **figures: float | None) -> dict[str, Any]:
    return {"epoch": epoch, **figures}


def test_tables_are_means_over_seeds_with_paired_differences(
    estimators: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(first: float, exact: float) -> list[dict[str, Any]]:
        figures = {
            "truth_norm": 0.5,
            "truth_cosine_first_order": first, "truth_norm_ratio_first_order": 1.0,
            "truth_correction_first_order": None,
            "truth_cosine_exact_hvp": exact, "truth_norm_ratio_exact_hvp": 2.0, "truth_correction_exact_hvp": 0.5,
        }  # fmt: skip
        return [row(1, **dict.fromkeys(figures)), row(2, **figures)]

    file = tmp_path / "rows.json"
    file.write_text(
        json.dumps({"parts": {"nasbench201": {"0": {"truth": rows(0.1, 0.3)}, "1": {"truth": rows(0.3, 0.5)}}}})
    )
    assert estimators.main(["--show", str(file)]) == 0
    told = capsys.readouterr().out
    assert "search seeds 0, 1" in told
    (exact,) = [line for line in told.splitlines() if line.startswith("| exact, xi = lr (default)") and "2.00" in line]
    assert "| 0.20 [0.20, 0.20] |" in exact
    assert "| epoch 2 |" in told
    assert "epoch 1" not in told


def test_the_page_has_the_tables_of_the_recorded_rows(estimators: Any, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "estimators.md").read_text(encoding="utf-8").splitlines()
    assert estimators.main(["--show", str(ROOT / "benchmarks" / "data" / "estimators.json.gz")]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(rows) > 20
    assert [line for line in rows if line not in page] == []


def test_a_wrong_unroll_ends_the_benchmark(
    estimators: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(estimators, "checked", lambda: 1e-9)
    assert estimators.main([]) == 1
    assert "the unroll is wrong" in capsys.readouterr().err


def test_one_step_of_the_unroll_is_exact_hvp(estimators: Any) -> None:
    assert estimators.checked() < 1e-10
