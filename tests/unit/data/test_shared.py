"""Data that several processes have in common: the same parts to the bit, read-only, and without a copy in memory."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from raydarts.data import splits as loading
from raydarts.data.base import ImageArrays
from raydarts.data.batches import as_tensor
from raydarts.data.parts import batches
from raydarts.data.settings import AugmentSettings, DataSettings
from raydarts.data.shared import SharedData, SharedImages, shareable, size_of_shared, take
from raydarts.data.splits import AnySplits, load_splits, split_of
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings

IMAGES = DataSettings.model_validate({"dataset": "digits", "limit": 300, "validation_fraction": 0.2})
TEXT = DataSettings.model_validate(
    {"dataset": {"name": "rehearsal_text", "train": 400, "validation": 90, "test": 90, "vocabulary": 20}}
)
PARTS = ("weight", "alpha", "search", "validation", "test")


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loading, "_loaded", {})
    torch.set_warn_always(True)  # else it warns once in a process
    yield
    torch.set_warn_always(False)


def moved(shared: SharedData) -> Any:
    """As another process has it: its arrays lie in memory that must not be written into."""
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(shared, protocol=5, buffer_callback=buffers.append)
    assert len(text) < 5000, "the arrays are no part of the message"
    return pickle.loads(text, buffers=[bytes(buffer.raw()) for buffer in buffers])


def here(settings: DataSettings) -> tuple[AnySplits, AnySplits]:
    """The data as this process loads them, and as it is given them."""
    own = split_of(settings.dataset.build().load(), settings)
    shared = shareable(own)
    assert shared is not None
    return own, moved(shared).splits(settings)


@pytest.mark.parametrize("settings", [IMAGES, TEXT], ids=["images", "text"])
def test_each_part_is_the_same_to_the_bit(settings: DataSettings) -> None:
    own, given = here(settings)
    augment = AugmentSettings(crop_padding=1, flip=True) if settings is IMAGES else None
    for part in PARTS:
        passes = []
        for splits in (own, given):
            data = batches(splits, part, "cpu", torch.float32, augment)
            draws = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
            passes.append([*data.epoch(8, *draws), *data.sequential(10)])
        assert len(passes[0]) == len(passes[1]) > 0
        for one, other in zip(*passes, strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.targets, other.targets)


def test_no_part_of_images_is_copied() -> None:
    _, given = here(IMAGES)
    source = given.source
    assert isinstance(source, ImageArrays)
    assert not source.train_images.flags.writeable
    for part in PARTS:
        data: Any = batches(given, part, "cpu", torch.float32, None)
        array = source.test_images if part == "test" else source.train_images
        place = data.images.data_ptr() - array.ctypes.data
        assert 0 <= place < array.nbytes, part


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("settings", [IMAGES, TEXT], ids=["images", "text"])
def test_a_search_writes_nothing_into_them_and_warns_of_nothing(settings: DataSettings) -> None:
    own, given = here(settings)
    space: dict[str, Any] = {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1}
    if settings is TEXT:
        space = {"name": "darts-rnn", "units": 8}
    augment = {"augment": {"crop_padding": 1, "flip": True, "cutout_length": 2}} if settings is IMAGES else {}
    chosen = SearchSettings.model_validate({"epochs": 1, "batch_size": 8, "space": space, **augment})
    shared = shareable(given)
    assert shared is not None
    before = [array.copy() for array in moved(shared).arrays]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = [Search(chosen, splits).run_epoch() for splits in (own, given)]
    for row in rows:
        del row["seconds"], row["memory_mb"]
        row.pop("search_seconds", None)
    assert rows[0] == rows[1]
    after = shareable(given)
    assert after is not None
    assert all(np.array_equal(one, other) for one, other in zip(before, after.arrays, strict=True))


def test_a_tensor_of_an_array_that_may_be_written_into_is_an_ordinary_one() -> None:
    array = np.arange(3)
    as_tensor(array)[0] = 7
    assert array[0] == 7
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = as_tensor(array)
    assert tensor.tolist() == [7, 1, 2]
    assert tensor.data_ptr() == array.ctypes.data
    with pytest.warns(UserWarning, match="not writable"):
        torch.from_numpy(array)
    assert not array.flags.writeable
    empty = np.empty((0, 2), np.uint8)
    empty.flags.writeable = False
    assert as_tensor(empty).shape == (0, 2)


def test_a_tensor_keeps_the_memory_that_it_reads() -> None:
    array = np.arange(5000)
    array.flags.writeable = False
    tensor = as_tensor(array[1000:])
    del array
    assert int(tensor.sum()) == sum(range(1000, 5000))


def test_what_a_process_is_given_it_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    own = load_splits(IMAGES)
    shared = shareable(own)
    assert isinstance(shared, SharedImages)
    assert size_of_shared(shared) == sum(array.nbytes for array in shared.arrays) > 100_000
    monkeypatch.setattr(loading, "_loaded", {})
    take(IMAGES, moved(shared))
    monkeypatch.setattr(loading, "split_of", lambda *_: pytest.fail("it was loaded"))
    given = load_splits(IMAGES)
    assert (len(given.weight), len(given.alpha), len(given.validation)) == (120, 120, 60)


def test_only_plain_arrays_are_given_to_others() -> None:
    class Mine(ImageArrays):
        """Of the user's own."""

    source = IMAGES.dataset.build().load()
    assert isinstance(source, ImageArrays)
    mine = Mine(**{name: getattr(source, name) for name in source.__dataclass_fields__})
    assert shareable(split_of(mine, IMAGES)) is None
    odd = replace(source, train_labels=source.train_labels.view(np.ma.MaskedArray))
    assert shareable(split_of(odd, IMAGES)) is None
    odd = replace(source, test_labels=source.test_labels.astype(object))
    assert shareable(split_of(odd, IMAGES)) is None
