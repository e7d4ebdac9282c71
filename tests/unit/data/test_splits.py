"""The split: disjoint, complete, permuted, reproducible, and never silently empty."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from raydarts import registry
from raydarts.data import splits as module
from raydarts.data.base import Dataset, ImageArrays
from raydarts.data.parts import batches
from raydarts.data.settings import DataSettings
from raydarts.data.splits import Splits, load_splits, split
from raydarts.errors import DataError
from raydarts.registry import Component


def arrays_of(count: int) -> ImageArrays:
    """Sorted by class, as files often are."""
    images = np.zeros((count, 4, 4, 1), np.uint8)
    labels = np.repeat(np.arange(4), (count + 3) // 4)[:count].astype(np.int64)
    return ImageArrays.of("sorted", images, labels, images[:5], labels[:5], 4)


def parts(found: Splits) -> list[list[int]]:
    return [found.weight.tolist(), found.alpha.tolist(), found.validation.tolist()]


def settings(**values: Any) -> DataSettings:
    return DataSettings.model_validate(values)


def test_parts_are_disjoint_and_hold_every_image() -> None:
    found = split(arrays_of(100), settings(validation_fraction=0.2, alpha_fraction=0.25))
    assert sorted(np.concatenate(parts(found))) == list(range(100))
    assert [len(part) for part in parts(found)] == [60, 20, 20]
    assert sorted(found.search) == sorted([*found.weight, *found.alpha])
    assert found.search.dtype == np.int64
    assert found.test.tolist() == [0, 1, 2, 3, 4]


def test_limit_comes_first_and_is_drawn_over_all_classes() -> None:
    arrays = arrays_of(400)
    found = split(arrays, settings(limit=80, validation_fraction=0.25))
    assert [len(part) for part in parts(found)] == [30, 30, 20]
    for part in (found.weight, found.alpha, found.validation):
        assert set(arrays.train_labels[part]) == {0, 1, 2, 3}


def test_a_limit_above_the_number_of_images_keeps_them_all() -> None:
    assert sum(len(part) for part in parts(split(arrays_of(40), settings(limit=1000)))) == 40


def test_the_seed_decides_the_split() -> None:
    same, again, other = (parts(split(arrays_of(60), settings(split_seed=seed))) for seed in (3, 3, 4))
    assert same == again
    assert same != other


def test_nothing_held_out_is_allowed_when_asked_for() -> None:
    found = split(arrays_of(40), settings(validation_fraction=0.0))
    assert [len(part) for part in parts(found)] == [20, 20, 0]


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"limit": 2}, "weight|alpha"),
        ({"alpha_fraction": 0.01}, "alpha"),
        ({"alpha_fraction": 0.99}, "weight"),
        ({"validation_fraction": 0.001}, "validation_fraction"),
    ],
)
def test_an_empty_part_is_a_data_error_that_names_it(values: dict[str, Any], part: str) -> None:
    with pytest.raises(DataError, match=part):
        split(arrays_of(40), settings(**values))


class Counting(Dataset):
    """A data set whose settings hold a list, and that counts how often it is read."""

    NAME = "counting"
    reads = 0

    class Settings(registry.Settings):
        folders: list[str] = []

    def load(self) -> ImageArrays:
        Counting.reads += 1
        return arrays_of(40)


def test_a_data_set_is_read_once_a_process_per_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_loaded", {})
    monkeypatch.setattr(Component, "member", property(lambda self: Counting))

    def of(seed: int, *folders: str) -> DataSettings:
        dataset = Component(family="dataset", name="x:Counting", settings=Counting.Settings(folders=list(folders)))
        return DataSettings(dataset=dataset, split_seed=seed)

    first = load_splits(of(0, "a"))
    assert load_splits(of(0, "a")) is first
    assert Counting.reads == 1
    assert parts(load_splits(of(1, "a"))) != parts(first)
    load_splits(of(0, "b"))
    assert Counting.reads == 3
    assert len(module._loaded) == 2


def coloured() -> ImageArrays:
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (40, 4, 4, 3), dtype=np.uint8), np.arange(40, dtype=np.int64) % 2
    return ImageArrays.of("coloured", images, labels, images, labels, 2)


class Coloured(Dataset):
    """Three channels."""

    NAME = "coloured"

    def load(self) -> ImageArrays:
        return coloured()


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch) -> Component:
    monkeypatch.setattr(module, "_loaded", {})
    monkeypatch.setattr(Component, "member", property(lambda self: Coloured))
    return Component(family="dataset", name="x:Coloured", settings=Coloured.Settings())


def test_given_statistics_stand_in_for_the_computed_ones_each_by_itself(colours: Component) -> None:
    own = load_splits(DataSettings(dataset=colours)).source
    assert own.mean == coloured().mean
    mean = load_splits(DataSettings(dataset=colours, mean=(0.1, 0.2, 0.3))).source
    assert (mean.mean, mean.std) == ((0.1, 0.2, 0.3), own.std)
    both = load_splits(DataSettings(dataset=colours, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)))
    assert (both.source.mean, both.source.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    (batch,) = batches(both, "validation", "cpu", torch.float64, None).sequential(40)
    pixels = coloured().train_images[both.validation] / 255
    expected = (pixels - np.array([0.1, 0.2, 0.3])) / np.array([0.5, 0.6, 0.7])
    np.testing.assert_allclose(batch.inputs.permute(0, 2, 3, 1).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("key", ["mean", "std"])
@pytest.mark.parametrize("count", [1, 4])
def test_statistics_for_another_number_of_channels_are_refused(colours: Component, key: str, count: int) -> None:
    with pytest.raises(DataError, match=rf"data\.{key}: {count} given.*3 channel"):
        load_splits(DataSettings.model_validate({"dataset": colours, key: [0.5] * count}))
