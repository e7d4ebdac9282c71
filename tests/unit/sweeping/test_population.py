"""Population based training with real searches: forked trials, and how a run shows them. No Ray is started."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.config.loader import LoadedSpec, load_spec
from raydarts.data.splits import load_splits
from raydarts.execution import drive
from raydarts.report.gather import gather
from raydarts.runs.checkpoints import CheckpointStore
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.identity import differences, identity
from raydarts.runs.results import read_trial
from raydarts.runs.segments import newest_folder, segments_of
from raydarts.runs.whole import open_whole
from raydarts.search.model import copied
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.sweeping.runner import resume_sweep, start_sweep
from raydarts.trackers.wandb import payload
from tests import here
from tests.commands import run_here

pytestmark = pytest.mark.usefixtures("one_thread")

MEASURED = ("seconds", "memory_mb")
PAGE = Path(__file__).parents[3] / "docs" / "population.md"
SMALL = {
    "limit: 400": "limit: 40",
    "epochs: 20": "epochs: 4",
    "trials: 8": "trials: 4",
    "every: 4": "every: 2, resample: 0",
}
TEXT = PAGE.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
"""The page's example, which the tests make smaller."""
for words, fewer in SMALL.items():
    assert words in TEXT
    TEXT = TEXT.replace(words, fewer)


def spec(folder: Path, text: str = TEXT) -> LoadedSpec:
    file = folder / "population.yaml"
    file.write_text(text)
    return load_spec(file)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDirectory]:
    folder = tmp_path_factory.mktemp("population")
    with here.sweeps_run_here():  # trials alone: groups round otherwise
        assert (
            start_sweep(
                spec(folder, TEXT.replace("sweep:\n", "sweep:\n  fuse: off\n", 1)),
                folder,
                display=False,
                command=["test"],
            )
            == 0
        )
        yield open_whole(folder / "population")


def forked(run: RunDirectory) -> list[TrialDirectory]:
    return [trial for trial in run.trials() if len(segments_of(trial.description())) > 1]


def without_measured(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_measured(item) for key, item in value.items() if key not in MEASURED}
    return [without_measured(item) for item in value] if isinstance(value, list | tuple) else value


def test_a_forked_trial_continues_from_its_parents_checkpoint_to_the_last_bit(
    run: RunDirectory, tmp_path: Path
) -> None:
    """The parent is searched again up to the fork. Then a search with the fork's settings takes its state up."""
    data = load_splits(spec(tmp_path).data)
    assert forked(run)
    for trial in forked(run):
        first, last = segments_of(trial.description())
        assert first.parent is None
        assert last.parent is not None
        before = dict(run.trial(int(last.parent.trial)).description()["config"])
        parent = Search(SearchSettings.model_validate(before), data)
        for _ in range(last.parent.epoch):
            parent.run_epoch()
        child = Search(SearchSettings.model_validate(last.config), data)
        child.load_state_dict(child.restated(copied(parent.state_dict()), before))
        rows = [child.run_epoch() for _ in range(2)]
        kept = [row | {"segment": None} for row in trial.rows()[2:]]
        assert not list(differences(without_measured(kept), without_measured([r | {"segment": None} for r in rows])))
        store = CheckpointStore(newest_folder(trial), identity(trial))
        saved = store.read(store.files()[0])
        assert not list(differences(without_measured(saved), without_measured(child.state_dict())))


def test_rows_say_which_segment_they_are_of(run: RunDirectory) -> None:
    for trial in run.trials():
        expected = [0, 0, 1, 1] if trial in forked(run) or len(segments_of(trial.description())) > 1 else [0] * 4
        assert [row.get("segment", 0) for row in trial.rows()] == expected
        assert [row["epoch"] for row in trial.rows()] == [1, 2, 3, 4]


def test_settings_that_may_not_change_are_those_of_the_parent(run: RunDirectory) -> None:
    for trial in forked(run):
        last = segments_of(trial.description())[-1]
        assert last.parent is not None
        parent = run.trial(int(last.parent.trial)).description()["choices"]
        for name in ("search.seed", "search.estimator"):
            assert last.choices[name] == parent[name]
        assert last.choices["search.lr"] != parent["search.lr"]


