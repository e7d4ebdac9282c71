"""A job that needs no training, and a spec that needs no YAML."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from raydarts.config.spec import BudgetSettings, EvaluateSettings, RungSettings, SweepSettings, TransferSettings
from raydarts.config.stages import Stages
from raydarts.errors import StorageError
from raydarts.registry import Choose
from raydarts.study.objectives import ACCURACY
from raydarts.sweep.runner import run_sweep, start_sweep

BUILDER = "tests.fault.fakes:build"


def genotype(skips: int) -> dict[str, Any]:
    """A genotype whose normal cell has `skips` skip connections."""
    edges = [["skip_connect" if edge < skips else "sep_conv_3x3", edge % 2] for edge in range(8)]
    pooled = [["max_pool_3x3", edge % 2] for edge in range(8)]
    return {"normal": edges, "normal_concat": [2, 3, 4, 5], "reduce": pooled, "reduce_concat": [2, 3, 4, 5]}


def _count(marker: str) -> int:
    return Path(marker).read_text().count("x") if Path(marker).exists() else 0


def _again(marker: str, times: int) -> bool:
    """Whether this is one of the first calls, `times` of them; each leaves a mark."""
    if _count(marker) >= times:
        return False
    with Path(marker).open("a") as file:
        file.write("x")
    return True


def _at(marker: str, epochs: list[int], epoch: int) -> bool:
    done = _count(marker)
    return done < len(epochs) and epochs[done] == epoch and _again(marker, len(epochs))


class FakeJob:
    """Adds draws of a generator to a total; its trace shows whether a resumed job is the same job."""

    def __init__(self, settings: Mapping[str, Any], kind: str) -> None:
        self.settings = settings
        self.kind = kind
        self.epoch = 0
        self.epochs = int(settings.get("epochs", 4))
        self._total = torch.zeros((), dtype=torch.float64)
        self._generator = torch.Generator().manual_seed(int(settings.get("seed", 0)))

    @property
    def finished(self) -> bool:
        return self.epoch >= self.epochs

    def run_epoch(self) -> dict[str, Any]:
        time.sleep(self.settings.get("sleep", 0.0))
        self._trouble()
        self.epoch += 1
        self._total += torch.rand((), generator=self._generator, dtype=torch.float64)
        accuracy = float(self.settings["lr"]) + 0.001 * self.epoch
        row: dict[str, Any] = {"epoch": self.epoch, "validation_accuracy": accuracy, "trace": float(self._total)}
        if self.kind == "search":
            row["genotype"] = genotype(int(self.settings.get("skips", 1)))
        return row

    def _trouble(self) -> None:
        if self.settings.get("fail_at") == self.epoch + 1:
            raise ValueError("the fake fails here")
        marker = self.settings.get("kill_once")
        if marker and self.epoch + 1 == 3 and not Path(marker).exists():
            Path(marker).write_text("killed")
            os.kill(os.getpid(), signal.SIGKILL)
        hang = self.settings.get("hang")  # [marker, how often]: at epoch 3
        if hang and self.epoch + 1 == 3 and _again(*hang):
            time.sleep(600)
        kills = self.settings.get("kills")  # [marker, epochs]: once at each of them, in this order
        if kills and _at(*kills, self.epoch + 1):
            os.kill(os.getpid(), signal.SIGKILL)
        self._remember()
        marker = self.settings.get("io_error_once")
        if marker and self.epoch + 1 == 3 and not Path(marker).exists():
            Path(marker).write_text("raised")
            raise OSError("the disk was away")

    def _remember(self) -> None:
        """A GPU of which each trial needs the share `needs_gpus` from epoch 3 on, and a machine without memory."""
        if self.epoch + 1 == 3 and self.settings.get("no_memory"):
            raise MemoryError
        needed = self.settings.get("needs_gpus")
        if needed and self.epoch + 1 == 3:
            import ray

            given = ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0)
            with Path(self.settings["shares"]).open("a") as file:
                file.write(f"{given:g}\n")
            if given < needed:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")

    def result(self) -> dict[str, Any]:
        accuracy = float(self.settings["lr"])
        found: dict[str, Any] = {"validation_accuracy": accuracy, "test_accuracy": accuracy - 0.01}
        if self.kind == "search":
            found["genotype"] = genotype(int(self.settings.get("skips", 1)))
        return found

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "total": self._total, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        self._total = state["total"]
        self._generator.set_state(state["generator"])


def build(trial: Mapping[str, Any], run: Mapping[str, Any], device: str) -> FakeJob:
    log = os.environ.get("RAYDARTS_TEST_LOG")
    if log:
        with Path(log).open("a") as file:
            file.write(f"{trial.get('index', 'evaluation')}\n")
    if trial["kind"] == "search":
        return FakeJob(trial["config"], "search")
    return FakeJob({"lr": 0.5 + 0.01 * trial["seed"], "epochs": 2}, "evaluation")


@dataclass
class FakeDraw:
    plain: dict[str, Any]
    choices: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)


class FakeTree:
    """`lr` log-uniform; an option `b` has an `xi` of its own. `base` is added to every configuration."""

    def __init__(self, base: dict[str, Any]) -> None:
        self.base = base

    def variations(self) -> list[FakeDraw]:
        """What the most epochs of any trial follow from; the other keys are no settings of a search."""
        return [FakeDraw({"epochs": self.base.get("epochs", 4)}, {})]

    def materialise(self, chooser: Any) -> FakeDraw:
        lr = chooser.choose("search.lr", SimpleNamespace(kind="loguniform", low=0.01, high=0.5, q=None))
        labels = ["a", "b"]
        branch = chooser.choose("search.kind", SimpleNamespace(kind="choice", options=labels, labels=labels))
        choices: dict[str, Any] = {"search.lr": lr, "search.kind": labels[branch]}
        if branch == 1:
            name = "search.kind[b].skips"
            choices[name] = chooser.choose(name, SimpleNamespace(kind="randint", low=0, high=3, q=None))
        plain = {"epochs": 4, **self.base, "lr": lr, "skips": choices.get("search.kind[b].skips", 4)}
        return FakeDraw(plain, choices)


class FakeSettings(SimpleNamespace):
    def model_dump(self, mode: str = "json") -> dict[str, Any]:
        return dict(vars(self))


@dataclass
class FakeLoaded:
    """What `LoadedSpec` offers to a sweep; `per_trial[i]` is added to trial i's settings."""

    sweep: SweepSettings
    stages: Stages
    search: FakeTree
    name: str = "fake"
    question: str = "Does it run?"
    text: str = ""
    track: None = None
    per_trial: dict[int, dict[str, Any]] = field(default_factory=dict)
    made: list[Any] = field(default_factory=list)

    def outside_names(self) -> list[str]:
        return []

    def to_plain(self) -> dict[str, Any]:
        return {
            "fake": True,
            "score": ACCURACY.to_json(),
            "sweep": self.sweep.model_dump(mode="json"),
            **self.stages.to_plain(),
        }

    def settings_of(self, draw: FakeDraw) -> FakeSettings:
        settings = FakeSettings(**draw.plain)
        for key, value in self.per_trial.get(len(self.made), {}).items():
            setattr(settings, key, value)
        self.made.append(draw)
        return settings


