"""The Python interface, as docs/python.md shows it: the page's own code, on a real small sweep."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import raydarts
from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.errors import InputError, SpecError
from raydarts.spaces import Genotype
from tests.commands import run_here
from tests.here import sweeps_run_here

pytestmark = pytest.mark.slow
PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
FIRST, SECOND = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page's code leaves, run in a folder of its own."""
    folder = tmp_path_factory.mktemp("project")
    names: dict[str, Any] = {"raydarts": raydarts}
    with pytest.MonkeyPatch.context() as patch, sweeps_run_here():
        patch.chdir(folder)
        exec(FIRST, names)
    return {"folder": folder, **names}


def data() -> Any:
    return load_splits(DataSettings.model_validate({"dataset": "digits", "validation_fraction": 0.2, "limit": 400}))


def images_of(part: str) -> tuple[torch.Tensor, torch.Tensor]:
    splits = data()
    images, labels = splits.source.train_images[getattr(splits, part)], splits.source.train_labels
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels[getattr(splits, part)])


def accuracy(network: Any, images: torch.Tensor, targets: torch.Tensor) -> float:
    with torch.no_grad():
        return float((network(images).argmax(1) == targets).double().mean())


def test_the_frames_have_the_columns_of_the_page(project: dict[str, Any]) -> None:
    run = project["run"]
    documented = {name: set(re.findall(r"`([a-z_.*]+)`", row)) for name, row in _rows()}
    for name in ("trials", "ranking", "decisions"):
        for column in getattr(run, name).columns:
            kind = column.partition(".")[0] + ".*" if "." in column else column
            assert kind in documented[name], f"{name}: {column}"
    assert len(run.trials) == 6
    assert set(run.trials["stage"]) == {"search", "evaluation"}
    assert len(run.epochs) == 12
    assert run.ranking.loc[0, "genotype"] == run.best.id
    assert run.ranking.loc[0, "n"] == 2
    assert list(run.decisions["decision"]).count("promote") == 1


def _rows() -> list[tuple[str, str]]:
    return re.findall(r"^\| `(trials|epochs|ranking|decisions)` \|(.*)\|$", PAGE, re.M)


def test_a_loaded_network_has_the_reported_accuracy_to_the_last_digit(project: dict[str, Any]) -> None:
    run = project["run"]
    held_out = images_of("validation")
    for seed in (0, 1):
        network = run.load_network(seed=seed)
        assert accuracy(network, *held_out) == network.about.figures["validation_accuracy"]
        row = run.trials.query("stage == 'evaluation' and evaluation_seed == @seed").iloc[0]
        assert network.about.figures["validation_accuracy"] == row["metric.validation_accuracy"]
        tests = data().source
        images = torch.from_numpy(tests.test_images).permute(0, 3, 1, 2)
        assert accuracy(network, images, torch.from_numpy(tests.test_labels)) == row["metric.test_accuracy"]


def test_a_file_of_weights_is_the_same_network(project: dict[str, Any]) -> None:
    folder, run = project["folder"], project["run"]
    done = run_here("export", f"runs/digits:{run.best.id[:4]}", "--weights", "w.safetensors", "--seed", "1", cwd=folder)
    assert done.code == 0, done.err
    assert f"genotype {run.best.id}, stage evaluate, evaluation seed 1" in done.out
    network, images = raydarts.load_network(folder / "w.safetensors"), images_of("validation")[0]
    with torch.no_grad():
        assert torch.equal(network(images), run.load_network(seed=1)(images))
    assert network.genotype == run.best.genotype
    names = {"raydarts": raydarts, "images": images}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(SECOND, names)


def test_numbers_from_0_to_1_are_taken_as_bytes_are(project: dict[str, Any]) -> None:
    network, (images, _) = project["network"], images_of("validation")
    with torch.no_grad():
        torch.testing.assert_close(network(images.float() / 255), network(images))


def test_genotypes_lie_in_files_that_every_command_reads(project: dict[str, Any]) -> None:
    folder, run = project["folder"], project["run"]
    files = sorted((folder / "runs/digits/genotypes").glob("*.txt"))
    assert {file.stem for file in files} == set(run.trials["genotype_id"])
    assert all(Genotype.from_file(file).id == file.stem for file in files)
    shown = [run_here("show", what, "--json", cwd=folder) for what in ("runs/digits", f"runs/digits:{run.best.id}")]
    assert [json.loads(each.out)["id"] for each in shown] == [run.best.id] * 2
    drawn = run_here("show", f"runs/digits:{run.best.id}", cwd=folder)
    assert drawn.code == 0
    assert (folder / f"runs/digits/genotypes/{run.best.id}.png").is_file()


