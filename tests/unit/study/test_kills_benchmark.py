"""benchmarks/kills_under_ray.py: it sees what must not happen, in logs that hold it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scripts import script

PAUSE = {"event": "decide", "index": 0, "epoch": 2, "value": 0.5, "decision": "pause"}
GO_ON = {"event": "decide", "index": 1, "epoch": 2, "value": 0.6, "decision": "continue"}
STOPS_OTHER = {**GO_ON, "others": [{"index": 0, "decision": "stop"}]}
RELEASE = {"event": "decide", "index": 0, "epoch": 2, "decision": "continue"}


@pytest.mark.parametrize(
    ("events", "twice"),
    [
        ([PAUSE, GO_ON, RELEASE], []),
        ([PAUSE, STOPS_OTHER], []),
        ([PAUSE, PAUSE], ["decide of trial 0, epoch 2"]),
        ([GO_ON, {**GO_ON, "decision": "stop"}], ["decide of trial 1, epoch 2"]),
        ([RELEASE], ["trial 0000 was let go on at epoch 2, and did not wait"]),
        ([PAUSE, STOPS_OTHER, RELEASE], ["trial 0000 was let go on at epoch 2, and did not wait"]),
        ([STOPS_OTHER], ["stop was decided on trial 0000, which did not wait"]),
        ([{"event": "ask", "index": 3}, {"event": "ask", "index": 3}], ["ask of trial 3, epoch None"]),
    ],
)
def test_decisions_that_were_made_again_are_named(events: list[dict[str, Any]], twice: list[str]) -> None:
    assert script("benchmarks/kills_under_ray.py")._twice(events) == twice
