"""A rehearsal: what is scaled, that it runs through all stages, what it says of costs, and that it is no result."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raydarts.config.loader import LoadedSpec, load_spec
from raydarts.config.plan import plan
from raydarts.config.rehearsal import Scale, configurations, full_signature, rehearsed, shares_of_structures
from raydarts.data.base import ImageArrays, Size, size_of
from raydarts.data.splits import load_splits
from raydarts.errors import InputError, NonFiniteError
from raydarts.evaluation.lookup import read_table
from raydarts.evaluation.settings import TableSettings
from raydarts.genotype_facts import network_cost
from raydarts.search import random_cells
from raydarts.search.random_cells import Healthy, draw_cells, spaces_of
from raydarts.search.settings import SearchSettings
from raydarts.study.costs import StageCost, by_structure, fitting, lines
from raydarts.sweeping import rehearsing, timing
from tests.commands import run_here

ROOT = Path(__file__).parents[3]
LAPTOP = {"cpus": 2.0, "gpus": 0.0}
CHEAP = "search.space={name: robust_s3, channels: 2, layers: 3, nodes: 1}"
"""Few candidates and one node: drawing cells and counting their FLOPs takes a third of the time."""
SPECS = sorted(path.stem for path in (ROOT / "sweeps").glob("*.yaml"))


def spec(name: str, *sets: str) -> LoadedSpec:
    return load_spec(ROOT / "sweeps" / f"{name}.yaml", sets, absent_data=True)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("scale", [Scale(), Scale(batch=2, small=True, seeds=1)])
def test_every_shipped_sweep_has_a_rehearsal_that_a_laptop_can_run(name: str, scale: Scale, tmp_path: Path) -> None:
    loaded = spec(name)
    table = tmp_path / "t.csv"
    table.write_text("cellstr,c10_val_12ep,c10_test_200ep\n")
    tiny = rehearsed(loaded, LAPTOP, scale, lambda settings: str(table))
    stages = [stage.name for stage in tiny.spec.stages.chain()]
    assert stages == [stage.name for stage in loaded.stages.chain()], "no stage is left out"
    assert all(stage.settings.epochs <= 4 for stage in tiny.spec.stages.chain())
    assert all(stage.settings.resources.gpus == 0 for stage in tiny.spec.stages.chain())
    assert {full_signature(draw.plain) for draw in configurations(tiny.spec, 0)} <= {
        full_signature(draw.plain) for draw in configurations(loaded, 0)
    }
    splits = load_splits(tiny.spec.data)
    largest = max(SearchSettings.model_validate(draw.plain).batch_size for draw in configurations(tiny.spec, 0))
    assert len(splits.weight) >= largest
    assert len(splits.alpha) >= largest or tiny.spec.data.kind == "text"
    assert tiny.factors["search"] >= 1


def test_each_option_of_a_structure_is_met_and_numbers_are_not_all() -> None:
    met = [SearchSettings.model_validate(draw.plain) for draw in configurations(spec("cnn"), 0)]
    assert {each.estimator.name for each in met} == {"first_order", "finite_difference"}
    assert {remedy.name for each in met for remedy in each.regularizers} == {"weight_l2", "drop_path", "beta_decay"}
    assert len(met) < 10


def test_the_structures_of_a_grid_have_their_real_shares() -> None:
    shares = shares_of_structures(spec("quick"))
    assert sorted(shares.values()) == pytest.approx([0.2, 0.2, 0.6]), "first order, xi: lr, and xi: a number"


def test_absent_data_are_made_up_in_their_shape_and_others_taken_in_part() -> None:
    loaded = spec("cnn", "data.dataset.root=/nowhere/at/all", "data.dataset.download=false")
    tiny = rehearsed(loaded, LAPTOP, Scale())
    source = load_splits(tiny.spec.data).source
    assert isinstance(source, ImageArrays)
    assert (source.image_shape, source.num_classes) == ((3, 32, 32), 10)
    assert tiny.factors["search"] == 50_000 / len(source.train_labels)
    assert any("made up in its shape" in each for each in tiny.notes)
    digits = load_splits(rehearsed(spec("quick"), LAPTOP, Scale()).spec.data).source
    assert isinstance(digits, ImageArrays)
    whole = load_splits(spec("quick").data).source
    assert isinstance(whole, ImageArrays)
    assert any(np.array_equal(digits.train_images[0], each) for each in whole.train_images)
    assert size_of(digits) == Size(len(digits.train_labels), 0, 16, 8, 8, 1, 10)


def test_data_of_an_unknown_shape_are_not_made_up(tmp_path: Path) -> None:
    loaded = spec("quick", "data.dataset={name: npz, file: /nowhere/x.npz}")
    with pytest.raises(InputError, match=r"npz: it is not there, and what it holds is not known"):
        rehearsed(loaded, LAPTOP, Scale())


def test_an_absent_table_is_made_up_with_a_row_for_every_cell(tmp_path: Path) -> None:
    settings = TableSettings(file=str(tmp_path / "none.csv"), validation="v", test="t")
    made = settings.model_copy(update={"file": rehearsing.made_up_table(settings.model_dump())})
    assert Path(made.file).read_text().count("\n") == 5**6 + 1
    there = tmp_path / "there.csv"
    there.write_text("cellstr,v,t\n")
    assert rehearsing.made_up_table({**settings.model_dump(), "file": str(there)}) == str(there)
    assert read_table(TableSettings(file=str(there), validation="v", test="t")) == {}


def test_costs_are_a_range_and_say_what_is_not_known() -> None:
    cost = StageCost("search", 8, 400.0, 90.0, 2.0, 0.0, scaled=False, memory=3 * 2**30)
    hours = cost.hours(cost.cpus)
    assert hours.middle == pytest.approx(20.0)
    assert hours.low < 20 < hours.high
    wider = StageCost("search", 8, 400.0, 90.0, 2.0, 0.0, scaled=True).hours(2.0)
    assert wider.high > hours.high
    assert fitting(3 * 2**30) == {16: 4, 24: 6, 40: 10, 80: 20}
    text = "\n".join(lines([cost], gpu=False))
    assert "16.4 to 24.4 CPU-hours, measured here" in text
    assert "tensors of 3 GiB a trial" in text
    assert "not known without a GPU: GPU-hours" in text
    fused = StageCost("search", 8, 400.0, 90.0, 2.0, 0.0, scaled=False, lanes=4)
    assert "about 400 epochs of 90 s in groups of up to 4: " in lines([fused], gpu=False)[0]
    assert "groups" not in text
    untimed = replace(fused, untimed=("1 of 2 kinds of groups not timed (why)", "1 of 2 kinds of groups not timed (x)"))
    assert lines([untimed], gpu=False)[0].endswith(
        "; larger groups may take less: 1 of 2 kinds of groups not timed (why); 1 of 2 kinds of groups not timed (x)"
    )
    on_gpu = "\n".join(lines([StageCost("search", 8, 400.0, 90.0, 2, 1, False, 3 * 2**30)], True, 80 * 2**30))
    assert "8.19 to 12.2 GPU-hours" in on_gpu
    assert "20 trials on a GPU like this one at most" in on_gpu
    assert "not known" not in on_gpu


def test_structures_count_by_their_shares() -> None:
    assert by_structure({}, {}) is None
    assert by_structure({"a": [1.0, 3.0], "b": [4.0]}, {"a": 0.75, "b": 0.25}) == pytest.approx(2.5)
    assert by_structure({"a": [1.0], "b": [3.0]}, {"a": 0.5, "c": 0.5}) == pytest.approx(1.5), "c like the others"


class Clock:
    """In place of timing: a group's epoch takes a second, and a quarter for each of its searches, times `slow`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slow: float = 1.0) -> None:
        self.groups: list[int] = []
        self.threads: set[int] = set()
        self.slow = slow
        monkeypatch.setattr(rehearsing, "timed", self.timed)
        monkeypatch.setattr(rehearsing, "capacity", lambda: LAPTOP)
        monkeypatch.setattr(rehearsing, "build_search", lambda *_: SimpleNamespace(supernet=None, device=None))

    def timed(self, build: Any, threads: int) -> Any:
        lanes = len(getattr(build(), "_searches", [None]))
        self.groups.append(lanes)
        self.threads.add(threads)
        return SimpleNamespace(seconds=self.slow * (1 + 0.25 * lanes))


