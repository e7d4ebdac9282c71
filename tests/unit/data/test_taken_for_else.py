"""Arrays and labels that were taken for something else in silence: each is read rightly, or refused with what to do."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy

from raydarts.data.base import ImageArrays
from raydarts.data.npz import Npz
from raydarts.errors import DataError


def good(count: int = 24, shape: tuple[int, ...] = (12, 10, 3)) -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        "train_images": random.integers(0, 256, (count, *shape), dtype=np.uint8),
        "train_labels": np.arange(count) % 4,
        "test_images": random.integers(0, 256, (8, *shape), dtype=np.uint8),
        "test_labels": np.arange(8) % 4,
    }


def written(path: Path, **arrays: Any) -> Npz:
    np.savez_compressed(path / "mine.npz", **{**good(), **arrays})
    return Npz(Npz.Settings(file=str(path / "mine.npz")))


def loaded(path: Path, **arrays: Any) -> ImageArrays:
    return written(path, **arrays).load()


def refusal(path: Path, **arrays: Any) -> str:
    """The message, which `check` gives without the images being read."""
    with pytest.raises(DataError) as raised:
        written(path, **arrays).check()
    assert all(line.startswith(f"{path / 'mine.npz'}: ") for line in str(raised.value).splitlines())
    return str(raised.value)


def images_of(*shape: int) -> dict[str, Any]:
    return {"train_images": np.zeros((24, *shape), np.uint8), "test_images": np.zeros((8, *shape), np.uint8)}


@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 12, 12), (4, 9, 7), (3, 12, 8), (9, 12, 12)])
def test_channels_that_stand_first_are_refused_with_the_way_to_turn_them(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    assert "save train_images.transpose(0, 2, 3, 1)" in refusal(tmp_path, **images_of(*shape))


@pytest.mark.parametrize(
    "shape", [(3, 3, 3), (12, 12, 3), (12, 12, 12), (9, 7, 7), (32, 32, 12), (12, 12, 4), (2, 9, 1)]
)
def test_shapes_that_can_be_meant_are_read_as_height_width_channels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    if shape == (9, 7, 7):  # seven channels, and a width of seven beside another height
        assert "stand first" in refusal(tmp_path, **images_of(*shape))
    else:
        height, width, channels = shape
        assert loaded(tmp_path, **images_of(*shape)).image_shape == (channels, height, width)


def test_a_number_of_images_that_stands_last_is_seen(tmp_path: Path) -> None:
    last = {key: np.moveaxis(array, 0, -1) for key, array in good().items() if key.endswith("images")}
    assert "save numpy.moveaxis(train_images, -1, 0)" in refusal(tmp_path, **last)


def test_rows_of_pixels_are_refused_with_the_way_to_fold_them(tmp_path: Path) -> None:
    assert "save train_images.reshape(-1, 28, 28)" in refusal(tmp_path, train_images=np.zeros((24, 784), np.uint8))


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        (np.float32, r"of values from 0 to 1 save (train_images * 255).round().astype('uint8')"),
        (np.uint16, "otherwise scale them first"),
        (np.int64, "if no value is above 255 or below 0 save train_images.astype('uint8')"),
        (bool, "save (train_images * 255).astype('uint8')"),
        (complex, "not complex128"),
    ],
)
def test_pixels_of_another_type_are_refused_with_the_way_to_convert_them(
    tmp_path: Path, dtype: Any, words: str
) -> None:
    assert words in refusal(tmp_path, train_images=np.zeros((24, 12, 10, 3), dtype))


@pytest.mark.parametrize("values", [[1, 2, 3, 4], [0, 2, 4, 6], [5, 7, 100, 10**12]])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (1, -1)])
def test_the_labels_that_occur_are_the_classes(tmp_path: Path, values: list[int], shape: tuple[int, ...]) -> None:
    train, test = (np.array(values)[np.arange(count) % 4].reshape(shape) for count in (24, 8))
    found = loaded(tmp_path, train_labels=train, test_labels=test)
    assert (found.num_classes, found.classes) == (4, tuple(map(str, values)))
    assert found.train_labels.tolist() == [number % 4 for number in range(24)]
    assert found.test_labels.tolist() == [number % 4 for number in range(8)]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            {"test_labels": np.array([0, 1, 2, 3, 4, 9, 4, 0])},
            "test_labels has label 4, 9, which no training image has",
        ),
        ({"train_labels": np.eye(4)[np.arange(24) % 4].astype(int)}, "save train_labels.argmax(1)"),
        ({"train_labels": (np.arange(24) % 4).astype(np.float32)}, "save them as train_labels.astype('int64')"),
        ({"train_labels": np.full(24, np.nan)}, "must be 24 whole numbers"),
        ({"train_labels": np.array(["cat", "dog"] * 12)}, "numpy.unique(train_labels, return_inverse=True)"),
        ({"train_labels": np.arange(24)}, "24 different labels for 24 images"),
        (
            {"train_labels": np.full(24, 3), "test_labels": np.full(8, 3)},
            "all of train_labels is 3; at least two classes",
        ),
        ({"train_labels": np.arange(24) % 4 - 1}, "train_labels has the negative label -1"),
        ({"train_labels": np.zeros((24, 2, 2), int)}, "of shape (24, 2, 2)"),
        ({"train_labels": np.full(24, 2**64 - 1, np.uint64)}, "which is no class number"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(tmp_path: Path, labels: dict[str, Any], words: str) -> None:
    assert words in refusal(tmp_path, **labels)


def test_other_arrays_of_the_file_are_reported(tmp_path: Path) -> None:
    assert loaded(tmp_path, val_images=np.zeros(3)).notes == (f"{tmp_path / 'mine.npz'}: not read: val_images",)


def header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def with_member(path: Path, name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> Npz:
    """A sound file but for one member."""
    file = path / "mine.npz"
    with zipfile.ZipFile(file, "w", method) as archive:
        for key, array in good().items():
            stream = io.BytesIO()
            np.save(stream, array)
            archive.writestr(f"{key}.npy", content if key == name else stream.getvalue())
    return Npz(Npz.Settings(file=str(file)))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("key", ["train_images", "test_labels"])
@pytest.mark.parametrize("shape", [(37 * 2**30,), (2**40, 2**40, 3, 3), (-1, 5, 5, 3), (24, 12, 10, 4)])
def test_a_header_that_promises_more_than_the_file_holds_takes_no_memory(
    tmp_path: Path, method: int, key: str, shape: tuple[int, ...]
) -> None:
    data = with_member(tmp_path, key, header(shape) + bytes(100), method)
    with pytest.raises(DataError, match=rf"mine\.npz: {key} cannot be read: its header says.*but it holds 100"):
        data.check()


def test_a_directory_of_the_zip_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    shape = (3 * 2**30,)
    data = with_member(tmp_path, "train_images", header(shape) + bytes(100))
    file = tmp_path / "mine.npz"
    content = bytearray(file.read_bytes())
    place = content.rindex(b"PK\x01\x02", 0, content.rindex(b"train_images.npy"))
    content[place + 24 : place + 28] = (len(header(shape)) + shape[0]).to_bytes(4, "little")
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"mine\.npz: train_images cannot be read: it says that it holds 3,221"):
        data.check()


def test_arrays_that_do_not_fit_in_memory_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    data = written(tmp_path)
    free = psutil.virtual_memory()._replace(available=2000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(DataError, match=r"mine\.npz: in memory its arrays need"):
        data.check()


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    data = written(tmp_path)
    with zipfile.ZipFile(tmp_path / "mine.npz", "a") as archive:
        archive.writestr("train_labels", header((0,)))
    with pytest.raises(DataError, match="holds train_labels twice"):
        data.check()


def test_a_path_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(DataError, match="there is no such file"):
        Npz(Npz.Settings(file="a" * 5000)).check()
