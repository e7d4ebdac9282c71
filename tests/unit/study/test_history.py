"""A history is rebuilt from the lines of events.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raydarts.errors import DamagedError
from raydarts.runs.directory import RunDirectory
from raydarts.runs.whole import open_whole
from raydarts.study.history import Decision, History, Report

ASKS = [{"event": "ask", "index": index, "choices": {}, "config": {"lr": index}} for index in range(4)]


def decide(index: int, epoch: int, decision: str, value: float = 0.5, **more: Any) -> dict[str, Any]:
    return {"event": "decide", "index": index, "epoch": epoch, "value": value, "decision": decision, **more}


def others(**decisions: str) -> dict[str, Any]:
    return {"others": [{"index": int(name[1:]), "decision": decision} for name, decision in decisions.items()]}


def tell(index: int, status: str, **more: Any) -> dict[str, Any]:
    return {"event": "tell", "index": index, "outcome": {"status": status, "value": 0.5, "reports": []}, **more}


def names(trials: Any) -> list[str]:
    return [trial.name for trial in trials]


def test_reports_come_in_their_order_and_each_epoch_once() -> None:
    history = History.of([*ASKS, decide(1, 1, "continue", 0.1), decide(0, 1, "pause", 0.2), decide(0, 1, "continue")])
    assert history.reports == [Report("0001", 1, 0.1), Report("0000", 1, 0.2)]
    assert history.decision("0000", 1) is Decision.CONTINUE
    assert history.decision("0000", 2) is None
    assert history.trials["0003"].config == {"lr": 3}


def test_trials_wait_until_a_decision_on_another_trial_releases_them() -> None:
    events = [*ASKS, decide(2, 1, "pause"), decide(0, 1, "pause"), decide(1, 1, "pause")]
    history = History.of(events)
    assert names(history.waiting()) == ["0002", "0000", "0001"]
    history.add(decide(3, 1, "stop", **others(t0="continue", t1="stop", t2="continue")))
    assert names(history.waiting()) == []
    assert history.released == ["0000", "0002"]
    assert history.stopped == ["0001", "0003"]
    history.add(decide(0, 2, "continue"))
    assert history.released == ["0002"]


def test_the_end_of_a_trial_may_release_others() -> None:
    history = History.of([*ASKS, decide(0, 1, "pause"), tell(1, "failed", **others(t0="continue"))])
    assert history.released == ["0000"]
    assert history.trials["0001"].status == "failed"


def test_a_line_of_a_run_without_decisions_says_that_the_trial_went_on() -> None:
    history = History.of([*ASKS, {"event": "report", "index": 0, "epoch": 1}])
    assert history.decision("0000", 1) is Decision.CONTINUE
    assert history.reports == [Report("0000", 1, None)]


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (decide(0, 1, "continue", **others(t7="stop")), "says nowhere what was asked of trial 0007"),
        (decide(0, 1, "perhaps"), "'continue', 'pause', 'stop' or 'fork'"),
        (decide(0, 1, "continue", **others(t1="pause")), "'continue', 'stop' or 'fork'"),
        (decide(0, -1, "stop"), "epoch"),
    ],
)
def test_an_unsound_decision_is_refused_by_name(tmp_path: Path, event: dict[str, Any], problem: str) -> None:
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec={})
    for ask in ASKS:
        run.append_event(ask)
    run.append_event(event)
    with pytest.raises(DamagedError, match=r"events\.jsonl") as caught:
        open_whole(run.path)
    assert problem in str(caught.value)
