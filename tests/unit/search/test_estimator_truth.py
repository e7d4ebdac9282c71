"""The probe `estimator_truth`: its figures, its columns, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.registry import Choose
from raydarts.search.estimator_truth import FURTHER, Compared, cosine, nearness
from raydarts.search.fused import FusedSearch
from raydarts.search.probes.estimator_truth import label
from raydarts.search.search import Search
from tests.commands import run_here
from tests.unit.search.lanes import require_equal
from tests.unit.search.regularizers.tiny_search import tiny_search

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"name": "nasbench201", "channels": 2, "cells_per_stage": 1}
FIGURES = ("cosine", "norm_ratio", "correction")


def probe(**settings: Any) -> Any:
    return Choose("probe").parse({"name": "estimator_truth", "every": 1, "steps": 1, "batches": 1, **settings})


def searched(
    *estimators: Any, epochs: int = 1, steps: int = 1, more: dict[str, Any] | None = None, **changes: Any
) -> Search:
    chosen = probe(steps=steps, estimators=list(estimators), **(more or {}))
    return tiny_search(probes=[chosen], epochs=epochs, lr=0.3, alpha_init=0.5, **changes)


def test_after_one_step_without_clipping_exact_hvp_is_the_truth() -> None:
    """In the only epoch: the unroll has that epoch's learning rate. The next one's would be 0."""
    row = searched("exact_hvp", "first_order", {"name": "exact_hvp", "xi": 0.6}, grad_clip=0.0).run_epoch()
    for place in ("", "_normal", "_reduce"):
        assert row[f"truth_cosine_exact_hvp{place}"] == pytest.approx(1, abs=1e-12)
        assert row[f"truth_norm_ratio_exact_hvp{place}"] == pytest.approx(1, abs=1e-10)
        assert row[f"truth_correction_exact_hvp{place}"] == pytest.approx(1, abs=1e-8)
        assert row[f"truth_cosine_first_order{place}"] == row[f"truth_cosine{place}"] < 1 - 1e-6
        assert row[f"truth_correction{place}"] is None
        assert row[f"truth_cosine_exact_hvp_xi_0.6{place}"] < 1 - 1e-6
    assert row["truth_norm"] > 0


def test_several_batches_are_averaged_on_both_sides() -> None:
    """One step goes over the first weight-batch. With one weight-batch in all, any number asked for is the same."""
    one, many = (
        searched("exact_hvp", grad_clip=0.0, more={"batches": batches}, batch_size=batch, space=SMALL).run_epoch()
        for batches, batch in ((1, 32), (9, 32))
    )
    assert one == {key: one[key] if key in ("seconds", "memory_mb") else value for key, value in many.items()}
    several = searched("exact_hvp", grad_clip=0.0, more={"batches": 2}, batch_size=8, space=SMALL).run_epoch()
    assert several["truth_cosine_exact_hvp"] < 1 - 1e-6


def test_the_rule_of_the_unroll_is_the_searchs_or_plain() -> None:
    rows = [searched(steps=3, more={"optimizer": rule}, space=SMALL).run_epoch() for rule in ("search", "sgd")]
    assert rows[0]["truth_norm"] != rows[1]["truth_norm"]
    assert rows[0]["weight_loss"] == rows[1]["weight_loss"]


def test_other_epochs_have_the_same_columns_without_values() -> None:
    job = searched("neumann", epochs=2, more={"every": 2})
    first, second = job.run_epoch(), job.run_epoch()
    columns = {key for key in second if key.startswith("truth")}
    assert columns == {key for key in first if key.startswith("truth")}
    assert all(first[column] is None for column in columns)
    names = ["", "_neumann"]
    cells = ["", "_normal", "_reduce"]
    assert columns == {"truth_norm"} | {f"truth_{f}{name}{cell}" for f in FIGURES for name in names for cell in cells}


def test_what_remedies_train_beside_alpha_is_part_of_the_whole_gradient() -> None:
    job = tiny_search({"name": "partial_channels", "k": 2}, "edge_normalization", probes=[probe()], epochs=1, lr=0.3)
    row = job.run_epoch()
    assert all(0 < abs(row[f"truth_cosine{place}"]) <= 1 for place in ("", "_normal", "_reduce"))


def test_a_lane_has_the_figures_of_the_search_alone() -> None:
    def make(seed: int) -> Search:
        return searched("exact_hvp", steps=2, seed=seed, space=SMALL)

    together = [make(1), make(2)]
    rows = FusedSearch().run_epoch(together)
    for row, seed in zip(rows, (1, 2), strict=True):
        require_equal(row, make(seed).run_epoch(), tolerance=1e-9)


def gradient(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_figures_by_hand() -> None:
    found = Compared(
        {"normal": gradient(3, 4), FURTHER: gradient(0)},
        {"normal": gradient(1, 0), FURTHER: gradient(0)},
        {"mine": {"normal": gradient(4, 3), FURTHER: gradient(5)}},
    )
    figures = nearness(found, "mine")
    assert list(figures) == ["", "normal"]
    assert figures["normal"]["cosine"] == pytest.approx(24 / 25)
    assert figures["normal"]["norm_ratio"] == pytest.approx(1)
    assert figures["normal"]["correction"] == pytest.approx((3 * 2 + 3 * 4) / math.sqrt(18 * 20))
    assert figures[""]["cosine"] == pytest.approx(24 / (5 * math.sqrt(50)))
    assert figures[""]["norm_ratio"] == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_an_estimate_that_is_not_finite_has_no_figures(bad: float) -> None:
    found = Compared({"cell": gradient(1, 1)}, {"cell": gradient(1, 0)}, {"mine": {"cell": gradient(bad, 1)}})
    assert nearness(found, "mine")[""] == {"cosine": None, "norm_ratio": None, "correction": None}
    assert cosine(gradient(0, 0), gradient(1, 0)) is None


def test_labels_have_the_settings_that_are_no_defaults() -> None:
    chosen = {
        "first_order": "first_order",
        "finite_difference_epsilon_0.1": {"name": "finite_difference", "epsilon": 0.1, "xi": "lr"},
        "exact_hvp_xi_0.5": {"name": "exact_hvp", "xi": 0.5},
        "published_defects_epsilon_multiplied_true": {"name": "published_defects", "epsilon_multiplied": True},
        "neumann_terms_0_eta_0.1": {"name": "neumann", "terms": 0, "eta": 0.1},
    }
    assert {label(Choose("estimator").parse(each)): each for each in chosen.values()} == chosen


SPEC = """
data: {limit: 96}
search:
  epochs: 2
  batch_size: 16
  precision: float64
  space: {name: nasbench201, channels: 2, cells_per_stage: 1}
  probes:
    - name: estimator_truth
      every: EVERY
      steps: 2
      batches: 1
      estimators: ESTIMATORS
