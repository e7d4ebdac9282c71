"""Shows one trial at W&B while it runs. Where W&B fails, the trial's offline file is written instead.

After a failure nobody in the run tries W&B again for ten minutes. What W&B lacks lies in the trial's folder, as it
does anyway: `raydarts wandb sync RUN` sends it.

`python -m raydarts.trackers.wandb.recording TRIAL` writes one trial's offline file from its folder, in a process of its
own: W&B's service refuses a second run of an id while the first one hangs in it, and a new process has its own service.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial

from raydarts.errors import DamagedError
from raydarts.runs.directory import RunDirectory, SupersededError, TrialDirectory
from raydarts.runs.folders import run_of
from raydarts.storage.objects import ObjectPlace
from raydarts.trackers import track_of
from raydarts.trackers.aside import scrub
from raydarts.trackers.base import TrialObserver
from raydarts.trackers.wandb import WandbSettings, settings_of, state
from raydarts.trackers.wandb.writer import WandbRun

logger = logging.getLogger("raydarts")
_OFFLINE_SECONDS = 30.0


class Recording(TrialObserver):
    """Makes one W&B run of one trial."""

    def __init__(
        self,
        run: RunDirectory,
        trial: TrialDirectory,
        settings: WandbSettings,
        make: Callable[..., WandbRun] = WandbRun,
    ) -> None:
        self._run = run
        self._trial = trial
        self._reason = None if settings.mode == "offline" else state.outage(run)
        self._offline = settings.mode == "offline" or self._reason is not None
        self._make = partial(make, run, trial, settings, offline=self._offline)
        self._writer: WandbRun | None = None
        self._ended = False
        self._given_up = False
        self.seconds = _OFFLINE_SECONDS if self._offline else settings.finish_seconds
        self.lost_seconds = _OFFLINE_SECONDS + 10
        self._note(state.Tracked(state=state.RUNNING, reason=self._reason))

    def open(self) -> None:
        self._writer = self._make()
        self._writer.open()

    def epoch(self, row: Mapping[str, object]) -> None:
        if self._writer is not None:
            self._writer.epoch(row)

    def finished(self, result: Mapping[str, object]) -> None:
        if self._writer is None or self._ended:
            return
        self._writer.finish(result)
        self._ended = True
        if not self._given_up:  # else this thread was late, and the offline file is there
            self._note_end(state.OFFLINE if self._offline else state.SENT)

    def close(self) -> None:
        self.finished(self._last())

    def lost(self, reason: str) -> str | None:
        self._given_up = True
        failed: str | None = reason
        if not self._offline:
            self._note_outage(reason)
            self._offline = True
            failed = write_apart(self._trial, self._last(), _OFFLINE_SECONDS)
        if failed is not None:
            self._reason = scrub(failed)
            logger.warning("%s: no W&B file could be written: %s", self._trial.id, self._reason)
        self._note_end(state.OFFLINE if failed is None else state.UNSENT)
        return None

    def _last(self) -> Mapping[str, object]:
        """The result. Without one the trial was cut off, or a scheduler stopped it and its driver will write so."""
        result: Mapping[str, object] | None = self._trial.result()
        return result or interrupted(self._trial)

    def _note_outage(self, reason: str) -> None:
        self._reason = scrub(reason)
        if state.outage(self._run) is None:
            state.note_outage(self._run, self._reason)
            logger.warning(
                "W&B: %s. Files are written instead; 'raydarts wandb sync %s' sends them", self._reason, self._run.path
            )

    def _note_end(self, reached: str) -> None:
        tracked = state.Tracked(state=reached, reason=self._reason)
        if self._writer is not None:
            status = str(self._last().get("status"))
            url = None if self._offline else self._writer.url
            tracked = state.Tracked(
                state=reached,
                reason=self._reason,
                id=self._writer.id,
                url=url,
                status=status,
                epochs=len(self._trial.rows()),
            )
        self._note(tracked)

    def _note(self, tracked: state.Tracked) -> None:
        try:
            state.write_trial(self._trial, tracked)
        except (OSError, SupersededError, DamagedError):
            return  # the trial's own writes say so where it matters


def interrupted(trial: TrialDirectory) -> Mapping[str, object]:
    """What stands for the result of a trial that has none."""
    rows = trial.rows()
    return {"status": "interrupted", "genotype": rows[-1].get("genotype")} if rows else {"status": "interrupted"}


def write_apart(trial: TrialDirectory, result: Mapping[str, object], seconds: float) -> str | None:
    """Write the offline file in a new process, which is ended after `seconds`. None, or why there is no file."""
    if isinstance(trial.path, ObjectPlace):
        return "beside a run in an object store none is written: it is sent from there"
    command = [sys.executable, "-m", "raydarts.trackers.wandb.recording", str(trial.path)]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            input=json.dumps(dict(result)),
            text=True,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        return f"{type(error).__name__}: the offline file could not be written in {seconds:g} s"
    return None if done.returncode == 0 else " ".join(done.stderr[-300:].split())


def main() -> None:
    trial = TrialDirectory(sys.argv[1])
    run = run_of(trial)
    settings = settings_of(track_of(run.description()))
    if settings is None:
        sys.exit(f"{run.path}: has no track.wandb")
    writer = WandbRun(run, trial, settings, offline=True)
    writer.open()
    writer.finish(json.load(sys.stdin))
    os._exit(0)  # the file is whole; wandb's own goodbye to a server that does not answer takes 12 s


if __name__ == "__main__":
    main()
