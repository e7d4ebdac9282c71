"""Trackers: where else a run is shown. Every function here goes through the trackers that the run chose.

No tracker stops a run or delays it for long: see `base.py` and `aside.py`. Only trackers import what they need.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from raydarts.config.track import TrackSettings
from raydarts.errors import InputError
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import run_of
from raydarts.runs.observer import Observers
from raydarts.storage.place import Place
from raydarts.trackers.aside import Aside, Call, words
from raydarts.trackers.base import Tracker

logger = logging.getLogger("raydarts")


def track_of(description: Mapping[str, object]) -> Mapping[str, object]:
    """The `track:` section of a run.json; empty where it has none."""
    spec = description.get("spec")
    track = spec.get("track") if isinstance(spec, Mapping) else None
    return track if isinstance(track, Mapping) else {}


def check(settings: TrackSettings | None, place: Place) -> None:
    """Raise `InputError` where a chosen tracker cannot work for a run at `place`. Called before the run is made."""
    for name, component in ({} if settings is None else settings.chosen).items():
        try:
            tracker: Tracker = component.build()
            Call(partial(tracker.check, place), name).result(tracker.seconds)
        except InputError:
            raise
        except Exception as error:  # whatever a tracker raises
            raise InputError(f"track.{name}: {words(error)}; mend that, or leave track.{name} out") from error


def begin(run: RunDirectory) -> str | None:
    """Tell the trackers that a driver starts or resumes the run. Returns what the user is told; None: nothing."""
    return _answers(run, lambda tracker: tracker.begin(run))


def observers(trial: TrialDirectory) -> Observers:
    """Who observes a trial for the trackers. Call it when the trial is claimed and its job is open."""
    watching: list[Aside] = []
    try:
        for name, tracker in _chosen(run_of(trial)):
            watching.append(Aside(name, trial, partial(tracker.observer, trial), tracker.seconds))
    except Exception as error:  # a trial is worth more than what shows it
        logger.warning("%s: is not tracked: %s", trial.id, words(error))
    return Observers(watching)


def conclude(run: RunDirectory) -> str | None:
    """Tell the trackers that all trials ended. Returns what the user is told; None: nothing."""
    return _answers(run, lambda tracker: tracker.conclude(run))


def _answers(run: RunDirectory, ask: Callable[[Tracker], str | None]) -> str | None:
    """What the trackers say, a line each. One that fails or is late is named with the reason."""
    lines = []
    for name, tracker in _chosen(run):
        try:
            line = Call(partial(ask, tracker), name).result(tracker.seconds)
        except Exception as error:  # whatever a tracker raises
            line = f"tracker {name}: {words(error)}"
        if line:
            lines.append(line)
    return "\n".join(lines) or None


def _chosen(run: RunDirectory) -> Iterator[tuple[str, Tracker]]:
    """The trackers that a run chose. One that cannot be made is left out with a warning."""
    for name, written in track_of(run.description()).items():
        try:
            component = TrackSettings.parse_member(name, written)
            tracker: Tracker | None = None if component is None else component.build()
        except Exception as error:  # its code is gone, or somebody changed run.json
            logger.warning("tracker %s is left out: %s", name, words(error))
            continue
        if tracker is not None:
            yield name, tracker
