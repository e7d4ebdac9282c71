"""Settings of the data: how much is held out, how batches are augmented."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from raydarts.registry import Choose, Component, Settings

Pixel = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class ColourJitter(Settings):
    """Strengths of random colour changes; 0 leaves that one out (authors' ImageNet code: 0.4, 0.4, 0.4, 0.2).

    Brightness, contrast and saturation are scaled by a factor drawn from [max(0, 1 - strength), 1 + strength];
    the hue is turned by up to `hue` of a full circle either way. The order of the changes is drawn for each image.
    """

    brightness: float = Field(0.0, ge=0)
    contrast: float = Field(0.0, ge=0)
    saturation: float = Field(0.0, ge=0)
    hue: float = Field(0.0, ge=0, le=0.5)

    @property
    def strengths(self) -> dict[str, float]:
        """Those above 0, by name."""
        return {name: value for name, value in self if value > 0}


class AugmentSettings(Settings):
    """Random changes to training batches, in this order; the defaults change nothing.

    `random_resized_crop`: [low, high], the share of an image's area that a random window covers, its sides
    at a ratio of 3/4 to 4/3; the window is resized to the images' size (authors' ImageNet code: [0.08, 1]).
    `crop_padding`: pixels of zero padding before a random crop back to size (paper: 4 on CIFAR).
    `flip`: horizontal flips with probability 1/2. `colour_jitter`: see `ColourJitter`. `cutout_length`:
    side of the square set to zero after normalisation, in pixels (paper: 16 in evaluation, 0 in search);
    `cutout_probability`: with which probability an image gets one.
    """

    random_resized_crop: tuple[Share, Share] | None = None
    crop_padding: int = Field(0, ge=0)
    flip: bool = False
    colour_jitter: ColourJitter = ColourJitter()
    cutout_length: int = Field(0, ge=0)
    cutout_probability: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _low_before_high(self) -> AugmentSettings:
        if self.random_resized_crop is not None and self.random_resized_crop[0] > self.random_resized_crop[1]:
            raise ValueError("random_resized_crop is [low, high], the smaller share first")
        return self


class DataSettings(Settings):
    """What is searched on, and what is held out.

    `validation_fraction` of the training images is held out of search *and* of retraining, for
    ranking; the rest is halved into weight- and alpha-batches by `alpha_fraction`. `split_seed` is
    one for the whole sweep, so that all trials see the same split. `limit` keeps that many training
    images (drawn by `split_seed`), `null` all. The test split is what the data set says it is. `mean` and
    `std` normalise, a value a channel, of pixels scaled to [0, 1]; `null`: the data set's (computed from its
    training images, but for `imagenet`).
    """

    dataset: Annotated[Component, Choose("dataset")] = Field(default_factory=lambda: Choose("dataset").parse("digits"))
    validation_fraction: float = Field(0.1, ge=0, lt=1)
    alpha_fraction: float = Field(0.5, gt=0, lt=1)
    split_seed: int = Field(0, ge=0)
    limit: int | None = Field(None, gt=0)
    mean: tuple[Pixel, ...] | None = None
    std: tuple[Deviation, ...] | None = None
