"""Rules that stop a trial: how epochs are counted, and that the counts are rebuilt from events."""

from __future__ import annotations

from typing import Any

import pytest

from raydarts.study.bars import Bar
from raydarts.study.rules import Rule, Rules, start_of

COLLAPSE = Rule("collapse", (Bar("skip_share", "skip_share", most=0.5),), 2, 0.2, halts=True)
SHARP = Rule("stop.0", (Bar("eigenvalue", "eigenvalue", most=1.0),), 2, 0.0)


def stopped_at(rules: Rules, rows: list[dict[str, Any]], epochs: int) -> tuple[int, str] | None:
    for epoch, row in enumerate(rows, start=1):
        if (rule := rules.judge("0000", epoch, epochs, row).stops) is not None:
            return epoch, rule.why(row)
    return None


def skips(*shares: float) -> list[dict[str, Any]]:
    return [{"skip_share": share} for share in shares]


@pytest.mark.parametrize(
    ("share", "epochs", "first"), [(0.2, 50, 10), (0.2, 4, 1), (0.2, 6, 2), (0.0, 9, 1), (1, 9, 9)]
)
def test_a_rule_begins_after_its_share_of_the_epochs(share: float, epochs: int, first: int) -> None:
    assert start_of(share, epochs) == first
    assert start_of(share, epochs, 5) == max(5, first), "of a short search the first epochs say nothing"


def test_halt_needs_two_unhealthy_epochs_in_a_row_after_a_fifth_of_the_epochs() -> None:
    told = "collapsed: skip_share is 1, at most 0.5 is allowed (in 2 consecutive epochs)"
    assert stopped_at(Rules([COLLAPSE]), skips(*[1] * 20), 20) == (5, told), "epochs 4 and 5"
    assert stopped_at(Rules([COLLAPSE]), skips(1, 1, 1, 1, 0, 1, 0, 1, 0.5, 1, 1), 20) == (11, told)
    assert stopped_at(Rules([COLLAPSE]), skips(1, 0, 1, 0, 1, 0), 6) is None


def test_an_epoch_that_measured_nothing_leaves_the_count_as_it_is() -> None:
    values = [2.0, None, None, 2.0]
    rows = [{"eigenvalue": value} for value in values]
    assert stopped_at(Rules([SHARP]), rows, 9) == (
        4,
        "stopped by sweep.stop: eigenvalue is 2, at most 1 is allowed (in 2 consecutive epochs)",
    )
    assert stopped_at(Rules([SHARP]), [{"eigenvalue": value} for value in (2.0, None, 0.5, 2.0)], 9) is None


def test_counts_are_those_of_the_recorded_epochs_when_a_run_is_resumed() -> None:
    first, second = Rules([COLLAPSE, SHARP]), Rules([COLLAPSE, SHARP])
    counts = first.judge("0000", 5, 9, {"skip_share": 1, "eigenvalue": 0.1}).counts
    assert counts == {"collapse": 1}
    second.set("0000", counts)
    assert second.judge("0000", 6, 9, {"skip_share": 1}).stops is COLLAPSE
    assert second.judge("0001", 6, 9, {"skip_share": 1}).stops is None
