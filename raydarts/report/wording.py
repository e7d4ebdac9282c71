"""Numbers and outcomes in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raydarts.report.limits import ANY, Limits
from raydarts.study.objectives import Score


@dataclass(frozen=True)
class Outcome:
    """Something measured.

    - `share`: it is in [0, 1] and shown in percent.
    - `selected`: it is known only for promoted genotypes.
    - `limits`: which values are possible.
    """

    name: str
    share: bool
    countable: bool = False
    selected: bool = False
    limits: Limits = ANY

    @property
    def less(self) -> str:
        return "fewer skip connections" if self.countable else f"lower {self.name}"

    def direction(self, sign: float) -> str:
        if self.countable:
            return "more" if sign > 0 else "fewer"
        return "higher" if sign > 0 else "lower"

    @property
    def among(self) -> str:
        """Returns a reminder if only some of the trials could be used."""
        return " (among retrained genotypes only, which the supernet's score chose)" if self.selected else ""

    @property
    def unit(self) -> str:
        return "edges" if self.countable else "share" if self.share else self.name

    def show(self, value: float) -> str:
        if self.share:
            return f"{100 * value:.2f} %"
        return f"{value:.2f}" if self.countable else number(value)

    def show_difference(self, value: float) -> str:
        return f"{100 * value:.2f}" if self.share else f"{value:.2f}" if self.countable else number(value)


def amount(outcome: Outcome, difference: float) -> str:
    """Returns a difference as it stands before "fewer skip connections" or "lower accuracy"."""
    shown = outcome.show_difference(difference)
    if outcome.countable:
        return shown
    return f"{shown} percentage points" if outcome.share else f"by {shown}"


def number(value: object, digits: int = 3) -> str:
    """Returns a number short enough to read. Other values stay."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
    return f"{value:.{digits}g}"


def percent(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f}"


def score_text(score: Score, value: float | None) -> str:
    """Returns a score without its unit: a share in percent, else with the score's decimals."""
    if value is None:
        return "-"
    return percent(value) if score.share else f"{value:.{score.digits}f}"


def score_with_unit(score: Score, value: float | None) -> str:
    return score_text(score, value) + (" %" if score.share and value is not None else "")


def axis(score: Score) -> str:
    """Returns what follows a score's name on an axis."""
    return ", %" if score.share else ""


def listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def duration(seconds: float) -> str:
    """Returns `4 h 05 min`, `3 min 20 s` or `12 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
