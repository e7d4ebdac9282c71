"""An evaluation by two workers through Ray Train: it ends as one process would, and as if no worker had been lost."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist

from raydarts.config.loader import load_spec
from raydarts.config.plan import plan, render
from raydarts.errors import ResourceError
from raydarts.execution.data_parallel import _trainer
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.storage.files import read_lines
from raydarts.sweeping.genotype_sources import read_genotypes
from raydarts.sweeping.runner import start_sweep
from tests import forked
from tests.alone import figures, run_here
from tests.unit.evaluation.test_parallel import GENOTYPE

SPEC = """
name: shared
data:
  dataset: {name: "tests.fault.marked_digits:MarkedDigits", marks: MARKS}
  limit: 100
  validation_fraction: 0.3
search: {epochs: 1}
evaluate:
  top_k: 1
  seeds: [0]
  resources: {cpus: 1, workers: 2}
  training:
    epochs: 6
    batch_size: 14
    precision: float64
    drop_path: 0.3
    network: {channels: 2, layers: 3, auxiliary_weight: 0.4}
    augment: {crop_padding: 1, flip: true}
"""


def evaluated(folder: Path) -> tuple[int, RunDirectory]:
    (folder / "genotype.json").write_text(str(GENOTYPE).replace("'", '"'))
    (folder / "spec.yaml").write_text(SPEC.replace("MARKS", str(folder / "marks")))
    loaded = load_spec(folder / "spec.yaml")
    given = read_genotypes(loaded, [folder / "genotype.json"])
    code = start_sweep(loaded, folder, "run", display=False, command=["test"], stage="evaluate", genotypes=given)
    return code, RunDirectory.open(folder / "run")


def processes_of_ray() -> set[str]:
    """Returns the names of the classes whose actors run under this process's Ray."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found |= set(re.findall(r"^ray::(\w+)", " ".join(process.cmdline())))
    return found


@contextmanager
def first_worker_hit(folder: Path, number: signal.Signals, hit: list[int], running: set[str]) -> Iterator[None]:
    """Send the first worker a signal as soon as it has kept two epochs. `running` then names the processes of Ray."""

    def send() -> None:
        limit = time.monotonic() + 240
        while time.monotonic() < limit:
            times = [line for path in folder.glob("run/evaluations/*/times.jsonl") for line in read_lines(path)]
            if len(times) >= 2:
                running.update(processes_of_ray())
                hit.append(times[-1]["pid"])
                os.kill(times[-1]["pid"], number)
                return
            time.sleep(0.01)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    yield
    sender.join()
    assert hit, "no two epochs were kept in time"


def work(rank: int, folder: Path) -> None:
    """What each of two processes does without Ray and without a fault. The first one leaves rows and result."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    run = RunDirectory.open(folder / "run")
    outcome = run_here(run.evaluations()[0], run)
    if rank == 0:
        (folder / "undisturbed.json").write_text(json.dumps(outcome))
    dist.barrier()
    dist.destroy_process_group()


def undisturbed(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The figures of rows and result of two workers that are not under Ray."""
    workers = [forked.start(work, rank, folder, output=folder / f"worker{rank}") for rank in range(2)]
    for rank, worker in enumerate(workers):
        assert forked.ended(worker) == 0, (folder / f"worker{rank}").read_text()
    rows, result = json.loads((folder / "undisturbed.json").read_text())
    return rows, result


@pytest.mark.usefixtures("ray_session", "one_thread")
def test_a_worker_killed_in_mid_evaluation_costs_an_epoch_and_changes_no_bit(tmp_path: Path) -> None:
    killed: list[int] = []
    running: set[str] = set()
    with first_worker_hit(tmp_path, signal.SIGKILL, killed, running):
        code, run = evaluated(tmp_path)
    assert code == 0
    (trial,) = run.evaluations()
    assert (tmp_path / "marks").read_text().split() == [str(os.getpid())], "the driver alone loads the data"
    assert killed[0] not in {entry["pid"] for entry in trial.times()[-2:]}
    assert killed[0] != os.getpid()
    assert "RayTrainWorker" in running
    assert not running & {"DatasetManager", "PlacementGroupCleaner"}, "processes that raydarts has no use for"
    rows, result = undisturbed(tmp_path)
    assert figures(trial.rows()) == rows
    assert len(trial.times()) <= 6 + 1
    assert rows == [pytest.approx(row, rel=1e-9) for row in run_here(trial, run)[0]]
    (row,) = results.report_json(run)["ranking"]
    assert row["test_mean"] == result["test_accuracy"]


def test_two_callbacks_of_rays_trainer_are_left_out_and_no_others() -> None:
    """If Ray renames one of the two, this test fails. The processes that they start: the test above."""
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    def callbacks(trainer: Any) -> list[str]:
        return [type(each).__name__ for each in trainer._create_default_callbacks()]

    made, usual = (each(print, scaling_config=ScalingConfig(num_workers=2)) for each in (_trainer(), TorchTrainer))
    unused = {"DatasetsCallback", "PlacementGroupCleanerCallback"}
    assert unused < set(callbacks(usual))
    assert callbacks(made) == [name for name in callbacks(usual) if name not in unused]


def test_workers_count_in_the_plan_and_in_what_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.replace("cpus: 1,", "cpus: 4096,"))
    loaded = load_spec(tmp_path / "spec.yaml")
    assert "2 workers x (4096 CPU, 0 GPU)" in plan(loaded).stages[1].resources
    assert render(plan(loaded))
    with pytest.raises(
        ResourceError, match=r"evaluate.resources.cpus: 8192 CPU\(s\) asked for each trial \(2 workers\)"
    ):
        start_sweep(loaded, tmp_path, "run", display=False)
