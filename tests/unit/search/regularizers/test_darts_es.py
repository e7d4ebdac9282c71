"""darts_es, and the trigger that it shares with darts_ada."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tiny_search import remedy, report, tiny_search, with_eigenvalues

from raydarts.search.moments import Moment, Stop

pytestmark = pytest.mark.usefixtures("one_thread")


def stops(eigenvalues: Sequence[float], **settings: Any) -> tuple[int, Stop] | None:
    """The epoch (from 1) in which darts_es stops, and how; `eigenvalues` of epochs 1, 2, ..."""
    es = remedy("darts_es", **settings)
    for epoch, value in enumerate(eigenvalues, 1):
        if (stop := es.should_stop(report(epoch, eigenvalue=value))) is not None:
            return epoch, stop
    return None


def plainly(eigenvalues: Sequence[float], every: int, window: int, ratio: float, lag: int, first: int) -> Any:
    """The rule as the authors' code has it: averages around an evaluation, `lag` evaluations apart."""
    values = np.array(eigenvalues[every - 1 :: every])
    half = window // 2
    for now in range(half, len(values) - half):
        then = now - lag
        if then < 0 or every * (then + 1) < first:
            continue
        averages = [values[max(0, centre - half) : centre + half + 1].mean() for centre in (then, now)]
        if averages[1] / averages[0] > ratio:
            return every * (now + half + 1), every * (then + 1)
    return None


def test_published_rule_matches_hand_computation() -> None:
    # Evaluations at epochs 2, 4, ...; at epoch 22 the averages around epochs 10 and 18 are compared.
    flat = [1.0] * 22
    assert stops(flat) is None
    risen = [1.0] * 21 + [2.6]  # around 18: (1 + 1 + 1 + 1 + 2.6) / 5 = 1.32
    epoch, stop = stops(risen)  # type: ignore[misc]
    assert (epoch, stop.epoch, stop.go_on_with) == (22, 10, None)
    assert stop.reason == "the dominant eigenvalue is 1.32 times that of epoch 10"
    assert stops([1.0] * 21 + [2.5]) is None  # 1.3 is not more than 1.3
    assert stops([1.0] * 19 + [100.0, 1.0]) is None  # at epoch 20 the earlier average would stand at epoch 8
    assert stops([*risen[:20], 100.0]) is None  # no evaluation at epoch 21


@pytest.mark.parametrize(("every", "window", "lag", "first"), [(2, 5, 4, 10), (1, 5, 5, 1), (3, 3, 2, 9), (1, 1, 1, 1)])
def test_matches_reference_implementation(every: int, window: int, lag: int, first: int) -> None:
    generator = np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        values = np.exp(np.cumsum(generator.normal(0.0, 0.12, 40))).tolist()
        expected = plainly(values, every, window, 1.3, lag, first)
        found = stops(values, every=every, window=window, lag=lag, min_epochs=first)
        assert (None if found is None else (found[0], found[1].epoch)) == expected
        outcomes.add(expected)
    assert None in outcomes or every == 1
    assert len(outcomes) > 3


def test_each_setting_changes_the_stopping_epoch() -> None:
    doubling = [2.0 ** (epoch / 8) for epoch in range(40)]
    base = {"every": 2, "window": 3, "lag": 2, "min_epochs": 4}
    epoch, stop = stops(doubling, **base)  # type: ignore[misc]
    assert (epoch, stop.epoch) == (10, 4)
    for setting, value, at, of in [
        ("every", 5, 20, 5),
        ("window", 5, 12, 4),
        ("lag", 3, 12, 4),
        ("min_epochs", 8, 14, 8),
    ]:
        found = stops(doubling, **{**base, setting: value})
        assert found is not None
        assert (found[0], found[1].epoch) == (at, of), setting
    assert stops(doubling, **base, ratio=1.5) is None
    assert stops(doubling, **base, ratio=None) is None


def test_an_earlier_average_that_is_not_positive_triggers_nothing() -> None:
    settings = {"every": 1, "window": 1, "lag": 1, "min_epochs": 1}
    assert stops([-1.0, -2.0, 0.0, 5.0], **settings) is None
    assert stops([-1.0, 1.0, 2.0], **settings) is not None


def test_neutral_measures_nothing() -> None:
    es = remedy("darts_es", ratio=None)
    unmeasurable = report(2)
    unmeasurable.measure_eigenvalue = None
    assert es.should_stop(unmeasurable) is None


def test_new_stage_starts_a_new_history() -> None:
    es = remedy("darts_es", every=1, window=1, lag=1, min_epochs=1)
    es.on_epoch_start(Moment(0, 4, 0, 0, 2))
    assert es.should_stop(report(1, eigenvalue=1.0)) is None
    es.on_epoch_start(Moment(1, 4, 1, 0, 3))
    assert es.should_stop(report(2, eigenvalue=9.0)) is None  # a larger supernet's loss
    es.on_epoch_start(Moment(2, 4, 1, 1, 3))
    stop = es.should_stop(report(3, eigenvalue=18.0))
    assert stop is not None
    assert stop.epoch == 2


def test_state_dict_round_trip() -> None:
    values = [1.0, 1.1, 1.05, 1.2, 1.1, 2.0, 2.4, 3.0]
    settings = {"every": 1, "window": 3, "lag": 2, "min_epochs": 1, "ratio": 1.5}
    whole = stops(values, **settings)
    assert whole is not None
    for killed in range(whole[0]):
        es = remedy("darts_es", **settings)
        for epoch in range(1, killed + 1):
            es.should_stop(report(epoch, eigenvalue=values[epoch - 1]))
        fresh = remedy("darts_es", **settings)
        fresh.load_state_dict(es.state_dict())
        found = [fresh.should_stop(report(n, eigenvalue=values[n - 1])) for n in range(killed + 1, whole[0] + 1)]
        assert found[:-1] == [None] * (len(found) - 1)
        assert found[-1] == whole[1]


def test_the_result_is_the_earlier_epochs_genotype(monkeypatch: pytest.MonkeyPatch) -> None:
    with_eigenvalues(monkeypatch, lambda epoch: [1.0, 1.0, 1.2, 4.0][epoch - 1])
    es = {"name": "darts_es", "every": 1, "window": 1, "lag": 2, "min_epochs": 1}
    job = tiny_search(es, epochs=6, arch_lr=0.5)
    while not job.finished:
        job.run_epoch()
    result = job.result()
    assert job.epoch == 4
    assert job.genotypes[1] != job.genotypes[3]  # else the next line would say little
    assert result["genotype"] == job.genotypes[1].to_json()
    assert result["stopped_early"] == "the dominant eigenvalue is 4 times that of epoch 2"
