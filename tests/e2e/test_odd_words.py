"""Paths, names and genotypes as people write them, through the command line, without Ray."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.commands import run_here

TINY = """
data: {dataset: digits, limit: 64, validation_fraction: 0.25}
search: {epochs: 1, batch_size: 16, space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder, with a spec and images; the working folder is another one, and empty."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    (home / "spec.yaml").write_text(TINY)
    arrays = {f"{part}_images": np.arange(24 * 64, dtype=np.uint8).reshape(24, 8, 8) for part in ("train", "test")}
    np.savez(home / "mine.npz", **arrays, **{f"{part}_labels": np.arange(24) % 4 for part in ("train", "test")})
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(work)
    return home


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("written", ["~", "$HOME"])
def test_a_storage_in_the_home_folder_lies_there(written: str, home: Path) -> None:
    outcome = run_here("search", home / "spec.yaml", f"--storage={written}/runs", "--name", "one")
    assert list(Path.cwd().iterdir()) == []
    assert outcome.code == 0, outcome.err
    assert (home / "runs" / "one" / "run.json").is_file()


@pytest.mark.parametrize("written", ["~", "$HOME"])
@pytest.mark.parametrize("way", ["--set", "spec"])
def test_data_in_the_home_folder_are_read_from_there(written: str, way: str, home: Path) -> None:
    data = f"{{name: npz, file: {written}/mine.npz}}"
    words = ["--set", f"data.dataset={data}"] if way == "--set" else []
    spec = home / "of_data.yaml"
    spec.write_text(f"data: {{dataset: {'digits' if words else data}}}\nsearch: {{epochs: 1}}\n")
    outcome = run_here("validate", spec, *words)
    assert outcome.code == 0, outcome.err
    assert "24 training and 24 test images" in outcome.out


@pytest.mark.usefixtures("one_thread")
def test_a_spec_may_be_called_as_a_browser_calls_a_second_download(home: Path) -> None:
    spec = home / "my sweep (1).yaml"
    spec.write_text(TINY)
    outcome = run_here("search", spec, "--storage", home / "runs")
    assert outcome.code == 0, outcome.err
    (run,) = (home / "runs").iterdir()
    assert run.name.startswith("my-sweep-1-")


def test_a_name_of_250_letters_is_refused_by_validate(home: Path) -> None:
    (home / "spec.yaml").write_text(f"name: {'n' * 250}\n{TINY}")
    outcome = run_here("validate", home / "spec.yaml")
    assert outcome.code == 2
    assert f"{home}/spec.yaml:1: name: " in outcome.err
    assert "is too long: 250 letters" in outcome.err


def test_a_tab_after_a_value_is_legal(home: Path) -> None:
    (home / "spec.yaml").write_text("search:\n  epochs: 3\t\n  lr: 0.1\t# a rate\n")
    assert run_here("validate", home / "spec.yaml").code == 0


@pytest.mark.parametrize(
    ("value", "words"),
    [("{values: [0.1, 0.2]}", "{choice: [0.1, 0.2]}"), ("{min: 0.1, max: 1}", "{uniform: [0.1, 1]}")],
)
def test_a_distribution_of_wandbs_is_answered_with_ours(value: str, words: str, home: Path) -> None:
    outcome = run_here("validate", home / "spec.yaml", "--set", f"search.lr={value}")
    assert outcome.code == 2
    assert words in outcome.err


@pytest.mark.parametrize(
    ("setting", "words"),
    [("project=a/b", "'a/b' is no W&B project"), ("entity=my team", "'my team' is no W&B entity")],
)
def test_a_wandb_project_or_entity_is_refused_in_words(setting: str, words: str, home: Path) -> None:
    outcome = run_here("validate", home / "spec.yaml", "--set", f"track.wandb.{setting}")
    assert outcome.code == 2
    assert words in outcome.err
    assert "^[" not in outcome.err


REDUCE = "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=range(2, 3)"
ONE = f"Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=[2], {REDUCE})"
TWO = ONE.replace("sep_conv_3x3", "dil_conv_3x3")


def shown(file: Path | str) -> str:
    """The first operation of the genotype that `show` reads."""
    outcome = run_here("show", file, "--json")
    assert outcome.code == 0, outcome.err
    return str(json.loads(outcome.out)["genotype"]["normal"][0][0])


@pytest.mark.parametrize(
    "text",
    [
        f'"""Found with Genotype(...)."""\nX = {ONE}\n',
        f"# found on a Monday\nX = {ONE}\n",
        f"X: Genotype = {ONE}\n",
        f"print({ONE})\n",
        f"2024-01-01 10:00:00,123 INFO genotype = {ONE}\n",
    ],
    ids=["doc string", "comment", "annotated", "print", "log line"],
)
def test_a_genotype_is_read_whatever_stands_around_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "cells.py").write_text(text)
    assert shown(tmp_path / "cells.py") == "sep_conv_3x3"


def test_one_of_several_genotypes_is_chosen_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "cells.py"
    file.write_text(f"A = {ONE}\nB = {TWO}\n")
    assert [shown(f"{file}:{name}") for name in ("A", "B")] == ["sep_conv_3x3", "dil_conv_3x3"]
    outcome = run_here("show", file)
    assert outcome.code == 2
    assert "holds 2 genotypes; choose one" in outcome.err


def test_a_primitive_that_no_space_has_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cells.py"
    file.write_text(f"X = {ONE.replace('sep_conv_3x3', 'sep_cnv_3x3')}\n")
    outcome = run_here("show", file)
    assert outcome.code == 2
    assert f"{file}:1: no space has the primitive 'sep_cnv_3x3'; did you mean 'sep_conv_3x3'?" in outcome.err
