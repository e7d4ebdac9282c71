"""The stages of a spec: what they take over, what is refused, and the plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydarts.config.loader import LoadedSpec, load_plain, load_spec
from raydarts.config.plan import plan
from raydarts.errors import SpecError

SPEC = """\
data: {dataset: digits}
search: {epochs: 2, seed: {grid: [0, 1, 2, 3, 4, 5]}}
rungs:
  - top_k: 5
    training: {epochs: 4, network: {channels: 8}}
  - {top_k: 3, seeds: [1, 2], resources: {cpus: 1}, training: {preset: p-darts-cifar10, epochs: 9}}
evaluate:
  top_k: 2
  max_skips: 3
  resources: {cpus: 2}
  training: {preset: darts-cifar10, batch_size: 32, network: {layers: 5}}
transfer:
  - name: imagenet
    data: {dataset: digits, limit: 300}
    training: {preset: darts-imagenet}
budget: {gpu_hours: 2.5}
"""


def load(folder: Path, text: str = SPEC, *sets: str) -> LoadedSpec:
    (folder / "s.yaml").write_text(text)
    return load_spec(folder / "s.yaml", sets)


def refusals(folder: Path, text: str) -> list[str]:
    with pytest.raises(SpecError) as refused:
        load(folder, text)
    return [str(problem).removeprefix(f"{folder}/") for problem in refused.value.problems]


def test_rung_inherits_what_it_does_not_set(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    first, second = loaded.stages.rungs
    evaluate = loaded.stages.evaluate
    assert evaluate is not None
    assert first.training == evaluate.training.model_copy(
        update={"epochs": 4, "network": evaluate.training.network.model_copy(update={"channels": 8})}
    )
    assert (first.max_skips, first.resources.cpus, first.seeds) == (3, 2, (0,))
    # A preset named in a rung lies over what it took over, and under the rung's own keys.
    assert (second.training.epochs, second.training.drop_path, second.resources.cpus) == (9, 0.3, 1)
    assert second.training.batch_size == 128
    assert second.training.network.layers == 20


@pytest.mark.parametrize("named", [("", ""), ("name: image, ", ""), ("", "name: image, "), ("name: image, ",) * 2])
def test_a_training_is_taken_over_whether_it_is_named_or_not(tmp_path: Path, named: tuple[str, str]) -> None:
    text = SPEC.replace("{preset: darts-cifar10,", f"{{{named[0]}preset: darts-cifar10,")
    loaded = load(tmp_path, text.replace("{epochs: 4", f"{{{named[1]}epochs: 4"))
    assert loaded.stages.rungs[0].training.batch_size == 32


def test_transfer_inherits_no_training(tmp_path: Path) -> None:
    (transfer,) = load(tmp_path).stages.transfer
    assert (transfer.training.epochs, transfer.training.batch_size, transfer.training.network.layers) == (250, 128, 14)
    assert transfer.training.augment.crop_padding == 0  # evaluate's preset has 4
    assert (transfer.resources.cpus, transfer.max_skips, transfer.top_k, transfer.seeds) == (2, None, 1, (0, 1))


def test_overrides_reach_into_lists_of_stages(tmp_path: Path) -> None:
    sets = ["rungs.0.top_k=4", "transfer.0.training.preset=pc-darts-imagenet", "transfer.0.training.epochs=6"]
    loaded = load(tmp_path, SPEC, *sets)
    assert loaded.stages.rungs[0].top_k == 4
    assert loaded.stages.transfer[0].training.schedule == "linear"
    assert loaded.stages.transfer[0].training.epochs == 6
    assert loaded.presets["transfer.0.training"] == ("pc-darts-imagenet",)
    assert load(tmp_path, SPEC, "transfer=null").stages.transfer == ()


def test_a_run_stores_the_stages_as_they_are(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    again = load_plain(loaded.to_plain(), "run.json")
    assert again.stages == loaded.stages
    assert again.presets == loaded.presets


def test_the_plan_has_every_stage(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    found = plan(loaded)
    assert [(stage.name, stage.jobs, stage.epochs, stage.epochs_in_all) for stage in found.stages] == [
        ("search", 6, 2, 12),
        ("rung-1", 5, 4, 20),
        ("rung-2", 6, 9, 54),
        ("evaluate", 4, 600, 2400),
        ("transfer-imagenet", 2, 250, 500),
    ]
    assert found.budget == {"gpu_hours": 2.5}
    alone = plan(loaded, "evaluate", candidates=1)
    assert [(stage.name, stage.jobs) for stage in alone.stages] == [("evaluate", 2)]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("epochs: 4,", "epoch: 4,", 5, "rungs.0.training.epoch: unknown key 'epoch'; did you mean 'epochs'?"),
        ("preset: p-darts", "preset: q-darts", 6, "rungs.1.training.preset: unknown preset 'q-darts-cifar10'"),
        ("top_k: 3", "top_k: 7", 6, "rungs.1.top_k: 7 genotypes cannot come from rung-1, which has 5: at most 5"),
        ("  top_k: 2", "  top_k: 4", 8, "evaluate.top_k: 4 genotypes cannot come from rung-2, which has 3"),
        ("name: imagenet", "name: a/b", 13, "transfer.0.name: 'a/b' is no name"),
        ("dataset: digits, l", "dataset: nope, l", 14, "transfer.0.data.dataset: unknown dataset 'nope'"),
        (
            "{dataset: digits, limit: 300}\n    training: {preset: darts-imagenet}",
            "{dataset: pydoc_topics}",
            14,
            "transfer.0.data.dataset: pydoc_topics holds data of kind text, and a cell found on image",
        ),
        ("limit: 300", "limit: {choice: [1, 2]}", 14, "transfer.0.data.limit: a distribution (choice) can only stand"),
        ("digits, limit: 300}", "digits, validation_fraction: 0}\n    top_k: 2", 14, "ranks by held-out images"),
        ("gpu_hours: 2.5", "gpu_hours: 0", 16, "budget.gpu_hours: must be greater than 0, got 0"),
        ("gpu_hours: 2.5", "hours: 2", 16, "budget.hours: unknown key 'hours'; did you mean 'gpu_hours'?"),
        ("batch_size: 32", "batch_size: 0", 11, "evaluate.training.batch_size: must be at least 2, got 0"),
    ],
)
def test_problems_of_a_stage_are_reported_with_their_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    assert old in SPEC
    (told,) = refusals(tmp_path, SPEC.replace(old, new, 1))
    assert told.startswith(f"s.yaml:{line}: ")
    assert words in told


def test_rungs_without_evaluate_and_twice_the_same_name_are_refused(tmp_path: Path) -> None:
    start, _, rest = SPEC.partition("evaluate:")
    (told,) = refusals(tmp_path, start)
    assert told.startswith("s.yaml:3: rungs: rungs narrow the field for evaluate, which is absent")
    (told,) = refusals(tmp_path, f"{start}evaluate:{rest}".replace("budget:", "  - {name: imagenet}\nbudget:"))
    assert told.startswith("s.yaml:16: transfer.1.name: 'imagenet' is taken by an earlier transfer")
    (told,) = refusals(tmp_path, "rungs: 3\n")
    assert told.startswith("s.yaml:1: rungs: must be a list of stages")
