"""Early stopping by the genotype."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from raydarts import registry
from raydarts.errors import InputError
from raydarts.registry import Around, Idle
from raydarts.search.moments import EpochReport, Stop
from raydarts.search.regularizers.base import Regularizer
from raydarts.spaces import Space
from raydarts.spaces.primitives import has_weights
from raydarts.states import State
from raydarts.units import Epochs, SkipConnections

Ranking = list[list[int]]


def _learnable(space: Space) -> dict[str, list[list[int]]]:
    """Returns the candidates of each edge that have weights, for each cell type."""
    parameter_free = (space.SKIP, space.ZERO)
    return {
        name: [
            [
                column
                for column, primitive in enumerate(row)
                if primitive not in parameter_free and has_weights(primitive)
            ]
            for row in cell.candidates
        ]
        for name, cell in space.cells.items()
    }


def ranking(report: EpochReport) -> Ranking:
    """Returns, for each edge of each cell type, its candidates that have weights, strongest first.

    Of equal candidates the earlier comes first.
    """
    ranked = []
    for name, edges in _learnable(report.space).items():
        weights = report.arch_weights[name]
        for layer in weights[None] if weights.dim() == 2 else weights:
            for row, columns in zip(layer.tolist(), edges, strict=True):
                ranked.append(sorted(columns, key=lambda column: (-row[column], column)))
    return ranked


class DartsPlus(Regularizer):
    """Stops when the normal cell has `max_skips` skip connections, or when the candidates' ranking no longer changes.

    Criterion 1: the epoch's genotype has at least `max_skips` skip connections in its normal cell. A space without
    `normal` has one cell type, which is used instead. Criterion 2: the last `stable_epochs` epochs ended with the same
    ranking of the candidates with weights (convolutions) on every edge. Either criterion can be left out (null).
    Neither is checked before `min_epochs` epochs.

    `genotype` says which genotype criterion 1 returns: `at_stop`, or that of the epoch `before`, which has fewer skip
    connections. The first epoch has no epoch before it.
    """

    NAME = "darts_plus"
    LANES = True
    SOURCE = "DARTS+ (Liang et al. 2019, arXiv 1909.06035), section 3.3, criteria 1 and 2"
    FORMULA = (
        "stop if skips(normal) >= max_skips, or if the ranking of alpha was equal at the end of stable_epochs epochs"
    )
    DIFFERS = (
        "The paper names the two criteria as alternatives; by default here either stops the search. Its algorithm "
        "derives the cell from the alpha at the stop, which is `at_stop`; `before` and `min_epochs` are ours: alpha "
        "that has hardly learned gives a genotype by chance, which may have two skip connections. We know of no code "
        "of the authors."
    )
    NEUTRAL = {"max_skips": None, "stable_epochs": None}
    # The default criteria may not be met within two epochs. These stop after the first epoch.
    CONTRACT: ClassVar[Mapping[str, object]] = {"max_skips": None, "stable_epochs": 1}

    class Settings(registry.Settings):
        max_skips: SkipConnections | None = Field(
            2, ge=1, description="The search stops when the normal cell has this many. `null` leaves the criterion out."
        )
        stable_epochs: Epochs | None = Field(
            10,
            ge=1,
            description="The search stops when the candidates' ranking was the same for this many epochs. `null` "
            "leaves the criterion out.",
        )
        min_epochs: Epochs = Field(1, ge=1, description="Neither criterion is checked in earlier epochs.")
        genotype: Literal["at_stop", "before"] = Field(
            "at_stop",
            description="Which genotype a stop by `max_skips` gives: that of the epoch, or of the epoch before.",
        )

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._rankings: list[tuple[int, Ranking]] = []  # (epoch, ranking), of the last `stable_epochs`

    def check(self, space: Space, epochs: int) -> None:
        if self.settings.stable_epochs is None:
            return
        if not any(len(columns) > 1 for edges in _learnable(space).values() for columns in edges):
            raise InputError(
                f"stable_epochs: no edge of space {space.registered} has two candidates with weights, so there is no "
                "ranking to watch; set stable_epochs to null"
            )

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        settings, epochs = self.settings, around.epochs
        asked = settings.max_skips is not None or settings.stable_epochs is not None
        if asked and settings.min_epochs > epochs:
            what = f"is {settings.min_epochs}, and a search has {epochs} epochs: it is never asked; lower min_epochs"
            yield Idle("min_epochs", what)
        elif settings.stable_epochs is not None and settings.stable_epochs >= epochs:
            what = (
                f"is {settings.stable_epochs}, and a search has {epochs} epochs: it stops none before its end; write "
            )
            yield Idle("stable_epochs", f"{what}{f'{epochs - 1} or less, or ' if epochs > 1 else ''}null")
        if settings.max_skips is None and settings.genotype == "before":
            yield Idle("genotype", "is for criterion 1, and max_skips is null; leave it out, or give max_skips")

    def should_stop(self, report: EpochReport) -> Stop | None:
        stable = self._is_stable(report)
        if report.epoch < self.settings.min_epochs:
            return None
        cell_type = "normal" if "normal" in report.space.cells else next(iter(report.space.cells))
        skips = report.genotype.skips(report.space.SKIP)[cell_type]
        if self.settings.max_skips is not None and skips >= self.settings.max_skips:
            before = self.settings.genotype == "before" and report.epoch > 1
            reason = f"{skips} skip connections in the {cell_type} cell after epoch {report.epoch}"
            return Stop(reason, report.epoch - 1 if before else None)
        if stable:
            return Stop(f"the candidates' ranking was the same for {self.settings.stable_epochs} epochs")
        return None

    def _is_stable(self, report: EpochReport) -> bool:
        """Returns whether the ranking has been stable. Called in each epoch.

        If a remedy has returned to an earlier epoch, the rankings of later epochs are removed.
        """
        count = self.settings.stable_epochs
        if count is None:
            return False
        kept = [(epoch, ranks) for epoch, ranks in self._rankings if epoch < report.epoch]
        self._rankings = [*kept, (report.epoch, ranking(report))][-count:]
        last = self._rankings[-1][1]
        return len(self._rankings) == count and all(ranks == last for _, ranks in self._rankings)

    def state_dict(self) -> State:
        return {"rankings": [list(pair) for pair in self._rankings]}

    def load_state_dict(self, state: State) -> None:
        self._rankings = [(epoch, ranks) for epoch, ranks in state["rankings"]]
