"""Settings of one evaluation: a genotype's network trained from scratch.

The defaults are the DARTS paper's (appendix A.2.1); where it is silent (`grad_clip`, `drop_path` as a ramp)
the authors' code fills in; docs/presets.md names both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from raydarts.data.paths import DataPath
from raydarts.data.settings import AugmentSettings
from raydarts.float32 import require_float32
from raydarts.registry import Around, Idle, Settings
from raydarts.study.objectives import ACCURACY, Score

Amp = Literal["off", "bfloat16", "float16"]


class NetworkSettings(Settings):
    """Size of the discrete network. `auxiliary_weight` 0: no auxiliary head is built.

    `stem`: `cifar` (one 3x3 convolution) or `imagenet` (three of stride 2, and that head's own pooling).
    """

    channels: int = Field(36, ge=2)
    layers: int = Field(20, ge=1)
    auxiliary_weight: float = Field(0.4, ge=0)
    stem: Literal["cifar", "imagenet"] = "cifar"


class TableSettings(Settings):
    """A table of cells trained by others, `.csv` or `.csv.gz` with a header; a row for each cell.

    `architecture` names the column with the cell in NAS-Bench-201's notation, `validation` and `test`
    those with the accuracies, in `unit`. Genotypes are ranked by `validation` alone.
    """

    file: DataPath
    architecture: str = "cellstr"
    validation: str
    test: str
    unit: Literal["percent", "fraction"] = "percent"

    def columns(self) -> tuple[str, str, str]:
        return (self.architecture, self.validation, self.test)


class EvaluationSettings(Settings):
    """Training of a genotype's network.

    `schedule`: how `lr` falls over `epochs`: to `lr_min` along a `cosine` or a line (`linear`), or by the factor
    `lr_factor` each epoch (`exponential`, which has no `lr_min`); the first `warmup_epochs` rise linearly to `lr`
    (see `schedule.learning_rate`). `drop_path` ramps linearly to its value, `drop_path * epoch / epochs`;
    `grad_clip` 0: none. `tf32`: see `float32.arithmetic`; `amp`, `channels_last` and `compile`: see
    `acceleration.Acceleration`. `batch_size` images are divided among an evaluation's workers; with
    `sync_batch_norm` their batch norms see all of them.
    """

    SCORE: ClassVar[Score] = ACCURACY

    name: Literal["image"] = "image"
    epochs: int = Field(600, ge=1)
    batch_size: int = Field(96, ge=2)
    schedule: Literal["cosine", "linear", "exponential"] = "cosine"
    lr: float = Field(0.025, gt=0)
    lr_min: float = Field(0.0, ge=0)
    lr_factor: float | None = Field(None, gt=0, le=1, validate_default=True)
    warmup_epochs: int = Field(0, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(3e-4, ge=0)
    grad_clip: float = Field(5.0, ge=0)
    drop_path: float = Field(0.2, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    precision: Literal["float32", "float64"] = "float32"
    tf32: bool = False
    amp: Amp = "off"
    channels_last: bool = True
    compile: bool = False
    sync_batch_norm: bool = True
    network: NetworkSettings = NetworkSettings()
    augment: AugmentSettings = AugmentSettings()

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
        if value != "off" and info.data.get("precision") == "float64":
            raise ValueError("mixes with precision float32 alone; write precision: float32, or amp: off")
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
