"""Several trials of like structure in one process: their epochs are run together as one computation."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from raydarts.execution.capture import Capture
from raydarts.execution.drive import Ran
from raydarts.execution.job import Job
from raydarts.execution.jobs import restrict_code
from raydarts.execution.trial import SweepTrial
from raydarts.execution.watchdog import Watchdog
from raydarts.runs import faults, memory
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.groups import read_group

logger = logging.getLogger("raydarts")


class Together(Protocol):
    """Runs an epoch of several jobs as one computation."""

    def run_epoch(self, jobs: Sequence[Any], /) -> Sequence[Mapping[str, Any] | Exception]:
        """Returns each job's metrics, or the error that ended it."""


def together() -> Together:
    """What runs the epochs of a group's searches. It keeps memory for them."""
    from raydarts.search.fused import FusedSearch  # noqa: PLC0415 - loads torch

    return FusedSearch()


class SweepGroup:
    """Runs the trials that a group's file names, a `step` an epoch of each. They are its lanes.

    Each lane is a `SweepTrial`, with rows, checkpoints, observers, errors and a result as if it were alone. The lanes
    need not be at the same epoch.

    `config`: that of a `SweepTrial`, without a `directory`, which each lane has for itself, and with `run` (the run's
    folder) and `group` (the group's name).

    An OSError is raised to whoever runs the group, who tries again: all its lanes are taken up from their checkpoints.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        # As in a `SweepTrial`: nothing is claimed or built before the first step.
        self._config = config
        restrict_code(config)
        self._lanes: dict[str, SweepTrial] = {}
        self._begun: set[str] = set()
        self._steps = 0
        self._together: Together | None = None
        self._most = 0
        """How many lanes fit into memory together. 0: no limit is known."""

    def step(self) -> dict[str, Any]:
        """Run one epoch of each lane.

        Returns what each lane's `SweepTrial` says of its epoch, by the lane's key, in `lanes`; and `done`: whether no
        lane is left.
        """
        self._steps += 1
        with Watchdog(self._config["epoch_timeout"], self._note_timeout):
            reports = self._take_lanes()
            reports |= self._epoch([key for key in self._lanes if key not in reports])
        for key, report in reports.items():
            if report["done"]:
                self._leave(key)
        return {"epoch": self._steps, "lanes": reports, "done": not self._lanes}

    def _take_lanes(self) -> dict[str, dict[str, Any]]:
        """Let go of lanes that have left, and open new ones. Returns the reports of those that have ended already."""
        run = RunDirectory(self._config["run"])
        named = read_group(run, self._config["group"])
        for key in [key for key in self._lanes if key not in named]:
            self._leave(key)
        for key, trial in named.items():
            if key not in self._lanes:
                directory = str(run.trial(int(trial)).path)
                changes = {
                    "id": trial,
                    "directory": directory,
                    "epoch_timeout": None,
                }  # the group watches the time of all
                self._lanes[key] = SweepTrial({**self._config, **changes})
        return self._ended_at(key for key in self._lanes if key not in self._begun)

    def _ended_at(self, keys: Iterator[str]) -> dict[str, dict[str, Any]]:
        """Open lanes. Returns the reports of those that have ended: by then, or because they could not be opened."""
        reports = {}
        for key in list(keys):
            self._begun.add(key)
            report = self._lanes[key].begin()
            if report["done"]:
                reports[key] = report
        return reports

    def _epoch(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """One epoch of these lanes, together as far as memory allows."""
        reports: dict[str, dict[str, Any]] = {}
        waiting = list(keys)
        while waiting:
            most = self._most or len(waiting)
            first, waiting = waiting[:most], waiting[most:]
            if len(first) == 1:
                self._together = None
                reports[first[0]] = self._lanes[first[0]].step()
                continue
            full = self._fused(first, reports)
            waiting = full + waiting
        return {key: reports[key] for key in keys if key in reports}

    def _fused(self, keys: Sequence[str], reports: dict[str, dict[str, Any]]) -> list[str]:
        """One epoch of several lanes. Their reports are added to `reports`.

        Returns the lanes for which memory was full: from now on fewer run together. They are taken up anew from their
        checkpoints, since an epoch that was cut off may have changed them.
        """
        started = time.time()
        if self._together is None:
            self._together = together()
        with Capture(self._lanes[key].log for key in keys):
            results = _run(self._together, [self._lanes[key].job for key in keys])
        ended = time.time()
        full, reason = self._keep(keys, [_ran(result, started, ended, len(keys)) for result in results], reports)
        if not full:
            return []
        del results  # an error keeps in memory what it met
        self._together = None
        self._most = max(1, len(keys) // 2)
        message = f"{len(keys)} trials together need more memory than there is ({reason})"
        logger.warning("%s; from now on at most %d of them run together", message, self._most)
        for key in full:
            self._lanes[key].close()
        again = []
        for key in full:
            report = self._lanes[key].take_up()
            if report["done"]:
                reports[key] = report
            else:
                again.append(key)
        return again

    def _keep(
        self, keys: Sequence[str], results: Sequence[Ran | Exception], reports: dict[str, dict[str, Any]]
    ) -> tuple[list[str], str]:
        """Keep what lanes have run. Returns those for which memory was full, and the last error's first line."""
        full, reason = [], ""
        for key, result in zip(keys, results, strict=True):
            if isinstance(result, Exception) and (memory.gpu_is_full(result) or memory.machine_is_full(result)):
                full.append(key)
                reason = (str(result).splitlines() or [type(result).__name__])[0]
            else:
                reports[key] = self._lanes[key].keep(result)
        return full, reason

    @property
    def trials(self) -> list[TrialDirectory]:
        """The folders of the lanes that were opened."""
        return [lane.trial for key, lane in self._lanes.items() if key in self._begun]

    def _note_timeout(self) -> None:
        for trial in self.trials:
            faults.note_timeout(trial, self._config["epoch_timeout"] or 0.0)

    def _leave(self, key: str) -> None:
        self._begun.discard(key)
        self._lanes.pop(key).close()

    def close(self) -> None:
        """Let go of all lanes."""
        self._together = None
        for key in list(self._lanes):
            self._leave(key)


def _run(together: Together, jobs: Sequence[Job]) -> Sequence[Mapping[str, Any] | Exception]:
    """The epochs of several jobs. An error that is of no single lane is that of each."""
    try:
        return together.run_epoch(jobs)
    except Exception as error:
        if isinstance(error, OSError) and not memory.machine_is_full(error):
            raise
        return [error] * len(jobs)


def _ran(result: Mapping[str, Any] | Exception, started: float, ended: float, lanes: int) -> Ran | Exception:
    return result if isinstance(result, Exception) else Ran(result, started, ended, lanes)
