"""Streamed batches: the same as from memory, whatever the number of workers, and nothing left behind."""

from __future__ import annotations

import copy
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from folder_of_images import write_images

from raydarts.data import files, streaming
from raydarts.data.batches import Batches, ImageBatches
from raydarts.data.image_folder import ImageFolder
from raydarts.data.parts import batches
from raydarts.data.settings import AugmentSettings, DataSettings
from raydarts.data.splits import Splits, split
from raydarts.data.streaming import ImageStream
from raydarts.errors import DataError
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.tasks import Batch

pytestmark = pytest.mark.usefixtures("one_thread")

AUGMENT: dict[str, Any] = {
    "crop_padding": 2,
    "flip": True,
    "colour_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2},
    "cutout_length": 3,
    "cutout_probability": 0.5,
}
WINDOWS: dict[str, Any] = {"random_resized_crop": [0.2, 0.9]}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 training and 6 test images of 8x8 pixels."""
    return write_images(tmp_path_factory.mktemp("images"), {"train": 20, "test": 2})


def splits_of(root: Path, stream: bool = True, workers: int = 0) -> Splits:
    settings = ImageFolder.Settings(root=str(root), size=8, stream=stream, workers=workers)
    # Statistics are given, so that they agree to the last bit.
    source = ImageFolder(settings).load().with_statistics((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
    return split(source, DataSettings(validation_fraction=0.2))


def part_of(splits: Splits, part: str = "search", augment: dict[str, Any] | None = None) -> Batches:
    settings = None if augment is None else AugmentSettings.model_validate(augment)
    return batches(splits, part, "cpu", torch.float32, settings)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def passed(part: Batches, seed: int = 0, epochs: int = 1, **more: Any) -> list[Batch]:
    order, augment = generator(seed), generator(seed + 1)
    return [batch for _ in range(epochs) for batch in part.epoch(7, order, augment, **more)]


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets) for a, b in zip(one, other, strict=True)
    )


def test_the_factory_goes_by_where_the_images_lie(root: Path) -> None:
    assert isinstance(part_of(splits_of(root)), ImageStream)
    assert isinstance(part_of(splits_of(root, stream=False)), ImageBatches)


@pytest.mark.parametrize("augment", [None, AUGMENT])
@pytest.mark.parametrize("drop_last", [True, False])
def test_streamed_pass_equals_the_pass_from_memory(root: Path, augment: dict[str, Any] | None, drop_last: bool) -> None:
    streamed, memory = (part_of(splits_of(root, stream), augment=augment) for stream in (True, False))
    found = passed(streamed, epochs=2, drop_last=drop_last)
    assert len(found) == 2 * (6 if drop_last else 7)  # 48 images
    assert equal(found, passed(memory, epochs=2, drop_last=drop_last))


@pytest.mark.parametrize("part", ["weight", "alpha", "search", "validation", "test"])
def test_streamed_pass_in_order_equals_the_one_from_memory(root: Path, part: str) -> None:
    found, expected = (list(part_of(splits_of(root, stream), part).sequential(5)) for stream in (True, False))
    assert found
    assert equal(found, expected)


@pytest.mark.parametrize("key", list(AUGMENT))
@pytest.mark.parametrize("stream", [True, False])
def test_each_setting_acts_wherever_the_images_lie(root: Path, key: str, stream: bool) -> None:
    splits = splits_of(root, stream)
    neutral = {"cutout_probability": 0.0} if key == "cutout_probability" else {}
    without = {name: value for name, value in AUGMENT.items() if name != key} | neutral
    assert not equal(passed(part_of(splits, augment=AUGMENT)), passed(part_of(splits, augment=without)))


@pytest.mark.parametrize("stream", [True, False])
def test_windows_act_and_follow_the_augment_generator_alone(root: Path, stream: bool) -> None:
    part = part_of(splits_of(root, stream), augment=WINDOWS)
    plain = passed(part_of(splits_of(root, stream)))
    before = torch.get_rng_state()
    first, again = passed(part), passed(part)
    other = list(part.epoch(7, generator(0), generator(9)))
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(first, again)
    for a, b, c in zip(first, other, plain, strict=True):
        assert torch.equal(a.targets, b.targets)
        assert torch.equal(a.targets, c.targets)
        assert not torch.equal(a.inputs, b.inputs)
        assert not torch.equal(a.inputs, c.inputs)


def processes() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_no_more_workers_are_started_than_there_are_cpus(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def left() -> int:
        return int(part_of(splits_of(root, workers=3))._workers)  # type: ignore[attr-defined]

    for usable, workers in ((1, 1), (2, 2), (8, 3)):
        monkeypatch.setattr(streaming, "usable_cpus", lambda usable=usable: usable)
        assert left() == workers
    asked: list[int] = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, threads: int) -> None:
            asked.append(threads)
            super().__init__(threads)

    monkeypatch.setattr(files, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(files, "usable_cpus", lambda: 2)
    for workers in (0, 1, 3):
        ImageFolder(ImageFolder.Settings(root=str(root), size=8, workers=workers)).load()
    assert asked == [1, 1, 1, 1, 2, 2]  # the training and the test part each


def test_workers_change_no_bit_and_end_with_the_part(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "usable_cpus", lambda: 2)
    expected = passed(part_of(splits_of(root), augment=AUGMENT | WINDOWS), epochs=2)
    in_order = list(part_of(splits_of(root), "test").sequential(2))
    state = torch.get_rng_state()
    for workers in (1, 2):
        splits = splits_of(root, workers=workers)
        part = part_of(splits, augment=AUGMENT | WINDOWS)
        next(iter(part.epoch(7, generator(5), generator(5))))  # a pass left early must not spoil the next
        before = processes()
        assert equal(passed(part, epochs=2), expected)
        assert processes() == before  # the same workers for every pass
        assert equal(list(part_of(splits, "test").sequential(2)), in_order)
        assert processes() == before  # those of the pass in order are gone
        del part
        deadline = time.monotonic() + 10
        while len(before & processes()) > len(before) - workers and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(before & processes()) == len(before) - workers
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("taken", [3, 6])
def test_where_generators_are_left_does_not_hang_on_what_was_read_ahead(root: Path, taken: int) -> None:
    def left(workers: int) -> list[torch.Tensor]:
        order, augment = generator(0), generator(1)
        part = part_of(splits_of(root, workers=workers), augment=AUGMENT | WINDOWS)
        for number, _ in enumerate(part.epoch(7, order, augment), 1):
            if number == taken:
                break
        return [order.get_state(), augment.get_state()]

    assert all(torch.equal(one, other) for one, other in zip(left(0), left(2), strict=True))


def test_pass_resumes_from_saved_generators(root: Path) -> None:
    splits = splits_of(root)
    order, augment = generator(0), generator(1)
    part = part_of(splits, augment=AUGMENT | WINDOWS)
    list(part.epoch(7, order, augment))
    states = order.get_state(), augment.get_state()
    second = list(part.epoch(7, order, augment))
    for one, state in zip((order, augment), states, strict=True):
        one.set_state(state)
    assert equal(list(part_of(splits, augment=AUGMENT | WINDOWS).epoch(7, order, augment)), second)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_breaks_under_way_is_named_in_one_line(tmp_path: Path, workers: int) -> None:
    write_images(tmp_path, {"train": 8, "test": 1})
    part = part_of(splits_of(tmp_path, workers=workers))
    for path in tmp_path.glob("train/b/*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match=r"^[^\n]*/train/b/\d\d\.png: cannot be read[^\n]*$"):
        passed(part)


def test_two_passes_at_once_are_refused(root: Path) -> None:
    part = part_of(splits_of(root))
    first = part.epoch(7, generator(), generator())
    next(first)
    next(part.epoch(7, generator(), generator()))
    with pytest.raises(RuntimeError, match="second pass"):
        next(first)


def search(splits: Splits) -> Search:
    plain = {
        "epochs": 2,
        "batch_size": 8,
        "space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 2},
        "estimator": "first_order",
        "augment": AUGMENT,
    }
    return Search(SearchSettings.model_validate(plain), splits)


def test_a_search_on_files_is_the_one_on_arrays_and_resumes_to_the_last_bit(root: Path) -> None:
    streamed, memory = search(splits_of(root)), search(splits_of(root, stream=False))
    streamed.run_epoch()
    resumed = search(splits_of(root))
    resumed.load_state_dict(copy.deepcopy(streamed.state_dict()))
    memory.run_epoch()
    jobs = (streamed, memory, resumed)
    for job in jobs:
        job.run_epoch()
    expected = memory.supernet.state_dict()
    for job in (streamed, resumed):
        assert all(torch.equal(value, expected[key]) for key, value in job.supernet.state_dict().items())
        assert all(torch.equal(alpha, memory.alphas[name]) for name, alpha in job.alphas.items())
        assert job.metrics["validation_loss"] == memory.metrics["validation_loss"]
    assert np.isfinite(memory.metrics["validation_loss"])
