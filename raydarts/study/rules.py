"""Rules that stop a trial, whatever the scheduler says: the halt of collapsed trials, and stops by a signal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raydarts.study.bars import Bar, complaints


def start_of(share: float, epochs: int, first: int = 1) -> int:
    """The first epoch of a rule that begins after this share of the epochs, and not before epoch `first`."""
    return max(first, math.ceil(round(share * epochs, 9)))


@dataclass(frozen=True)
class Rule:
    """A trial is stopped after `patience` consecutive epochs whose rows do not keep `bars`.

    - `after`: the share of a trial's epochs from which on epochs count. None before epoch `first` does.
    - `name`: as events have it. Counts of epochs are rebuilt from them.
    - `halts`: the trial has collapsed, and counts as the worst at every later epoch that a scheduler compares.
    """

    name: str
    bars: tuple[Bar, ...]
    patience: int
    after: float
    halts: bool = False
    first: int = 1

    def against(self, row: Mapping[str, object]) -> list[str] | None:
        """What speaks against a row. None: the row has none of the figures, so it says nothing."""
        known = [bar for bar in self.bars if bar.known(row)]
        return complaints(known, row) if known else None

    def why(self, row: Mapping[str, object]) -> str:
        """The reason of a stop after this row, in words."""
        what = "collapsed" if self.halts else "stopped by sweep.stop"
        epochs = "in this epoch" if self.patience == 1 else f"in {self.patience} consecutive epochs"
        return f"{what}: {'; '.join(self.against(row) or ())} ({epochs})"


@dataclass(frozen=True)
class Verdicts:
    """What the rules say of a row: in how many epochs in turn each was broken, and the first that stops the trial."""

    counts: Mapping[str, int]
    stops: Rule | None


class Rules:
    """All rules at work. It counts the consecutive epochs of each trial."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules = tuple(rules)
        self._counts: dict[tuple[str, str], int] = {}

    def judge(self, trial: str, epoch: int, epochs: int, row: Mapping[str, object]) -> Verdicts:
        """A trial has ended epoch `epoch` of `epochs`. Call it once for each epoch, in order.

        A rule whose figures were not measured in this epoch is as before.
        """
        counts: dict[str, int] = {}
        for rule in self.rules:
            before = self._counts.get((trial, rule.name), 0)
            against = rule.against(row) if epoch >= start_of(rule.after, epochs, rule.first) else []
            counts[rule.name] = before if against is None else before + 1 if against else 0
        self.set(trial, counts)
        reached = [rule for rule in self.rules if counts[rule.name] >= rule.patience and rule.against(row)]
        stops = reached[0] if reached else None
        return Verdicts({name: count for name, count in counts.items() if count}, stops)

    def set(self, trial: str, counts: Mapping[str, int]) -> None:
        """Takes in the counts of a recorded epoch. A rule that is not there has none."""
        for rule in self.rules:
            self._counts[trial, rule.name] = counts.get(rule.name, 0)
