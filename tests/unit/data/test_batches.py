"""Batches: every image once, normalised; augmentation from its own generator, checked pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from raydarts.data.base import ImageArrays
from raydarts.data.batches import ImageBatches
from raydarts.data.settings import AugmentSettings
from raydarts.data.splits import Splits
from raydarts.tasks import Batch

SIZE = 6


def splits_of(count: int = 20, channels: int = 3) -> Splits:
    """Image i has the label i, so that a batch says which images it holds. No pixel is 0."""
    images = np.random.default_rng(0).integers(1, 256, (count, SIZE, SIZE, channels), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64)
    arrays = ImageArrays.of("numbered", images, labels, images[:3][::-1].copy(), labels[:3][::-1].copy(), count)
    order = np.random.default_rng(1).permutation(count).astype(np.int64)
    return Splits(arrays, order[: count // 2], order[count // 2 : count - 4], order[count - 4 :])


def batches_of(splits: Splits, part: str = "search", **augment: Any) -> ImageBatches:
    settings = AugmentSettings(**augment) if augment else None
    return ImageBatches(splits, part, "cpu", torch.float64, settings)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def epoch(batches: ImageBatches, size: int = 4, order: int = 0, augment: int = 0, **more: Any) -> list[Batch]:
    return list(batches.epoch(size, generator(order), generator(augment), **more))


def statistics(splits: Splits) -> list[torch.Tensor]:
    """Mean and standard deviation, each (1, channels, 1, 1)."""
    both = (splits.arrays.mean, splits.arrays.std)
    return [torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in both]


def pixels(splits: Splits, batch: Batch) -> torch.Tensor:
    """Back to 0..255, NCHW."""
    mean, std = statistics(splits)
    return ((batch.inputs * std + mean) * 255).round()


def original(splits: Splits, batch: Batch) -> torch.Tensor:
    chosen = splits.arrays.train_images[batch.targets.numpy()]
    return torch.from_numpy(chosen.transpose(0, 3, 1, 2).astype(np.float64))


@pytest.mark.parametrize("part", ["weight", "alpha", "search", "validation"])
def test_sequential_yields_the_part_in_order(part: str) -> None:
    splits = splits_of()
    found = list(batches_of(splits, part, flip=True, crop_padding=2, cutout_length=3).sequential(3))
    assert torch.cat([batch.targets for batch in found]).tolist() == getattr(splits, part).tolist()
    for batch in found:
        assert torch.equal(pixels(splits, batch), original(splits, batch))


def test_the_test_part_comes_from_the_test_images() -> None:
    splits = splits_of()
    (batch,) = batches_of(splits, "test").sequential(10)
    assert batch.targets.tolist() == [2, 1, 0]
    assert torch.equal(pixels(splits, batch), original(splits, batch))


def test_inputs_are_normalised_per_channel_and_channels_last() -> None:
    splits = splits_of()
    arrays = splits.arrays
    everything = torch.from_numpy(arrays.train_images).double() / 255
    assert torch.allclose(everything.mean((0, 1, 2)), torch.tensor(arrays.mean).double(), atol=1e-6)
    assert torch.allclose(everything.std((0, 1, 2), correction=0), torch.tensor(arrays.std).double(), atol=1e-6)
    batch = epoch(batches_of(splits))[0]
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
    assert batch.inputs.dtype == torch.float64
    assert batch.inputs.shape == (4, 3, SIZE, SIZE)


def test_an_epoch_is_a_shuffled_pass_without_the_incomplete_batch() -> None:
    splits = splits_of(24)
    batches = batches_of(splits, "search")
    assert len(batches) == 20
    dropped, kept, other = epoch(batches, 6), epoch(batches, 6, drop_last=False), epoch(batches, 6, order=1)
    assert [len(batch.targets) for batch in dropped] == [6, 6, 6]
    assert [len(batch.targets) for batch in kept] == [6, 6, 6, 2]
    seen = torch.cat([batch.targets for batch in kept]).tolist()
    assert sorted(seen) == sorted(splits.search)
    assert seen != splits.search.tolist()
    assert torch.cat([batch.targets for batch in other]).tolist() != seen[:18]


def test_fewer_images_than_a_batch_are_one_batch_of_them_all() -> None:
    batches = batches_of(splits_of(), "validation")
    for drop_last in (True, False):
        assert [len(batch.targets) for batch in epoch(batches, 100, drop_last=drop_last)] == [4]


def test_augmentation_draws_from_its_generator_alone() -> None:
    batches = batches_of(splits_of(), flip=True, crop_padding=2, cutout_length=3, cutout_probability=0.5)
    before = torch.get_rng_state()
    first, again, other = (epoch(batches, augment=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a.targets, b.targets) for a, b in zip(first, other, strict=True))
    assert not any(torch.equal(a.inputs, b.inputs) for a, b in zip(first, other, strict=True))


def test_without_settings_nothing_is_drawn_or_changed() -> None:
    splits = splits_of()
    drawn = generator()
    for batch in batches_of(splits).epoch(4, generator(), drawn):
        assert torch.equal(pixels(splits, batch), original(splits, batch))
    assert torch.equal(drawn.get_state(), generator().get_state())


def test_flips_are_whole_images_about_half_of_them() -> None:
    splits = splits_of(200)
    flipped = 0
    for batch in epoch(batches_of(splits, flip=True), 10):
        for image, plain in zip(pixels(splits, batch), original(splits, batch), strict=True):
            assert torch.equal(image, plain) or torch.equal(image, plain.flip(2))
            flipped += torch.equal(image, plain.flip(2))
    assert 70 < flipped < 130


def test_crops_are_windows_of_the_image_padded_with_black_at_every_offset() -> None:
    splits = splits_of(400)
    offsets = set()
    for batch in epoch(batches_of(splits, crop_padding=1), 10):
        padded = torch.nn.functional.pad(original(splits, batch), (1, 1, 1, 1))
        for image, source in zip(pixels(splits, batch), padded, strict=True):
            hits = [
                (y, x) for y in range(3) for x in range(3) if torch.equal(image, source[:, y : y + SIZE, x : x + SIZE])
            ]
            assert len(hits) == 1
            offsets.update(hits)
    assert len(offsets) == 9


@pytest.mark.parametrize("length", [1, 3, 4])
def test_cutout_is_a_square_clipped_at_the_border_zero_after_normalisation(length: int) -> None:
    splits = splits_of(400)
    mean, std = statistics(splits)
    areas = set()
    for batch in epoch(batches_of(splits, cutout_length=length), 10):
        plain = (original(splits, batch) / 255 - mean) / std
        for image, source in zip(batch.inputs, plain, strict=True):
            hole = (image == 0).all(0)
            assert torch.allclose(image[:, ~hole], source[:, ~hole])
            rows, columns = (hole.any(1).nonzero().flatten(), hole.any(0).nonzero().flatten())
            box = (int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1)
            assert int(hole.sum()) == box[0] * box[1]
            areas.add(box)
    assert max(areas) == (length, length)
    assert all((length + 1) // 2 <= side <= length for box in areas for side in box)
    assert length == 1 or len(areas) > 1


def test_cutout_probability_can_be_ramped() -> None:
    splits = splits_of(400)
    batches = batches_of(splits, cutout_length=3, cutout_probability=0.25)

    def share() -> float:
        cut = [(batch.inputs == 0).all(1).flatten(1).any(1) for batch in epoch(batches, 4)]
        return float(torch.cat(cut).double().mean())

    assert 0.15 < share() < 0.35
    batches.cutout = (3, 1.0)
    assert share() == 1
    batches.cutout = (3, 0.0)
    assert share() == 0


def test_crop_flip_and_cutout_match_a_loop_over_images() -> None:
    """The same draws, in the same order, applied to one image after the other."""
    splits = splits_of()
    mean, std = (np.array(values) for values in (splits.arrays.mean, splits.arrays.std))
    found = epoch(batches_of(splits, crop_padding=2, flip=True, cutout_length=3, cutout_probability=0.6), 5, augment=7)
    drawn = generator(7)
    for batch in found:
        offsets = torch.randint(0, 5, (2, 5, 1), generator=drawn)
        flips = torch.rand((5, 1), generator=drawn) < 0.5
        y, x = (torch.randint(0, SIZE, (5, 1), generator=drawn) for _ in range(2))
        has = torch.rand((5, 1, 1), generator=drawn) < 0.6
        for n, label in enumerate(batch.targets.tolist()):
            padded = np.pad(splits.arrays.train_images[label], ((2, 2), (2, 2), (0, 0)))
            top, left = int(offsets[0, n]), int(offsets[1, n])
            image = padded[top : top + SIZE, left : left + SIZE]
            image = image[:, ::-1] if flips[n] else image
            expected = (image / 255 - mean) / std
            if has[n]:
                row, column = int(y[n]), int(x[n])
                expected[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = 0
            np.testing.assert_allclose(batch.inputs[n].permute(1, 2, 0).numpy(), expected, rtol=0, atol=1e-12)


def test_jobs_at_the_same_time_share_one_copy_of_a_parts_images_and_later_ones_make_their_own() -> None:
    splits = splits_of()
    first, second, other = batches_of(splits), batches_of(splits), batches_of(splits, "weight")
    assert first.images is second.images
    assert other.images is not first.images
    assert torch.equal(other.images, torch.from_numpy(splits.arrays.train_images[splits.weight]))
    del first, second, other
    assert len(splits.shared) == 0
