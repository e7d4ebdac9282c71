"""Settings of the data: how much is held out, how batches are augmented."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raydarts.registry import Choose, Component, Settings


class AugmentSettings(Settings):
    """Random changes to training batches; the defaults change nothing.

    `crop_padding`: pixels of zero padding before a random crop back to size (paper: 4 on CIFAR).
    `flip`: horizontal flips with probability 1/2. `cutout_length`: side of the square set to zero
    after normalisation, in pixels (paper: 16 in evaluation, 0 in search); `cutout_probability`: with
    which probability an image gets one.
    """

    crop_padding: int = Field(0, ge=0)
    flip: bool = False
    cutout_length: int = Field(0, ge=0)
    cutout_probability: float = Field(1.0, ge=0, le=1)


class DataSettings(Settings):
    """What is searched on, and what is held out.

    `validation_fraction` of the training images is held out of search *and* of retraining, for
    ranking; the rest is halved into weight- and alpha-batches by `alpha_fraction`. `split_seed` is
    one for the whole sweep, so that all trials see the same split. `limit` keeps that many training
    images (drawn by `split_seed`), `null` all. The test split is what the data set says it is.
    """

    dataset: Annotated[Component, Choose("dataset")] = Field(default_factory=lambda: Choose("dataset").parse("digits"))
    validation_fraction: float = Field(0.1, ge=0, lt=1)
    alpha_fraction: float = Field(0.5, gt=0, lt=1)
    split_seed: int = Field(0, ge=0)
    limit: int | None = Field(None, gt=0)
