"""The data sets: what they hold, and every way in which a file can be wrong."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from trap import Trap

from raydarts.data.digits import Digits
from raydarts.data.npz import Npz
from raydarts.errors import DataError
from raydarts.registry import members


def test_family_has_every_data_set() -> None:
    shipped = {"digits", "cifar10", "cifar100", "svhn", "npz", "image_folder", "imagenet"}
    assert set(members("dataset")) >= shipped


def test_digits_are_scikit_learns_split_by_class() -> None:
    found = Digits(Digits.Settings()).load()
    again = Digits(Digits.Settings()).load()
    assert found.image_shape == (1, 8, 8)
    assert (len(found.train_images), len(found.test_images), found.num_classes) == (1437, 360, 10)
    assert np.array_equal(found.test_images, again.test_images)
    assert found.train_images.dtype == np.uint8
    assert found.train_images.max() == 240
    shares = [np.bincount(labels, minlength=10) for labels in (found.train_labels, found.test_labels)]
    assert (np.abs(shares[1] - shares[0] / 4) < 1).all()


def test_digits_are_each_in_one_part_with_their_own_label() -> None:
    def rows(images: Any, labels: Any) -> list[tuple[bytes, int]]:
        return sorted(
            (image.astype(np.uint8).tobytes(), int(label)) for image, label in zip(images, labels, strict=True)
        )

    found, source = Digits(Digits.Settings()).load(), load_digits()
    both = rows(found.train_images, found.train_labels) + rows(found.test_images, found.test_labels)
    assert sorted(both) == rows(source.images * 15, source.target)


def good() -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        "train_images": random.integers(0, 256, (12, 5, 4, 3), dtype=np.uint8),
        "train_labels": np.arange(12, dtype=np.int32) % 3,
        "test_images": random.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8),
        "test_labels": np.arange(6, dtype=np.uint8) % 3,
    }


def npz(path: Path, arrays: dict[str, Any]) -> Npz:
    np.savez_compressed(path, **arrays)
    return Npz(Npz.Settings(file=str(path)))


def test_npz_arrays_are_read_unchanged(tmp_path: Path) -> None:
    arrays = good()
    found = npz(tmp_path / "mine.npz", arrays).load()
    assert (found.name, found.num_classes, found.image_shape) == ("mine", 3, (3, 5, 4))
    assert np.array_equal(found.train_images, arrays["train_images"])
    assert found.test_labels.tolist() == arrays["test_labels"].tolist()
    assert found.test_labels.dtype == np.int64
    assert found.mean == pytest.approx(tuple(arrays["train_images"].mean((0, 1, 2)) / 255))
    assert found.std == pytest.approx(tuple(arrays["train_images"].std((0, 1, 2)) / 255))


def test_npz_grey_images_get_their_channel_and_constant_ones_no_division_by_zero(tmp_path: Path) -> None:
    arrays = {**good(), "train_images": np.full((12, 5, 4), 7, np.uint8), "test_images": np.zeros((6, 5, 4), np.uint8)}
    found = npz(tmp_path / "grey.npz", arrays).load()
    assert found.image_shape == (1, 5, 4)
    assert found.std[0] > 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train_images", np.zeros((12, 5, 4, 3), np.float32)),
        ("train_images", np.zeros((12, 60), np.uint8)),
        ("train_images", np.zeros((0, 5, 4, 3), np.uint8)),
        ("test_images", np.zeros((6, 4, 5, 3), np.uint8)),
        ("test_images", np.zeros((0, 5, 4, 3), np.uint8)),
        ("train_labels", np.zeros(11, np.int64)),
        ("train_labels", np.zeros((12, 1), np.int64)),
        ("train_labels", np.zeros(12, np.float64)),
        ("train_labels", np.zeros(12, bool)),
        ("test_labels", np.array([0, 1, 2, -1, 0, 1])),
        ("test_labels", np.full(6, 2**63, np.uint64)),
        ("test_labels", np.full(6, 10**12)),
        ("test_labels", np.array([None] * 6)),
        ("test_labels", None),
    ],
)
def test_npz_mismatches_name_file_and_array(tmp_path: Path, key: str, value: Any) -> None:
    arrays = {**good(), key: value}
    if value is None:
        del arrays[key]
    words = {"test_images": "test images"}.get(key, key) if getattr(value, "shape", ()) == (6, 4, 5, 3) else key
    with pytest.raises(DataError, match=words) as raised:
        npz(tmp_path / "bad.npz", arrays).load()
    assert "bad.npz" in str(raised.value)


def test_npz_of_one_class_is_refused(tmp_path: Path) -> None:
    arrays = {**good(), "train_labels": np.zeros(12, int), "test_labels": np.zeros(6, int)}
    with pytest.raises(DataError, match="two classes"):
        npz(tmp_path / "one.npz", arrays).load()


@pytest.mark.parametrize(
    "kind", ["absent", "folder", "empty", "text", "npy", "pickle", "truncated", "damaged", "stored"]
)
def test_invalid_npz_is_a_data_error_with_the_file_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "data.npz"
    npz(path, good())
    if kind == "stored":  # uncompressed, so that damage shows in the check sum alone
        np.savez(path, **good())
    whole = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif kind != "absent":
        middle = len(whole) // 4
        content = {
            "empty": b"",
            "text": b"hello",
            "pickle": pickle.dumps([1]),
            "truncated": whole[: len(whole) // 2],
            **dict.fromkeys(
                ("damaged", "stored"),
                whole[:middle] + bytes(b ^ 0x5A for b in whole[middle : middle + 80]) + whole[middle + 80 :],
            ),
        }
        path.write_bytes(content[kind])
    with pytest.raises(DataError, match=r"data\.npz"):
        Npz(Npz.Settings(file=str(path))).load()


def test_npz_check_needs_no_reading(tmp_path: Path) -> None:
    data = npz(tmp_path / "mine.npz", good())
    data.check()
    (tmp_path / "mine.npz").unlink()
    with pytest.raises(DataError, match=r"mine\.npz"):
        data.check()


def test_object_arrays_are_never_unpickled(tmp_path: Path) -> None:
    trap = np.empty(6, object)
    trap[:] = [Trap(tmp_path / "sprung")] * 6
    with pytest.raises(DataError, match="test_labels"):
        npz(tmp_path / "trap.npz", {**good(), "test_labels": trap}).load()
    assert not (tmp_path / "sprung").exists()
