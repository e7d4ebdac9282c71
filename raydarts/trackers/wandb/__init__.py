"""Weights & Biases: each trial and each retraining as one W&B run, on the page of a W&B sweep.

This module holds what a spec may say; nothing of W&B is imported by it. `recording.py` shows one trial while it runs.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from raydarts import registry
from raydarts.errors import DamagedError, InputError, shortened
from raydarts.registry import Around, Idle, parse_strictly
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import jobs, run_of
from raydarts.storage.objects import ObjectPlace
from raydarts.storage.place import Place
from raydarts.trackers.base import Tracker, TrialObserver
from raydarts.units import Epochs, Seconds

_ENTITY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_KEY = re.compile(r"\b[0-9a-fA-F]{40,}\b|wandb_v\d+_|\blocal-[0-9a-fA-F]{40}")
"""What W&B's API keys look like, old and new."""
Word = Annotated[str, Field(min_length=1, max_length=64)]


def wrong_project(name: str) -> str | None:
    """What is wrong with the name of a W&B project, and what is allowed; None: nothing."""
    if 1 <= len(name) <= 128 and name.strip() and name.isprintable() and not set(name) & set("/\\#?%:"):
        return None
    hint = "; the part before the / is the entity" if name.count("/") == 1 else ""
    return f"'{shortened(name, 60)}' is no W&B project: 1 to 128 characters, none of / \\ # ? % :{hint}"


def wrong_entity(name: str) -> str | None:
    """The same of an entity."""
    if _ENTITY.fullmatch(name):
        return None
    hint = "; the part after the / is the project" if name.count("/") == 1 else ""
    allowed = "1 to 128 letters, digits, '.', '_' and '-', as in your address wandb.ai/ENTITY"
    return f"'{shortened(name, 60)}' is no W&B entity (a user or team): {allowed}{hint}"


def check_place(entity: str | None, project: str | None) -> None:
    """`--entity` and `--project`. Raises `InputError`."""
    wrong = (
        ("entity", wrong_entity(entity) if entity is not None else None),
        ("project", wrong_project(project) if project is not None else None),
    )
    for option, problem in wrong:
        if problem is not None:
            raise InputError(f"--{option}: {problem}")


