"""Settings of one search. The defaults are published (DARTS paper, section 3.1.1 and appendix A.1.1).

Where the paper is silent (`grad_clip`) they are those of the authors' code. docs/presets.md names both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from raydarts.data.settings import AugmentSettings, TextSettings
from raydarts.float32 import require_float32, require_mixable
from raydarts.registry import Around, Choose, Component, Idle, Settings
from raydarts.units import Epochs, ImagesOrColumns


def _component(family: str, name: str) -> Component:
    return Choose(family).parse(name)


def _default_probes() -> tuple[Component, ...]:
    return tuple(_component("probe", name) for name in ("skip_counts", "entropy", "cell_facts"))


class SearchSettings(Settings):
    """One bilevel search.

    alpha_init is 0 in the paper, where all candidates start equal, and 1e-3 in the authors' code.
    """

    seed: int = Field(
        0,
        ge=0,
        description="Search seed. It fixes initial weights, initial alpha, order of the data and all random draws.",
    )
    epochs: Epochs = Field(50, ge=1, description="How often the search goes over the weights' half of the data.")
    batch_size: ImagesOrColumns = Field(64, ge=2, description="Size of a batch of either half.")
    lr: float = Field(0.025, gt=0, description="Learning rate of the weights in the first epoch (SGD).")
    lr_min: float = Field(0.0, ge=0, description="Learning rate that `lr` falls to along a cosine.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of the weights' SGD.")
    weight_decay: float = Field(3e-4, ge=0, description="Weight decay of the weights.")
    grad_clip: float = Field(5.0, ge=0, description="Largest L2 norm of the weights' gradient. 0 does not clip.")
    arch_lr: float = Field(3e-4, gt=0, description="Learning rate of alpha (Adam).")
    arch_betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.5, 0.999), description="Betas of alpha's Adam."
    )
    arch_weight_decay: float = Field(1e-3, ge=0, description="Weight decay of alpha. It is part of Adam's gradient.")
    alpha_init: float = Field(
        0.0, ge=0, description="Standard deviation of alpha's normal initialisation. 0 makes all candidates equal."
    )
    precision: Literal["float32", "float64"] = Field("float32", description="Type of all numbers of the search.")
    tf32: bool = Field(
        False,
        description="Whether a GPU may round float32 numbers to TF32 when it multiplies. Faster; alpha's "
        "gradient is off by some percent.",
    )
    amp: Literal["off", "bfloat16"] = Field(
        "off",
        description="Type in which convolutions and linear layers compute in the weights' step, and in alpha's if it "
        "is first order. Weights, alpha, and all that is measured stay in `precision`.",
    )
    cuda_graph: bool | Literal["auto"] = Field(
        "auto",
        description="Whether a GPU runs each step as one CUDA graph: one launch in place of thousands. Figures equal "
        "those without up to rounding. A search whose steps draw at random or look at their batches runs without, and "
        "its log says so. `auto` and `true` are the same; where trials have no GPU, `true` is named as doing nothing.",
    )
    augment: AugmentSettings = Field(AugmentSettings(), description="Random changes to images of both halves.")
    text: TextSettings = Field(TextSettings(), description="How text is cut into batches.")
    space: Annotated[Component, Choose("space")] = Field(
        default_factory=lambda: _component("space", "darts-cnn"), description="What can be searched."
    )
    relaxation: Annotated[Component, Choose("relaxation")] = Field(
        default_factory=lambda: _component("relaxation", "softmax"), description="How alpha becomes arch weights."
    )
    estimator: Annotated[Component, Choose("estimator")] = Field(
        default_factory=lambda: _component("estimator", "finite_difference"),
        description="How alpha's gradient is computed.",
    )
    regularizers: tuple[Annotated[Component, Choose("regularizer")], ...] = Field(
        (), description="Remedies against skip collapse, in the order in which they act."
    )
    selection: Annotated[Component, Choose("selection")] = Field(
        default_factory=lambda: _component("selection", "argmax"), description="How the arch weights become a genotype."
    )
    probes: tuple[Annotated[Component, Choose("probe")], ...] = Field(
        default_factory=_default_probes, description="What is measured after each epoch."
    )

    def may_change(self) -> tuple[str, ...]:
        return ("lr", "lr_min", "momentum", "weight_decay", "grad_clip", "arch_lr", "arch_betas", "arch_weight_decay")

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

    def idle(self, around: Around) -> Iterator[Idle]:
        if self.tf32 and around.gpus == 0:
            yield Idle("tf32", "is for GPUs, and a trial is given none (resources.gpus is 0); leave it out")
        if self.cuda_graph is True and around.gpus == 0:
            yield Idle("cuda_graph", "is for GPUs, and a trial is given none (resources.gpus is 0); leave it out")
        if self.epochs == 1 and self.written("lr_min") and self.lr_min > 0:
            yield Idle("lr_min", "acts from the second epoch on, and epochs is 1; raise epochs, or leave it out")
        acting = [each for each in self.regularizers if each.effective() is not None]
        for remedy in acting:
            if "cutout" in getattr(remedy.member, "OVERRIDES", ()) and self.augment.cutout_length > 0:
                yield Idle(
                    "augment.cutout_length", f"gives way to the cutout of {remedy.name}; write 0, or leave that out"
                )
        names = [probe.name for probe in self.probes]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield Idle(
                "probes", f"has {name} {names.count(name)} times, and the last one's figures count; write it once"
            )

    @property
    def total_epochs(self) -> int:
        """The search's epochs and those in which its selection decides."""
        return int(self.epochs + self.selection.build().epochs(self.space.build()))
