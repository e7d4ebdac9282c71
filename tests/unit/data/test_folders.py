"""Folders of images: what is found, and everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from folder_of_images import write_images
from PIL import Image
from pydantic import ValidationError

from raydarts.data.base import ImageArrays
from raydarts.data.files import ImageFiles
from raydarts.data.image_folder import ImageFolder
from raydarts.data.imagenet import MEAN, STD, ImageNet
from raydarts.errors import DataError

pytestmark = pytest.mark.usefixtures("one_thread")


def folder(root: Path, **settings: Any) -> ImageFolder:
    return ImageFolder(ImageFolder.Settings.model_validate({"root": str(root), "size": 8, "workers": 0} | settings))


def imagenet(root: Path, **settings: Any) -> ImageNet:
    plain = {"root": str(root), "size": 8, "resize": 10, "workers": 0, "classes": 3}
    return ImageNet(ImageNet.Settings.model_validate(plain | settings))


def loaded(root: Path, **settings: Any) -> ImageArrays:
    found = folder(root, **settings).load()
    assert isinstance(found, ImageArrays)
    return found


def opened(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("workers", [0, 3])
def test_images_are_in_memory_by_class_and_name(tmp_path: Path, workers: int) -> None:
    root = write_images(tmp_path / "pets", {"train": 4, "test": 2})
    found = loaded(root, workers=workers)
    assert (found.name, found.num_classes, found.image_shape) == ("pets", 3, (3, 8, 8))
    assert found.train_labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found.test_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(found.train_images[6], opened(root / "train/b/02.png"))
    assert np.array_equal(found.test_images[5], opened(root / "test/c/01.png"))


def test_val_stands_in_for_test_where_there_is_none(tmp_path: Path) -> None:
    assert len(loaded(write_images(tmp_path, {"train": 4, "val": 2})).test_images) == 6
    write_images(tmp_path, {"test": 1})
    assert len(loaded(tmp_path).test_images) == 3


def test_all_sorts_of_sizes_become_one(tmp_path: Path) -> None:
    found = loaded(write_images(tmp_path, {"train": 4, "test": 1}, size=None), size=12)
    assert found.train_images.shape == (12, 12, 12, 3)


def test_deeper_folders_capital_suffixes_and_hidden_names(tmp_path: Path) -> None:
    write_images(tmp_path, {"train": 2, "test": 1})
    (tmp_path / "train/a/deep/er").mkdir(parents=True)
    (tmp_path / "train/a/00.png").rename(tmp_path / "train/a/deep/er/00.PNG")
    (tmp_path / "train/.cache").mkdir()
    (tmp_path / "train/a/._01.png").write_bytes(b"no image")
    (tmp_path / "train/a/notes.txt").write_text("not one either")
    assert loaded(tmp_path).train_labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_names_beyond_ascii(tmp_path: Path) -> None:
    root = write_images(tmp_path / "Größe", {"train": 1, "test": 1}, classes="éß")
    assert loaded(root).num_classes == 2
    files = folder(root, stream=True).load()
    assert isinstance(files, ImageFiles)
    assert np.allclose(files.mean, loaded(root).mean)


def test_streamed_files_have_the_same_labels_and_statistics(tmp_path: Path) -> None:
    root = write_images(tmp_path, {"train": 5, "test": 2}, size=None)
    memory, files = loaded(root), folder(root, stream=True, workers=2).load()
    assert isinstance(files, ImageFiles)
    assert files.image_shape == memory.image_shape
    assert np.array_equal(files.train_labels, memory.train_labels)
    assert np.array_equal(files.test_labels, memory.test_labels)
    assert files.mean == pytest.approx(memory.mean, abs=1e-7)
    assert files.std == pytest.approx(memory.std, abs=1e-7)


def test_imagenet_is_streamed_val_is_the_test_part_and_statistics_are_the_authors(tmp_path: Path) -> None:
    found = imagenet(write_images(tmp_path, {"train": 3, "val": 2, "test": 4})).load()
    assert (len(found.train_labels), len(found.test_labels)) == (9, 6)
    assert (found.mean, found.std) == (MEAN, STD)
    assert found.image_shape == (3, 8, 8)
    given = found.with_statistics((0.1, 0.2, 0.3), None)
    assert (given.mean, given.std) == ((0.1, 0.2, 0.3), STD)


def test_imagenet_with_classes_missing_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path, {"train": 1, "val": 1})
    with pytest.raises(DataError, match="3 class folders, not 1000"):
        imagenet(tmp_path, classes=1000).load()
    assert imagenet(tmp_path, classes=None).load().num_classes == 3


def test_imagenet_cannot_cut_more_than_it_resized_to() -> None:
    with pytest.raises(ValidationError, match="smaller than size"):
        ImageNet.Settings(size=224, resize=200)


@pytest.mark.parametrize(
    ("parts", "words"), [({"test": 1}, "train"), ({"train": 1}, "test"), ({}, r"train.*test.*CLASS/IMAGE")]
)
def test_missing_folders_are_named_without_reading(tmp_path: Path, parts: dict[str, int], words: str) -> None:
    with pytest.raises(DataError, match=words):
        folder(write_images(tmp_path, parts)).check()


def test_imagenet_check_wants_train_and_val(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="val: there is no such folder"):
        imagenet(write_images(tmp_path, {"train": 1, "test": 1})).check()


def test_all_that_is_wrong_with_the_folders_is_said_at_once(tmp_path: Path) -> None:
    write_images(tmp_path, {"train": 1, "test": 1})
    (tmp_path / "test/unknown").mkdir()
    (tmp_path / "test/unknown/x.png").write_bytes(b"")
    (tmp_path / "test/c").rename(tmp_path / "elsewhere")
    (tmp_path / "train/a/00.png").unlink()
    with pytest.raises(DataError) as raised:
        folder(tmp_path).load()
    lines = str(raised.value).splitlines()
    assert len(lines) == 3
    for words in ("test/unknown: ", "train/c: ", "train/a: no images"):
        assert sum(words in line for line in lines) == 1


@pytest.mark.parametrize("kind", ["loose", "nothing", "one class"])
def test_a_layout_that_cannot_be_classes_is_refused(tmp_path: Path, kind: str) -> None:
    write_images(tmp_path, {"train": 1, "test": 1}, classes="a")
    if kind != "one class":
        (tmp_path / "test/a/00.png").rename(tmp_path / "test/00.png")
        (tmp_path / "test/a").rmdir()
    if kind == "nothing":
        (tmp_path / "test/00.png").unlink()
    words = {"loose": "lie in no class", "nothing": "no class folders", "one class": "only one class, a"}[kind]
    with pytest.raises(DataError, match=words):
        folder(tmp_path).load()


def test_every_broken_image_is_named_up_to_ten(tmp_path: Path) -> None:
    write_images(tmp_path, {"train": 6, "test": 1})
    for name in ("a/01", "c/03"):
        (tmp_path / f"train/{name}.png").write_bytes(b"broken")
    with pytest.raises(DataError) as raised:
        folder(tmp_path).load()
    assert [line.split("train/")[1][:4] for line in str(raised.value).splitlines()] == ["a/01", "c/03"]
    for path in tmp_path.glob("train/*/*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="and 8 more"):
        folder(tmp_path).load()


def test_what_does_not_fit_in_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, {"train": 2, "test": 1})
    free = psutil.virtual_memory()._replace(available=2 * 9 * 8 * 8 * 3 - 1)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(DataError, match="set stream: true"):
        folder(tmp_path).load()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free._replace(available=free.available + 1))
    folder(tmp_path).load()
