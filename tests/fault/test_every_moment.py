"""A job interrupted at each moment that matters, one after the other, ends as one never interrupted, to the last bit.

The interruptions are raised in this process, where a moment can be chosen exactly; what the disk then holds is what
a SIGKILL there would leave. tests/fault/test_kill_single.py kills processes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from raydarts import single
from raydarts.errors import NonFiniteError
from raydarts.execution import drive
from raydarts.optimizers import SGD
from raydarts.runs import checkpoints
from raydarts.runs.checkpoints import CheckpointStore
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.identity import differences, identity
from tests.unit.data.folder_of_images import write_images

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

EPOCHS = 5
MEASURED = ("seconds", "memory_mb")
AUGMENT = {"crop_padding": 1, "flip": True, "cutout_length": 3, "cutout_probability": 0.7}
CELL = [["sep_conv_3x3", 0], ["skip_connect", 1], ["max_pool_3x3", 0], ["noise", 1]]
GENOTYPE = {"normal": CELL, "normal_concat": [2, 3], "reduce": CELL, "reduce_concat": [2, 3]}
ROBUST = {"name": "robust_s4", "channels": 2, "layers": 3, "nodes": 2}
BENCHMARK = {"name": "nasbench201", "channels": 2, "cells_per_stage": 1}
SMALL = {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1}


class Killed(BaseException):
    """As sudden as a kill: nothing in raydarts may catch it."""


def search(data: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    settings = {"epochs": EPOCHS, "batch_size": 16, "arch_lr": 0.05, "augment": AUGMENT, "space": SMALL}
    settings |= {"estimator": "first_order", "regularizers": [{"name": "drop_path", "probability": 0.4}], **changes}
    return {"search": settings, "data": data or {"dataset": "digits", "limit": 40}}


def evaluation() -> dict[str, Any]:
    training = {"epochs": EPOCHS, "batch_size": 16, "drop_path": 0.4, "augment": AUGMENT,
                "network": {"channels": 2, "layers": 3, "auxiliary_weight": 0.4}}  # fmt: skip
    return {"evaluate": {"training": training}, "data": {"dataset": "digits", "limit": 48}}


def streamed(root: Path) -> dict[str, Any]:
    images = {"name": "image_folder", "root": str(root), "size": 8, "stream": True, "workers": 1}
    augment = AUGMENT | {"random_resized_crop": [0.2, 0.9], "colour_jitter": {"brightness": 0.4}}
    return search({"dataset": images, "mean": [0.5] * 3, "std": [0.2] * 3}, augment=augment)


def started(path: Path, spec: dict[str, Any], every: int) -> RunDirectory:
    spec = spec | {"threads": 1, "gpu": False, "checkpoint_every": every}
    kind = "search" if "search" in spec else "evaluation"
    run = RunDirectory.create(path, kind=kind, spec=spec)
    if kind == "search":
        run.trial(0).create({"index": 0, "config": spec["search"], "choices": {}})
    else:
        run.evaluation("a", 3).create({"genotype_id": "a", "genotype": GENOTYPE, "seed": 3})
    return run


def trial_of(run: RunDirectory) -> TrialDirectory:
    return (run.trials() or run.evaluations())[0]


def go_on(run: RunDirectory) -> None:
    single.go_on(run, Console(quiet=True))


def tear_the_row(trial: TrialDirectory, row: Any) -> None:
    with (trial.path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row)[:40])
    raise Killed


def write_half(path: Path, content: bytes) -> None:
    path.with_name(f".{path.name}.0123abcd.tmp").write_bytes(content[: len(content) // 2])
    raise Killed


def write_torn(path: Path, content: bytes) -> None:
    path.write_bytes(content[: len(content) // 2])
    raise Killed


def raise_killed(*_: Any, **__: Any) -> None:
    raise Killed


def dying_at_step(number: int) -> Callable[..., Any]:
    """A step that is interrupted the n-th time from now."""
    step, taken = SGD.step, iter(range(1, 1000))

    def replacement(self: SGD, *arguments: Any, **named: Any) -> Any:
        if next(taken) == number:
            raise Killed
        return step(self, *arguments, **named)

    return replacement


@contextmanager
def dying(moment: str) -> Iterator[None]:
    """Inside, the job is interrupted at its next such moment."""
    places: dict[str, tuple[Any, str, Any]] = {
        "in the first epoch": (SGD, "step", raise_killed),
        "at the third step": (SGD, "step", dying_at_step(3)),
        "in mid-row": (TrialDirectory, "append_row", tear_the_row),
        "between row and checkpoint": (CheckpointStore, "save", raise_killed),
        "in mid-checkpoint": (checkpoints, "write_bytes", write_half),
        "by a disk that lost a checkpoint's end": (checkpoints, "write_bytes", write_torn),
        "between last checkpoint and result": (drive, "finish", raise_killed),
    }
    owner, name, replacement = places[moment]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, replacement)
        yield


MOMENTS = ["in the first epoch", "in mid-row", "at the third step", "between row and checkpoint", "in mid-checkpoint",
           "by a disk that lost a checkpoint's end", "between last checkpoint and result"]  # fmt: skip


def final(run: RunDirectory) -> dict[str, Any]:
    """The last checkpoint, the rows, the result; what is measured (time, memory) left out."""
    trial = trial_of(run)
    newest = CheckpointStore(trial.checkpoints, identity(trial)).files()[0]
    state = torch.load(newest, weights_only=True)
    return _comparable({"checkpoint": state, "rows": trial.rows(), "result": trial.result()})


def _comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _comparable(item) for key, item in value.items() if key not in MEASURED}
    return [_comparable(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    ("kind", "every"), [("robust_s4", 1), ("nasbench201", 2), ("streamed", 1), ("evaluation", 1), ("evaluation", 2)]
)
def test_interrupted_at_every_moment(kind: str, every: int, tmp_path: Path) -> None:
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "robust_s4": lambda: search({"dataset": "digits", "limit": 40}, space=ROBUST),
        "nasbench201": lambda: search({"dataset": "digits", "limit": 80}, space=BENCHMARK),
        "streamed": lambda: streamed(write_images(tmp_path / "images", {"train": 12, "test": 2})),
        "evaluation": evaluation,
    }
    spec = makers[kind]()
    whole, cut = started(tmp_path / "whole", spec, every), started(tmp_path / "cut", spec, every)
    go_on(whole)
    for moment in MOMENTS:
        with dying(moment), pytest.raises(Killed):
            go_on(cut)
        torch.manual_seed(len(moment))  # a new process has another global state
    go_on(cut)
    assert list(differences(final(whole), final(cut))) == []
    assert [row["epoch"] for row in trial_of(cut).rows()] == list(range(1, EPOCHS + 1))
    left = {path.name for path in trial_of(cut).checkpoints.iterdir() if path.name.endswith(".tmp")}
    assert left == set()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of which two epochs are done."""
    threads = torch.get_num_threads()
    run = started(tmp_path_factory.mktemp("begun") / "run", search(), 1)
    with pytest.MonkeyPatch.context() as patch:
        original = TrialDirectory.append_row
        stop = lambda self, row: raise_killed() if row["epoch"] == 3 else original(self, row)  # noqa: E731
        patch.setattr(TrialDirectory, "append_row", stop)
        with pytest.raises(Killed):
            go_on(run)
    torch.set_num_threads(threads)
    return run.path


