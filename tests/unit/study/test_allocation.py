"""The allocator's strategy: what it claims holds in simulations, and it spends seeds only where they can matter."""

from __future__ import annotations

import itertools
import random

import pytest

from raydarts.study.allocation import Aim, Arm, Step, affordable, at_equal_size, believe, places, step

AIM = Aim(confidence=0.9, within=0.0, max_seeds=20)


def arm(name: str, *scores: float) -> Arm:
    return Arm(name, scores, len(scores))


def decided(*arms: Arm, aim: Aim = AIM, limit: int | None = None) -> Step:
    answer = step(arms, aim, limit)
    assert answer is not None
    return answer


def run(truth: list[float], noise: float, draws: random.Random, aim: Aim) -> tuple[Step, dict[str, int]]:
    """One simulated stage to its end. Returns the last step, and how many seeds each genotype got."""
    scores = {str(number): [draws.gauss(true, noise)] for number, true in enumerate(truth)}
    while True:
        last = decided(*(Arm(name, tuple(sorted(each)), len(each)) for name, each in scores.items()), aim=aim)
        if last.stop is not None:
            return last, {name: len(each) for name, each in scores.items()}
        for name in last.add:
            scores[name].append(draws.gauss(truth[int(name)], noise))


@pytest.mark.parametrize(("offered", "taken"), [(1, 1), (3, 3), (4, 4), (9, 4), (12, 4), (13, 5), (20, 7), (30, 10)])
def test_the_best_third_goes_to_full_length_and_four_at_least(offered: int, taken: int) -> None:
    assert places("third", offered) == taken
    assert places("all", offered) == offered
    assert places(6, offered) == min(6, offered)


def test_at_equal_size_small_networks_lose_what_a_short_training_gave_them() -> None:
    sizes = {"small": 1e6, "middle": 2e6, "large": 4e6}
    flattered = {"small": 0.92, "middle": 0.91, "large": 0.90}
    equal = at_equal_size(flattered, sizes)
    assert equal == pytest.approx(dict.fromkeys(sizes, 0.91))
    good = at_equal_size({**flattered, "good": 0.915}, {**sizes, "good": 4e6})
    assert max(good, key=lambda name: good[name]) == "good"


