"""Settings of one evaluation: a genotype's network is trained from scratch.

The defaults are the DARTS paper's (appendix A.2.1). Where it is silent (`grad_clip`, `drop_path` as a ramp) they are
those of the authors' code. docs/presets.md names both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from raydarts.data.paths import DataPath
from raydarts.data.settings import AugmentSettings
from raydarts.float32 import require_float32, require_mixable
from raydarts.registry import Around, Idle, Settings
from raydarts.study.objectives import ACCURACY, Score
from raydarts.units import Channels, Epochs, StackedCells, Unit

Amp = Literal["off", "bfloat16", "float16"]


class NetworkSettings(Settings):
    """Size of the discrete network."""

    channels: Channels = Field(36, ge=2, description="Channels of the network's first cell.")
    layers: StackedCells = Field(20, ge=1, description="Cells that the network stacks.")
    auxiliary_weight: float = Field(
        0.4, ge=0, description="Weight of the auxiliary head's loss. 0 builds no auxiliary head."
    )
    stem: Literal["cifar", "imagenet"] = Field(
        "cifar",
        description="`cifar` is one 3x3 convolution. `imagenet` is three convolutions of stride 2, and that "
        "head's pooling.",
    )


class TableSettings(Settings):
    """A table of cells trained by others."""

    file: DataPath = Field(description="The table, .csv or .csv.gz with a header. Each cell has one row.")
    architecture: str = Field("cellstr", description="Column with the cell in NAS-Bench-201's notation.")
    validation: str = Field(description="Column with the validation accuracy. Genotypes are ranked by it.")
    test: str = Field(description="Column with the test accuracy.")
    unit: Literal["percent", "fraction"] = Field("percent", description="Unit of both accuracies.")

    def columns(self) -> tuple[str, str, str]:
        return (self.architecture, self.validation, self.test)


class EvaluationSettings(Settings):
    """Training of an image network.

    See `schedule.learning_rate` for the learning rate, `float32.arithmetic` for `tf32`, and `acceleration.Acceleration`
    for `amp`, `channels_last` and `compile`.
    """

    SCORE: ClassVar[Score] = ACCURACY

    name: Literal["image"] = Field("image", description="Training of an image network.")
    epochs: Epochs = Field(600, ge=1, description="How often training goes over the training images.")
    batch_size: Annotated[int, Unit("images")] = Field(
        96, ge=2, description="Images of a batch. The workers divide them."
    )
    schedule: Literal["cosine", "linear", "exponential"] = Field(
        "cosine", description="How the learning rate falls: along a cosine, in equal steps, or by a factor each epoch."
    )
    lr: float = Field(0.025, gt=0, description="Largest learning rate (SGD).")
    lr_min: float = Field(0.0, ge=0, description="Learning rate that `cosine` and `linear` fall to.")
    lr_factor: float | None = Field(
        None,
        gt=0,
        le=1,
        validate_default=True,
        description="Factor on the learning rate in each epoch. `exponential` needs it.",
    )
    warmup_epochs: Epochs = Field(
        0, ge=0, description="First epochs, in which the learning rate rises linearly to `lr`."
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(3e-4, ge=0, description="Weight decay.")
    grad_clip: float = Field(5.0, ge=0, description="Largest L2 norm of the gradient. 0 does not clip.")
    drop_path: float = Field(
        0.2, ge=0, lt=1, description="Probability that a path is dropped. It rises as drop_path * epoch / epochs."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of each label that is spread over all classes.")
    precision: Literal["float32", "float64"] = Field("float32", description="Type of all numbers.")
    tf32: bool = Field(False, description="Whether a GPU may round float32 numbers to TF32 when it multiplies.")
    amp: Amp = Field("off", description="Type of the numbers in automatic mixed precision.")
    channels_last: bool = Field(
        True, description="Whether a GPU stores images with their channels last. It changes speed only."
    )
    compile: bool = Field(False, description="Whether torch.compile compiles the network.")
    sync_batch_norm: bool = Field(True, description="Whether batch norms see the images of all workers.")
    network: NetworkSettings = Field(NetworkSettings(), description="Size of the network.")
    augment: AugmentSettings = Field(AugmentSettings(), description="Random changes to training images.")

    def idle(self, around: Around) -> Iterator[Idle]:
        if self.tf32 and around.gpus == 0:
            yield Idle("tf32", "is for GPUs, and a trial is given none (resources.gpus is 0); leave it out")
        if self.warmup_epochs == 1:
            yield Idle(
                "warmup_epochs", "is 1, and the rise ends with lr in its last epoch, here the first; write 2 or more"
            )
        if self.epochs == 1:
            for key in ("drop_path", "lr_min", "lr_factor"):
                if self.written(key) and getattr(self, key):
                    yield Idle(key, "acts from the second epoch on, and epochs is 1; raise epochs, or leave it out")

    @field_validator("tf32")
    @classmethod
    def _rounds_float32(cls, value: bool, info: ValidationInfo) -> bool:
        require_float32(value, info.data.get("precision"))
        return value

    @field_validator("amp")
    @classmethod
    def _mixes_down(cls, value: str, info: ValidationInfo) -> str:
        require_mixable(value, info.data.get("precision"))
        return value

    @field_validator("lr_min")
    @classmethod
    def _floor_acts(cls, value: float, info: ValidationInfo) -> float:
        lr, schedule = info.data.get("lr"), info.data.get("schedule")
        if value > 0 and schedule == "exponential":
            raise ValueError("has no effect under schedule exponential; write lr_min: 0, or schedule: cosine or linear")
        if lr is not None and value > lr:
            raise ValueError(f"must be at most lr ({lr:g}), got {value:g}: the learning rate falls to lr_min")
        return value

    @field_validator("lr_factor")
    @classmethod
    def _factor_acts(cls, value: float | None, info: ValidationInfo) -> float | None:
        schedule = info.data.get("schedule")
        if schedule == "exponential" and value is None:
            raise ValueError("schedule exponential needs lr_factor, the factor of each epoch (published: 0.97)")
        if schedule in ("cosine", "linear") and value is not None:
            raise ValueError(
                f"has no effect under schedule {schedule}; write lr_factor: null, or schedule: exponential"
            )
        return value

    @field_validator("warmup_epochs")
    @classmethod
    def _warms_up_within(cls, value: int, info: ValidationInfo) -> int:
        epochs = info.data.get("epochs")
        if epochs is not None and value > 0 and value >= epochs:
            raise ValueError(f"must be fewer than epochs ({epochs}), got {value}")
        return value
