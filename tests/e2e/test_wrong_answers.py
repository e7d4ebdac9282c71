"""Inputs that once gave a wrong answer in silence, through the command line, without Ray."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raydarts.config.loader import load_spec
from raydarts.data.image_folder import ImageFolder
from raydarts.data.text_folder import TextFolder
from raydarts.runs.directory import RunDirectory
from raydarts.sweeping import runner
from tests.commands import Outcome, run_here

ROOT = Path(__file__).parent.parent.parent
SMALL = "search: {epochs: 1, batch_size: 8, space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}}\n"


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


def test_no_shipped_sweep_lets_a_searcher_tune_a_seed() -> None:
    """A searcher that fits a model finds every seed fixed."""
    open_seeds = {}
    for file in sorted((ROOT / "sweeps").glob("*.yaml")):
        loaded = load_spec(file)
        if loaded.sweep.searcher.name == "optuna":
            open_seeds[file.name] = [each.name for each in loaded.search.distributions() if "seed" in each.name]
    assert {"cnn.yaml", "remedies.yaml"} <= set(open_seeds)
    assert not any(open_seeds.values()), open_seeds


def checked(folder: Path, data: str) -> Outcome:
    (folder / "spec.yaml").write_text(f"data: {{dataset: {data}}}\n{SMALL}")
    return run_here("validate", folder / "spec.yaml")


def npz(folder: Path, **changes: Any) -> str:
    random = np.random.default_rng(0)
    arrays = {
        "train_images": random.integers(0, 256, (24, 12, 12, 3), dtype=np.uint8),
        "train_labels": np.arange(24) % 4,
        "test_images": random.integers(0, 256, (8, 12, 12, 3), dtype=np.uint8),
        "test_labels": np.arange(8) % 4,
    }
    np.savez(folder / "mine.npz", **{**arrays, **changes})
    return f"{{name: npz, file: {folder}/mine.npz}}"


def test_channels_that_stand_first_are_refused(tmp_path: Path) -> None:
    first = {f"{part}_images": np.zeros((count, 3, 12, 12), np.uint8) for part, count in (("train", 24), ("test", 8))}
    outcome = checked(tmp_path, npz(tmp_path, **first))
    assert outcome.code == 2
    assert "its channels seem to stand first" in outcome.err


@pytest.mark.parametrize("values", [[1, 2, 3, 4], [0, 2, 4, 6]])
def test_labels_of_four_classes_are_four_classes(values: list[int], tmp_path: Path) -> None:
    labels = {f"{part}_labels": np.array(values)[np.arange(n) % 4] for part, n in (("train", 24), ("test", 8))}
    outcome = checked(tmp_path, npz(tmp_path, **labels))
    assert outcome.code == 0, outcome.err
    assert "4 classes (training + test images): " + ", ".join(f"{value} 6 + 2" for value in values) in outcome.out


def test_labels_in_a_column_are_read(tmp_path: Path) -> None:
    labels = {"train_labels": np.arange(24)[:, None] % 4, "test_labels": np.arange(8)[:, None] % 4}
    outcome = checked(tmp_path, npz(tmp_path, **labels))
    assert outcome.code == 0, outcome.err
    assert "4 classes" in outcome.out


def test_a_test_label_that_no_training_image_has_is_refused(tmp_path: Path) -> None:
    outcome = checked(tmp_path, npz(tmp_path, test_labels=np.array([0, 1, 2, 3, 0, 1, 2, 9])))
    assert outcome.code == 2
    assert "test_labels has label 9, which no training image has" in outcome.err


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder of two classes, with three training and two test images each."""
    random = np.random.default_rng(0)
    for part, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for index in range(count):
                image = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
                image.save(tmp_path / "pets" / part / name / f"{index}.png")
    return tmp_path / "pets"


def of_folder(root: Path) -> str:
    return f"{{name: image_folder, root: {root}, size: 8}}"


def test_what_a_folder_of_images_holds_is_said_at_the_start(pets: Path, tmp_path: Path) -> None:
    (pets / "train" / "cat" / "notes.txt").write_text("no image")
    outcome = checked(tmp_path, of_folder(pets))
    assert outcome.code == 0, outcome.err
    for words in (
        "6 training and 4 test images, 8 x 8 pixels (height x width), 3 channels",
        "2 classes (training + test images): cat 3 + 2, dog 3 + 2",
        "passed over, no images by their names: 1 (cat/notes.txt)",
    ):
        assert words in outcome.out


def test_a_link_to_a_folder_above_gives_no_image_a_second_label(pets: Path, tmp_path: Path) -> None:
    (pets / "train" / "dog" / "up").symlink_to("..")
    outcome = checked(tmp_path, of_folder(pets))
    assert outcome.code == 2
    assert f"{pets}/train/dog/up: is a link to a folder above it" in outcome.err


