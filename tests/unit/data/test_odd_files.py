"""Odd files in folders of images: links, hidden names, unusual suffixes, transparency, rotation."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder_of_images import write_images
from PIL import Image

from raydarts.data.files import View, read
from raydarts.data.folders import Listing, list_folders
from raydarts.errors import DataError

SEEN, STORED = View(8, 8, as_seen=True), View(8, 8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_images(tmp_path / "pets", {"train": 3, "test": 2})


def listing(root: Path) -> Listing:
    return list_folders(root, "train", "test")


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as raised:
        listing(root)
    return str(raised.value)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "/"])
def test_a_link_to_a_folder_above_is_refused(root: Path, target: str) -> None:
    (root / "train/b/up").symlink_to(target)
    assert f"{root}/train/b/up: is a link to a folder above it" in refusal(root)


@pytest.mark.parametrize(
    ("link", "target", "words"),
    [
        ("train/b/other", "../a", "is the same folder as"),
        ("train/d", "a", "is the same folder as"),
        ("train/b/x.png", "../a/00.png", "is a link to {root}/train/a/00.png; an image has one class"),
        ("train/b/x.png", "nowhere.png", "is a link that leads nowhere"),
        ("train/d", "nowhere", "is a link that leads nowhere"),
        ("train/d", "d", "is a link that leads nowhere"),
        ("train/b/loop", "loop/..", ""),
    ],
)
def test_links_that_give_an_image_two_labels_or_none_are_refused(
    root: Path, link: str, target: str, words: str
) -> None:
    (root / link).symlink_to(target)
    if words:
        assert words.format(root=root) in refusal(root)
    else:
        assert any("lead nowhere" in note for note in listing(root).notes)


def test_file_linked_into_two_classes_is_refused_and_twice_into_one_is_reported(root: Path, tmp_path: Path) -> None:
    Image.fromarray(pixels(8, 8, 3)).save(tmp_path / "x.png")
    for name in ("a/x1", "a/x2"):
        (root / f"train/{name}.png").symlink_to(tmp_path / "x.png")
    found = listing(root)
    assert found.train_labels.tolist() == [0] * 5 + [1] * 3 + [2] * 3
    assert any("taken twice, by links within one class: 1 (a/x2.png)" in note for note in found.notes)
    (root / "train/b/x3.png").symlink_to(tmp_path / "x.png")
    assert "is the same file as" in refusal(root)


def test_class_folder_that_is_a_link_is_followed_and_reported(root: Path, tmp_path: Path) -> None:
    (root / "train/b").rename(tmp_path / "store")
    (root / "train/b").symlink_to(tmp_path / "store")
    found = listing(root)
    assert found.train_labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert any("linked folders, followed: 1 (b)" in note for note in found.notes)


def test_test_images_that_are_training_images_are_reported(root: Path) -> None:
    for path in (root / "test/a").iterdir():
        path.unlink()
    (root / "test/a").rmdir()
    (root / "test/a").symlink_to("../train/a")
    assert any("3 of its 7 files are files of" in note for note in listing(root).notes)


def test_skipped_files_are_reported(root: Path) -> None:
    for name in ("a/notes.txt", "a/Thumbs.db", "a/README", "b/.DS_Store", "b/._00.png", "loose.png"):
        (root / "train" / name).write_bytes(b"nothing")
    os.mkfifo(root / "train/a/pipe.png")
    os.mkfifo(root / "train/a/pipe")
    (root / "train/.ipynb_checkpoints").mkdir()
    (root / "val/a").mkdir(parents=True)
    (root / "train/a/deep").mkdir()
    notes = "\n".join(listing(root).notes)
    for words in (
        "passed over, no images by their names: 3 (a/README, a/Thumbs.db, a/notes.txt)",
        "passed over, hidden: 3 (",
        "passed over, in no class folder: 1 (loose.png)",
        "passed over, no files (devices, pipes, links that lead nowhere): 2 (a/pipe, a/pipe.png)",
        "not read, beside train and test: val",
        "images in folders below a class's are of that class (folders: a 1)",
    ):
        assert words in notes


@pytest.mark.parametrize(
    ("name", "form"), [("x.gif", "GIF"), ("x.JFIF", "JPEG"), ("x.jpe", "JPEG"), ("x", "PNG"), ("0042", "JPEG")]
)
def test_images_by_any_usual_name_are_taken(root: Path, name: str, form: str) -> None:
    Image.fromarray(pixels(8, 8, 3)).save(root / "train/a" / name, format=form)
    assert f"train/a/{name}".encode() in listing(root).train_files.tolist()


def test_names_that_differ_in_case_alone_are_pointed_out(root: Path) -> None:
    (root / "test/c").rename(root / "test/C")
    assert f"{root}/test/C: {root}/train has no such class (it has c; the names must be the same" in refusal(root)
    (root / "test/C").rename(root / "test/A")
    (root / "train/c").rename(root / "train/A")
    assert any("A and a are 2 classes, though they look alike" in note for note in listing(root).notes)


def test_a_missing_part_names_what_is_there_and_escapes_it(tmp_path: Path) -> None:
    for name in ("Train", "\x1b[31mred"):
        (tmp_path / name).mkdir()
    message = refusal(tmp_path)
    assert "Train" in message
    assert "\x1b" not in message


def icon(mode: str, path: Path) -> np.ndarray:
    """A black cross on transparent black; what a viewer shows of it."""
    alpha = np.zeros((8, 8), np.uint8)
    alpha[3:5], alpha[:, 3:5] = 255, 255
    if mode == "P":
        image = Image.fromarray(np.where(alpha, 1, 0).astype(np.uint8), "P")
        image.putpalette([0, 0, 0] * 2)
        image.save(path, transparency=0)
    else:
        colours = {"RGBA": 3, "LA": 1}[mode]
        Image.fromarray(np.dstack([np.zeros((8, 8, colours), np.uint8), alpha])).save(path)
    return np.repeat((255 - alpha)[..., None], 3, 2)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_are_laid_over_white(tmp_path: Path, mode: str) -> None:
    shown = icon(mode, tmp_path / "icon.png")
    assert np.array_equal(read(str(tmp_path / "icon.png"), SEEN), shown)
    assert not read(str(tmp_path / "icon.png"), STORED).any()


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK", "1", "LA"])
def test_opaque_images_are_read_as_before_to_the_last_bit(tmp_path: Path, mode: str) -> None:
    path = str(tmp_path / ("image.tif" if mode == "CMYK" else "image.png"))
    Image.fromarray(pixels(30, 21, 3)).convert(mode).save(path)
    assert np.array_equal(read(path, SEEN), read(path, STORED))


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotation_in_the_exif_block_is_applied_where_images_are_taken_as_seen(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    image, path = Image.fromarray(pixels(8, 8, 3)), tmp_path / f"photo.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    upright = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }[orientation]
    assert np.array_equal(read(str(path), SEEN), upright(np.asarray(image)))
    if suffix != "tif":  # Pillow itself turns a TIFF
        assert np.array_equal(read(str(path), STORED), np.asarray(image))


def test_a_broken_exif_block_spoils_no_image(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(pixels(8, 8, 3)).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(read(str(path), SEEN), pixels(8, 8, 3))


def test_of_several_frames_the_first_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert read(str(tmp_path / "x.gif"), SEEN)[0, 0].tolist() == [255, 0, 0]


def bomb(path: Path, width: int, height: int) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (2**31 - 1, 2**31 - 1)])
@pytest.mark.parametrize("view", [SEEN, STORED])
def test_images_of_hostile_size_are_refused_by_name(tmp_path: Path, width: int, height: int, view: View) -> None:
    bomb(tmp_path / "bomb.png", width, height)
    with pytest.raises(DataError, match=r"bomb\.png: cannot be read as an image"):
        read(str(tmp_path / "bomb.png"), view)


def test_a_thread_of_an_image_is_not_stretched_beyond_memory(tmp_path: Path) -> None:
    Image.new("L", (30_000, 1)).save(tmp_path / "thread.png")
    with pytest.raises(DataError, match=r"thread\.png: is 30000 x 1 pixels"):
        read(str(tmp_path / "thread.png"), SEEN)


def test_deep_pixels_are_refused_as_seen_too(tmp_path: Path) -> None:
    values: Any = pixels(8, 8).astype(np.uint16) * 256
    Image.fromarray(values).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        read(str(tmp_path / "deep.png"), SEEN)
