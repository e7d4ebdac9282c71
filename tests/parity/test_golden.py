"""Golden loss curves: what a small float64 search gives, for each estimator, epoch by epoch.

A change of these numbers is a change of what raydarts computes, and belongs in CHANGELOG under Numerics.
`python tests/parity/test_golden.py` writes golden.json anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.registry import members
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings

pytestmark = pytest.mark.usefixtures("one_thread")

FILE = Path(__file__).with_name("golden.json")
METRICS = ("weight_loss", "alpha_loss", "validation_loss")
# Other CPUs and other threads sum in other orders.
TOLERANCE = 1e-6
EPOCHS = {"neumann": 1, "exact_hvp": 1, "finite_difference": 2, "published_defects": 2}
"""Of estimators whose steps take long: how many of the search's three epochs are run."""


def curves(estimator: str) -> dict[str, list[float]]:
    plain = {
        "epochs": 3,
        "batch_size": 16,
        "arch_lr": 0.02,
        "precision": "float64",
        "augment": {"crop_padding": 1, "flip": True},
        "space": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 2},
        "estimator": estimator,
        "regularizers": [{"name": "drop_path", "probability": 0.2}, {"name": "beta_decay", "strength": 0.5}],
    }
    job = Search(SearchSettings.model_validate(plain), load_splits(DataSettings(limit=160, validation_fraction=0.2)))
    rows = [job.run_epoch() for _ in range(EPOCHS.get(estimator, job.epochs))]
    found = {name: [float(row[name]) for row in rows] for name in METRICS}
    found["alpha_normal"] = job.alphas["normal"].detach().flatten()[:8].tolist()
    return found


@pytest.mark.parametrize("estimator", list(members("estimator")))
def test_curves_equal_the_golden_ones(estimator: str) -> None:
    golden: dict[str, Any] = json.loads(FILE.read_text())
    assert estimator in golden, f"no golden curves of {estimator}: run python tests/parity/test_golden.py and commit"
    found = curves(estimator)
    for name, values in golden[estimator].items():
        assert found[name] == pytest.approx(values, rel=TOLERANCE, abs=TOLERANCE * 1e-2), name


def test_estimators_have_different_curves() -> None:
    golden: dict[str, Any] = json.loads(FILE.read_text())
    assert golden.pop("published_defects") == golden["finite_difference"]  # without a defect
    first = {estimator: found["alpha_loss"][0] for estimator, found in golden.items()}
    assert len({round(value, 4) for value in first.values()}) == len(first)


if __name__ == "__main__":
    torch.set_num_threads(1)
    FILE.write_text(json.dumps({name: curves(name) for name in members("estimator")}, indent=1) + "\n")
