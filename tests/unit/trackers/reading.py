"""Reads what trackers write into a trial's folder."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event


def history(folder: Path) -> list[dict[str, Any]]:
    """The rows in a trial's one offline file of W&B, by W&B's own reader."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    return [entry["history"]["item"] for entry in entries if entry["type"] == "history"]


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
