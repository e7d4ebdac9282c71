"""Reads what trackers write into a trial's folder."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event
from wandb.util import get_core_path


def records(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of a trial's one offline file of W&B by type, by W&B's own reader.

    The reader is what `wandb leet inspect` starts, without the second in which that command starts itself.
    """
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file", file, folder / "wandb"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, list[Any]] = {}
    for line in done.stdout.splitlines():
        entry = json.loads(line)
        found.setdefault(entry["type"], []).append(entry[entry["type"]])
    return found


def history(folder: Path) -> list[dict[str, Any]]:
    """The rows in a trial's one offline file."""
    return [entry["item"] for entry in records(folder).get("history", [])]


def event_file(trial: Path) -> dict[tuple[str, int], float]:
    """(tag, step) -> value of the trial's one TensorBoard file, read record by record."""
    (file,) = trial.glob("tensorboard/events.*")
    data, found = file.read_bytes(), {}
    while data:
        (length,) = struct.unpack("<Q", data[:8])  # then a checksum of 4 bytes, the record, another checksum
        event = Event.FromString(data[12 : 12 + length])
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        data = data[16 + length :]
    return found


def mlflow_epochs(trial: Path) -> list[int]:
    """The epochs of a trial's loss in the database that the environment names."""
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name(trial.parent.parent.name)
    (run,) = [
        each
        for each in client.search_runs([experiment.experiment_id])
        if each.data.tags["raydarts.trial"].endswith(f"/search/{trial.name}")
    ]
    return sorted(metric.step for metric in client.get_metric_history(run.info.run_id, "weight_loss"))


def journal_epochs(trial: Path) -> list[int]:
    """The epochs of a trial in the journal of its run."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    folder = trial.parent.parent
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.log")))
    study = optuna.load_study(study_name=folder.name, storage=storage)
    (found,) = [each for each in study.trials if each.user_attrs["raydarts.trial"] == trial.name]
    return sorted(found.intermediate_values)