def searched(data: Any, **changes: Any) -> Search:
    plain = {
        "epochs": 4,
        "batch_size": 16,
        "lr": 0.1,
        "lr_min": 0.01,
        "augment": {"cutout_length": 2},
        "space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1},
        "regularizers": [{"name": "drop_path", "probability": 0.3}],
    }
    return Search(SearchSettings.model_validate(plain | changes), data)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Search:
    search = searched(load_splits(spec(tmp_path_factory.mktemp("parent")).data))
    search.run_epoch()
    return search


def taken_up(parent: Search, **changes: Any) -> Search:
    child = searched(load_splits(spec_data()), **changes)
    drive._take_up(child, 1, child.restated(copied(parent.state_dict()), parent.settings.model_dump(mode="json")))
    return child


def spec_data() -> Any:
    from raydarts.data.settings import DataSettings

    return DataSettings(limit=40)


RATE = ["weight_optimizer.param_groups[0].lr", "weight_optimizer.param_groups[0].initial_lr"]
CHANGES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"regularizers": [{"name": "drop_path", "probability": 0.0}], "grad_clip": 1.0}, []),
    ({"estimator": {"name": "finite_difference", "xi": 0.5, "epsilon": 0.1}}, []),
    ({"weight_decay": 0.1}, ["weight_optimizer.param_groups[0].weight_decay"]),
    ({"momentum": 0.5}, ["weight_optimizer.param_groups[0].momentum"]),
    ({"arch_lr": 0.1}, ["alpha_optimizer.param_groups[0].lr"]),
    ({"arch_betas": [0.1, 0.9]}, [f"alpha_optimizer.param_groups[0].betas[{n}]" for n in (0, 1)]),
    ({"arch_weight_decay": 0.1}, ["alpha_optimizer.param_groups[0].weight_decay"]),
    ({"lr": 0.2}, [*RATE, "schedule.base_lrs[0]", "schedule._last_lr[0]"]),
    ({"lr_min": 0.02}, [RATE[0], "schedule.eta_min", "schedule._last_lr[0]"]),
]


@pytest.mark.parametrize(("changes", "places"), CHANGES)
def test_a_fork_changes_what_its_settings_change_and_nothing_else(
    parent: Search, changes: dict[str, Any], places: list[str]
) -> None:
    child = taken_up(parent, **changes)
    assert sorted(differences(parent.state_dict(), child.state_dict())) == sorted(places)


@pytest.mark.parametrize("changes", [{"lr": 0.2}, {"lr_min": 0.05}, {"lr": 0.3, "lr_min": 0.0}])
def test_a_new_learning_rate_stands_where_its_own_schedule_would(parent: Search, changes: dict[str, Any]) -> None:
    settings = {"lr": 0.1, "lr_min": 0.01} | changes
    alone = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], settings["lr"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(alone, 4, settings["lr_min"])
    child = taken_up(parent, **changes)
    for _ in range(3):
        alone.step()
        schedule.step()
        assert child.weight_optimizer.param_groups[0]["lr"] == pytest.approx(alone.param_groups[0]["lr"], rel=1e-12)
        child.model.schedule.step()


def test_a_fork_without_a_change_goes_on_as_its_parent_does(parent: Search) -> None:
    alone = searched(load_splits(spec_data()))
    alone.run_epoch()
    copy = taken_up(parent)
    alone.run_epoch()
    copy.run_epoch()
    assert not list(differences(without_measured(alone.state_dict()), without_measured(copy.state_dict())))
    assert torch.equal(alone.alphas["normal"], copy.alphas["normal"])


def test_trials_are_paused_until_a_fork_whose_parents_checkpoint_is_damaged_fails_by_name(tmp_path: Path) -> None:
    """The run is cut off at the fork, the checkpoint is damaged, and the run is resumed."""
    from raydarts.execution import forking

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with here.sweeps_run_here():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forking, "fork", killed)
            assert start_sweep(spec(tmp_path), tmp_path, display=False, command=["test"]) == 130
        cut = RunDirectory.open(tmp_path / "population")
        waiting = [trial for trial in cut.trials() if read_trial(trial).status == "paused"]
        assert len(waiting) == 3, "one trial reported last, and waited for nobody"
        status = run_here("status", str(cut.path))
        assert "paused" in status.out
        assert json.loads(run_here("status", str(cut.path), "--json").out)["trials"]["paused"] == 3
        event = cut.events()[-1]
        fork = next(each for each in [event, *event["others"]] if each.get("fork"))
        parent = cut.trial(fork["fork"]["parent"])
        file = next(parent.checkpoints.glob("epoch-0002-*"))  # type: ignore[union-attr]
        file.write_bytes(file.read_bytes()[:-1])
        assert resume_sweep(cut.path, display=False) == 1
    record = read_trial(cut.trial(fork["index"]))
    assert record.status == "failed"
    assert f"{file} is damaged" in record.result["error"].replace(":", "")
    assert {read_trial(trial).status for trial in cut.trials() if trial.id != record.id} <= {"completed", "failed"}


