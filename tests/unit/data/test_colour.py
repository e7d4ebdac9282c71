"""Colour jitter: each change is torchvision's, factors and orders are drawn for each image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.transforms import functional

from raydarts.data import colour
from raydarts.data.base import ImageArrays
from raydarts.data.colour import jittered
from raydarts.data.parts import batches
from raydarts.data.settings import AugmentSettings, ColourJitter, DataSettings
from raydarts.data.splits import split
from raydarts.errors import DataError

pytestmark = pytest.mark.usefixtures("one_thread")


def images(count: int = 8, channels: int = 3) -> torch.Tensor:
    """NHWC in [0, 255]; the last one is grey, which has no hue."""
    found = 255 * torch.rand((count, 5, 6, channels), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found[-1] = found[-1, ..., :1]
    return found


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("name", "factor"),
    [(name, factor) for name in ("brightness", "contrast", "saturation") for factor in (0.0, 0.6, 1.0, 1.4)]
    + [("hue", turn) for turn in (-0.5, -0.2, 0.0, 0.13, 0.5)],
)
def test_changes_match_torchvision(name: str, factor: float) -> None:
    source = images()
    found = getattr(colour, name)(source, torch.full((8, 1, 1, 1), factor, dtype=torch.float64))
    expected = getattr(functional, f"adjust_{name}")(source.permute(0, 3, 1, 2) / 255, factor)
    tolerance = 1e-3 if name == "hue" else 1e-9  # torchvision turns the hue in float32, whatever comes in
    assert torch.allclose(found, 255 * expected.permute(0, 2, 3, 1), rtol=0, atol=tolerance)
    if factor == (0 if name == "hue" else 1):
        assert torch.allclose(found, source, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["brightness", "contrast"])
def test_grey_images_can_be_brighter_and_of_more_contrast(name: str) -> None:
    source = images(channels=1)
    found = getattr(colour, name)(source, torch.full((8, 1, 1, 1), 1.3, dtype=torch.float64))
    expected = getattr(functional, f"adjust_{name}")(source.permute(0, 3, 1, 2) / 255, 1.3)
    assert torch.allclose(found, 255 * expected.permute(0, 2, 3, 1), atol=1e-9)


def test_factors_are_drawn_for_each_image_over_the_whole_range() -> None:
    source = torch.full((4000, 1, 1, 3), 100.0, dtype=torch.float64)
    found = jittered(source, ColourJitter(brightness=0.4), generator())[:, 0, 0, 0] / 100
    assert 0.6 <= found.min() < 0.61
    assert 1.39 < found.max() <= 1.4
    assert found.mean() == pytest.approx(1, abs=0.02)
    strong = jittered(source, ColourJitter(brightness=1.5), generator())[:, 0, 0, 0] / 100
    assert strong.min() >= 0
    turned = jittered(torch.tensor([[[[200.0, 100, 100]]]]).repeat(4000, 1, 1, 1), ColourJitter(hue=0.1), generator())
    assert (turned[:, 0, 0, 0] == 200).all()  # a turn of at most 0.6 of a sixth keeps red the largest
    assert {bool(green > blue) for _, green, blue in turned[:, 0, 0].tolist()} == {True, False}


def test_the_order_is_drawn_for_each_image() -> None:
    """Of one image, all that comes out is one of two: brightness first, or saturation first (which clips)."""
    source = torch.tensor([250.0, 30, 10], dtype=torch.float64).expand(200, 1, 1, 3)
    jitter = ColourJitter(brightness=0.4, saturation=0.4)
    drawn = generator(3)
    orders = torch.rand((200, 2), generator=drawn).argsort(1)
    factors = 2 * torch.rand((2, 200), generator=drawn) - 1
    one, other = ((1 - 0.4 + 0.8 * (factor + 1) / 2).double()[:, None, None, None] for factor in factors)
    first = colour.saturation(colour.brightness(source, one), other)
    second = colour.brightness(colour.saturation(source, other), one)
    found = jittered(source, jitter, generator(3))
    expected = torch.where((orders[:, 0] == 0)[:, None, None, None], first, second)
    assert torch.allclose(found, expected, atol=1e-4)
    assert 60 < int((orders[:, 0] == 0).sum()) < 140
    assert not torch.allclose(first, second, atol=1)


def test_no_strength_draws_and_changes_nothing() -> None:
    drawn = generator()
    assert torch.equal(jittered(images(), ColourJitter(), drawn), images())
    assert torch.equal(drawn.get_state(), generator().get_state())


def arrays(channels: int) -> ImageArrays:
    pixels = images(20, channels).round().byte().numpy()
    labels = torch.arange(20).numpy() % 2
    return ImageArrays.of("mine", pixels, labels, pixels, labels, 2)


def inputs(channels: int, **jitter: Any) -> torch.Tensor:
    settings = AugmentSettings(colour_jitter=ColourJitter(**jitter))
    part = batches(split(arrays(channels), DataSettings()), "search", "cpu", torch.float64, settings)
    return torch.cat([batch.inputs for batch in part.epoch(6, generator(), generator())])


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_each_strength_acts_on_batches(name: str) -> None:
    assert not torch.equal(inputs(3, **{name: 0.3}), inputs(3))
    if name in ("brightness", "contrast"):
        assert not torch.equal(inputs(1, **{name: 0.3}), inputs(1))


@pytest.mark.parametrize(
    ("channels", "jitter", "words"),
    [
        (1, {"saturation": 0.1, "brightness": 0.1}, "saturation of mine's grey images"),
        (1, {"hue": 0.1, "saturation": 0.1}, "saturation and hue"),
        (4, {"brightness": 0.1}, "4 channels"),
    ],
)
def test_changes_that_images_cannot_have_are_refused(channels: int, jitter: dict[str, float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        inputs(channels, **jitter)
