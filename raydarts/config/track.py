"""The spec's `track:` section: where else a run is to be seen while it runs. Absent: nowhere."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from raydarts.registry import Settings

_NAME = r"^[^/\\#?%:\x00-\x1f]{1,128}$"
_KEY = re.compile(r"\b[0-9a-fA-F]{40,}\b|wandb_v\d+_|\blocal-[0-9a-fA-F]{40}")
"""What W&B's API keys look like, old and new."""
Word = Annotated[str, Field(min_length=1, max_length=64)]


class WandbSettings(Settings):
    """Weights & Biases. The API key is no setting: it is read from WANDB_API_KEY or ~/.netrc (`wandb login`).

    `mode`: `online`; `offline` (files in the run's directory, for `raydarts wandb sync RUN`); `disabled` (as if the
    section were absent). `entity` null: the key's own. `media_every` epochs the arch weights are drawn (0: at the end
    alone). `artifacts`: genotypes, and where `checkpoints` too, the checkpoint of each trial that is the best so far.
    `init_seconds`, `finish_seconds`: how long W&B is waited for at most.
    """

    mode: Literal["online", "offline", "disabled"] = "online"
    project: str = Field("raydarts", pattern=_NAME)
    entity: str | None = Field(None, pattern=_NAME)
    tags: tuple[Word, ...] = ()
    media_every: int = Field(10, ge=0)
    artifacts: bool = True
    checkpoints: bool = True
    init_seconds: float = Field(20, gt=0, le=600)
    finish_seconds: float = Field(30, gt=0, le=600)

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

    wandb: WandbSettings | None = None
    tensorboard: bool = False
