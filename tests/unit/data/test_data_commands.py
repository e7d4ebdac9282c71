"""What the commands say of data before anything is trained, and how each kind of bad data is refused there."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raydarts.sweeping import runner
from tests.commands import Outcome, run_here

CELL = [["skip_connect", 0], ["max_pool_3x3", 1]]
GENOTYPE = {"normal": CELL, "normal_concat": [2], "reduce": CELL, "reduce_concat": [2]}
IMAGES = """
search: {epochs: 1, batch_size: 8, space: {name: darts-cnn, channels: 4, layers: 3, nodes: 1}}
evaluate: {training: {epochs: 1, batch_size: 8, network: {channels: 4, layers: 3, auxiliary_weight: 0}}}
"""
TEXT = """
search: {epochs: 1, batch_size: 2, text: {bptt: 3, measured_columns: 2}, space: {name: darts-rnn, nodes: 1, units: 4}}
"""
COMMANDS = {
    "search": ["search", "s.yaml", "--storage", "runs"],
    "sweep": ["sweep", "s.yaml", "--storage", "runs"],
    "dry run": ["sweep", "s.yaml", "--dry-run"],
    "evaluate": ["evaluate", "g.json", "--spec", "s.yaml", "--storage", "runs"],
    "validate": ["validate", "s.yaml"],
}
READING = ["search", "sweep", "evaluate"]
"""Those that read every image before they train."""


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def arrays(**changed: Any) -> dict[str, Any]:
    sound = {
        "train_images": pixels(24, 8, 8, 3),
        "train_labels": np.arange(24) % 2,
        "test_images": pixels(8, 8, 8, 3, seed=1),
        "test_labels": np.arange(8) % 2,
    }
    return {key: value for key, value in {**sound, **changed}.items() if value is not None}


def npz(folder: Path, **changed: Any) -> str:
    np.savez(folder / "mine.npz", **arrays(**changed))
    return f"{{name: npz, file: {folder}/mine.npz}}"


def images(folder: Path) -> str:
    for number, (part, label) in enumerate([(part, label) for part in ("train", "test") for label in "ab"]):
        place = folder / "pets" / part / label
        place.mkdir(parents=True)
        for each in range(6):
            Image.fromarray(pixels(9, 8, 3, seed=10 * number + each)).save(place / f"{each}.png")
    return f"{{name: image_folder, root: {folder}/pets, size: 8}}"


def text(folder: Path, content: bytes) -> str:
    (folder / "t.txt").write_bytes(content)
    return f"{{name: text_folder, root: {folder}/t.txt, validation_fraction: 0.2, test_fraction: 0.2}}"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Callable[[str, str], Outcome]:
    """A command of `COMMANDS` on a spec with this data set. A sweep ends where it would start Ray, with code 4."""
    monkeypatch.setattr(runner, "start_sweep", lambda *_, **__: 4)

    def run(command: str, dataset: str, rest: str = IMAGES) -> Outcome:
        fraction = "" if rest == TEXT else "validation_fraction: 0.2, "
        (tmp_path / "s.yaml").write_text(f"data: {{{fraction}dataset: {dataset}}}{rest}")
        (tmp_path / "g.json").write_text(json.dumps(GENOTYPE))
        return run_here(*COMMANDS[command], cwd=tmp_path)

    return run


def refused(done: Outcome, folder: Path, *words: str) -> None:
    assert done.code == 2, done.out + done.err
    for each in words:
        assert each in done.err
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_the_arrays_hold_before_it_begins(command: str, run: Any, tmp_path: Path) -> None:
    done = run(command, npz(tmp_path, train_labels=np.arange(24) % 2 * 3 + 1, test_labels=np.full(8, 4), more=1))
    assert done.code == (4 if command == "sweep" else 0), done.err
    lines = done.out.splitlines()
    start = lines.index(
        "data npz: 24 training and 8 test images, 8 x 8 pixels (height x width), 3 channels, values 0 to 255"
    )
    assert lines[start + 1 : start + 5] == [
        "  2 classes (training + test images): 1 12 + 0, 4 12 + 8",
        "  test: no image of class 1",
        "  training images are split: weights 9, alpha 10, held out 5",
        f"  {tmp_path}/mine.npz: not read: more",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_how_files_are_read_and_what_is_passed_over(command: str, run: Any, tmp_path: Path) -> None:
    dataset, place = images(tmp_path), tmp_path / "pets/train/a"
    frames = [Image.fromarray(pixels(8, 8, 3, seed=each)) for each in (100, 101)]
    frames[0].save(place / "moving.GIF", save_all=True, append_images=frames[1:])
    Image.fromarray(pixels(8, 8, 4)).save(place / "clear.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels(8, 8, 3)).save(place / "turned.JPG", exif=turned)
    (place / "notes.txt").write_text("nothing")
    (place / "deep").mkdir()
    Image.fromarray(pixels(8, 8, 4, seed=3), "CMYK").save(place / "deep" / "print.jpeg")
    done = run(command, dataset)
    assert done.code == (4 if command == "sweep" else 0), done.err
    for words in (
        "data image_folder: 16 training and 12 test images, 8 x 8 pixels (height x width), 3 channels, ",
        "  2 classes (training + test images): a 10 + 6, b 6 + 6",
        f"  {tmp_path}/pets/train: passed over, no images by their names: 1 (a/notes.txt)",
        f"  {tmp_path}/pets/train: images in folders below a class's are of that class (folders: a 1)",
        "  1 with transparent parts: laid over white",
        "  1 with an EXIF rotation: turned upright",
        "  1 with several frames: the first is taken",
    ):
        assert any(line.startswith(words) for line in done.out.splitlines()), words


@pytest.mark.parametrize("command", ["search", "sweep", "dry run", "validate"])
def test_every_command_says_what_a_text_holds(command: str, run: Any, tmp_path: Path) -> None:
    words = np.random.default_rng(0).integers(0, 7, (40, 6))
    content = "".join(" ".join(map(str, line)) + "\r\n" for line in words.tolist())
    done = run(command, text(tmp_path, b"\xef\xbb\xbf" + content.encode()), TEXT)
    assert done.code == (4 if command == "sweep" else 0), done.err
    start = "data text_folder: training 168, validation 56, test 56 tokens; 8 different ones in the vocabulary"
    assert start in done.out.splitlines()
    assert "  training tokens are split: weights 84, alpha 84" in done.out.splitlines()


def test_a_text_without_spaces_is_pointed_out(run: Any, tmp_path: Path) -> None:
    done = run("validate", text(tmp_path, b"".join(b"a,b,%d\n" % each for each in range(60))), TEXT)
    assert done.code == 0, done.err
    assert "no line has more than one word; words are parted by whitespace alone" in done.out


@pytest.mark.parametrize("command", ["search", "dry run", "validate", "evaluate"])
@pytest.mark.parametrize("path", ["~/sets/mine.npz", "$SETS/mine.npz", "${HOME}/sets/mine.npz"])
def test_home_and_variables_stand_for_what_they_do_in_a_shell(
    command: str, path: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sets").mkdir()
    npz(tmp_path / "sets")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SETS", str(tmp_path / "sets"))
    done = run(command, f"{{name: npz, file: '{path}'}}")
    assert done.code == 0, done.err
    assert not (tmp_path / "~").exists()
    for description in tmp_path.glob("runs/*/run.json"):
        assert json.loads(description.read_text())["spec"]["data"]["dataset"]["file"] == f"{tmp_path}/sets/mine.npz"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("$NO_SUCH_NAME/x.npz", "the environment variable NO_SUCH_NAME is not set"),
        ("~nobody-of-that-name/x.npz", "names no user of this machine"),
        ("$MY_TOKEN/x.npz", "sounds like a password"),
    ],
)
def test_paths_that_stand_for_nothing_are_refused(path: str, words: str, run: Any, tmp_path: Path) -> None:
    refused(run("search", f"{{name: npz, file: '{path}'}}"), tmp_path, "s.yaml:1: data.dataset.file: ", words)


ONE_HOT = np.eye(2, dtype=int)[np.arange(24) % 2]
BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "channels first": (
        {"train_images": pixels(24, 3, 12, 12), "test_images": pixels(8, 3, 12, 12)},
        "save train_images.transpose(0, 2, 3, 1)",
    ),
    "numbers from 0 to 1": ({"train_images": np.zeros((24, 8, 8, 3))}, "save (train_images * 255).round()"),
    "no numbers": ({"train_images": np.full((24, 8, 8, 3), np.nan)}, "must be uint8"),
    "objects": ({"train_images": np.array([pixels(8, 8), None], object)}, "holds Python objects, which are never"),
    "object labels": ({"train_labels": np.array(["a", 1] * 12, object)}, "holds Python objects"),
    "text labels": ({"train_labels": np.array(["a", "b"] * 12)}, "numpy.unique(train_labels, return_inverse=True)"),
    "float labels": ({"train_labels": np.arange(24) % 2 / 1}, "train_labels.astype('int64')"),
    "negative labels": ({"train_labels": np.arange(24) % 2 - 1}, "has the negative label -1"),
    "one-hot labels": ({"train_labels": ONE_HOT}, "save train_labels.argmax(1)"),
    "one class": ({"train_labels": np.zeros(24, int), "test_labels": np.zeros(8, int)}, "at least two classes"),
    "new test labels": ({"test_labels": np.arange(8)}, "which no training image has"),
    "other names": ({"train_images": None, "x_train": pixels(24, 8, 8)}, "train_images missing (it holds train_labels"),
    "lacking labels": ({"train_labels": np.arange(23) % 2}, "must be 24 whole numbers"),
    "other sizes": ({"test_images": pixels(8, 9, 9, 3)}, "they must agree"),
    "equal images": ({"train_images": np.full((24, 8, 8, 3), 7, np.uint8)}, "all 24 training images are the same"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_arrays_that_cannot_be_meant_are_refused_by_every_command(
    command: str, kind: str, run: Any, tmp_path: Path
) -> None:
    changed, words = BAD_ARRAYS[kind]
    refused(run(command, npz(tmp_path, **changed)), tmp_path, words, "mine")


def deep_grey(folder: Path) -> None:
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 900).save(folder / "x.png")


def float_pixels(folder: Path) -> None:
    Image.fromarray(np.random.default_rng(0).random((8, 8)).astype(np.float32)).save(folder / "x.tif")


def cut_off(folder: Path) -> None:
    content = (folder / "0.png").read_bytes()
    (folder / "x.png").write_bytes(content[: len(content) // 2])


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "16 bits": (deep_grey, "its pixels have more than 8 bits"),
    "floats": (float_pixels, "its pixels have more than 8 bits"),
    "text": (lambda folder: (folder / "x.png").write_text("hello"), "cannot be read as an image"),
    "empty": (lambda folder: (folder / "x.jpg").write_bytes(b""), "cannot be read as an image"),
    "cut off": (cut_off, "cannot be read as an image"),
}


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_8_bit_image_is_named_before_anything_is_trained(
    command: str, kind: str, run: Any, tmp_path: Path
) -> None:
    make, words = BAD_FILES[kind]
    dataset = images(tmp_path)
    make(tmp_path / "pets/train/a")
    refused(run(command, dataset), tmp_path, f"{tmp_path}/pets/train/a/x.", words)


@pytest.mark.parametrize("command", ["dry run", "validate"])
def test_what_files_say_of_themselves_is_said_before_they_are_read(command: str, run: Any, tmp_path: Path) -> None:
    dataset = images(tmp_path)
    deep_grey(tmp_path / "pets/train/a")
    (tmp_path / "pets/test/b/y.png").write_text("hello")
    done = run(command, dataset)
    assert done.code == 0, done.err
    assert "  1 with more than 8 bits a channel: refused when they are read" in done.out
    assert "  1 cannot be read as images, and end what needs them (test/b/y.png)" in done.out


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "dead link": (lambda root: (root / "train/a/x.png").symlink_to("nowhere"), "is a link that leads nowhere"),
    "link upwards": (lambda root: (root / "train/a/up").symlink_to(".."), "is a link to a folder above it"),
    "empty class": (lambda root: [(root / part / "c").mkdir() for part in ("train", "test")], "no images in it"),
    "one class": (lambda root: [shutil.rmtree(root / part / "b") for part in ("train", "test")], "only one class, a"),
    "class of one part": (lambda root: shutil.rmtree(root / "test/b"), "has no such class"),
    "no test part": (lambda root: (root / "test").rename(root / "valid"), "there is no such folder"),
    "no classes": (
        lambda root: [
            (shutil.rmtree(root / "train"), (root / "train").mkdir(), Image.new("L", (8, 8)).save(root / "train/x.png"))
        ],
        "images that lie in no class",
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", BAD_FOLDERS)
def test_folders_that_cannot_be_meant_are_refused_by_every_command(
    command: str, kind: str, run: Any, tmp_path: Path
) -> None:
    spoil, words = BAD_FOLDERS[kind]
    dataset = images(tmp_path)
    spoil(tmp_path / "pets")
    refused(run(command, dataset), tmp_path, words, f"{tmp_path}/pets")


LINES = "a b c\n" * 40
BAD_TEXTS = {
    "Latin-1": (("caf\u00e9\n" + LINES).encode("latin-1"), "t.txt:1: cannot be read as UTF-8 text"),
    "UTF-16": (LINES.encode("utf-16"), "t.txt: is UTF-16, not UTF-8"),
    "UTF-16 without a mark": (LINES.encode("utf-16-le"), "t.txt:1: holds a NUL character"),
    "UTF-32": (LINES.encode("utf-32"), "t.txt: is UTF-32, not UTF-8"),
    "empty": (b"", "t.txt: holds no word"),
    "blank": (b"\n \n\t\n", "t.txt: holds no word"),
    "NUL": (LINES.encode() + b"a\0b\n", "t.txt:41: holds a NUL character"),
    "old line ends": (LINES.replace("\n", "\r").encode(), "t.txt: its lines seem to end with a carriage return"),
    "a mark inside": ((LINES + "\ufeff" + LINES).encode(), "t.txt:41: holds a byte order mark"),
    "one line": (b"a b c d e f\n", "t.txt: has 1 lines, of which none is left for: valid, test"),
    "packed": (zlib.compress(LINES.encode()), "t.txt:1: cannot be read as UTF-8 text"),
}


@pytest.mark.parametrize("command", ["search", "sweep", "dry run", "validate"])
@pytest.mark.parametrize("kind", BAD_TEXTS)
def test_texts_that_cannot_be_meant_are_refused_by_every_command(
    command: str, kind: str, run: Any, tmp_path: Path
) -> None:
    content, words = BAD_TEXTS[kind]
    refused(run(command, text(tmp_path, content), TEXT), tmp_path, words)
