"""A training that two workers do together and that trains nothing: in each epoch they wait for each other."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch

from raydarts.config.loader import LoadedSpec
from tests.fault.fakes import FakeJob, loaded, script_of, search_job

BUILDER = "tests.fault.team:build"
TROUBLES = {2: "second_hangs", 3: "first_stopped", 4: "watcher_killed", 5: "second_without_memory"}
"""By the epoch that each befalls, once."""
SETTINGS = {"lr": 0.5, "seed": 0, "epochs": 6}


def team(folder: Path, **more: Any) -> LoadedSpec:
    """One search, whose genotype two workers then retrain. What befell them already is noted in `folder`."""
    evaluate = {"top_k": 1, "seeds": [0], "resources": {"cpus": 1, "workers": 2}, **more}
    return loaded({"name": "random", "trials": 1}, evaluate=evaluate, base={"epochs": 1, "marks": str(folder)})


class TeamJob(FakeJob):
    """A FakeJob whose epochs begin and end with an exchange."""

    def __init__(self, marks: Path) -> None:
        super().__init__(SETTINGS, "evaluation")
        self._marks = marks

    def _trouble(self) -> None:
        import torch.distributed as dist

        trouble = TROUBLES.get(self.epoch + 1)
        dist.all_reduce(torch.zeros(1))
        if trouble is not None and not (self._marks / trouble).exists():
            dist.all_reduce(torch.zeros(1))  # both have seen that there is no mark
            if dist.get_rank() == int(trouble.startswith("second")):
                (self._marks / trouble).write_text("hit")
                befall(trouble)
        dist.all_reduce(torch.zeros(1))


def befall(trouble: str) -> None:
    if trouble == "second_hangs":
        time.sleep(600)
    if trouble == "first_stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    if trouble == "watcher_killed":
        watching().kill()
        time.sleep(600)
    if trouble == "second_without_memory":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")


def watching() -> psutil.Process:
    """The trial's own process, which only watches: the one Tune started."""
    siblings = psutil.Process(os.getppid()).children()
    (found,) = (each for each in siblings if "JobTrainable.train" in "".join(each.cmdline()))
    return found


def build(trial: Mapping[str, Any], run: Mapping[str, Any], device: str) -> FakeJob:
    if trial["kind"] == "search":
        return search_job(trial, run)
    return TeamJob(Path(script_of(run)["all"]["marks"]))
