"""Settings that do nothing in their spec are said by `validate`, `--dry-run` and the start, with what to write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from raydarts.config.loader import load_spec
from raydarts.config.plan import plan
from raydarts.registry import FAMILIES, Around, members
from raydarts.search.sharpness import Sharpness, SharpnessSettings
from tests.commands import run_here

SPEC: dict[str, Any] = {
    "data": {"dataset": "digits"},
    "search": {
        "epochs": 10,
        "lr": {"grid": [0.1, 0.2, 0.3, 0.4]},
        "space": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 2},
    },
    "sweep": {},
}


def written(folder: Path, **more: Any) -> Path:
    """SPEC with these keys (`search__epochs`) in their place."""
    found: dict[str, Any] = yaml.safe_load(yaml.safe_dump(SPEC))
    for key, value in more.items():
        *path, last = key.split("__")
        at = found
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    spec = folder / "spec.yaml"
    spec.write_text(yaml.safe_dump(found))
    return spec


def told(out: str) -> str:
    """The output as one line: notes are wrapped where the terminal ends."""
    return " ".join(out.split())


def remedy(name: str, **settings: Any) -> dict[str, Any]:
    return {"search__regularizers": [{"name": name, **settings}]}


def scheduler(**settings: Any) -> dict[str, Any]:
    return {"sweep__scheduler": {"name": "asha", **settings}}


def evaluate(**settings: Any) -> dict[str, Any]:
    return {"evaluate": {"training": {"epochs": 10}, **settings}}


def training(**settings: Any) -> dict[str, Any]:
    return {"evaluate": {"training": {"epochs": 10, **settings}}}


OPTUNA = {"name": "optuna", "trials": 8}
SHARE = {"gpus": 0.25}
TEXT: dict[str, Any] = {
    "data": {"dataset": "pydoc_topics", "limit": 4000},
    "search": {"epochs": 2, "space": {"name": "darts-rnn", "nodes": 2, "units": 6}},
}
IDLE: dict[str, tuple[dict[str, Any], str, str]] = {
    "asha's grace period is the epochs": (
        scheduler(grace_period=10),
        "sweep.scheduler.grace_period is 10",
        "write scheduler: fifo",
    ),
    "asha's grace period is longer": (scheduler(grace_period=12), "grace_period is 12", "lower grace_period"),
    "asha's brackets have no rung": (
        scheduler(brackets=3, reduction_factor=4, grace_period=1),
        "sweep.scheduler.brackets is 3, and 2 of them",
        "write brackets: 2",
    ),
    "asha's most epochs lie beyond the trials": (scheduler(max_epochs=20), "scheduler.max_epochs is 20", "leave"),
    "asha's most epochs lie before the grace period": (
        scheduler(grace_period=5, max_epochs=3),
        "scheduler.max_epochs is 3",
        "before grace_period 5",
    ),
    "several GPUs of one process": ({"sweep__resources": {"gpus": 4}}, "sweep.resources.gpus is 4", "write gpus: 1"),
    "several GPUs of a retraining": (
        evaluate(resources={"gpus": 4}),
        "evaluate.resources.gpus is 4",
        "gpus: 1 and workers: 4",
    ),
    "optuna draws all at random": (
        {"sweep__searcher": OPTUNA, "search__lr": {"uniform": [0.1, 0.4]}},
        "sweep.searcher.startup_trials is 10 of 8 trials",
        "write startup_trials: 4",
    ),
    "more trials than configurations": (
        {"sweep__searcher": {"name": "random", "trials": 9}},
        "sweep.searcher.trials is 9, and search has only 4 configurations",
        "trials: 4 at most",
    ),
    "more at a time than there are trials": (
        {"sweep__max_concurrent": 5},
        "sweep.max_concurrent is 5, and there are 4 trials",
        "leave it out",
    ),
    "more in a process than there are trials": ({"sweep__fuse": 5}, "sweep.fuse is 5, and no more than 4", "lower it"),
    "more in a process than may run": (
        {"sweep__fuse": 3, "sweep__max_concurrent": 2},
        "sweep.fuse is 3, and no more than 2 trials run at a time",
        "lower it",
    ),
    "a seed of what draws nothing": ({"sweep__seed": 7}, "sweep.seed is 7", "search.seed"),
    "checkpoints after the end": (
        {"sweep__checkpoint_every": 11},
        "sweep.checkpoint_every is 11, and trials run at most 10 epochs: the one checkpoint is that of a trial's end",
        "write checkpoint_every: 5 or less",
    ),
    "checkpoints of a retraining after its end": (evaluate(checkpoint_every=11), "evaluate.checkpoint_every", "5 or"),
    "retries beyond a whole GPU": (
        {"sweep__resources": SHARE, "sweep__out_of_memory": {"retries": 5, "grow": 2}},
        "sweep.out_of_memory.retries is 5, and after 2 of them",
        "write retries: 2",
    ),
    "growth beyond a whole GPU": (
        {"sweep__resources": SHARE, "sweep__out_of_memory": {"retries": 1, "grow": 9}},
        "sweep.out_of_memory.grow is 9",
        "write grow: 4",
    ),
    "a budget of GPUs without any": ({"budget": {"gpu_hours": 3}}, "budget.gpu_hours is 3", "write cpu_hours"),
    "more genotypes than trials": (evaluate(top_k=5), "evaluate.top_k is 5, and no more than 4", "top_k: 4 or less"),
    "more genotypes of the first rung than trials": (
        {"rungs": [{"top_k": 6}], **evaluate(top_k=2)},
        "rungs.0.top_k is 6",
        "write top_k: 4",
    ),
    "asha with nothing to compare": (
        {**scheduler(), "search__lr": 0.1},
        "sweep.scheduler compares trials with one another, and there is 1",
        "write scheduler: fifo",
    ),
    "median with too few to compare": (
        {"sweep__scheduler": {"name": "median", "min_trials": 4}},
        "sweep.scheduler.min_trials is 4, and a trial has at most 3 others",
        "write scheduler: fifo",
    ),
    "median's grace period is the whole trial": (
        {"sweep__scheduler": {"name": "median", "min_trials": 2, "grace_period": 10}},
        "sweep.scheduler.grace_period is 10",
        "write scheduler: fifo",
    ),
    "hyperband with too few trials": (
        {"sweep__scheduler": "hyperband"},
        "sweep.scheduler stops none of 4 trials: the first 3 run to their end",
        "write 6 trials or more",
    ),
    "hyperband with too few epochs": (
        {"sweep__scheduler": {"name": "hyperband", "reduction_factor": 20}},
        "sweep.scheduler stops none where trials run at most 10 epochs",
        "write scheduler: asha",
    ),
    "a start that qmc has not": (
        {
            "sweep__searcher": {"name": "optuna", "trials": 8, "sampler": "qmc", "startup_trials": 3},
            "search__lr": {"uniform": [0.1, 0.4]},
        },
        "sweep.searcher.startup_trials does nothing with sampler qmc",
        "leave it out",
    ),
    "a rung that narrows nothing": (
        {"rungs": [{"top_k": 2}], **evaluate(top_k=2)},
        "rungs.0.top_k is 2, and the next stage takes 2",
        "write 3 or more, or leave the rung out",
    ),
    "a limit above what is there": (
        {"data__limit": 2000},
        "data.limit is 2,000, and there are 1,437 training images",
        "leave it out",
    ),
    "a drop-path that never rises": (training(epochs=1, drop_path=0.3), "evaluate.training.drop_path acts", "raise ep"),
    "a warm-up of one epoch": (training(warmup_epochs=1), "evaluate.training.warmup_epochs is 1", "write 2 or more"),
    "batch norms of one worker": (training(sync_batch_norm=True), "evaluate.training.sync_batch_norm acts", "leave"),
    "TF32 without a GPU": (training(tf32=True), "evaluate.training.tf32 is for GPUs", "resources.gpus is 0"),
    "TF32 of a search without a GPU": ({"search__tf32": True}, "search.tf32 is for GPUs", "leave it out"),
    "a CUDA graph without a GPU": ({"search__cuda_graph": True}, "search.cuda_graph is for GPUs", "leave it out"),
    "cutout without a probability": (
        training(augment={"cutout_length": 4, "cutout_probability": 0}),
        "evaluate.training.augment.cutout_length is 4",
        "cutout_probability is 0",
    ),
    "a probability without cutout": (
        {"search__augment": {"cutout_probability": 0.5}},
        "search.augment.cutout_probability",
        "write its length",
    ),
    "cutout that a remedy replaces": (
        {"search__augment": {"cutout_length": 4}, **remedy("scheduled_cutout")},
        "search.augment.cutout_length gives way",
        "scheduled_cutout",
    ),
    "second order without a step": (
        {"search__estimator": {"name": "finite_difference", "xi": 0, "epsilon": 0.1}},
        "search.estimator.xi is 0",
        "write estimator: first_order",
    ),
    "a strength of 0": (remedy("beta_decay", strength=0), "search.regularizers[beta_decay] acts like nothing", "leave"),
    "a perturbation of radius 0": (remedy("sdarts_rs", radius=0, radius_start=0), "[sdarts_rs] acts like", "radius: 0"),
    "a remedy that rises from 0 in one epoch": (
        {"search__epochs": 1, **remedy("drop_path")},
        "search.regularizers[drop_path] rises from 0",
        "raise epochs",
    ),
    "a factor on a weight decay of 0": (
        {"search__weight_decay": 0, **remedy("weight_l2")},
        "[weight_l2].factor multiplies search.weight_decay",
        "above 0",
    ),
    "a halt after the end": (remedy("darts_es"), "search.regularizers[darts_es] compares for the first time", "22"),
    "a halt within stages that are too short": (
        {
            "search__epochs": 40,
            "search__regularizers": [
                {"name": "darts_es"},
                {"name": "progressive", "shares": [1, 1, 1, 1], "layers": None, "candidates": None},
            ],
        },
        "[darts_es] compares epochs 12 apart",
        "longest stage of the search has 10",
    ),
    "a patience as long as the search": (
        remedy("darts_plus"),
        "[darts_plus].stable_epochs is 10, and a search has 10",
        "write 9 or less",
    ),
    "a rule that is never asked": (remedy("darts_plus", min_epochs=11), "[darts_plus].min_epochs is 11", "lower"),
    "a cap below the weight decay": (
        {"search__epochs": 40, "search__weight_decay": 0.1, **remedy("darts_ada")},
        "[darts_ada].cap is no more than search.weight_decay",
        "raise cap",
    ),
    "a limit that no cell reaches": (
        {"search__selection": {"name": "skip_limit", "max_skips": 4}},
        "search.selection.max_skips is 4, and a cell keeps 4 edges",
        "write less",
    ),
    "a probe that never measures": (
        {"search__probes": [{"name": "eigenvalue", "every": 11}]},
        "search.probes[eigenvalue].every is 11",
        "write at most 10",
    ),
    "a probe that stands twice": ({"search__probes": ["entropy", "entropy"]}, "search.probes has entropy 2", "once"),
    "averaging that never begins": (
        {**TEXT, "evaluate": {"training": {"epochs": 6}}},
        "evaluate.training.nonmonotone is 5, and in 6 epochs",
        "write 3 or less, or null",
    ),
    "a tracker that is off": ({"track": {"wandb": {"mode": "disabled"}}}, "track.wandb is disabled", "leave wandb out"),
    "no tracker": ({"track": {}}, "track names no tracker", "leave track out"),
}
ACTING: dict[str, dict[str, Any]] = {
    "as it is": {},
    "asha": scheduler(grace_period=9),
    "asha's most epochs below the trials'": scheduler(grace_period=5, max_epochs=5),
    "asha's brackets": scheduler(brackets=2, reduction_factor=4, grace_period=1) | {"sweep__seed": 3},
    "median": {"sweep__scheduler": {"name": "median", "min_trials": 3, "grace_period": 9}},
    "hyperband": {
        "sweep__scheduler": "hyperband",
        "sweep__searcher": {"name": "random", "trials": 6},
        "search__lr": {"uniform": [0.1, 0.4]},
    },
    "optuna": {"sweep__searcher": OPTUNA | {"startup_trials": 7}, "search__lr": {"uniform": [0.1, 0.4]}},
    "one GPU": {
        "sweep__resources": {"gpus": 1},
        "budget": {"gpu_hours": 3},
        "search__tf32": True,
        "search__cuda_graph": True,
    },
    "a GPU of the retraining alone": {"budget": {"gpu_hours": 3}, **evaluate(top_k=4, resources={"gpus": 1})},
    "a seed that random draws by": {"sweep__seed": 7, "sweep__searcher": {"name": "random", "trials": 4}},
    "all checkpoints": {"sweep__checkpoint_every": 10},
    "retries": {"sweep__resources": SHARE, "sweep__out_of_memory": {"retries": 2, "grow": 2}},
    "a baseline of strength 0": remedy("beta_decay", strength={"grid": [0, 1]}),
    "a baseline of xi 0": {
        "search__estimator": {"name": "finite_difference", "xi": {"grid": [0, 0.01]}, "epsilon": 0.1}
    },
    "two settings that act in one combination alone": {
        "search__epochs": {"grid": [10, 40]},
        **remedy("darts_es", min_epochs={"grid": [100, 10]}),
    },
    "a halt at the end": {"search__epochs": 22, **remedy("darts_es")},
    "a rung": {"rungs": [{"top_k": 3}], **evaluate(top_k=2)},
    "a limit of the data": {"data__limit": 1000},
    "a patience": remedy("darts_plus", stable_epochs=9),
    "a limit": {"search__selection": {"name": "skip_limit", "max_skips": 3}},
    "defaults that one epoch leaves idle": training(epochs=1),
}


@pytest.mark.parametrize("case", IDLE)
def test_setting_without_effect_is_reported(case: str, tmp_path: Path) -> None:
    more, what, instead = IDLE[case]
    done = run_here("validate", written(tmp_path, **more))
    assert done.code == 0, done.err
    assert "does nothing: " in done.out
    for words in (what, instead):
        assert words in told(done.out)


@pytest.mark.parametrize("case", ACTING)
def test_a_setting_that_acts_is_not_called_idle(case: str, tmp_path: Path) -> None:
    done = run_here(*["validate", written(tmp_path, **ACTING[case])])
    assert done.code == 0, done.err
    assert "does nothing" not in done.out


def test_each_idle_setting_is_reported_once_and_no_other(tmp_path: Path) -> None:
    for case, (more, what, _) in IDLE.items():
        if case == "a limit above what is there":  # told with the data
            continue
        found = plan(load_spec(written(tmp_path, **more))).idle
        assert sum(what in why for why in found) == 1
        assert len(set(found)) == len(found)
        assert len(found) <= 2


@pytest.mark.parametrize("command", [["validate"], ["sweep", "--dry-run"]])
def test_commands_print_idle_settings_before_they_start(command: list[str], tmp_path: Path) -> None:
    spec = written(tmp_path, sweep__checkpoint_every=99, budget={"gpu_hours": 3})
    done = run_here(*command, spec)
    assert done.code == 0, done.err
    assert told(done.out).count("does nothing: ") == 2


def test_sweep_start_prints_idle_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raydarts.sweeping.runner.start_sweep", lambda *_, **__: 130)
    done = run_here("sweep", written(tmp_path, sweep__checkpoint_every=99), "--storage", tmp_path)
    assert done.code == 130, done.err
    assert "does nothing: sweep.checkpoint_every is 99" in told(done.out)


def test_of_one_stage_alone_its_own_settings_are_said(tmp_path: Path) -> None:
    spec = written(tmp_path, sweep__checkpoint_every=99, **evaluate(checkpoint_every=99))
    assert [why.split(" ")[0] for why in plan(load_spec(spec), "search").idle] == ["sweep.checkpoint_every"]
    assert [why.split(" ")[0] for why in plan(load_spec(spec), "evaluate", 9).idle] == ["evaluate.checkpoint_every"]


def test_more_trials_at_a_time_than_fit_here_are_said_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raydarts.cluster.resources.capacity", lambda *_: {"cpus": 2.0, "gpus": 0.0})
    spec = written(tmp_path, sweep__max_concurrent=3)
    done = run_here("validate", spec, "--set", "sweep.fuse=off")
    assert "does nothing: sweep.max_concurrent is 3, and no more than 2 trials fit on this machine" in told(done.out)
    assert "does nothing" not in run_here("validate", spec).out, "two trials share a process"
    less = run_here("validate", spec, "--set", "sweep.fuse=off", "--set", "sweep.max_concurrent=2")
    assert "does nothing" not in less.out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["status", "run", "--every", "3"], "--every is how often --watch looks: add --watch"),
        (["show", "genotype.json", "--json", "--title", "mine"], "--title stands above the drawing"),
    ],
)
def test_options_that_would_do_nothing_are_refused(argv: list[str], words: str, tmp_path: Path) -> None:
    paths = [str(tmp_path / word) if word in ("run", "genotype.json") else word for word in argv]
    (tmp_path / "genotype.json").write_text("{}")
    done = run_here(*paths)
    assert done.code == 2
    assert words in done.err


def test_an_estimator_that_has_no_xi_refuses_one(tmp_path: Path) -> None:
    done = run_here("validate", written(tmp_path, search__estimator={"name": "first_order", "xi": 0.1}))
    assert done.code == 2
    assert "search.estimator.xi: 'xi' does not exist under first_order" in done.err


def test_a_warm_up_that_no_stage_outlasts_is_refused(tmp_path: Path) -> None:
    stages = {"name": "progressive", "shares": [1, 1], "layers": None, "candidates": None}
    spec = written(tmp_path, search__regularizers=[{"name": "alpha_warmup", "epochs": 5}, stages])
    done = run_here("validate", spec)
    assert done.code == 2
    assert "the longest of which has 5, and never learn; rest for 4 at most" in done.err


@pytest.mark.parametrize(
    ("every", "window", "lag", "least"), [(2, 5, 4, 10), (1, 1, 1, 1), (3, 4, 2, 7), (2, 1, 3, 1), (5, 3, 1, 11)]
)
def test_a_halt_is_called_idle_up_to_the_epoch_before_its_first_comparison(
    every: int, window: int, lag: int, least: int
) -> None:
    settings = SharpnessSettings(every=every, window=window, lag=lag, min_epochs=least)
    sharpness = Sharpness(settings)
    reports: Any = (SimpleNamespace(epoch=epoch, dominant_eigenvalue=lambda n=epoch: 2.0**n) for epoch in range(1, 99))
    first = next(report.epoch for report in reports if sharpness.rise(report) is not None)
    idle = [bool(list(settings.idle(Around(None, epochs, epochs, 1, 0)))) for epochs in (first - 1, first)]
    assert idle == [True, False]


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ("space", "dataset")])
def test_every_member_with_a_neutral_setting_says_that_it_acts_like_nothing(family: str) -> None:
    around: Any = SimpleNamespace(epochs=50, stretch=50, jobs=8, gpus=0, distinct=None, section=None)
    neutral = {name: member for name, member in members(family).items() if member.NEUTRAL is not None}
    for name, member in neutral.items():
        first = next(iter(member(member.Settings(**member.NEUTRAL)).idle(around)))
        assert name in first.why
