"""CIFAR and SVHN: read from files in torchvision's formats, never opened before their MD5 sums agree."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import time
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from torchvision import datasets
from trap import Trap

from raydarts.data import downloaded
from raydarts.data.cifar10 import Cifar10
from raydarts.data.cifar100 import Cifar100
from raydarts.data.downloaded import Downloaded
from raydarts.data.svhn import Svhn
from raydarts.errors import DataError

SETS = [Cifar10, Cifar100, Svhn]


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def pixels(seed: int, count: int) -> np.ndarray:
    """NHWC."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def write_cifar(
    monkeypatch: pytest.MonkeyPatch, root: Path, cls: Any, content: dict[str, tuple[Any, list[int]]]
) -> None:
    """The real layout: rows of 3,072 values (red, green, blue), and torchvision told of these files' MD5 sums."""
    folder = root / cls.base_folder
    folder.mkdir(parents=True)
    fine = cls is datasets.CIFAR100
    for name, (images, labels) in content.items():
        rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        keys = {"fine_labels": labels, "coarse_labels": [0] * len(labels)} if fine else {"labels": labels}
        (folder / name).write_bytes(pickle.dumps({"data": rows, **keys}))
    meta = folder / cls.meta["filename"]
    meta.write_bytes(pickle.dumps({cls.meta["key"]: ["some"] * 100}))
    for key in ("train_list", "test_list"):
        names = [name for name, _ in getattr(cls, key)]
        monkeypatch.setattr(cls, key, [[name, md5(folder / name)] for name in names])
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": md5(meta)})


def write_svhn(monkeypatch: pytest.MonkeyPatch, root: Path, content: dict[str, tuple[Any, list[int]]]) -> None:
    """The real layout: X (height, width, channels, n), y (n, 1) with 10 for the digit 0."""
    sums = {}
    for part, (images, labels) in content.items():
        path = root / f"{part}_32x32.mat"
        scipy.io.savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": np.array(labels, np.uint8)[:, None]})
        sums[part] = ["http://unused.invalid", path.name, md5(path)]
    monkeypatch.setattr(datasets.SVHN, "split_list", {**datasets.SVHN.split_list, **sums})


def local(cls: type[Downloaded], root: Path, **settings: Any) -> Downloaded:
    return cls(cls.Settings.model_validate({"root": str(root), "download": False} | settings))


def test_cifar10_is_read_from_its_batches_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {f"data_batch_{n}": (pixels(n, 2), [n, n + 1]) for n in range(1, 6)}
    write_cifar(monkeypatch, tmp_path, datasets.CIFAR10, {**content, "test_batch": (pixels(9, 3), [7, 8, 9])})
    found = local(Cifar10, tmp_path).load()
    assert (found.name, found.num_classes, found.image_shape) == ("cifar10", 10, (3, 32, 32))
    assert np.array_equal(found.train_images, np.concatenate([pixels(n, 2) for n in range(1, 6)]))
    assert np.array_equal(found.test_images, pixels(9, 3))
    assert found.train_labels.tolist() == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    assert found.test_labels.tolist() == [7, 8, 9]
    assert found.mean == pytest.approx(tuple(found.train_images.mean((0, 1, 2)) / 255))


def test_cifar100_has_the_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"train": (pixels(0, 4), [99, 0, 5, 7]), "test": (pixels(1, 2), [3, 98])}
    write_cifar(monkeypatch, tmp_path, datasets.CIFAR100, content)
    found = local(Cifar100, tmp_path).load()
    assert (found.name, found.num_classes, found.image_shape) == ("cifar100", 100, (3, 32, 32))
    assert np.array_equal(found.train_images, pixels(0, 4))
    assert np.array_equal(found.test_images, pixels(1, 2))
    assert found.train_labels.tolist() == [99, 0, 5, 7]
    assert found.test_labels.tolist() == [3, 98]


