"""The jobs of benchmarks/scale.py: they wait as long as the model of time says, and report. Needs no torch."""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Mapping
from typing import Any

from raydarts.runs.checkpoints import CheckpointStore

MODEL = "RAYDARTS_SCALE_MODEL"
"""Environment variable: the model of time as JSON (`Model` in scale.py)."""
OPERATIONS = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "max_pool_3x3", "skip_connect")


class ReportingJob:
    """Epochs last a lognormal time that is drawn once for the job, and vary by a tenth about it."""

    def __init__(self, seed: str, epochs: int, model: Mapping[str, float]) -> None:
        self.epoch, self.epochs = 0, epochs
        self._draws = random.Random(seed)
        median = model["epoch_seconds"] / model["compression"]
        self._seconds = median * math.exp(model["sigma"] * self._draws.gauss(0, 1))
        self._best = self._draws.uniform(0.85, 0.97)
        self._genotype = self._draw_genotype()

    def _draw_genotype(self) -> dict[str, Any]:
        def cell() -> list[list[Any]]:
            return [
                [self._draws.choice(OPERATIONS), source]
                for node in range(2, 6)
                for source in sorted(self._draws.sample(range(node), 2))
            ]

        return {"normal": cell(), "normal_concat": [2, 3, 4, 5], "reduce": cell(), "reduce_concat": [2, 3, 4, 5]}

    @property
    def finished(self) -> bool:
        return self.epoch >= self.epochs

    def run_epoch(self) -> dict[str, Any]:
        time.sleep(self._seconds * self._draws.uniform(0.9, 1.1))
        self.epoch += 1
        return {"epoch": self.epoch, **self._scores(), "genotype": self._genotype, "gpu": self._gpu()}

    def _scores(self) -> dict[str, float]:
        learned = 1 - math.exp(-3 * self.epoch / self.epochs)
        noise = self._draws.gauss(0, 0.003)
        return {"validation_accuracy": self._best * learned + noise, "test_accuracy": self._best * learned}

    @staticmethod
    def _gpu() -> str:
        return os.environ["CUDA_VISIBLE_DEVICES"]

    def result(self) -> dict[str, Any]:
        return {**self._scores(), "genotype": self._genotype}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise NotImplementedError("a job that only reports keeps no checkpoint")


def _keep_nothing(store: CheckpointStore, epoch: int, state: dict[str, Any]) -> None:
    """In place of `CheckpointStore.save`, which would load torch into 64 processes."""


def build(trial: Mapping[str, Any], run: Mapping[str, Any], device: str) -> ReportingJob:
    """The `builder` of the run."""
    CheckpointStore.save = _keep_nothing  # type: ignore[assignment,method-assign]
    model = json.loads(os.environ[MODEL])
    if trial["kind"] == "search":
        return ReportingJob(f"search/{trial['index']}", int(trial["config"]["epochs"]), model)
    epochs = int(run["spec"]["evaluate"]["training"]["epochs"])
    return ReportingJob(f"evaluation/{trial['genotype_id']}/{trial['seed']}", epochs, model)
