"""A probe that notes whose memory the data of its process lie in."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from raydarts.data import splits
from raydarts.data.base import ImageArrays
from raydarts.runs.directory import RunDirectory
from raydarts.search.moments import EpochReport
from raydarts.search.probes.base import Probe


class Taking(Probe):
    """Prints into the trial's log."""

    NAME = "taking"

    def measure(self, report: EpochReport) -> dict[str, float | int | None]:
        (source,) = {id(kept.source): kept.source for kept in splits._loaded.values()}.values()
        assert isinstance(source, ImageArrays)
        seen_here = {"pid": os.getpid(), "writeable": bool(source.train_images.flags.writeable)}
        sys.stdout.write(f"seen {json.dumps(seen_here)}\n")
        return {}


def seen(run: RunDirectory) -> list[dict[str, Any]]:
    """What the probes of a run's trials noted in their first epochs."""
    noted = []
    for trial in run.trials():
        text = (trial.path / "log.txt").read_text()
        noted.append(json.loads(next(line for line in text.splitlines() if "seen {" in line).split("seen ", 1)[1]))
    return noted
