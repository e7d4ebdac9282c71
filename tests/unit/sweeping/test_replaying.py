"""A replayed sweep: who reports when, what a killed driver goes on with, what is picked."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import pytest

from raydarts.errors import SpecError
from raydarts.execution.executor import NotNow
from raydarts.execution.recorded import RecordedExecutor, RecordedTrial
from raydarts.runs.recordings import Recordings, read
from raydarts.study.study import Outcome
from raydarts.sweeping.picks import choose, ended_collapsed, everything, judged, picked
from raydarts.sweeping.recorded_searching import InOrder, Settings
from raydarts.sweeping.replaying import Plan, replay
from raydarts.sweeping.replays import plan_of, run, settings_of, summary
from tests import planted_records

SCHEDULERS = ("fifo", "asha", "median", "hyperband")
TPE = "{name: optuna, trials: 10, startup_trials: 3}"


def recorded(folder: Path, **world: Any) -> Recordings:
    return read([planted_records.write(folder / "runs.json", planted_records.runs(**world))])


def planned(recordings: Recordings, *sets: str, workers: int = 5) -> Plan:
    return plan_of(recordings, settings_of(recordings, [f"sweep.{each}" for each in sets]), workers)[0]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "raydarts")


class Rows:
    """A handler of trials with so many rows each; `stops` are (trial, epoch). It notes who reported."""

    def __init__(self, lengths: list[int], stops: dict[str, int] | None = None) -> None:
        self._left = [[{"epoch": epoch + 1} for epoch in range(length)] for length in lengths]
        self._stops = stops or {}
        self.seen: list[tuple[str, int]] = []
        self.ends: list[str] = []

    def start(self, key: str) -> Any:
        return RecordedTrial(self._left.pop(0), epoch=0, whole=key != "lost") if self._left else NotNow.NEVER

    def reported(self, key: str, row: Any) -> bool:
        self.seen.append((key, row["epoch"]))
        return not row["done"] and self._stops.get(key) != row["epoch"]

    def lost(self, key: str, loss: Any, again: bool) -> None:
        self.ends.append(f"{key} lost")

    def ended(self, key: str) -> None:
        self.ends.append(key)


def test_the_clock_counts_epochs_and_a_free_place_goes_to_the_next_trial() -> None:
    handler, executor = Rows([3, 3, 2], stops={"0": 1}), RecordedExecutor()
    executor.run(handler, places=2)
    assert handler.seen == [("0", 1), ("1", 1), ("2", 1), ("1", 2), ("2", 2), ("1", 3)]
    assert handler.ends == ["0", "2", "1"]
    assert (executor.clock, executor.epochs) == (3, 6)


@pytest.mark.parametrize("replicates", [None, "[0, 1, 2]"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_study_rebuilt_from_any_prefix_of_its_log_goes_on_to_the_same_decisions(
    tmp_path: Path, scheduler: str, replicates: str | None
) -> None:
    recordings = recorded(tmp_path, configurations=12, epochs=12)
    sets = [f"scheduler={scheduler}", *([f"replicates={replicates}"] if replicates else [])]
    plan = planned(recordings, *sets)
    whole = replay(plan, 3)
    assert len(whole.events) > 60
    cuts = random.Random(0).sample(range(1, len(whole.events)), 12)
    for cut in (0, 1, len(whole.events) - 1, len(whole.events), *cuts):
        again = replay(plan, 3, whole.events[:cut])
        assert again.events == whole.events
        assert again.epochs == whole.epochs
        assert judged(plan, again) | {"clock": 0} == judged(plan, whole) | {"clock": 0}


def test_a_model_rebuilt_from_a_prefix_proposes_the_same(tmp_path: Path) -> None:
    plan = planned(recorded(tmp_path, configurations=12, epochs=8), f"searcher={TPE}", "scheduler=asha", workers=2)
    whole = replay(plan, 0)
    for cut in (1, len(whole.events) // 3, len(whole.events) // 2):
        assert replay(plan, 0, whole.events[:cut]).events == whole.events


def test_sweeps_differ_in_their_order_and_are_the_same_again(tmp_path: Path) -> None:
    plan = planned(recorded(tmp_path), "scheduler=asha")
    first, again, other = replay(plan, 0), replay(plan, 0), replay(plan, 1)
    assert first.events == again.events
    assert [trial.configuration for trial in first.trials] != [trial.configuration for trial in other.trials]


def test_fifo_runs_every_recorded_epoch(tmp_path: Path) -> None:
    plan = planned(recorded(tmp_path), "scheduler=fifo", "objective=validation_accuracy", "replicates=[0, 1, 2]")
    replayed = replay(plan, 0)
    assert replayed.epochs == replayed.fifo_epochs == 16 * 3 * 20
    assert {trial.status for trial in replayed.trials} == {"completed"}


def test_a_run_that_was_cut_short_fails_where_its_rows_end(tmp_path: Path) -> None:
    runs = planted_records.runs(configurations=4, seeds=1, epochs=10)
    for key in ("epoch_valid_acc", "epoch_genotype", "epoch_valid_loss"):
        runs[2][key] = runs[2][key][:6]
    recordings = read([planted_records.write(tmp_path / "cut.json", runs)])
    assert "1 of 4 runs end before epoch 10" in recordings.notes[0]
    replayed = replay(planned(recordings, "scheduler=fifo"), 0)
    (cut,) = [trial for trial in replayed.trials if trial.status == "failed"]
    assert (cut.configuration, cut.epoch) == (2, 6)
    pick = picked(replayed, planned(recordings).sweep.score)
    assert pick is not None
    assert pick.configuration != 2


def test_collapsed_trials_are_halted_and_accuracy_alone_crowns_them(tmp_path: Path) -> None:
    recordings = recorded(tmp_path)
    healthy = summary(run(planned(recordings, "scheduler=asha", "replicates=[0, 1, 2]"), 4))
    alone = summary(
        run(planned(recordings, "scheduler=asha", "objective=validation_accuracy", "replicates=[0, 1, 2]"), 4)
    )
    assert alone["pick_collapsed"]["mean"] == 1
    assert healthy["pick_collapsed"]["mean"] == 0
    assert healthy["halts_caught"]["mean"] > 6
    assert healthy["halts_false"]["mean"] == alone["halts_caught"]["mean"] == 0


@pytest.mark.parametrize(
    "world",
    [
        {"epochs": 30, "nodes": 3},
        {"epochs": 60, "nodes": 4, "configurations": 12},
        {"epochs": 25, "nodes": 5, "seeds": 2, "collapsing": 0.5},
        {"epochs": 40, "seeds": 1, "configurations": 24, "collapsing": 0.1},
    ],
    ids=["3 nodes", "60 epochs", "5 nodes, half collapse", "one seed"],
)
def test_the_default_holds_on_other_cells_epochs_and_seeds(tmp_path: Path, world: dict[str, Any]) -> None:
    """Settings are shares, so that they are not those of one record."""
    for seed in range(2):
        recordings = recorded(tmp_path, seed=seed, **world)
        many = [f"replicates={list(recordings.seeds)}"] if len(recordings.seeds) > 1 else []
        told = summary(run(planned(recordings, "scheduler=asha", *many, workers=8), 4))
        assert told["pick_collapsed"]["mean"] == 0
        assert told["finishers_collapsed"] is None or told["finishers_collapsed"]["mean"] <= 0.01
        assert told["epochs_share"]["mean"] <= 0.7
        assert told["regret"]["mean"] <= 0.01


def test_without_a_healthy_end_the_last_healthy_genotype_is_a_fallback(tmp_path: Path) -> None:
    recordings = recorded(tmp_path, configurations=4, seeds=1, collapsing=1.0)
    plan = planned(recordings)
    assert all(ended_collapsed(run) for run in recordings.runs)
    told = judged(plan, replay(plan, 0))
    assert told["pick"]["fallback"]
    assert told["pick"]["collapsed"] == 0
    assert told["completed"] == 0


def test_a_lucky_seed_brings_no_configuration_to_the_front(tmp_path: Path) -> None:
    recordings = recorded(tmp_path, configurations=6, collapsing=0)
    plan = planned(recordings, "replicates=[0, 1, 2]")
    score, ends = plan.sweep.score, everything(plan, 0)
    best = choose(ends, score)
    means = {number: sum(one.row["validation_accuracy"] for one in each) / 3 for number, each in ends.items()}
    assert best is not None
    assert best.configuration == max(means, key=lambda number: means[number])
    assert len(best.genotypes) == 3


def test_a_proposal_that_nobody_ran_is_run_as_the_nearest_recorded_one() -> None:
    values = ({"lr": 0.1, "name": "a"}, {"lr": 0.001, "name": "a"}, {"lr": 0.1, "name": "b"})
    settings = Settings(values)
    assert settings.nearest({"lr": 0.001, "name": "b"}) in (1, 2)
    assert settings.nearest({"lr": 0.002, "name": "a"}) == 1
    assert settings.nearest({"lr": 0.05, "name": "b"}) == 2
    assert InOrder([2, 0, 1], 2, settings).choose(2) is None


def test_many_numbers_are_searched_as_a_range() -> None:
    values = tuple({"lr": 10 ** (-4 + index / 10), "depth": index, "kind": "ab"[index % 2]} for index in range(30))
    kinds = {each.name: each.distribution.KIND for each in Settings(values).tree().distributions()}
    assert kinds == {"search.lr": "loguniform", "search.depth": "randint", "search.kind": "choice"}


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["scheduler=pbt"], "no record can answer it"),
        (["searcher={name: random, trials: 99}"], "allowed: at most 16"),
        (["replicates=[0, 7]"], "no configuration was recorded with all of 0, 7"),
        (["objective=entropy"], "needs the column entropy_mean"),
        (["resources.cpus=2"], "a replay has no sweep.resources"),
        (["metric=validation_accuracy"], "is called objective now"),
        (["searcher={name: optuna, trials: 8, sampler: qmc}"], "handles numbers alone"),
    ],
)
def test_setting_that_recordings_cannot_answer_is_refused_by_name(tmp_path: Path, sets: list[str], words: str) -> None:
    recordings = recorded(tmp_path, epochs=4)
    with pytest.raises(SpecError, match=words.replace("[", r"\[")):
        planned(recordings, *sets)


def test_a_searcher_is_told_of_configurations(tmp_path: Path) -> None:
    plan = planned(recorded(tmp_path, epochs=6), f"searcher={TPE}", "replicates=[0, 1]")
    replayed = replay(plan, 0)
    assert len(replayed.trials) == 20
    assert {trial.recording.seed for trial in replayed.trials} == {0, 1}
    told = [Outcome.from_json(event["outcome"]) for event in replayed.events if event["event"] == "tell"]
    assert len(told) == 20


BOTH = "objective=[healthy_accuracy, {name: column, column: supernet_size, direction: min}]"


def sized(folder: Path) -> Recordings:
    """Planted records with a size that grows with the accuracy, and falls a little late in some."""
    runs = planted_records.runs(configurations=18, seeds=2)
    for number, each in enumerate(runs):
        each["epoch_supernet_size"] = [
            round(accuracy / 10 + (number // 2 * 7 % 11) - 0.1 * (epoch > 12), 3)
            for epoch, accuracy in enumerate(each["epoch_valid_acc"])
        ]
    return read([planted_records.write(folder / "sized.json", runs)])


def test_several_objectives_are_replayed_and_judged_by_their_front(tmp_path: Path) -> None:
    recordings = sized(tmp_path)
    whole, halving = (
        summary(run(planned(recordings, BOTH, f"scheduler={name}", "replicates=[0, 1]"), 4))
        for name in ("fifo", "moasha")
    )
    assert whole["hypervolume_share"]["mean"] == 1.0
    assert halving["epochs_share"]["mean"] < 0.8 * whole["epochs_share"]["mean"]
    assert 0.5 < halving["hypervolume_share"]["mean"] <= 1.0
    assert whole["pick_collapsed"]["mean"] == halving["pick_collapsed"]["mean"] == 0


def test_no_pick_breaks_a_constraint_that_a_completed_configuration_keeps(tmp_path: Path) -> None:
    recordings = sized(tmp_path)
    bar = "constraints=[{signal: {name: column, column: supernet_size, direction: min}, most: 10}]"
    plan = planned(recordings, BOTH, bar, "scheduler=moasha", "replicates=[0, 1]")
    for row in run(plan, 4):
        assert row["front"]
        assert all(member["supernet_size"] <= 10 for member in row["front"])
        pick = choose({row["pick"]["number"]: everything(plan, 0)[row["pick"]["number"]]}, plan.sweep.score)
        assert pick is not None
        assert not any(plan.sweep.score.against(one.row) for one in pick.searches)


def test_a_replay_of_several_objectives_goes_on_from_any_part_of_its_log(tmp_path: Path) -> None:
    plan = planned(sized(tmp_path), BOTH, "scheduler=moasha", "searcher={name: optuna, sampler: nsga2, trials: 14, startup_trials: 4}")  # fmt: skip # noqa: E501
    whole = replay(plan, 0)
    for cut in (1, len(whole.events) // 3, len(whole.events) // 2, len(whole.events) - 1):
        assert replay(plan, 0, whole.events[:cut]).events == whole.events


def test_schedulers_and_searchers_of_one_number_are_refused_in_a_replay(tmp_path: Path) -> None:
    recordings = sized(tmp_path)
    with pytest.raises(SpecError, match=r"sweep\.scheduler: asha compares trials by one number"):
        planned(recordings, BOTH, "scheduler=asha")


def test_costs_that_no_row_has_are_counted_from_few_networks(tmp_path: Path) -> None:
    """Costs are added up from the edges, and a genotype that is counted by itself has the same."""
    from raydarts.genotype_facts import parameters_of
    from raydarts.sweeping import recorded_costs

    genotypes = {each.id: each for run in recorded(tmp_path).runs for each in run.genotypes if each is not None}
    few = list(genotypes.values())[:60]
    counted: list[str] = []

    def count(genotype: Any) -> dict[str, int]:
        counted.append(genotype.id)
        weights = {"skip_connect": 3, "max_pool_3x3": 0, "sep_conv_3x3": 50, "sep_conv_5x5": 70, "dil_conv_3x3": 31}
        edges = [(name, primitive, src < 2) for name, cell in genotype.cells for primitive, src in cell.edges()]
        strided = sum(5 for name, primitive, first in edges if first and name == "reduce" and "pool" not in primitive)
        return {"parameters": 1000 + strided + sum(weights.get(primitive, 40) for _, primitive, _ in edges)}

    known = recorded_costs.costs_of(few, count)
    assert len(counted) < 35
    assert known == {each.id: count(each) for each in few}
    odd = recorded_costs.costs_of(few, lambda each: {"parameters": hash(each.id) % 1000})
    assert odd == {each.id: {"parameters": hash(each.id) % 1000} for each in few}, "no sum: each is counted by itself"
    assert recorded_costs.costs_of(few[:1], lambda each: {"parameters": parameters_of(each)})[few[0].id]