"""


def spec(folder: Path, estimators: str, every: int = 2) -> str:
    path = folder / "spec.yaml"
    path.write_text(SPEC.replace("ESTIMATORS", estimators).replace("EVERY", str(every)))
    return str(path)


def test_a_search_from_the_command_line_writes_the_curves(tmp_path: Path) -> None:
    written = spec(tmp_path, "[first_order, {name: finite_difference, epsilon: 0.1}, neumann]")
    done = run_here("search", written, "--storage", str(tmp_path), "--name", "one")
    assert done.code == 0, done.err
    (metrics,) = (tmp_path / "one").rglob("metrics.jsonl")
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    for name in ("", "_first_order", "_finite_difference_epsilon_0.1", "_neumann"):
        assert rows[0][f"truth_cosine{name}"] is None
        assert -1 <= rows[1][f"truth_cosine{name}"] <= 1
        assert rows[1][f"truth_cosine{name}_cell"] == pytest.approx(rows[1][f"truth_cosine{name}"])


@pytest.mark.parametrize(
    ("estimators", "said"),
    [
        ("[neumann, {name: neumann, terms: 3}]", "has neumann 2 times; write it once"),
        ("[{name: neumann, terms: -1}]", "terms"),
        ("[{name: neumann, eta: 0}]", "eta"),
        ("[newmann]", "did you mean 'neumann'?"),
        ("[{name: exact_hvp, epsilon: 0.1}]", "'epsilon' does not exist under exact_hvp"),
    ],
)
def test_wrong_estimators_of_the_probe_are_refused_with_their_line(tmp_path: Path, estimators: str, said: str) -> None:
    done = run_here("validate", spec(tmp_path, estimators))
    assert done.code == 2, done.out
    message = " ".join(done.err.split())
    assert said in message
    assert "spec.yaml:13" in message


def test_a_comparison_that_never_comes_is_told(tmp_path: Path) -> None:
    done = run_here("validate", spec(tmp_path, "[]", every=3))
    assert done.code == 0, done.err
    assert "search.probes[estimator_truth].every is 3, and a search has 2 epochs" in " ".join(done.out.split())