def test_a_report_says_what_a_forked_trial_comes_from(run: RunDirectory) -> None:
    trial = forked(run)[0]
    parent = segments_of(trial.description())[-1].parent
    assert parent is not None
    whole = json.loads(run_here("report", str(run.path), "--json").out)
    parts = next(each["lineage"] for each in whole["trials"] if each["id"] == trial.id)
    assert [(part["trial"], part["first"], part["last"]) for part in parts] == [(parent.trial, 1, 2), (trial.id, 3, 4)]
    assert parts[0]["choices"] == run.trial(int(parent.trial)).description()["choices"]
    assert parts[1]["choices"] == trial.description()["choices"]
    assert [each["id"] for each in whole["trials"] if each["lineage"]] == [each.id for each in forked(run)]
    text = " ".join(run_here("report", str(run.path)).out.split())
    assert f"trial {trial.id}: epochs 1-2 by trial {parent.trial} with seed" in text
    assert f"epochs 3-4 by trial {trial.id} with lr" in text


def test_a_result_says_what_its_genotype_comes_from(run: RunDirectory) -> None:
    trial = forked(run)[0]
    shown = json.loads(run_here("show", str(trial.path / "result.json"), "--json").out)
    assert shown["lineage"].startswith("epochs 1-2 by trial 0")
    assert f"epochs 3-4 by trial {trial.id}" in shown["lineage"]
    other = next(each for each in run.trials() if len(segments_of(each.description())) == 1)
    assert "lineage" not in json.loads(run_here("show", str(other.path / "result.json"), "--json").out)


def test_an_export_has_the_settings_of_each_epoch(run: RunDirectory, tmp_path: Path) -> None:
    trial = forked(run)[0]
    first, last = segments_of(trial.description())
    assert last.parent is not None
    for words, expected in ((["--epochs"], [first, first, last, last]), ([], [last])):
        run_here("export", str(run.path), "--to", str(tmp_path / "all.csv"), *words)
        with (tmp_path / "all.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["id"] == trial.id]
        assert [float(row["choice.search.lr"]) for row in rows] == [each.choices["search.lr"] for each in expected]
        origin = f"{last.parent.trial} after epoch 2"
        assert [row["forked_from"] for row in rows] == [origin if each is last else "" for each in expected]


def test_a_forked_trial_is_in_no_finding_about_settings(run: RunDirectory) -> None:
    whole = gather(run.path)
    copies = {trial.id for trial in forked(run)}
    assert {search.id for search in whole.searches if not search.choices} == copies
    assert {search.id for search in whole.searches if search.lineage} == copies
    page = run_here("report", str(run.path), "--html", "--out", str(run.path.parent / "page.html"))
    assert page.code == 0
    text = (run.path.parent / "page.html").read_text()  # type: ignore[union-attr]
    assert "went on as a copy of another search" in text
    assert f"epochs 3-4 by trial {min(copies)} with" in text


def test_trackers_are_given_the_settings_of_the_last_segment_and_its_parent(run: RunDirectory) -> None:
    trial = forked(run)[0]
    last = segments_of(trial.description())[-1]
    assert last.parent is not None
    config: Any = payload.config(run, run.description(), trial.description())
    assert config["lr"] == last.config["lr"]
    assert config["forked_from"] == {"trial": last.parent.trial, "epoch": 2}