def test_a_genotype_of_a_run_is_retrained_as_its_run_did(project: dict[str, Any]) -> None:
    folder, run = project["folder"], project["run"]
    done = run_here("evaluate", f"runs/digits:{run.best.id}", "--seed", "1", "--name", "again", cwd=folder)
    assert done.code == 0, done.err
    again = raydarts.Run.open(folder / "runs/again")
    first = run.trials.query("stage == 'evaluation' and evaluation_seed == 1").iloc[0]
    assert again.trials.iloc[0]["metric.test_accuracy"] == first["metric.test_accuracy"]
    refused = run_here("evaluate", "runs/digits", "--set", "evaluate.training.epochs=1", cwd=folder)
    assert refused.code == 2
    assert "give a spec with --spec" in refused.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runs/digits:zz", "--weights", "w.safetensors"], "has no genotype 'zz'; it has "),
        (["runs/digits", "--weights", "w.pt"], "must end in .safetensors"),
        (
            ["runs/digits", "--weights", "w.safetensors", "--seed", "7"],
            "with evaluation seed 7 in stage evaluate; it was ",
        ),
        (["runs/digits", "--weights", "w.safetensors", "--stage", "rung-1"], "was not retrained in stage rung-1"),
        (["runs/digits", "--weights", "no/such/w.safetensors"], "cannot be written"),
        (["runs/digits", "--to", "t.csv", "--seed", "1"], "--seed is for --weights alone"),
        (["runs/digits"], "give one of: --to FILE for the table of results, --weights FILE"),
        (["runs/digits", "--weights", "w.safetensors", "--epochs"], "--epochs is for the table"),
    ],
)
def test_what_cannot_be_exported_is_refused(project: dict[str, Any], arguments: list[str], words: str) -> None:
    done = run_here("export", *arguments, cwd=project["folder"])
    assert done.code == 2
    assert words in done.err


def test_damaged_and_foreign_files_of_weights_are_refused(project: dict[str, Any], tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    from raydarts.execution.trained import write_weights

    whole = tmp_path / "whole.safetensors"
    write_weights(project["network"], whole)
    with safe_open(whole, "pt") as opened:
        about, weights = (
            json.loads(opened.metadata()["raydarts"]),
            {key: opened.get_tensor(key) for key in opened.keys()},  # noqa: SIM118
        )
    broken = {
        "cut.safetensors": ("no file of weights", lambda file: file.write_bytes(whole.read_bytes()[:500])),
        "other.safetensors": ("was not written by", lambda file: save_file(weights, file)),
        "text.safetensors": ("is damaged", lambda file: save_file(weights, file, {"raydarts": "not JSON"})),
        "larger.safetensors": ("do not fit", lambda file: _saved(weights, file, about, channels=8)),
        "absent.safetensors": ("has no run|no such", lambda file: None),
    }
    for name, (words, make) in broken.items():
        make(tmp_path / name)
        with pytest.raises(InputError, match=words):
            raydarts.load_network(tmp_path / name)


def _saved(weights: dict[str, torch.Tensor], file: Path, about: dict[str, Any], channels: int) -> None:
    from safetensors.torch import save_file

    about["training"]["network"]["channels"] = channels
    save_file(weights, file, {"raydarts": json.dumps(about)})


def test_a_notebook_shows_the_run_and_nothing_in_it_is_markup(project: dict[str, Any]) -> None:
    run = project["run"]
    shown = run._repr_html_()
    assert run.best.id in shown
    assert "Does second order pay on digits?" in shown
    file = project["folder"] / "runs/digits/run.json"
    text = file.read_text()
    try:
        file.write_text(text.replace("Does second order", "<script>alert(1)</script>"))
        assert "<script>" not in raydarts.Run.open(file.parent)._repr_html_()
    finally:
        file.write_text(text)


def test_all_problems_of_a_mapping_are_raised_at_once_with_their_keys() -> None:
    from raydarts.api import sweep

    with pytest.raises(SpecError) as raised:
        sweep({"search": {"epochs": "ten", "lr": -1}}, set={"search.batch_size": 0})
    assert all(key in str(raised.value) for key in ("search.epochs", "search.lr", "search.batch_size"))
