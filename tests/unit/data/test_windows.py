"""Random windows: inside the image, of the share and ratio asked for, resized as torchvision does."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.functional import resized_crop

from raydarts.data.windows import RATIO, draws_of, resized, windows

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(count: int, height: int, width: int, area: tuple[float, float], seed: int = 0) -> torch.Tensor:
    return windows(draws_of(count, torch.Generator().manual_seed(seed), "cpu"), height, width, area)


@pytest.mark.parametrize(("height", "width"), [(300, 400), (375, 200), (8, 8)])
def test_windows_lie_inside_and_reach_every_border(height: int, width: int) -> None:
    top, left, rows, columns = drawn(4000, height, width, (0.08, 1)).unbind(1)
    assert int(rows.min()) >= 1
    assert int(columns.min()) >= 1
    assert (int(top.min()), int(left.min())) == (0, 0)
    assert int((top + rows).max()) == height
    assert int((left + columns).max()) == width


def test_shares_and_ratios_fill_their_ranges() -> None:
    _, _, rows, columns = drawn(5000, 2000, 2000, (0.1, 0.3)).double().unbind(1)
    share, ratio = rows * columns / 2000**2, columns / rows
    assert 0.0995 < share.min() < 0.11
    assert 0.29 < share.max() < 0.3005
    assert share.mean() == pytest.approx(0.2, abs=0.005)
    assert RATIO[0] - 0.01 < ratio.min() < 0.77
    assert 1.3 < ratio.max() < RATIO[1] + 0.01
    assert ratio.log().mean() == pytest.approx(0, abs=0.01)  # uniform in the logarithm


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(100, 400, [0, 133, 100, 133]), (400, 75, [150, 0, 100, 75]), (64, 64, [0, 0, 64, 64])],
)
def test_where_nothing_fits_the_largest_allowed_window_in_the_middle_is_taken(
    height: int, width: int, expected: list[int]
) -> None:
    draws = torch.full((2, 10, 4), 0.9999)  # the whole area at ratio 4/3 fits into none of these
    assert windows(draws, height, width, (1.0, 1.0)).tolist() == [expected] * 2


def test_the_first_try_that_fits_is_taken() -> None:
    draws = torch.full((1, 10, 4), 0.9999)
    draws[0, 3] = torch.tensor([0.25, 0.5, 0.0, 0.0])  # half of each side from the corner
    draws[0, 5] = torch.tensor([0.01, 0.5, 0.0, 0.0])
    assert windows(draws, 100, 100, (0.0, 1.0)).tolist() == [[0, 0, 50, 50]]


@pytest.mark.parametrize(("height", "width"), [(9, 9), (6, 11)])
def test_windows_are_resized_as_torchvision_does(height: int, width: int) -> None:
    images = torch.randint(0, 256, (64, height, width, 3), generator=torch.Generator().manual_seed(1)).byte()
    taken = drawn(64, height, width, (0.1, 1))
    found = resized(images, taken)
    assert found.dtype == torch.uint8
    for image, window, source in zip(found, taken.tolist(), images, strict=True):
        exact = resized_crop(source.permute(2, 0, 1).double(), *window, [height, width]).permute(1, 2, 0)
        assert (image - exact).abs().max() <= 0.5 + 1e-3