def test_scores_stay_where_large_networks_are_better_or_sizes_are_not_known() -> None:
    scores = {"a": 0.90, "b": 0.91, "c": 0.93}
    assert at_equal_size(scores, {"a": 1.0, "b": 2.0, "c": 3.0}) == scores
    assert at_equal_size(scores, {"a": 2.0, "b": 2.0, "c": 2.0}) == scores
    assert at_equal_size(scores, {"c": 1.0, "b": 2.0}) == scores
    assert at_equal_size({"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 2.0}) == {"a": 2.0, "b": 1.0}


def test_it_stops_when_the_first_place_stands_apart() -> None:
    clear = decided(arm("a", 0.95, 0.951), arm("b", 0.90, 0.901), arm("c", 0.89, 0.891))
    assert clear.add == ()
    assert clear.stop is not None
    assert "confidence of 0.9 is reached" in clear.stop
    assert clear.belief.first == "a"
    assert clear.belief.probability > 0.99


def test_it_goes_on_while_one_seed_each_is_all_there_is() -> None:
    """Nothing is known of the noise, so a lead of one seed proves little."""
    open_yet = decided(arm("a", 0.95), arm("b", 0.949), arm("c", 0.90))
    assert open_yet.belief.probability < 0.7
    assert open_yet.belief.noise is None
    assert set(open_yet.add) == {"a", "b"}


def test_of_the_first_two_the_one_with_fewer_seeds_gets_the_next() -> None:
    close = decided(arm("a", 0.951, 0.949, 0.950), arm("b", 0.9492, 0.9502), arm("c", 0.90))
    assert close.add == ("b",)


def test_limits_end_it() -> None:
    close = (arm("a", 0.951, 0.949), arm("b", 0.9505, 0.9485))
    assert decided(*close, limit=1).add == ("a",)
    spent = decided(*close, limit=0)
    assert (spent.add, spent.stop) == ((), "max_share is spent")
    full = decided(*close, aim=Aim(0.9, 0.0, 2))
    assert full.stop == "the first two have max_seeds (2) evaluation seeds"
    only_one_is_full = decided(*close, arm("c", 0.9), aim=Aim(0.9, 0.0, 2))
    assert only_one_is_full.stop is not None


def test_failed_seeds_count_to_the_limit_and_are_no_score() -> None:
    failed = [Arm("a", (0.95,), 3), arm("b", 0.949)]
    assert decided(*failed).add == ("b",)
    assert decided(Arm("a", (0.95,), 2), Arm("b", (0.949,), 2), aim=Aim(0.9, 0.0, 2)).stop is not None
    assert step([Arm("a", (), 4), Arm("b", (), 4)], AIM) is None
    alone = decided(arm("a", 0.95), Arm("b", (), 1))
    assert (alone.stop, alone.belief.probability) == ("there is one genotype", 1.0)


def test_within_counts_a_first_place_right_that_is_nearly_the_best() -> None:
    close = [arm("a", 0.9510, 0.9490), arm("b", 0.9505, 0.9485), arm("c", 0.93, 0.932)]
    strict, lenient = believe(close), believe(close, within=0.005)
    assert strict.best == lenient.best
    assert strict.probability == strict.best["a"]
    assert lenient.probability > strict.probability + 0.2


def test_probabilities_sum_to_one_and_follow_from_the_scores_alone() -> None:
    arms = [arm("a", 0.95, 0.94), arm("b", 0.945), arm("c", 0.93, 0.94, 0.935)]
    known = believe(arms)
    assert sum(known.best.values()) == pytest.approx(1.0)
    for order in itertools.permutations(arms):
        other = believe(order)
        assert other.first == known.first
        assert other.best == pytest.approx(known.best, abs=1e-12)
    assert believe(arms) == known


def test_the_unit_of_the_score_changes_no_probability() -> None:
    arms = [arm("a", 0.95, 0.94), arm("b", 0.945), arm("c", 0.93, 0.94, 0.935)]
    points = [Arm(each.name, tuple(100 * score for score in each.scores), each.asked) for each in arms]
    assert believe(points).best == pytest.approx(believe(arms).best, abs=1e-9)


def test_equal_scores_prove_nothing() -> None:
    equal = believe([arm("a", 0.9, 0.9), arm("b", 0.9, 0.9)])
    assert equal.probability == 0.5
    assert believe([arm("a", 0.9), arm("b", 0.9)], within=0.01).probability == 1.0


def test_a_hopeless_genotype_never_gets_a_seed() -> None:
    """Two genotypes overlap, and two lie ten times the noise below."""
    draws = random.Random(5)
    for _ in range(10):
        _, seeds = run([0.0, 0.0, -1.0, -1.2], 0.1, draws, Aim(0.9, 0.0, 8))
        assert (seeds["2"], seeds["3"]) == (1, 1)


@pytest.mark.parametrize("spread", [0.1, 0.2])
def test_a_stated_confidence_of_90_percent_is_right_in_85_percent_or_more(spread: float) -> None:
    """Genotypes differ as much as seeds do, and twice as much (as on CIFAR-10). No seed is wasted on clear cases."""
    draws = random.Random(7)
    right = []
    for _ in range(80):
        truth = [draws.gauss(0.0, spread) for _ in range(4)]
        last, _ = run(truth, 0.1, draws, Aim(0.9, 0.0, 12))
        if last.belief.probability >= AIM.confidence:
            right.append(truth[int(last.belief.first)] == max(truth))
    assert len(right) >= 30
    assert sum(right) / len(right) >= 0.85


def test_within_is_kept_where_genotypes_hardly_differ() -> None:
    draws = random.Random(11)
    aim = Aim(confidence=0.9, within=0.05, max_seeds=20)
    right = []
    for _ in range(100):
        truth = [draws.gauss(0.0, 0.04) for _ in range(4)]
        last, _ = run(truth, 0.1, draws, aim)
        if last.belief.probability >= aim.confidence:
            right.append(truth[int(last.belief.first)] >= max(truth) - aim.within)
    assert len(right) >= 50
    assert sum(right) / len(right) >= 0.85


@pytest.mark.parametrize(
    ("share", "spent", "left"), [(None, 10**9, None), (0.5, 9 * 25, 4), (0.5, 9 * 25 + 4 * 600, 0), (0.5, 5000, 0)]
)
def test_a_limit_is_a_share_of_training_all_once(share: float | None, spent: int, left: int | None) -> None:
    assert affordable(share, entrants=9, epochs=600, spent=spent) == left