def reopened(begun: Path, path: Path) -> tuple[RunDirectory, CheckpointStore, dict[str, Any]]:
    """A copy to be spoilt, its store, and the state after two epochs."""
    shutil.copytree(begun, path)
    run = RunDirectory.open(path)
    store = CheckpointStore(run.trial(0).checkpoints, identity(run.trial(0)))
    return run, store, store.read(store.files()[0])


def job_of(run: RunDirectory) -> Any:
    trial = run.trial(0)
    return drive.open_job(lambda: single._job(trial, "search", run.description()["spec"]), trial)


def spoil(state: dict[str, Any], how: str) -> dict[str, Any]:
    alpha = state["alpha"]["normal"]
    optimizer, streams = state["weight_optimizer"], state["streams"]
    return (
        state
        | {
            "no genotypes": {"genotypes": None},
            "a genotype that is none": {"genotypes": [{"normal": 1}] * 3},
            "alpha of one row": {"alpha": state["alpha"] | {"normal": alpha[:1]}},  # broadcasts
            "alpha of one number": {"alpha": state["alpha"] | {"normal": alpha[0, 0]}},
            "alpha of another precision": {"alpha": state["alpha"] | {"normal": alpha.double()}},
            "alpha as lists": {"alpha": {name: value.tolist() for name, value in state["alpha"].items()}},
            "one cell's alpha": {"alpha": {"normal": alpha}},
            "no weights": {"supernet": {}},
            "no momenta": {"weight_optimizer": optimizer | {"param_groups": []}},
            "a cut stream": {"streams": streams | {"dropout": streams["dropout"][:-8]}},
            "a remedy's state missing": {"regularizers": []},
            "a stop that is none": {"stop": {"why": "?"}},
            "a stream left behind": {"streams": streams | {"unknown": streams["dropout"]}, "genotypes": None},
            "another kind": {"kind": "evaluation"},
        }[how]
    )


