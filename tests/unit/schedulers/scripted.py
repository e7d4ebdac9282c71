"""A study whose trials are scripted: each row is a number that follows from a seed, and nothing is trained."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from raydarts.config.loader import LoadedSpec
from raydarts.genotypes.facts import cell_facts
from raydarts.genotypes.genotype import Genotype
from raydarts.runs.checkpoints import CheckpointStore, digest
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.results import read_trial
from raydarts.runs.segments import newest_folder
from raydarts.study.history import Decision, History
from raydarts.sweeping.searching import SearchStage
from tests.fault import fakes
from tests.fault.fakes import genotype

METRIC = "validation_accuracy"
EPOCHS = 9
HEALTHY = cell_facts(Genotype.from_json(genotype(1)))
SCHEDULERS: dict[str, dict[str, Any]] = {
    "fifo": {"name": "fifo"},
    "asha": {"name": "asha", "grace_period": 1, "reduction_factor": 2},
    "asha, brackets": {"name": "asha", "grace_period": 1, "reduction_factor": 2, "brackets": 2},
    "median": {"name": "median", "grace_period": 2, "min_trials": 2},
    "hyperband": {"name": "hyperband"},
    "pbt": {"name": "pbt", "every": 2},
}


class Killed(BaseException):
    """As sudden as a kill: nothing in raydarts may catch it."""


def value(seed: int, trial: str, epoch: int) -> float:
    """A learning curve: trials differ, and rise with noise."""
    draw = random.Random(f"{seed}/{trial}/{epoch}")
    return random.Random(f"{seed}/{trial}").random() * epoch / (epoch + 2) + 0.1 * draw.random()


def open_stage(run: RunDirectory, scheduler: dict[str, Any], trials: int = 18, **sweep: Any) -> SearchStage:
    return SearchStage(run, _loaded(json.dumps([scheduler, trials, sweep])))


@cache
def _loaded(asked: str) -> LoadedSpec:
    """The spec of a stage. It is opened again after every kill, and a spec does not change."""
    scheduler, trials, sweep = json.loads(asked)
    return fakes.loaded({"name": "random", "trials": trials}, scheduler, base={"epochs": EPOCHS}, **sweep)


def checkpoint(trial: TrialDirectory, folder: Path, epoch: int) -> None:
    """The checkpoint of an epoch: nothing that a job could read. The last two are kept, as a job's are."""
    content = f"{trial.id} {epoch}".encode()
    folder.mkdir(exist_ok=True)
    (folder / f"epoch-{epoch:04d}-{digest(content)}.pt").write_bytes(content)
    for old in sorted(folder.iterdir())[:-2]:
        old.unlink()


def kept(trial: TrialDirectory) -> tuple[Path, int]:
    """The folder of the newest checkpoint, and its epoch."""
    folder = newest_folder(trial)
    newest = max(map(CheckpointStore.epoch, CheckpointStore(folder, {}).files()), default=0)
    return Path(trial.path) / Path(str(folder)).name, newest


class Engine:
    """Runs the trials of a stage, `places` at a time. Which of them ends its next epoch first is drawn by the seed."""

    def __init__(self, stage: SearchStage, seed: int, places: int = 1, fails: tuple[str, ...] = ()) -> None:
        self.stage = stage
        self.seed = seed
        self.places = places
        self.fails = fails
        self.running: list[TrialDirectory] = []
        self.most = 0
        self._draw = random.Random(seed)

    def run(self) -> None:
        while self._fill():
            trial = self._draw.choice(self.running)
            if self._epoch(trial):
                self.running.remove(trial)
            self.stage.settled()

    def _fill(self) -> bool:
        while len(self.running) < self.places:
            trial = self.stage.next_trial(not self.running)
            if trial is None:
                break
            assert trial.result() is None
            self.running.append(trial)
        self.most = max(self.most, len(self.running))
        return bool(self.running)

    def _epoch(self, trial: TrialDirectory) -> bool:
        """One epoch; whether the trial has let its place go."""
        folder, newest = kept(trial)
        epoch = newest + 1
        if trial.id in self.fails and epoch == 3:
            self._end(trial, "failed")
            return True
        if epoch <= EPOCHS:
            trial.append_time({"epoch": epoch, "start": 0.0, "end": 1.0, "host": "here", "pid": 1})
            trial.append_row({"epoch": epoch, "genotype": genotype(1), **self._figures(trial, epoch)})
            checkpoint(trial, folder, epoch)
        if epoch >= EPOCHS:
            self._end(trial, "completed")
            return True
        decision = self.stage.reported(trial, epoch, self._figures(trial, epoch))
        if decision is Decision.STOP:
            self._end(trial, "stopped")
        return decision is not Decision.CONTINUE

    def _figures(self, trial: TrialDirectory, epoch: int) -> dict[str, float]:
        return {METRIC: value(self.seed, trial.id, epoch), **HEALTHY}

    def _end(self, trial: TrialDirectory, status: str) -> None:
        trial.write_result({"status": status, "epochs": len(trial.rows())})
        self.stage.ended(read_trial(trial))


def undisturbed(
    path: Path,
    scheduler: dict[str, Any],
    seed: int,
    trials: int = 18,
    replicates: Sequence[int] | None = None,
    **engine: Any,
) -> RunDirectory:
    run = RunDirectory.create(path, kind="sweep", spec={})
    Engine(open_stage(run, scheduler, trials, replicates=replicates), seed, **engine).run()
    return run


@contextmanager
def dying(after: int) -> Iterator[None]:
    """Inside, the driver is killed at the `after`-th write to the run, before or after it."""
    left = after

    def deadly(cls: type, name: str) -> Any:
        write = getattr(cls, name)

        def method(self: Any, *arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            result = write(self, *arguments, **named)
            left -= 1
            if left == 0:
                raise Killed
            return result

        return method

    with pytest.MonkeyPatch.context() as patch:
        for cls, name in ((RunDirectory, "append_event"), (TrialDirectory, "append_row")):
            patch.setattr(cls, name, deadly(cls, name))
        for name in ("write_result", "create"):
            patch.setattr(TrialDirectory, name, deadly(TrialDirectory, name))
        yield


def decided(run: RunDirectory) -> dict[tuple[str, int], Decision]:
    trials = History.of(run.events()).trials.values()
    return {(trial.name, epoch): each for trial in trials for epoch, each in trial.decisions.items()}


def ends(run: RunDirectory) -> list[tuple[str, int]]:
    return [((trial.result() or {})["status"], len(trial.rows())) for trial in run.trials()]


def run_through_kills(run: RunDirectory, draw: random.Random, engine: Callable[[int], Engine]) -> None:
    """Runs to the end. The driver is killed again and again, and no decision changes after it was written.

    `engine`: a new one, after so many kills.
    """
    kills, before = 0, decided(run)
    while True:
        try:
            with dying(draw.randint(20, 160)):
                engine(kills).run()
        except Killed:
            kills += 1
        else:
            break
        after = decided(run)
        assert {key for key in before if after[key] != before[key] and before[key] != "pause"} == set()
        before = after
    assert kills >= 3
