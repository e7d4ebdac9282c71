"""scheduled_cutout."""

from __future__ import annotations

import pytest
import torch
from tiny_search import remedy, tiny_search

from raydarts.errors import InputError
from raydarts.search.moments import Moment, Step
from raydarts.search.regularizers.scheduled_cutout import ScheduledCutout

pytestmark = pytest.mark.usefixtures("one_thread")


class OtherCutout(ScheduledCutout):
    """A second remedy that sets the cutout."""

    NAME = "other_cutout"


def test_the_probability_at_the_first_middle_and_last_epoch() -> None:
    cutout = remedy("scheduled_cutout", length=8, probability=0.6)
    found = [cutout.epoch_overrides(Moment(epoch, 5))["cutout"] for epoch in (0, 2, 4)]
    assert found == [(0.25, 0.0), (0.25, pytest.approx(0.3)), (0.25, pytest.approx(0.6))]
    assert remedy("scheduled_cutout", probability=0).epoch_overrides(Moment(4, 5)) == {}


@pytest.mark.parametrize(("length", "pixels"), [(16, 4), (32, 8), (6, 2), (1, 1)])
def test_both_halves_cut_the_same_share_of_an_image_of_eight_pixels(length: int, pixels: int) -> None:
    job = tiny_search({"name": "scheduled_cutout", "length": length, "probability": 0.5})
    job._begin_epoch()
    assert job.data["weight"].cutout == job.data["alpha"].cutout == (pixels, 0.0)
    job.position = 1
    job._begin_epoch()
    assert job.data["weight"].cutout == job.data["alpha"].cutout == (pixels, 0.5)


def test_images_of_eight_pixels_keep_most_of_themselves() -> None:
    job = tiny_search("scheduled_cutout", augment={"crop_padding": 0, "flip": False})
    job.position = 1
    job._begin_epoch()
    plain = tiny_search(augment={"crop_padding": 0, "flip": False})
    cut, whole = (Step(each.objective, *next(each.loop.batches())) for each in (job, plain))
    for part in ("weight_batch", "alpha_batch"):
        one, other = getattr(cut, part), getattr(whole, part)
        assert torch.equal(one.targets, other.targets)
        changed = one.inputs != other.inputs
        assert not one.inputs[changed].any()
        share = changed.double().mean((1, 2, 3))
        assert 0 < float(share.max()) <= 16 / 64  # at most the square of 4 x 4
        assert float(share.mean()) > 0.05


def test_two_remedies_that_set_the_cutout_are_refused() -> None:
    with pytest.raises(InputError, match=r"scheduled_cutout and .*OtherCutout both set cutout"):
        tiny_search("scheduled_cutout", {"name": f"{__name__}:OtherCutout"})