def in_groups(loaded: LoadedSpec, lanes: int = 1) -> rehearsing._Grouped:
    tiny = rehearsed(loaded, LAPTOP, Scale()).spec
    ran = {full_signature(draw.plain): [rehearsing._Epoch(1.0, lanes)] for draw in configurations(tiny, 0)}
    trials = plan(loaded).stages[0].jobs
    return rehearsing._in_groups(loaded, tiny, ran, shares_of_structures(loaded), trials)


def test_epochs_of_trials_alone_cost_what_they_will_cost_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    # 8 trials, 4 with a penalty: all fit into one kind of group
    found, largest, untimed = in_groups(spec("stages-quick"))
    assert (largest, sorted(clock.groups)) == (4, [1, 4])
    assert {epoch.seconds for epochs in found.values() for epoch in epochs} == {(1 + 0.25 * 4) / 4 / 1.25}
    assert {epoch.lanes for epochs in found.values() for epoch in epochs} == {4}
    assert untimed == ()


@pytest.mark.parametrize(
    ("sets", "lanes"),
    [(("sweep.fuse=off",), 1), ((), 4), (("search.relaxation={name: gumbel, hard: true}",), 1)],
    ids=["fuse: off", "in groups already", "cannot share a process"],
)
def test_other_epochs_cost_what_the_rehearsal_took(
    sets: tuple[str, ...], lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    found, largest, untimed = in_groups(spec("stages-quick", *sets), lanes)
    assert {epoch for epochs in found.values() for epoch in epochs} == {rehearsing._Epoch(1.0, lanes)}
    assert (largest, clock.groups, untimed) == (lanes, [], ())


def test_a_small_network_of_the_benchmarks_space_has_one_cell_a_stage() -> None:
    tiny = rehearsed(spec("nasbench201"), LAPTOP, Scale(batch=2, small=True))
    space = rehearsing.first_configuration(tiny.spec).space.settings
    assert (space.cells_per_stage, space.channels) == (1, 4)
    assert "search.space.cells_per_stage 1 in place of 5: a step is too slow here" in tiny.notes


def test_searches_on_text_are_timed_as_groups_of_other_seeds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiny = rehearsed(spec("rnn-quick"), LAPTOP, Scale(batch=2, small=True)).spec
    together = rehearsing.searches_together(rehearsing.first_configuration(tiny), tiny.data, "cpu", 2)
    together.run_epoch()
    assert "run again" not in caplog.text
    Clock(monkeypatch)
    assert in_groups(spec("rnn-quick", "sweep.replicates=[0, 1, 2, 3, 4, 5]")).lanes > 1


def test_groups_of_large_networks_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, slow=5.0)
    found, largest, untimed = in_groups(spec("stages-quick"))
    assert {epoch for epochs in found.values() for epoch in epochs} == {rehearsing._Epoch(1.0, 1)}
    assert (largest, clock.groups) == (1, [1])
    assert untimed == ("1 of 1 kinds of groups not timed (their 4 batches take over 20 s)",)


