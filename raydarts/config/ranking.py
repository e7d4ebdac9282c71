"""What a sweep ranks its trials by, and what stops one: health, constraints, stops, the halt of collapsed trials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from raydarts.registry import Around, ByName, Choose, Component, Idle, Settings, members
from raydarts.study.bars import Bar
from raydarts.study.objectives import MEASURES, mode_of
from raydarts.study.rules import Rule, start_of
from raydarts.units import Epochs


def refuse_worst_first(objective: Component) -> None:
    """Raises `ValueError` where a column of which the better way is known is ranked the other way round."""
    if objective.name == "column":
        column, direction = objective.settings.column, objective.settings.direction
        if column.rsplit("_", maxsplit=1)[-1] in MEASURES and direction != mode_of(column):
            raise ValueError(f"direction must be {mode_of(column)} with {column}: {direction} would promote the worst")


def refuse_repeated(objectives: tuple[Component, ...]) -> None:
    """Raises `ValueError` where no objective is named, or two of several are the same figure."""
    if not objectives:
        raise ValueError("needs an objective, for example healthy_accuracy, or [healthy_accuracy, parameters]")
    columns: dict[str, str] = {}
    for each in objectives:
        column = each.build().column
        if column in columns:
            raise ValueError(
                f"{columns[column]} and {each.name} are the same figure ({column}); each objective is another figure: "
                "leave one of them out"
            )
        columns[column] = each.name


class HealthSettings(ByName):
    """Health checks by name, each with its bar."""

    FAMILY: ClassVar[str] = "health"

    def bars(self) -> tuple[Bar, ...]:
        return tuple(component.build().bar() for component in self.chosen.values())


class HaltSettings(Settings):
    """When a collapsed trial is halted. Measured on 105 published searches: docs/method.md."""

    patience: Epochs = Field(2, ge=1, description="Consecutive epochs in which the cell is unhealthy.")
    after: float = Field(
        0.2, ge=0, le=1, description="Share of the epochs from which on they count. 0.2 of 50 is epoch 10."
    )

    first: Epochs = Field(
        5,
        ge=1,
        description="No earlier epoch counts, however short the search is: cells of the first epochs are chance.",
    )

    def idle(self, around: Around) -> Iterator[Idle]:
        last = start_of(self.after, around.epochs, self.first) + self.patience - 1
        if last >= around.epochs and any(map(self.written, ("patience", "after", "first"))):
            yield Idle(
                "",
                f"halts after epoch {last} at the earliest, and trials run at most {around.epochs} epochs: it halts "
                "none; lower patience, after or first, or write halt: false",
            )

    def rule(self, bars: tuple[Bar, ...]) -> Rule:
        return Rule("collapse", bars, self.patience, self.after, halts=True, first=self.first)


class ConstraintSettings(Settings):
    """A bar on a figure."""

    signal: Annotated[Component, Choose("objective")] = Field(description="The figure, by an objective's name.")
    most: float | None = Field(None, description="The most that it may be. `null`: no limit.")
    least: float | None = Field(None, description="The least that it may be. `null`: no limit.")

    @model_validator(mode="after")
    def _a_limit(self) -> Self:
        if self.most is None and self.least is None:
            raise ValueError(f"a constraint on {self.signal.name} needs most, or least, or both")
        return self

    def bar(self) -> Bar:
        return Bar(self.signal.name, self.signal.build().column, self.most, self.least)


class StopSettings(Settings):
    """A trial is stopped whose figure lies above or below a bar."""

    signal: Annotated[Component, Choose("objective")] = Field(description="The figure, by an objective's name.")
    above: float | None = Field(None, description="A trial above this is stopped. `null`: no limit.")
    below: float | None = Field(None, description="A trial below this is stopped. `null`: no limit.")
    patience: Epochs = Field(1, ge=1, description="Consecutive measured epochs in which that must be so.")
    after: float = Field(0.0, ge=0, le=1, description="Share of the epochs from which on they count.")

    @model_validator(mode="after")
    def _a_limit(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError(f"a stop by {self.signal.name} needs above, or below, or both")
        return self

    def idle(self, around: Around) -> Iterator[Idle]:
        last = start_of(self.after, around.epochs) + self.patience - 1
        if last >= around.epochs:
            yield Idle(
                "",
                f"stops after epoch {last} at the earliest, and trials run at most {around.epochs} epochs: it stops "
                "none; lower patience or after, or leave it out",
            )

    def rule(self, number: int) -> Rule:
        bar = Bar(self.signal.name, self.signal.build().column, most=self.above, least=self.below)
        return Rule(f"stop.{number}", (bar,), self.patience, self.after)


def default_checks() -> dict[str, Component]:
    """The shipped health checks with their default bars."""
    return {name: Choose("health").parse(name) for name in members("health")}
