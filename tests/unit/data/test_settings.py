"""Settings that mean nothing are refused where they are given."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from raydarts.data.settings import AugmentSettings, DataSettings


@pytest.mark.parametrize(
    "values",
    [
        {"random_resized_crop": [0.5, 0.2]},
        {"random_resized_crop": [0, 1]},
        {"random_resized_crop": [0.5, 1.1]},
        {"random_resized_crop": [0.5]},
        {"colour_jitter": {"hue": 0.6}},
        {"colour_jitter": {"brightness": -0.1}},
        {"colour_jitter": {"gamma": 1}},
        {"crop_padding": -1},
    ],
)
def test_augmentation(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        AugmentSettings.model_validate(values)


@pytest.mark.parametrize(
    "values",
    [{"mean": [125.3, 123, 113.9]}, {"mean": [-0.1]}, {"std": [0.0]}, {"std": [63.0]}, {"std": 0.5}],
)
def test_statistics(values: dict[str, Any]) -> None:
    """Statistics of pixels in 0..255 are the likeliest mistake."""
    with pytest.raises(ValidationError, match=next(iter(values))):
        DataSettings.model_validate(values)