def loaded(
    searcher: Any = None, scheduler: Any = "fifo", evaluate: dict[str, Any] | None = None, **more: Any
) -> FakeLoaded:
    base = more.pop("base", {})
    per_trial = more.pop("per_trial", {})
    stages = Stages(
        None if evaluate is None else EvaluateSettings(**evaluate),
        tuple(RungSettings(**rung) for rung in more.pop("rungs", ())),
        tuple(TransferSettings(**transfer) for transfer in more.pop("transfer", ())),
        BudgetSettings(**more.pop("budget")) if "budget" in more else None,
    )
    sweep = SweepSettings(
        searcher=Choose("searcher").parse(searcher or {"name": "random", "trials": 4}),
        scheduler=Choose("scheduler").parse(scheduler),
        **more,
    )
    return FakeLoaded(sweep, stages, FakeTree(base), per_trial=per_trial)


def slow_optuna() -> FakeLoaded:
    """For tests that kill the driver: one trial at a time, half a second an epoch."""
    trials = int(os.environ.get("RAYDARTS_TEST_TRIALS", "5"))
    return loaded(
        {"name": "optuna", "trials": trials, "startup_trials": 2},
        json.loads(os.environ.get("RAYDARTS_TEST_SCHEDULER", '"fifo"')),
        evaluate={"top_k": 2, "seeds": [0, 1]} if trials > 3 else {"top_k": 1, "seeds": [0]},
        max_concurrent=1,
        max_failures=3 if trials > 3 else 0,
        base={"sleep": float(os.environ.get("RAYDARTS_TEST_SLEEP", "0.0"))},
    )


def main() -> None:
    """`python -m tests.fault.fakes STORAGE`: the driver that is killed, or the one that resumes."""
    from raydarts.runs.directory import RunDirectory
    from raydarts.storage.place import exists, place_of

    path = place_of(sys.argv[1]) / "fake"
    try:
        if exists(path):
            sys.exit(run_sweep(RunDirectory.open(path), slow_optuna()))
        sys.exit(start_sweep(slow_optuna(), path.parent, builder=BUILDER))
    except StorageError as error:  # as the command line does
        sys.stderr.write(f"storage: {error}\n")
        sys.exit(4)


if __name__ == "__main__":
    main()