def test_a_group_that_diverges_while_it_is_timed_leaves_the_costs_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)

    def diverged(*_arguments: object) -> None:
        raise NonFiniteError("the loss is not finite")

    monkeypatch.setattr(rehearsing, "timed", diverged)
    found, largest, untimed = in_groups(spec("stages-quick"))
    assert {epoch for epochs in found.values() for epoch in epochs} == {rehearsing._Epoch(1.0, 1)}
    assert largest == 1
    assert untimed == ("1 of 1 kinds of groups not timed (the loss is not finite)",)


def test_once_time_is_over_no_group_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(rehearsing, "_GROUPS", -1.0)
    found = in_groups(spec("stages-quick"))
    assert (found.lanes, clock.groups) == (1, [])
    assert found.untimed == ("1 of 1 kinds of groups not timed (timing others took over -1 s)",)


@pytest.mark.usefixtures("local_sweeps", "one_thread")
def test_a_rehearsal_runs_all_stages_and_is_never_taken_for_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsing, "TARGET", 0.0)  # as on a machine where any step is too slow: the smallest scale
    sweep = ROOT / "sweeps" / "stages-quick.yaml"
    small = (
        CHEAP,
        "evaluate.training.network.channels=4",
        "evaluate.training.network.layers=3",
        "transfer.0.training.network.channels=4",
        "transfer.0.training.network.layers=3",
    )
    sets = [word for each in small for word in ("--set", each)]
    done = run_here("sweep", sweep, "--rehearse", *sets, "--storage", tmp_path, "--name", "r")
    assert done.code == 0, done.err
    for stage in ("search", "rung-1", "rung-2", "evaluate", "transfer-few-images"):
        assert f"{stage}: " in done.out.split("will cost, by this rehearsal")[1]
    kept = json.loads((tmp_path / "r" / "rehearsal.json").read_text())
    assert [each["name"] for each in kept] == ["search", "rung-1", "rung-2", "evaluate", "transfer-few-images"]
    for command in ("status", "report"):
        assert "a rehearsal at tiny scale: no figure below is a result" in run_here(command, tmp_path / "r").out
    assert json.loads((tmp_path / "r" / "run.json").read_text())["question"].startswith("[a rehearsal at tiny scale")
    log = run_here("logs", tmp_path / "r", "0")
    assert "an attempt on" in log.out
    used = run_here("sweep", sweep, "--stage", "evaluate", "--genotypes", tmp_path / "r", "--dry-run")
    assert used.code == 2
    assert "is a rehearsal" in used.err


