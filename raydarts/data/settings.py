"""Settings of the data: what is held out, who learns from what, how batches are augmented."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from raydarts.registry import Around, Choose, Component, Idle, Settings
from raydarts.units import Columns, Pixels, Tokens, Unit

Pixel = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class ColourJitter(Settings):
    """Strengths of random colour changes (authors' ImageNet code: 0.4, 0.4, 0.4, 0.2). 0 leaves a change out.

    The order of the changes is drawn for each image.
    """

    brightness: float = Field(
        0.0, ge=0, description="Brightness is multiplied by a factor from [max(0, 1 - strength), 1 + strength]."
    )
    contrast: float = Field(
        0.0, ge=0, description="Contrast is multiplied by a factor from [max(0, 1 - strength), 1 + strength]."
    )
    saturation: float = Field(
        0.0, ge=0, description="Saturation is multiplied by a factor from [max(0, 1 - strength), 1 + strength]."
    )
    hue: float = Field(
        0.0, ge=0, le=0.5, description="The hue turns by at most this share of a full circle, in either direction."
    )

    @property
    def strengths(self) -> dict[str, float]:
        """Returns the strengths above 0, by name."""
        return {name: value for name, value in self if value > 0}


class AugmentSettings(Settings):
    """Random changes to training batches, in this order. The defaults change nothing.

    A random window has sides at a ratio of 3/4 to 4/3 (authors' ImageNet code: [0.08, 1]). The paper pads CIFAR by 4,
    and cuts out 16 pixels in evaluation, 0 in search.
    """

    random_resized_crop: tuple[Share, Share] | None = Field(
        None,
        description="[low, high]: a random window covers this share of the image's area. It is resized to the"
        " image's size. `null` cuts no window.",
    )
    crop_padding: Pixels = Field(
        0, ge=0, description="Zeros are added around the image, then a random crop of the old size is taken."
    )
    flip: bool = Field(False, description="Whether half of the images, drawn at random, are mirrored left to right.")
    colour_jitter: ColourJitter = Field(ColourJitter(), description="Strengths of random colour changes.")
    cutout_length: Pixels = Field(
        0, ge=0, description="Side of the square that is set to zero after normalisation. 0 sets none."
    )
    cutout_probability: float = Field(1.0, ge=0, le=1, description="Probability that an image gets the square.")

    def may_change(self) -> tuple[str, ...]:
        return ("crop_padding", "cutout_length", "cutout_probability")

    def idle(self, around: Around) -> Iterator[Idle]:
        if self.cutout_length > 0 and self.cutout_probability == 0:
            yield Idle("cutout_length", f"is {self.cutout_length}, and cutout_probability is 0; raise it, or write 0")
        if self.cutout_length == 0 and self.written("cutout_probability") and self.cutout_probability > 0:
            yield Idle("cutout_probability", "is that of a square whose cutout_length is 0; write its length")

    @model_validator(mode="after")
    def _low_before_high(self) -> AugmentSettings:
        if self.random_resized_crop is not None and self.random_resized_crop[0] > self.random_resized_crop[1]:
            raise ValueError("random_resized_crop is [low, high], the smaller share first")
        return self


class TextSettings(Settings):
    """How a text is cut into batches of `(T, B)` tokens for truncated back-propagation through time (BPTT).

    A training batch has `bptt` tokens, or half of that, rounded down, with `short_probability`. If `bptt_deviation` is
    above 0, the length is then drawn from a normal distribution around that number. It is at least 5 and at most `bptt`
    + 20. The weights' learning rate is multiplied by length / `bptt` in the batch's step. Measured text is cut into
    `measured_columns` columns and batches of `bptt` tokens.

    The defaults are the authors' search (rnn/train_search.py; DARTS paper, appendix A.1.2). Their evaluation has
    `bptt_deviation` 5.
    """

    bptt: Tokens = Field(
        35, ge=1, description="Length of a training batch before it is varied (back-propagation through time)."
    )
    short_probability: float = Field(0.05, ge=0, le=1, description="Probability that a training batch is half as long.")
    bptt_deviation: Annotated[float, Unit("tokens")] = Field(
        0.0, ge=0, description="Standard deviation of a training batch's length. 0 does not vary it."
    )
    measured_columns: Columns = Field(10, ge=2, description="How many columns the measured text is cut into.")


IMAGES_ALONE: dict[str, object] = {"validation_fraction": 0.1, "split_seed": 0, "mean": None, "std": None}
"""Keys that only images have, with their defaults."""


class DataSettings(Settings):
    """The data of a sweep, and what is held out. A key that is `null` has the default of the data's kind.

    Images: the test split is the data set's. `data.limit` images are drawn by `split_seed`. The default `mean` and
    `std` are computed from the training images, except for `imagenet`.

    Text has its own validation and test text, in reading order. With `alpha_from: training` (the default), alpha learns
    from the last `alpha_fraction` of the training tokens and the weights from those before. The validation text only
    ranks. With `validation` the weights learn from all training tokens and alpha from the validation text, as in the
    paper's code (`search_data`). Then the text that ranks is no longer held out of the search.
    """

    dataset: Annotated[Component, Choose("dataset")] = Field(
        default_factory=lambda: Choose("dataset").parse("digits"), description="The data set."
    )
    validation_fraction: float | None = Field(
        None,
        ge=0,
        lt=1,
        validate_default=True,
        description="Images: share of the training images that search and retraining do not see. Genotypes "
        "are ranked by them. `null` is 0.1.",
    )
    alpha_from: Literal["training", "validation"] | None = Field(
        None, validate_default=True, description="Text: which part alpha learns from. `null` is `training`."
    )
    alpha_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        validate_default=True,
        description="Share of the search's training data that alpha learns from. The weights learn from the "
        "rest. `null` is 0.5.",
    )
    split_seed: int | None = Field(
        None,
        ge=0,
        validate_default=True,
        description="Images: seed of the split. All trials of a sweep have the same split. `null` is 0.",
    )
    limit: Annotated[int, Unit("images, or tokens")] | None = Field(
        None, gt=0, description="How many training images, or first training tokens, are used. `null` uses all."
    )
    mean: tuple[Pixel, ...] | None = Field(
        None,
        validate_default=True,
        description="Images: mean of each channel, of pixels scaled to [0, 1]. `null` is the data set's.",
    )
    std: tuple[Deviation, ...] | None = Field(
        None,
        validate_default=True,
        description="Images: standard deviation of each channel, of pixels scaled to [0, 1]. `null` is the data set's.",
    )

    @property
    def kind(self) -> str:
        """Returns the kind of the data set: `image` or `text`."""
        return _kind(self.dataset)

    @property
    def holds_out(self) -> bool:
        """Returns whether something is held out of search and retraining, for ranking."""
        return self.validation_fraction != 0

    @field_validator(*IMAGES_ALONE)
    @classmethod
    def _of_images(cls, value: object, info: ValidationInfo) -> object:
        if "dataset" not in info.data:  # reported already
            return value
        dataset, key = info.data["dataset"], str(info.field_name)
        if _kind(dataset) == "image":
            return IMAGES_ALONE[key] if value is None else value
        if value is not None:
            raise ValueError(f"is for images; {dataset.name} is text with a validation text of its own: leave it out")
        return None

    @field_validator("alpha_from")
    @classmethod
    def _of_text(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "dataset" not in info.data:
            return value
        dataset = info.data["dataset"]
        if _kind(dataset) == "text":
            return value or "training"
        if value is not None:
            raise ValueError(f"is for text; of {dataset.name} alpha has alpha_fraction of the training images")
        return None

    @field_validator("alpha_fraction")
    @classmethod
    def _acts(cls, value: float | None, info: ValidationInfo) -> float | None:
        if info.data.get("alpha_from") != "validation":
            return 0.5 if value is None else value
        if value is not None:
            raise ValueError(
                "has no effect where alpha_from is validation; leave it out, or write alpha_from: training"
            )
        return None


def _kind(dataset: Component) -> str:
    return str(getattr(dataset.member, "KIND", "image"))
