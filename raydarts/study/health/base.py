"""What a health check is: a bar on one column of a search's rows."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from raydarts import registry
from raydarts.registry import Member
from raydarts.study.bars import Bar


class HealthCheck(Member):
    """A bar on one fact of the current genotype (family `health`). A cell above it has collapsed.

    - `COLUMN`: the column of the rows that is judged.
    - `PROBE`: the probe that writes the column.

    Its setting `most` is the bar. A class of its own needs no code: run.json keeps column and bar, so that readers of
    the run load nothing.
    """

    COLUMN: ClassVar[str] = ""
    PROBE: ClassVar[str] = "cell_facts"

    class Settings(registry.Settings):
        most: float = Field(0, ge=0, description="The most that a healthy cell may have.")

    def bar(self) -> Bar:
        return Bar(self.registered, self.COLUMN, most=self.settings.most)
