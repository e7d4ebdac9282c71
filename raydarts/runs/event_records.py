"""What a line of events.jsonl holds: what a searcher proposed, what a scheduler decided, how a trial ended."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator
from pydantic_core import PydanticCustomError

from raydarts.runs.record_types import Count, Record, Section


class Outcome(Record):
    status: Literal["completed", "stopped", "failed"]
    value: float | None
    halted: bool = False
    reports: list[Annotated[list[float], Field(min_length=2, max_length=2)]]
    values: list[float] | None = None
    excesses: list[float] = []
    points: list[Annotated[tuple[Count, list[float]], Strict(False)]] = []


class Ask(Record):
    event: Literal["ask"]
    index: Count
    configuration: Count | None = None
    replicate: Count | None = None
    choices: Section
    config: Section


class ForkRecord(Record):
    """From whose checkpoint a trial goes on, and with which settings."""

    parent: Annotated[int, Field(ge=0, le=10**7)]
    epoch: Annotated[int, Field(ge=1, le=10**9)]
    config: Section
    choices: Section


def _needs_its_fork(value: Decide) -> Decide:
    if (value.decision == "fork") != (value.fork is not None):
        raise PydanticCustomError("fork", "a decision `fork` stands with its `fork`, and no other one does")
    return value


class OnOther(Record):
    """A decision on a trial that waits, which follows from what another trial did."""

    index: Count
    decision: Literal["continue", "stop", "fork"]
    fork: ForkRecord | None = None

    _check = model_validator(mode="after")(_needs_its_fork)


class Tell(Record):
    event: Literal["tell"]
    index: Count
    outcome: Outcome
    others: list[OnOther] = []


class Decide(Record):
    event: Literal["decide"]
    index: Count
    epoch: Count
    value: float | None = None
    values: list[float] | None = None
    decision: Literal["continue", "pause", "stop", "fork"]
    fork: ForkRecord | None = None
    others: list[OnOther] = []
    reason: str | None = None
    halted: bool = False
    broken: dict[str, Count] = {}
    """Consecutive epochs in which a rule of the sweep was broken, by the rule's name."""

    _check = model_validator(mode="after")(_needs_its_fork)


class Report(Record):
    """A trial went on after an epoch: of runs that were made before decisions were recorded."""

    event: Literal["report"]
    index: Count
    epoch: Count


Event = Annotated[Ask | Tell | Decide | Report, Field(discriminator="event")]
