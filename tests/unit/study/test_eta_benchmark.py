"""`benchmarks/eta.py`: the time left of replayed sweeps, on made-up records."""

from __future__ import annotations

import json

import pytest

from raydarts.runs.recordings import Recordings, read
from tests.scripts import script

GENOTYPE = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)], normal_concat=[2], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=[2])"
)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    """40 searches of 20 epochs, better and better by their settings."""
    runs = [
        {
            "config": {"lr": number / 100},
            "seed": 0,
            "rows": [
                {"epoch": epoch, "validation_accuracy": 0.3 + number / 100 + epoch / 100, "genotype": GENOTYPE}
                for epoch in range(1, 21)
            ],
        }
        for number in range(40)
    ]
    file = tmp_path_factory.mktemp("records") / "r.json"
    file.write_text(json.dumps(runs))
    return read([file])


@pytest.mark.parametrize("scheduler", ["fifo", "asha"])
@pytest.mark.parametrize("all_stages", [False, True])
def test_from_a_quarter_of_the_run_on_the_whole_time_is_known_within_25_percent(
    recordings: Recordings, scheduler: str, all_stages: bool
) -> None:
    eta = script("benchmarks/eta.py")
    points = eta.one(eta.plan_for(recordings, scheduler, 4, False), 0, all_stages)
    told = eta.figures(points)
    assert told["asked"] == len(points) > 30
    assert told["within"] >= 0.95
    assert told["error"] < 0.12