@pytest.mark.parametrize(("name", "form"), [("x.gif", "GIF"), ("x.jfif", "JPEG"), ("x", "PNG")])
def test_images_of_rarer_names_are_counted(name: str, form: str, pets: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(pets / "train" / "cat" / name, format=form)
    outcome = checked(tmp_path, of_folder(pets))
    assert outcome.code == 0, outcome.err
    assert "cat 4 + 2" in outcome.out


def pixels_of(root: Path) -> np.ndarray:
    return np.asarray(ImageFolder(ImageFolder.Settings(root=str(root), size=8)).load().train_images)


def test_a_black_icon_on_a_transparent_ground_is_not_all_black(pets: Path, tmp_path: Path) -> None:
    icon = np.zeros((8, 8, 4), np.uint8)
    icon[3:5, :, 3] = 255
    Image.fromarray(icon).save(pets / "train" / "cat" / "0.png")
    assert np.array_equal(pixels_of(pets)[0], np.repeat(255 - icon[..., 3:], 3, axis=2))
    assert "1 with transparent parts: laid over white" in checked(tmp_path, of_folder(pets)).out


def test_a_photo_that_its_exif_block_turns_is_turned_and_that_is_said(pets: Path, tmp_path: Path) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    Image.fromarray(photo).save(pets / "train" / "cat" / "0.png", exif=exif)
    assert np.array_equal(pixels_of(pets)[0], np.rot90(photo, -1))
    assert "1 with an EXIF rotation: turned upright" in checked(tmp_path, of_folder(pets)).out


def test_a_byte_order_mark_makes_no_word(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_bytes(b"\xef\xbb\xbf" + b"the cat and the dog\n" * 30)
    tokens = TextFolder(TextFolder.Settings(root=str(tmp_path))).load()
    assert not [word for word in tokens.vocabulary if "\ufeff" in word]
    assert sorted(set(tokens.vocabulary) - {"<eos>", "<unk>"}) == ["and", "cat", "dog", "the"]


OWN = """
from pathlib import Path
from torch import nn
from raydarts.spaces.cell_space import CellSpace

class Blur(nn.Module):
    def __init__(self, channels, stride, affine):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)

    def forward(self, x):
        return self.op(x)

class Mine(CellSpace):
    num_nodes = 1

    def candidates(self, cell_type, edges):
        return tuple(("none", primitive) for primitive in PRIMITIVES)

    def network(self, genotype, task, settings):
        Path("a-network-of-mine").touch()
        return super().network(genotype, task, settings)
"""
OWN_SPEC = """
data: {dataset: digits, limit: 64, validation_fraction: 0.25}
search: {epochs: 1, batch_size: 16, space: {name: "MODULE:Mine", channels: 2, layers: 3}}
evaluate:
  top_k: 1
  seeds: [0]
  training: {epochs: 1, batch_size: 16, network: {channels: 2, layers: 3, auxiliary_weight: 0}}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, where code of one's own is found."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("space_for_this_test"):
            del sys.modules[name]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("module", "primitives"),
    [
        ("space_for_this_test_1", ("sep_conv_3x3", "max_pool_3x3")),
        ("space_for_this_test_2", ("space_for_this_test_2:Blur", "max_pool_3x3")),
    ],
    ids=["a space", "a primitive"],
)
def test_code_of_ones_own_is_known_beyond_the_search(
    module: str, primitives: tuple[str, ...], own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own / f"{module}.py").write_text(OWN.replace("PRIMITIVES", repr(primitives)))
    (own / "spec.yaml").write_text(OWN_SPEC.replace("MODULE", module))
    searched = run_here("search", "spec.yaml", "--name", "one")
    assert searched.code == 0, searched.err
    genotype = Path("runs/one/genotype.json")
    shown = run_here("show", genotype, "--json")
    assert shown.code == 0, shown.err
    evaluated = run_here("evaluate", genotype, "--spec", "spec.yaml", "--name", "two")
    assert evaluated.code == 0, evaluated.err
    assert Path("a-network-of-mine").exists(), "the network was built by another space"
    monkeypatch.setattr(runner, "connected", lambda *_arguments: nullcontext())  # no Ray: nothing is run here
    monkeypatch.setattr(runner, "check_nodes", lambda *_arguments: None)
    monkeypatch.setattr(runner, "run_sweep", lambda *_arguments: 0)
    staged = run_here(
        *["sweep", "spec.yaml", "--stage", "evaluate", "--genotypes", genotype, "--storage", "runs", "--name", "three"]
    )
    assert staged.code == 0, staged.err
    (candidate,) = RunDirectory(own / "runs" / "three").description()["genotypes"]["candidates"]
    assert candidate["genotype"] == json.loads(genotype.read_text())


@pytest.mark.usefixtures("one_thread")
def test_tf32_is_a_setting_of_a_search_and_stands_in_its_run(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(f"data: {{dataset: digits, limit: 64}}\n{SMALL}")
    for name, words, expected in (("plain", [], False), ("asked", ["--set", "search.tf32=true"], True)):
        outcome = run_here("search", tmp_path / "spec.yaml", "--storage", tmp_path, "--name", name, *words)
        assert outcome.code == 0, outcome.err
        description = json.loads((tmp_path / name / "run.json").read_text())
        assert description["spec"]["search"]["tf32"] is expected
