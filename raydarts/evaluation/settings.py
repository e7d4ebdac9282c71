"""Settings of one evaluation: a genotype's network trained from scratch (DARTS paper, appendix A.2)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raydarts.data.settings import AugmentSettings
from raydarts.registry import Settings


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

    file: str
    architecture: str = "cellstr"
    validation: str
    test: str
    unit: Literal["percent", "fraction"] = "percent"

    def columns(self) -> tuple[str, str, str]:
        return (self.architecture, self.validation, self.test)


class EvaluationSettings(Settings):
    """Training of a genotype's network.

    `lr` falls to `lr_min` along a cosine over `epochs`; `drop_path` ramps linearly to its value,
    `drop_path * epoch / epochs`; `grad_clip` 0: none.
    """

    epochs: int = Field(600, ge=1)
    batch_size: int = Field(96, ge=2)
    lr: float = Field(0.025, gt=0)
    lr_min: float = Field(0.0, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(3e-4, ge=0)
    grad_clip: float = Field(5.0, ge=0)
    drop_path: float = Field(0.2, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    precision: Literal["float32", "float64"] = "float32"
    network: NetworkSettings = NetworkSettings()
    augment: AugmentSettings = AugmentSettings()
