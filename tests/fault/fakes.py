"""Jobs that train nothing and follow a script, and specs whose sweeps run them. The specs are real ones.

The script is JSON in the spec's question, the one text of a run that reaches whoever builds its jobs: what to do in
each epoch, for `all` trials or for one by its number.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from raydarts.config.loader import LoadedSpec, load_spec
from raydarts.errors import StorageError
from raydarts.genotypes.facts import cell_facts
from raydarts.genotypes.genotype import Genotype
from raydarts.runs import faults
from raydarts.search.settings import SearchSettings
from raydarts.sweeping.runner import run_sweep, start_sweep
from tests import here

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


def die(what: str = faults.LOST) -> None:
    """The end of this trial's process; where it hangs, its watchdog brings it."""
    here.lose(what)  # returns where the trial has a process of its own
    if what == faults.TIMEOUT:
        time.sleep(600)
    os.kill(os.getpid(), signal.SIGKILL)


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
        here.sleep(self.settings.get("sleep", 0.0))
        self._trouble()
        self.epoch += 1
        self._total += torch.rand((), generator=self._generator, dtype=torch.float64)
        accuracy = float(self.settings["lr"]) + 0.001 * self.epoch
        row: dict[str, Any] = {"epoch": self.epoch, "validation_accuracy": accuracy, "trace": float(self._total)}
        if self.kind == "search":
            row["genotype"] = genotype(self._skips())
            row |= cell_facts(Genotype.from_json(row["genotype"]))
        return row

    def _trouble(self) -> None:
        if self.settings.get("fail_at") == self.epoch + 1:
            raise ValueError("the fake fails here")
        marker = self.settings.get("kill_once")
        if marker and self.epoch + 1 == 3 and not Path(marker).exists():
            Path(marker).write_text("killed")
            die()
        hang = self.settings.get("hang")  # [marker, how often]: at epoch 3
        if hang and self.epoch + 1 == 3 and _again(*hang):
            die(faults.TIMEOUT)
        kills = self.settings.get("kills")  # [marker, epochs]: once at each of them, in this order
        if kills and _at(*kills, self.epoch + 1):
            die()
        taken = self.settings.get("taken_back")  # as `kills`: its machine is taken back; on no real Ray
        if taken and _at(*taken, self.epoch + 1):
            die(faults.PREEMPTED)
        away = self.settings.get("storage")  # [marker, how often]: at epoch 3
        if away and self.epoch + 1 == 3 and _again(*away):
            raise StorageError("the storage does not answer")
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
            given = here.given_gpus()
            with Path(self.settings["shares"]).open("a") as file:
                file.write(f"{given:g}\n")
            if given < needed:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")

    def result(self) -> dict[str, Any]:
        accuracy = float(self.settings["lr"])
        found: dict[str, Any] = {"validation_accuracy": accuracy, "test_accuracy": accuracy - 0.01}
        if self.kind == "search":
            found["genotype"] = genotype(self._skips())
        return found

    def restated(self, state: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        """Its state keeps no setting."""
        return state

    def _skips(self) -> int:
        """Skip connections of the current genotype: one number for all epochs, or a list with one for each."""
        skips = self.settings.get("skips", 1)
        return int(skips[min(self.epoch, len(skips)) - 1] if isinstance(skips, list) else skips)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "total": self._total, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        self._total = state["total"]
        self._generator.set_state(state["generator"])


def script_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """The script of a run, from its run.json."""
    script: dict[str, Any] = json.loads(run["question"] or "{}")
    return script


def search_job(trial: Mapping[str, Any], run: Mapping[str, Any], **changed: Any) -> FakeJob:
    """The scripted job of a search trial. Its genotype has as many skip connections as `xi`, else 4."""
    config, script = trial["config"], script_of(run)
    settings = {key: config[key] for key in ("lr", "epochs", "seed")}
    settings["skips"] = int(config["estimator"].get("xi") or 0) if config["estimator"]["name"] != "first_order" else 4
    settings |= {"sleep": float(os.environ.get("RAYDARTS_TEST_SLEEP", "0.0"))}
    return FakeJob({**settings, **script.get("all", {}), **script.get(str(trial["index"]), {}), **changed}, "search")


def build(trial: Mapping[str, Any], run: Mapping[str, Any], device: str) -> FakeJob:
    log = os.environ.get("RAYDARTS_TEST_LOG")
    if log:
        with Path(log).open("a") as file:
            file.write(f"{trial.get('index', 'evaluation')}\n")
    if trial["kind"] == "search":
        return search_job(trial, run)
    return FakeJob({"lr": 0.5 + 0.01 * trial["seed"], "epochs": 2}, "evaluation")


SEARCH = {
    "epochs": 4,
    "lr": {"loguniform": [0.01, 0.5]},
    "estimator": {"choice": ["first_order", {"name": "finite_difference", "xi": {"quniform": [0, 3, 1]}}]},
}
SECTIONS = ("rungs", "transfer", "budget")


def spec(**sections: Any) -> LoadedSpec:
    """A spec by its sections, read from a YAML file as a user's is."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fake.yaml"
        file.write_text(json.dumps(sections))  # JSON is YAML
        return load_spec(file)


def loaded(
    searcher: Any = None,
    scheduler: Any = "fifo",
    evaluate: dict[str, Any] | None = None,
    *,
    search: Mapping[str, Any] = SEARCH,
    base: Mapping[str, Any] | None = None,
    per_trial: Mapping[int, Mapping[str, Any]] | None = None,
    **more: Any,
) -> LoadedSpec:
    """A sweep of scripted jobs. `base`: settings of the search, and the script of all trials; `per_trial`: of one."""
    chosen = {key: value for key, value in (base or {}).items() if key in SearchSettings.model_fields}
    script: dict[str, Any] = {"all": {key: value for key, value in (base or {}).items() if key not in chosen}}
    script |= {str(index): dict(troubles) for index, troubles in (per_trial or {}).items()}
    sections = {key: more.pop(key) for key in SECTIONS if key in more}
    if evaluate is not None:
        sections["evaluate"] = evaluate
    sweep = {"searcher": searcher or {"name": "random", "trials": 4}, "scheduler": scheduler, **more}
    return spec(name="fake", question=json.dumps(script), search={**search, **chosen}, sweep=sweep, **sections)


def slow_optuna() -> LoadedSpec:
    """For tests that kill the driver: one trial at a time, half a second an epoch."""
    trials = int(os.environ.get("RAYDARTS_TEST_TRIALS", "5"))
    return loaded(
        {"name": "optuna", "trials": trials, "startup_trials": 2},
        json.loads(os.environ.get("RAYDARTS_TEST_SCHEDULER", '"fifo"')),
        evaluate={"top_k": 1, "seeds": [0]},
        max_concurrent=1,
        max_failures=3 if trials > 3 else 0,
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
