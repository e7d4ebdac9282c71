"""Bars on figures of a row: the most or the least that a column may hold. Health checks and constraints are bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from raydarts.json_types import Json, number

LARGEST = 1e150
"""A figure above this is taken for infinite: its square is no finite number."""


def figure(value: object) -> float | None:
    """A number; None where a job of somebody's own gave something else, or one so large that its square is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        return None
    return float(value)


@dataclass(frozen=True)
class Bar:
    """The column `column` is at most `most` and at least `least` (None: no limit). `name` is what messages call it."""

    name: str
    column: str
    most: float | None = None
    least: float | None = None

    def against(self, row: Mapping[str, object]) -> str | None:
        """What speaks against a row, in words; None: nothing. A figure that is not there speaks against it too."""
        value = figure(row.get(self.column))
        if value is None:
            return f"{self.name} is not known"
        if self.most is not None and value > self.most:
            return f"{self.name} is {value:.4g}, at most {self.most:.4g} is allowed"
        if self.least is not None and value < self.least:
            return f"{self.name} is {value:.4g}, at least {self.least:.4g} is allowed"
        return None

    def excess(self, row: Mapping[str, object]) -> float:
        """By how much a row breaks the bar, as a share of the bar; at most 0 where it keeps it.

        A bar of 0 counts as 1. A figure that is not there breaks the bar by 1.
        """
        value = figure(row.get(self.column))
        if value is None:
            return 1.0
        over = [] if self.most is None else [(value - self.most) / (abs(self.most) or 1.0)]
        return max([*over, *([] if self.least is None else [(self.least - value) / (abs(self.least) or 1.0)])])

    def known(self, row: Mapping[str, object]) -> bool:
        """Whether the row has the figure."""
        return figure(row.get(self.column)) is not None

    def to_json(self) -> dict[str, Json]:
        return {"name": self.name, "column": self.column, "most": self.most, "least": self.least}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Bar:
        return cls(str(value["name"]), str(value["column"]), number(value.get("most")), number(value.get("least")))


def complaints(bars: Iterable[Bar], row: Mapping[str, object]) -> list[str]:
    """What speaks against a row, a sentence for each bar that it does not keep."""
    return [words for bar in bars if (words := bar.against(row)) is not None]
