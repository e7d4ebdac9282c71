"""The spec's `track:` section: where else a run is to be seen while it runs. Absent: nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, field_validator

from raydarts.errors import InputError, shortened
from raydarts.registry import Around, Idle, Settings
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


class WandbSettings(Settings):
    """Weights & Biases. The API key is no setting: it is read from WANDB_API_KEY or ~/.netrc (`wandb login`).

    `mode`: `online`; `offline` (files in the run's directory, for `raydarts wandb sync RUN`); `disabled` (as if the
    section were absent). `entity` null: the key's own. `media_every` epochs the arch weights are drawn (0: at the end
    alone). `artifacts`: genotypes, and where `checkpoints` too, the checkpoint of each trial that is the best so far.
    `init_seconds`, `finish_seconds`: how long W&B is waited for at most.
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
            yield Idle("checkpoints", "are artifacts, and artifacts is false; write artifacts: true, or leave it out")

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
                "looks like an API key, and a spec is no place for secrets: set WANDB_API_KEY or run 'wandb login', "
                "and replace that key at W&B if this file was shared"
            )
        return value


class TrackSettings(Settings):
    """`wandb` null: not there; `tensorboard`: event files in each trial's folder."""

    wandb: WandbSettings | None = Field(None, description="Weights & Biases. `null`: nothing is sent.")
    tensorboard: bool = Field(False, description="Whether each trial's folder gets TensorBoard event files.")

    def idle(self, around: Around) -> Iterator[Idle]:
        if self.wandb is None and not self.tensorboard:
            yield Idle("", "names no tracker; write wandb: {} or tensorboard: true below it, or leave track out")
