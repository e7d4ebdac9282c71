"""Where else a run is to be seen: W&B and TensorBoard. Only here is wandb imported, and only where it is asked for."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from typing import Any

from raydarts.config.track import TrackSettings
from raydarts.errors import InputError
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.observer import Observer, Observers
from raydarts.runs.stages import jobs, run_of
from raydarts.storage.objects import ObjectPlace
from raydarts.storage.place import Place

logger = logging.getLogger("raydarts")


def settings_of(description: Mapping[str, Any]) -> TrackSettings:
    """The `track:` section of a run.json."""
    return TrackSettings.model_validate((description.get("spec") or {}).get("track") or {})


def observers(trial: TrialDirectory) -> Observers:
    """Who is to be told of a trial, as its run.json asks. Call it when the trial is claimed and its job open."""
    run = run_of(trial)
    found: list[Observer] = []
    try:
        settings = settings_of(run.description())
        _check_disk(settings, run.path)
        if settings.wandb is not None and settings.wandb.mode != "disabled":
            from raydarts.tracking.live import Recording  # noqa: PLC0415 - imports what tracking needs

            found.append(Recording(run, trial, settings.wandb))
        if settings.tensorboard:
            from raydarts.tracking.tensorboard import EventFile  # noqa: PLC0415

            found.append(EventFile(trial))
    except Exception as error:  # to be seen elsewhere too is never worth a trial
        logger.warning("%s: is not tracked: %s: %s", trial.id, type(error).__name__, error)
    return Observers(found)


def check(settings: TrackSettings | None, run: Place) -> None:
    """Raise `InputError` where what is asked for is not installed, or cannot be had at `run`: before it is made."""
    if settings is not None:
        _check_disk(settings, run)
    wanted = []
    if settings is not None and settings.wandb is not None and settings.wandb.mode != "disabled":
        wanted.append(("wandb", "track.wandb", "pip install 'raydarts[wandb]'"))
    if settings is not None and settings.tensorboard:
        wanted.append(("tensorboardX", "track.tensorboard", "pip install tensorboardX"))
    for module, key, remedy in wanted:
        if importlib.util.find_spec(module) is None:
            raise InputError(f"{key}: {module} is not installed: {remedy}, or leave {key} out")


def _check_disk(settings: TrackSettings, run: Place) -> None:
    """W&B's and TensorBoard's libraries write files on a disk, and append to them."""
    if not isinstance(run, ObjectPlace):
        return
    if settings.wandb is not None and settings.wandb.mode == "offline":
        raise InputError(
            f"track.wandb.mode: offline writes files on a disk, and {run} is none; use online or disabled: 'raydarts "
            "wandb sync RUN' later sends a run from where it lies"
        )
    if settings.tensorboard:
        raise InputError(f"track.tensorboard: writes files on a disk, and {run} is none; leave it out, or use a folder")


def begin(run: RunDirectory) -> str | None:
    """Make the run's W&B sweep, where it is tracked online. None, or what is to be told to the user."""
    settings = settings_of(run.description()).wandb
    if settings is None or settings.mode != "online":
        return None
    from raydarts.tracking import state, sweeps  # noqa: PLC0415 - imports what tracking needs

    state.end_outage(run)
    if state.read_sweep(run).get("created"):
        return None
    reason = sweeps.create_in_time(run, settings)
    if reason is None:
        return None
    state.note_outage(run, reason)
    return f"W&B: {reason}. Files are written instead; 'raydarts wandb sync {run.path}' sends them"


def conclude(run: RunDirectory) -> str | None:
    """What is to be told at the end: how many runs W&B has, and how to send the others."""
    settings = settings_of(run.description()).wandb
    if settings is None or settings.mode == "disabled":
        return None
    from raydarts.tracking import state  # noqa: PLC0415

    states = [state.read_trial(trial) for trial in jobs(run)]
    sent = [found for found in states if found.get("state") == state.SENT]
    missing = len(states) - len(sent)
    url = next((str(found["url"]) for found in sent if found.get("url")), "")
    parts = [f"W&B: {len(sent)} run(s) sent" + (f" ({url.rsplit('/runs/', 1)[0]})" if url else "")]
    if missing:
        parts.append(f"{missing} not; 'raydarts wandb sync {run.path}' sends them")
    return ", ".join(parts)
