"""Two processes that train one network together are one process, but for rounding; and resume to the bit."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.errors import InputError
from raydarts.evaluation.evaluation import Evaluation
from raydarts.evaluation.parallel import Team
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.spaces import Genotype
from raydarts.streams import Share

CELL = [["sep_conv_3x3", 0], ["skip_connect", 1]]
GENOTYPE: dict[str, Any] = {"normal": CELL, "normal_concat": [2], "reduce": CELL, "reduce_concat": [2]}
NOISY = GENOTYPE | {"normal": [["noise", 0], ["skip_connect", 1]]}
TRAINING: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 12,
    "lr": 0.1,
    "drop_path": 0.4,
    "precision": "float64",
    "network": {"channels": 2, "layers": 3, "auxiliary_weight": 0.4},
    "augment": {"crop_padding": 1, "flip": True, "cutout_length": 3, "random_resized_crop": [0.5, 1]},
}
TOLERANCE = {"float64": 1e-10, "float32": 1e-3}
"""Largest relative difference of the figures: the order of sums differs, and training amplifies it, in single
precision until weights have no more than two digits in common after three epochs."""


def made(genotype: dict[str, Any] = GENOTYPE, **changes: Any) -> Evaluation:
    torch.set_num_threads(1)
    data = DataSettings.model_validate({"limit": 60, "validation_fraction": 0.3})
    settings = EvaluationSettings.model_validate(TRAINING | changes)
    return Evaluation(settings, Genotype.from_json(genotype), load_splits(data), 0)


def outcome(job: Evaluation) -> dict[str, Any]:
    rows = []
    while not job.finished:
        rows.append(job.run_epoch())
    state = {name: value.clone() for name, value in job.network.state_dict().items()}
    return {"rows": [_figures(row) for row in rows], "result": _figures(job.result()), "network": state}


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("seconds", "memory_mb")}


def _refused(**changes: Any) -> str:
    try:
        made(**changes)
    except InputError as error:
        return str(error)
    return ""


def together(rank: int, folder: str) -> None:
    """What each of two processes does; the first keeps what came out."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = {precision: outcome(made(precision=precision)) for precision in TOLERANCE}
    found["apart"] = outcome(made(sync_batch_norm=False))
    job = made()
    job.run_epoch()
    torch.save(job.state_dict(), f"{folder}/checkpoint{rank}")
    dist.barrier()
    resumed = made()
    resumed.load_state_dict(torch.load(f"{folder}/checkpoint0", weights_only=True))
    found["resumed"] = outcome(resumed)
    found["checkpoint"] = torch.load(f"{folder}/checkpoint0", weights_only=True)
    found["odd"] = {"refused": _refused(batch_size=13)}
    found["noise"] = {"refused": _refused(genotype=NOISY)}
    torch.save(found, f"{folder}/found{rank}")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("together")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(place for place in sys.path if place)
    try:
        processes.spawn(together, (str(folder),), nprocs=2)
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return [torch.load(Path(folder) / f"found{rank}", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("precision", TOLERANCE)
def test_two_processes_train_like_one(found: list[dict[str, Any]], precision: str) -> None:
    alone, both = outcome(made(precision=precision)), found[0][precision]
    assert both["rows"] == [pytest.approx(row, rel=TOLERANCE[precision]) for row in alone["rows"]]
    assert both["result"] == pytest.approx(alone["result"], rel=TOLERANCE[precision])
    if precision == "float64":
        for name, value in alone["network"].items():
            torch.testing.assert_close(both["network"][name], value, rtol=1e-9, atol=1e-11)


def test_the_processes_agree_to_the_bit_and_so_does_a_resumed_training(found: list[dict[str, Any]]) -> None:
    for name in ("float64", "float32"):
        assert found[0][name]["rows"] == found[1][name]["rows"]
        assert all(
            torch.equal(value, found[1][name]["network"][key]) for key, value in found[0][name]["network"].items()
        )
    resumed, whole = found[0]["resumed"], found[0]["float64"]
    assert resumed["rows"] == whole["rows"][1:]
    assert all(torch.equal(value, whole["network"][key]) for key, value in resumed["network"].items())


def test_unsynchronised_batch_norm_changes_the_training(found: list[dict[str, Any]]) -> None:
    apart, synchronised = ([row["train_loss"] for row in found[0][name]["rows"]] for name in ("apart", "float64"))
    assert apart != pytest.approx(synchronised, rel=1e-4)
    assert found[0]["apart"]["rows"] == found[1]["apart"]["rows"]  # measured by all on the first one's statistics


def test_a_batch_that_cannot_be_shared_and_an_operation_that_draws_are_refused(found: list[dict[str, Any]]) -> None:
    assert "batch of 13 images cannot be divided evenly among 2 workers" in found[0]["odd"]["refused"]
    assert "noise" in found[1]["noise"]["refused"]


def test_one_process_continues_a_checkpoint_of_two(found: list[dict[str, Any]]) -> None:
    job = made()
    job.load_state_dict(found[0]["checkpoint"])
    assert outcome(job)["rows"] == [pytest.approx(row, rel=1e-10) for row in found[0]["float64"]["rows"][1:]]


def test_single_process_exchanges_nothing() -> None:
    assert Team().share == Share(0, 1)
    assert not dist.is_initialized()
