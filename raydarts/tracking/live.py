"""Telling W&B of a trial while it runs, without ever harming or delaying it.

A thread of its own makes every call to W&B, so that nothing that hangs there hangs the trial. The end of a trial
waits for it `finish_seconds` at most; after a failure nobody in the run tries W&B again for ten minutes, and files are
written instead. What W&B lacks lies in the trial's folder, as it does anyway: `raydarts wandb sync RUN` sends it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

from raydarts.config.track import WandbSettings
from raydarts.errors import DamagedError
from raydarts.runs.directory import RunDirectory, SupersededError, TrialDirectory
from raydarts.tracking import payload, state
from raydarts.tracking.offline import write_apart
from raydarts.tracking.writer import WandbRun

logger = logging.getLogger("raydarts")
Make = Callable[..., WandbRun]
_OFFLINE_SECONDS = 30.0
_INTERRUPTED = {"status": "interrupted"}


class _Attempt:
    """A thread that writes one run: what is put into it in order, the result last."""

    def __init__(self, make: Callable[[], WandbRun]) -> None:
        self._make = make
        self._queue: queue.SimpleQueue[tuple[str, Mapping[str, Any]]] = queue.SimpleQueue()
        self.error: str | None = None
        self.writer: WandbRun | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="raydarts-wandb")
        self._thread.start()

    def epoch(self, row: Mapping[str, Any]) -> None:
        self._queue.put(("epoch", row))

    def finish(self, result: Mapping[str, Any], seconds: float) -> bool:
        """Whether all was written within `seconds`. If not, `error` says why, and the thread is left to itself."""
        self._queue.put(("finish", result))
        self._thread.join(seconds)
        if self._thread.is_alive():
            self.error = f"it did not answer within {seconds:g} s"
        return self.error is None

    def _work(self) -> None:
        try:
            self.writer = self._make()
            self.writer.open()
            while True:
                kind, value = self._queue.get()
                if kind == "finish":
                    self.writer.finish(value)
                    return
                self.writer.epoch(value)
        except Exception as error:  # whatever W&B raises is not the trial's concern
            self.error = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


class Recording:
    """An observer (`raydarts.runs.observer`) that makes one W&B run of one trial."""

    def __init__(
        self, run: RunDirectory, trial: TrialDirectory, settings: WandbSettings, make: Make = WandbRun
    ) -> None:
        self._run = run
        self._trial = trial
        self._settings = settings
        self._reason = None if settings.mode == "offline" else state.outage(run)
        self._offline = settings.mode == "offline" or self._reason is not None
        self._attempt: _Attempt | None = _Attempt(lambda: make(run, trial, settings, offline=self._offline))
        self._note(state.RUNNING)

    def epoch(self, row: Mapping[str, Any]) -> None:
        if self._attempt is not None:
            self._attempt.epoch(row)

    def finished(self, result: Mapping[str, Any]) -> None:
        self._end(result)

    def close(self) -> None:
        if self._attempt is not None:
            self._end(self._trial.result() or self._unfinished())

    def _unfinished(self) -> Mapping[str, Any]:
        """Of a trial without a result: a scheduler stopped it (its driver is about to write so), or it was cut off."""
        rows = self._trial.rows()
        return {**_INTERRUPTED, "genotype": rows[-1].get("genotype")} if rows else _INTERRUPTED

    def _end(self, result: Mapping[str, Any]) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        seconds = _OFFLINE_SECONDS if self._offline else self._settings.finish_seconds
        done = attempt.finish(result, seconds)
        if not done and not self._offline:
            self._outage(str(attempt.error))
            self._offline = True
            attempt.error = write_apart(self._trial, result, _OFFLINE_SECONDS)
            done = attempt.error is None
        if not done:
            self._reason = payload.scrub(str(attempt.error))
            logger.warning("%s: no W&B file could be written: %s", self._trial.id, self._reason)
        reached = state.OFFLINE if self._offline else state.SENT
        self._note(reached if done else state.UNSENT, attempt.writer, result)

    def _outage(self, error: str) -> None:
        self._reason = payload.scrub(error)
        if state.outage(self._run) is None:
            state.note_outage(self._run, self._reason)
            logger.warning(
                "W&B: %s. Files are written instead; 'raydarts wandb sync %s' sends them", self._reason, self._run.path
            )

    def _note(self, reached: str, writer: WandbRun | None = None, result: Mapping[str, Any] | None = None) -> None:
        value: dict[str, Any] = {"state": reached, "reason": self._reason}
        if writer is not None and result is not None:
            value |= {"id": writer.id, "url": None if self._offline else writer.url}
            value |= {"status": result.get("status"), "epochs": len(self._trial.rows())}
        try:
            state.write_trial(self._trial, value)
        except (OSError, SupersededError, DamagedError):
            return  # the trial's own writes say so where it matters
