"""What the records of a run's files are made of: names that lead nowhere else, times, counts, and exact types."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", value) or ".." in value:
        raise PydanticCustomError("name", "is no name: letters, digits, '.', '_', '-', first a letter or digit")
    return value


def _stage(value: str) -> str:
    if value not in ("search", "evaluate") and not re.fullmatch(r"rung-[1-9]\d{0,5}|transfer-.+", value):
        raise PydanticCustomError(
            "stage", "is no stage (allowed: search, rung-1, rung-2, ..., evaluate, transfer-NAME)"
        )
    return _name(value)


Name = Annotated[str, AfterValidator(_name)]
"""An id, or what else names a file or folder: it leads nowhere else."""
StageName = Annotated[str, AfterValidator(_stage)]
Time = Annotated[float, Field(ge=0, le=253402300799)]
"""Seconds since 1970, up to the year 9999."""
Count = Annotated[int, Field(ge=0, le=10**12)]
Hours = Annotated[float, Field(ge=0)]
Genotype = dict[str, object]
Section = dict[str, object]
"""A part of a file that is shown or handed on, and checked by whoever uses it."""
Skips = dict[str, float]


class Record(BaseModel):
    """What is asked of a file. Types are exact: a text is no number, true no 1."""

    model_config = ConfigDict(strict=True, extra="allow", defer_build=True)