SPOILT = ["no genotypes", "a genotype that is none", "alpha of one row", "alpha of one number",
          "alpha of another precision", "alpha as lists", "one cell's alpha", "no weights", "no momenta",
          "a cut stream", "a remedy's state missing", "a stop that is none", "a stream left behind",
          "another kind"]  # fmt: skip


@pytest.mark.parametrize("how", SPOILT)
def test_a_malformed_state_is_refused_and_the_older_one_wholly_taken_up(
    how: str, begun: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What the refused state had already put into the job is gone: the job is the older checkpoint to the last bit."""
    run, store, good = reopened(begun, tmp_path / "run")
    bad = store.save(3, spoil(good | {"epoch": 3}, how))
    job = job_of(run)
    assert list(differences(good, job.state_dict())) == []
    assert f"{bad}: refused: does not fit this job" in caplog.text
    fresh = single._job(run.trial(0), "search", run.description()["spec"])
    fresh.load_state_dict(good)
    job.run_epoch()
    fresh.run_epoch()
    assert list(differences(_comparable(fresh.state_dict()), _comparable(job.state_dict()))) == []


def test_weights_that_are_not_finite_end_the_trial_with_the_epoch_named(begun: Path, tmp_path: Path) -> None:
    """They are what that job had, so they are taken up; nothing is trained from them."""
    run, store, good = reopened(begun, tmp_path / "run")
    weights = {name: value.clone() for name, value in good["supernet"].items()}
    weights["classifier.weight"][0, 0] = float("nan")
    store.save(3, good | {"epoch": 3, "supernet": weights})
    with pytest.raises(NonFiniteError, match="epoch 4, batch 0"):
        job_of(run).run_epoch()


def test_checkpoints_of_other_jobs_are_refused_by_name(
    begun: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the same shapes: another seed, estimator, limit of images; and an evaluation's in a search's folder."""
    run, store, good = reopened(begun, tmp_path / "run")
    seed, estimator, images = search(seed=1), search(estimator="exact_hvp"), search({"dataset": "digits", "limit": 41})
    for number, spec in enumerate((seed, estimator, images, evaluation())):
        other = trial_of(started(tmp_path / f"other{number}", spec, 1))
        CheckpointStore(store.folder, identity(other), keep=9).save(3 + number, good | {"epoch": 3 + number})
    job = job_of(run)
    assert list(differences(good, job.state_dict())) == []
    assert len(list(store.folder.glob("*.refused"))) == 4
    for named in ("search.seed", "search.estimator", "data.limit", "kind"):
        assert f"is another job's, which differs in {named}" in caplog.text