class Wandb(Tracker):
    """Weights & Biases: metrics, pictures, genotypes and checkpoints, online or as files to be sent later."""

    NAME = "wandb"
    SOURCE = "wandb.ai, by its client wandb"

    class Settings(registry.Settings):
        """The API key is no setting: it is read from WANDB_API_KEY or ~/.netrc (`wandb login`).

        `mode`: `online`; `offline` (files in the run's directory, for `raydarts wandb sync RUN`); `disabled` (as if
        the section were absent). `entity` null: the key's own. `media_every` epochs the arch weights are drawn (0: at
        the end alone). `artifacts`: genotypes, and where `checkpoints` too, the checkpoint of each trial that is the
        best so far. `init_seconds`, `finish_seconds`: how long W&B is waited for at most.
        """

        mode: Literal["online", "offline", "disabled"] = Field(
            "online",
            description="`online` sends at once. `offline` keeps files for `raydarts wandb sync RUN`. `disabled` "
            "does nothing.",
        )
        project: str = Field("raydarts", description="W&B project.")
        entity: str | None = Field(None, description="W&B user or team. `null` is the API key's own.")
        tags: tuple[Word, ...] = Field((), description="Tags of each W&B run.")
        media_every: Epochs = Field(
            10, ge=0, description="Epochs from one picture of the arch weights to the next. 0: only at the end."
        )
        artifacts: bool = Field(True, description="Whether genotypes are sent as artifacts.")
        checkpoints: bool = Field(
            True, description="Whether checkpoints of trials that are the best so far are artifacts too."
        )
        init_seconds: Seconds = Field(20, gt=0, le=600, description="Longest wait for W&B at the start of a trial.")
        finish_seconds: Seconds = Field(30, gt=0, le=600, description="Longest wait for W&B at the end of a trial.")

        def idle(self, around: Around) -> Iterator[Idle]:
            if self.mode == "disabled":
                yield Idle("", "is disabled: none of its keys acts; write mode: online or offline, or leave wandb out")
            elif self.written("checkpoints") and self.checkpoints and not self.artifacts:
                yield Idle(
                    "checkpoints", "are artifacts, and artifacts is false; write artifacts: true, or leave it out"
                )

        @field_validator("project")
        @classmethod
        def _a_project(cls, value: str) -> str:
            if not _KEY.search(value) and (wrong := wrong_project(value)):
                raise ValueError(wrong)
            return value

        @field_validator("entity")
        @classmethod
        def _an_entity(cls, value: str | None) -> str | None:
            if value is not None and not _KEY.search(value) and (wrong := wrong_entity(value)):
                raise ValueError(wrong)
            return value

        @field_validator("project", "entity", "tags")
        @classmethod
        def _no_secret(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
            texts = (value,) if isinstance(value, str) else value or ()
            if any(_KEY.search(text) for text in texts):
                raise ValueError(
                    "looks like an API key, and a spec is no place for secrets: set WANDB_API_KEY or run 'wandb "
                    "login', and replace that key at W&B if this file was shared"
                )
            return value

    def __init__(self, settings: BaseModel) -> None:
        super().__init__(settings)
        self._settings: WandbSettings = self.settings
        self.seconds = self._settings.init_seconds + 10  # `begin` waits for W&B itself, and says what follows

    def check(self, place: Place) -> None:
        self._check_disk(place)
        if self._settings.mode != "disabled" and importlib.util.find_spec("wandb") is None:
            raise InputError(
                "track.wandb: wandb is not installed: pip install 'raydarts[wandb]', or leave track.wandb out"
            )

    def _check_disk(self, place: Place) -> None:
        """W&B's client writes offline files on a disk, and appends to them."""
        if isinstance(place, ObjectPlace) and self._settings.mode == "offline":
            raise InputError(
                f"track.wandb.mode: offline writes files on a disk, and {place} is none; use online or disabled: "
                "'raydarts wandb sync RUN' later sends a run from where it lies"
            )

    def begin(self, run: RunDirectory) -> str | None:
        """Make the run's W&B sweep, where it is tracked online."""
        if self._settings.mode != "online":
            return None
        from raydarts.trackers.wandb import state, sweeps  # noqa: PLC0415 - imports what W&B needs

        state.end_outage(run)
        if state.read_sweep(run).created:
            return None
        reason = sweeps.create_in_time(run, self._settings)
        if reason is None:
            return None
        state.note_outage(run, reason)
        return f"W&B: {reason}. Files are written instead; 'raydarts wandb sync {run.path}' sends them"

    def observer(self, trial: TrialDirectory) -> TrialObserver | None:
        if self._settings.mode == "disabled":
            return None
        from raydarts.trackers.wandb.recording import Recording  # noqa: PLC0415 - imports what W&B needs

        run = run_of(trial)
        self._check_disk(run.path)
        return Recording(run, trial, self._settings)

    def conclude(self, run: RunDirectory) -> str | None:
        """How many runs W&B has, and how to send the others."""
        if self._settings.mode == "disabled":
            return None
        from raydarts.trackers.wandb import state  # noqa: PLC0415

        states = [state.read_trial(trial) for trial in jobs(run)]
        sent = [each for each in states if each.state == state.SENT]
        missing = len(states) - len(sent)
        url = next((each.url for each in sent if each.url), "")
        parts = [f"W&B: {len(sent)} run(s) sent" + (f" ({url.rsplit('/runs/', 1)[0]})" if url else "")]
        if missing:
            parts.append(f"{missing} not; 'raydarts wandb sync {run.path}' sends them")
        return ", ".join(parts)


WandbSettings = Wandb.Settings


def settings_of(track: Mapping[str, object]) -> WandbSettings | None:
    """The settings of W&B in a run.json's `track:`; None where it is not chosen. No other tracker is loaded."""
    written = track.get(Wandb.NAME)
    if written is None or written is False:
        return None
    try:
        return parse_strictly(WandbSettings, {} if written is True else written)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, ("spec.track.wandb", *first["loc"])))
        raise DamagedError(f"run.json: damaged: {place}: {first['msg'][:200]}") from None  # the cause shows the value