def test_svhn_is_upright_its_ten_is_the_digit_zero_and_extra_is_added_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"train": (pixels(0, 3), [10, 1, 9]), "extra": (pixels(1, 2), [4, 10]), "test": (pixels(2, 2), [2, 10])}
    write_svhn(monkeypatch, tmp_path, content)
    found, more = (local(Svhn, tmp_path, extra=extra).load() for extra in (False, True))
    assert (found.name, found.num_classes, found.image_shape) == ("svhn", 10, (3, 32, 32))
    assert np.array_equal(found.train_images, pixels(0, 3))
    assert found.train_labels.tolist() == [0, 1, 9]
    assert found.test_labels.tolist() == more.test_labels.tolist() == [2, 0]
    assert np.array_equal(found.test_images, pixels(2, 2))
    assert np.array_equal(more.train_images, np.concatenate([pixels(0, 3), pixels(1, 2)]))
    assert more.train_labels.tolist() == [0, 1, 9, 4, 0]


@pytest.mark.parametrize("cls", [Cifar10, Cifar100])
def test_forged_files_are_refused_before_they_are_unpickled(tmp_path: Path, cls: type[Downloaded]) -> None:
    data = local(cls, tmp_path)
    folder = tmp_path / data.needed[0]
    folder.mkdir()
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta", "train", "test", "meta"]
    for name in names:
        (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    data.check()
    with pytest.raises(DataError, match=folder.name):
        data.load()
    assert not (tmp_path / "sprung").exists()
    pickle.loads((folder / "test").read_bytes())
    assert (tmp_path / "sprung").exists(), "the trap itself does not work"


def test_a_damaged_svhn_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_svhn(monkeypatch, tmp_path, {"train": (pixels(0, 3), [1, 2, 3]), "test": (pixels(2, 2), [2, 4])})
    whole = (tmp_path / "test_32x32.mat").read_bytes()
    (tmp_path / "test_32x32.mat").write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"SVHN.*corrupted"):
        local(Svhn, tmp_path).load()


@pytest.mark.parametrize(
    ("cls", "settings", "words"),
    [
        (Cifar10, {}, r"cifar-10-batches-py.*cifar-10-python\.tar\.gz"),
        (Cifar100, {}, r"cifar-100-python.*cifar-100-python\.tar\.gz"),
        (Svhn, {}, r"train_32x32\.mat, .*test_32x32\.mat: not there"),
        (Svhn, {"extra": True}, r"extra_32x32\.mat.*not there"),
    ],
)
def test_absent_without_download_says_what_to_put_where(
    tmp_path: Path, cls: type[Downloaded], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        local(cls, tmp_path, **settings).check()


@pytest.mark.parametrize("cls", SETS)
@pytest.mark.parametrize("error", [RuntimeError("not the sum"), OSError("no route to host"), IncompleteRead(b"")])
def test_what_cannot_be_downloaded_is_a_data_error_that_says_how_to_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cls: type[Downloaded], error: Exception
) -> None:
    asked = []

    def fail(*args: Any, **kwargs: Any) -> None:
        asked.append(args)
        raise error

    monkeypatch.setattr(datasets.SVHN, "download", fail)
    monkeypatch.setattr(datasets.CIFAR10, "download", fail)
    data = local(cls, tmp_path, download=True)
    with pytest.raises(DataError, match="download: false") as raised:
        data.load()
    assert asked
    assert str(error) in str(raised.value)
    assert all(name in str(raised.value) for name in data.needed)


def test_files_that_are_there_are_read_without_touching_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as on a read-only share, with the default `download: true`."""
    write_cifar(
        monkeypatch,
        tmp_path,
        datasets.CIFAR100,
        {"train": (pixels(0, 4), [1, 0, 1, 0]), "test": (pixels(1, 2), [1, 0])},
    )
    before = sorted(tmp_path.rglob("*"))
    local(Cifar100, tmp_path, download=True).load()
    assert sorted(tmp_path.rglob("*")) == before


def hold(root: Path, held: Any) -> None:
    with downloaded.one_at_a_time(root):
        held.set()
        time.sleep(1)


def test_only_one_process_downloads_to_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = []

    class Stand:
        def __init__(self, root: str, train: bool, download: bool) -> None:
            if not download:
                raise RuntimeError("Dataset not found")
            downloads.append(time.monotonic())
            self.data, self.targets = pixels(0, 2), [0, 1]

    monkeypatch.setattr(datasets, "CIFAR10", Stand)
    context = multiprocessing.get_context("fork")
    held = context.Event()
    other = context.Process(target=hold, args=(tmp_path, held))
    other.start()
    assert held.wait(10)
    began = time.monotonic()
    local(Cifar10, tmp_path, download=True).load()
    other.join()
    assert len(downloads) == 2
    assert downloads[0] - began > 0.5
