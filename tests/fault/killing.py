"""A probe that kills its own process once, at a moment that the settings name: no other process has to be in time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from raydarts import registry
from raydarts.search.moments import EpochReport
from raydarts.search.probes.base import Probe


class KillsItsProcess(Probe):
    """Measures nothing. After `epoch`, but before that epoch is written down, the process ends; `mark` is its note."""

    NAME = "kills_its_process"
    SOURCE = "a test"

    class Settings(registry.Settings):
        mark: str
        epoch: int

    def measure(self, report: EpochReport) -> dict[str, float | int | None]:
        mark = Path(self.settings.mark)
        if report.epoch == self.settings.epoch and not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return {}
