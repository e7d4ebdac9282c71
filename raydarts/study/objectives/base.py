"""What an objective is: a figure of a search's rows by name, with its direction and unit."""

from __future__ import annotations

from typing import ClassVar, Literal

from raydarts.registry import Member
from raydarts.study.objectives.score import SearchScore

Direction = Literal["max", "min"]


class Objective(Member):
    """A figure that search trials may be ranked by, held to (a constraint), or stopped by (family `objective`).

    - `COLUMN`: the column of the rows. `DIRECTION`: which way is better. `UNIT`: its unit; `share` is told in percent.
    - `PROBE`: the probe that writes the column, if no search writes it by itself. It is switched on where a spec names
      the objective.
    - `HEALTHY`: every healthy row ranks before every other row.

    A class of its own needs no code: run.json keeps all of this, so that readers of the run load nothing.
    """

    COLUMN: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "max"
    UNIT: ClassVar[str] = ""
    PROBE: ClassVar[str | None] = None
    HEALTHY: ClassVar[bool] = False

    @property
    def column(self) -> str:
        return self.COLUMN

    @property
    def direction(self) -> Direction:
        """Which way is better. A setting `direction` counts, where the figure leaves it open."""
        chosen: Direction | None = getattr(self.settings, "direction", None)
        return chosen or self.DIRECTION

    def score(self) -> SearchScore:
        """The objective as readers know it, without bars."""
        return SearchScore(
            self.column,
            self.direction,
            self.UNIT == "share",
            name=self.registered,
            unit=self.UNIT,
            healthy=self.HEALTHY,
        )