def test_retrainings_are_timed_with_a_healthy_cell_of_middle_cost() -> None:
    """That of a search that has not begun has one primitive everywhere, which may cost nothing."""
    loaded = spec("quick")
    (space,) = spaces_of(loaded.drawn)
    cell = rehearsing.usual_cell(loaded)
    healthy = Healthy.of(loaded.sweep.score, None)
    assert healthy(space, cell)
    others = draw_cells([random_cells.Size(space)], 5, loaded.sweep.seed, healthy, set())
    flops = sorted(network_cost(space, each)[1] for each in others)
    assert network_cost(space, cell)[1] == flops[2]
    assert flops[0] < flops[2] < flops[4]


def test_a_space_without_healthy_cells_is_timed_with_another_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_cells, "_MOST_BUILT", 2)
    loaded = spec("quick", CHEAP, "sweep.constraints=[{signal: parameters, most: 1}]", "evaluate.random_cells=0")
    (space,) = spaces_of(loaded.drawn)
    assert not Healthy.of(loaded.sweep.score, None)(space, rehearsing.usual_cell(loaded))


@pytest.mark.parametrize("stage", ["all", "search"])
@pytest.mark.parametrize(("fuse", "lanes"), [("auto", 4), ("off", 1)])
def test_the_command_says_what_a_sweep_takes_by_the_steps_that_it_times(
    fuse: str, lanes: int, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All epochs of the plan, each with the seconds that were told, in two processes."""
    monkeypatch.setattr(timing, "timed", Clock(monkeypatch, slow=3).timed)
    only = () if stage == "all" else ("--stage", stage)
    sweep = ROOT / "sweeps" / "stages-quick.yaml"
    done = run_here("sweep", sweep, "--dry-run", "--time", "--set", f"sweep.fuse={fuse}", "--set", CHEAP, *only)
    assert done.code == 0, done.err
    together = f", {lanes} trials together" if lanes > 1 else ""
    told = {
        name: float(seconds)
        for name, seconds, words in re.findall(r"^timed: (.*): an epoch takes about ([\d.]+) s(.*)$", done.out, re.M)
        if words == (together if name.startswith("search") else "")
    }
    epochs = {"rung-1": 16, "rung-2": 40, "evaluate": 160, "transfer-few-images": 80} if stage == "all" else {}
    epochs |= {"search, finite_difference": 16 // lanes, "search, finite_difference, beta_decay": 16 // lanes}
    assert told.keys() == epochs.keys()
    middle = sum(told[name] * count for name, count in epochs.items()) / 2
    low, high = (
        sum(int(part) * 60**place for place, part in enumerate(reversed(clock.split(":"))))
        for clock in re.findall(r"would need (\S+) to (\S+) for all", done.out)[0]
    )
    assert 0.7 * middle < low < middle < high < 1.4 * middle


def test_the_command_times_retrainings_with_that_cell_on_the_threads_of_a_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, cells = Clock(monkeypatch), []
    monkeypatch.setattr(timing, "timed", clock.timed)

    def build_evaluation(_settings: Any, _data: Any, genotype: Any, *_others: Any) -> None:
        cells.append(genotype.id)

    monkeypatch.setattr(timing, "build_evaluation", build_evaluation)
    sets = ("sweep.resources.cpus=2", "evaluate.resources.cpus=2", CHEAP)
    words = [word for each in sets for word in ("--set", each)]
    done = run_here("sweep", ROOT / "sweeps" / "quick.yaml", "--dry-run", "--time", *words)
    assert done.code == 0, done.err
    assert clock.threads == {2}
    assert set(cells) == {rehearsing.usual_cell(spec("quick", CHEAP)).id}


def test_a_sweep_that_needs_more_than_there_is_names_the_rehearsal() -> None:
    sweep = ROOT / "sweeps" / "cnn.yaml"
    refused = run_here("sweep", sweep, "--set", "sweep.resources.cpus=4000")
    assert refused.code == 2
    assert refused.err.splitlines()[-1].endswith(f"raydarts sweep {sweep} --rehearse")


def test_options_that_a_rehearsal_makes_no_use_of_are_refused() -> None:
    sweep = ROOT / "sweeps" / "quick.yaml"
    for options, words in (
        (("--rehearse", "--dry-run"), "choose one of them"),
        (("--rehearse", "--stage", "search"), "goes through every stage"),
        (("--rehearse", "--address", "auto"), "runs on this machine"),
        (("--time",), "add --dry-run"),
        (("--dry-run", "--time", "--address", "x:1"), "times steps on this machine"),
    ):
        refused = run_here("sweep", sweep, *options)
        assert refused.code == 2, options
        assert words in refused.err
