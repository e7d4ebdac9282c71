"""How near estimators are to the gradient through many weight steps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator

from raydarts import registry
from raydarts.registry import Around, Choose, Component, Idle
from raydarts.search.estimator_truth import Asked, nearness
from raydarts.search.moments import EpochReport
from raydarts.search.probes.base import Probe
from raydarts.units import Epochs, Unit

SEARCHS_ESTIMATOR = ""


def label(component: Component) -> str:
    """Returns what columns call an estimator: its name, and its settings that are no defaults."""
    defaults = component.member.Settings().model_dump(mode="json")
    words = [component.name.replace(":", ".")]
    for key, value in component.settings.model_dump(mode="json").items():
        if defaults[key] != value:
            words.append(f"{key}_{value if isinstance(value, str) else json.dumps(value)}")
    return "_".join(words)


class EstimatorTruth(Probe):
    """Cosine of the estimator's alpha gradient with the derivative of L_val(w_T(alpha), alpha) through T weight steps.

    w_T is w after `steps` steps of the weights' own SGD, from the present weights and alpha. Estimator and unroll use
    the same losses and the same batches, and both are means over `batches` batches (search.estimator_truth). The unroll
    goes through the weight-batches in turn.

    `truth_cosine`, `truth_norm_ratio` (norm of the estimate divided by that of the truth) and `truth_correction` (the
    cosine of what both add to first order; null for first order) are of the search's estimator, over alpha of all cell
    types and the remedies' architecture parameters. With a cell type's name behind them they are of that type alone.
    Each of `estimators` has the same columns with its name behind `truth_cosine`, and then the cell type:
    `truth_cosine_exact_hvp_xi_0.1_normal`. `truth_norm` is the norm of the truth. Where a norm is 0 or not finite, the
    figure is null.

    The cost is about six gradients of L_train for each step, and `batches` estimates of each estimator. Memory:
    `steps` copies of the weights, and the graph of one gradient of L_train.
    """

    NAME = "estimator_truth"
    SOURCE = "ours; the reference is reverse differentiation through the weights' training (arXiv 1502.03492)"
    METRICS = (
        "truth_norm",
        "truth_cosine",
        "truth_norm_ratio",
        "truth_correction",
        "truth_cosine_*",
        "truth_norm_ratio_*",
        "truth_correction_*",
    )

    class Settings(registry.Settings):
        every: Epochs = Field(5, ge=1, description="Epochs from one comparison to the next.")
        steps: Annotated[int, Unit("weight steps")] = Field(20, ge=1, description="Weight steps of the unroll.")
        batches: int = Field(4, ge=1, description="Batches of each half. Fewer are used if the smaller half has fewer.")
        optimizer: Literal["search", "sgd"] = Field(
            "search",
            description="The rule of the unroll's steps. `search` is that of the search: momentum with its present "
            "buffer, weight decay, `grad_clip`, learning rate. `sgd` has learning rate and weight decay alone.",
        )
        estimators: tuple[Annotated[Component, Choose("estimator")], ...] = Field(
            (), description="Estimators that are compared too, beside the search's."
        )

        @field_validator("estimators")
        @classmethod
        def _differ(cls, value: tuple[Component, ...]) -> tuple[Component, ...]:
            labels = [label(each) for each in value]
            for name in labels:
                if labels.count(name) > 1:
                    raise ValueError(f"has {name} {labels.count(name)} times; write it once")
            return value

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        epochs = around.section.total_epochs
        if self.settings.every > epochs:
            what = f"is {self.settings.every}, and a search has {epochs} epochs: nothing is ever compared"
            yield Idle("every", f"{what}; write at most {epochs}")

    def measure(self, report: EpochReport) -> dict[str, float | int | None]:
        chosen = self.settings
        if report.measure_estimators is None:
            raise ValueError("this report knows no supernet")
        names = [SEARCHS_ESTIMATOR, *(label(each) for each in chosen.estimators)]
        if report.epoch % chosen.every:
            cells = ["", *report.space.cells]
            columns = [_column(figure, name, cell) for name in names for cell in cells for figure in _FIGURES]
            return dict.fromkeys(["truth_norm", *columns])
        built = dict(zip(names[1:], (each.build() for each in chosen.estimators), strict=True))
        found = report.measure_estimators(
            lambda estimator: Asked(
                chosen.steps, chosen.batches, chosen.optimizer, {SEARCHS_ESTIMATOR: estimator, **built}
            )
        )
        norm = float(torch.cat(list(found.truth.values())).norm())
        metrics: dict[str, float | int | None] = {"truth_norm": norm if math.isfinite(norm) else None}
        for name in names:
            for cell, figures in nearness(found, name).items():
                metrics |= {_column(figure, name, cell): value for figure, value in figures.items()}
        return metrics


_FIGURES = ("cosine", "norm_ratio", "correction")


def _column(figure: str, name: str, cell: str) -> str:
    return "_".join(part for part in ("truth", figure, name, cell) if part)
