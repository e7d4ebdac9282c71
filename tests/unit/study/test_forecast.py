"""The time left: measured epochs, places, early stops, stages, and a range."""

from __future__ import annotations

import pytest

from raydarts.study.forecast import Cohort, Cut, Range, Span, StageState, TrialState, forecast, gap_of, in_words


def trial(
    number: int, epochs: int, most: int = 10, state: str = "ended", seconds: float = 10.0, **more: object
) -> TrialState:
    spans = [Span(each * seconds, (each + 1) * seconds, f"p{number}") for each in range(epochs)]
    return TrialState(f"{number:04d}", state, epochs, most, spans, index=number, **more)  # type: ignore[arg-type]


def middle(*stages: StageState) -> float:
    total = forecast(stages).total
    assert total is not None
    return total.middle


def test_without_a_timed_epoch_nothing_is_known() -> None:
    told = forecast([StageState("search", 4, 10, 2)])
    assert told.total is None
    assert told.unknown == ("search",)


def test_places_take_the_next_trial_when_they_are_free() -> None:
    running = [trial(number, 5, state="running") for number in (2, 3)]
    stage = StageState("search", 8, 10, 2, [trial(0, 10), trial(1, 10), *running])
    assert middle(stage) == pytest.approx(50 + 2 * 100, rel=0.1)
    assert middle(StageState("search", 8, 10, 4, [trial(0, 10), trial(1, 10), *running])) < 0.8 * middle(stage)


def test_the_time_since_the_last_epoch_counts() -> None:
    stage = StageState("search", 2, 10, 1, [trial(0, 10), trial(1, 9, state="running", age=4.0)])
    assert middle(stage) == pytest.approx(6, abs=1)
    late = StageState("search", 2, 10, 1, [trial(0, 10), trial(1, 9, state="running", age=40.0)])
    assert middle(late) == 0.0


def test_the_schedulers_plan_counts_until_trials_say_otherwise() -> None:
    begun = [trial(number, 1, state="running") for number in range(2)]
    halving = (Cohort(0, (Cut(5, 0.5),)),)
    full = middle(StageState("search", 40, 10, 2, begun))
    assert middle(StageState("search", 40, 10, 2, begun, halving)) == pytest.approx(0.75 * full, rel=0.12)
    kept = [trial(number, 10) for number in range(30)]
    after = StageState("search", 60, 10, 2, kept, halving)
    assert middle(after) == pytest.approx(30 * 100 / 2, rel=0.12), "30 of 30 went on"
    stopped = [trial(number, 2) for number in range(30)]
    assert middle(StageState("search", 60, 10, 2, stopped)) == pytest.approx(30 * 20 / 2, rel=0.35), "all stop at 2"


def test_brackets_have_plans_of_their_own_and_begin_again_after_the_last() -> None:
    cohorts = (Cohort(4), Cohort(4, (Cut(1, 0.0),)))
    told = forecast([StageState("search", 16, 10, 1, [trial(0, 10)], cohorts)])
    assert told.epochs["search"] == pytest.approx(10 + 7 * 10 + 8 * 1, rel=0.05)


def test_later_stages_count_and_one_without_a_time_is_named() -> None:
    search = StageState("search", 2, 10, 1, [trial(0, 10), trial(1, 10)])
    rung = StageState("rung-1", 2, 5, 1, like="same", trials=[trial(0, 5, 5), trial(1, 5, 5)])
    evaluate = StageState("evaluate", 3, 20, 1, like="same")
    transfer = StageState("transfer-x", 1, 5, 1)
    timed = StageState("transfer-y", 1, 5, 1, seconds=7.0)
    told = forecast([search, rung, evaluate, transfer, timed])
    assert set(told.stages) == {"evaluate", "transfer-y"}
    assert told.unknown == ("transfer-x",)
    assert told.stages["evaluate"].middle == pytest.approx(3 * 20 * 10, rel=0.12), "as an epoch of the rung"
    assert told.stages["transfer-y"].middle == pytest.approx(35, rel=0.1)


def test_a_range_narrows_with_the_trials_that_were_timed() -> None:
    def width(timed: int) -> float:
        ended = [trial(number, 10, seconds=8 + number % 5) for number in range(timed)]
        total = forecast([StageState("search", timed + 20, 10, 1, ended)]).total
        assert total is not None
        assert total.low < total.middle < total.high
        return (total.high - total.low) / total.middle

    assert width(2) > 1.5 * width(40)


def test_a_heavier_trial_takes_longer() -> None:
    timed = [trial(0, 10, seconds=10.0, weight=1.0)]
    stage = StageState("search", 3, 10, 1, timed, weights=(1.0, 3.0, 3.0))
    assert middle(stage) == pytest.approx(2 * 300, rel=0.12)


def test_the_gap_between_trials_is_that_of_a_process_that_ran_several() -> None:
    one = TrialState("a", "ended", 1, 1, [Span(0, 10, "p")])
    two = TrialState("b", "ended", 1, 1, [Span(14, 20, "p")])
    other = TrialState("c", "ended", 1, 1, [Span(500, 510, "q")])
    assert gap_of([one, two, other]) == 4.0
    assert gap_of([one, other]) == 0.0


def test_a_pause_between_two_drivers_is_no_part_of_an_epoch() -> None:
    paused = TrialState("a", "running", 3, 10, [Span(0, 10, "p"), Span(10, 20, "p"), Span(90_000, 90_010, "q")])
    assert middle(StageState("search", 1, 10, 1, [paused])) == pytest.approx(70, rel=0.1)


def test_words_have_no_digit_that_nobody_knows() -> None:
    assert in_words(Range(250, 300, 393)) == "0:04:10 to 0:06:35"
    assert in_words(Range(3.2, 3.3, 3.4)) == "about 0:00:03"
    assert in_words(Range(11.2 * 3600, 0, 90 * 3600)) == "11 h to 3.8 days"
