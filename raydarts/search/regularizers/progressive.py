"""A search in stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from raydarts import registry
from raydarts.errors import InputError
from raydarts.registry import Around, Idle
from raydarts.search.moments import SearchStage
from raydarts.search.regularizers.base import Regularizer
from raydarts.spaces import Space

Share = Annotated[float, Field(gt=0)]
Layers = Annotated[int, Field(ge=3)]
Candidates = Annotated[int, Field(ge=1)]


def epochs_of(shares: Sequence[float], epochs: int) -> list[int]:
    """Returns whole numbers of epochs in proportion to `shares` that sum to `epochs` (largest remainder).

    Each is at least 1.
    """
    exact = [epochs * share / sum(shares) for share in shares]
    epochs_each = [max(1, int(share)) for share in exact]
    missing = [share - whole for share, whole in zip(exact, epochs_each, strict=True)]
    while sum(epochs_each) != epochs:
        step = 1 if sum(epochs_each) < epochs else -1
        candidates = [index for index, whole in enumerate(epochs_each) if whole + step >= 1]
        index = max(candidates, key=lambda index: step * missing[index])
        epochs_each[index] += step
        missing[index] -= step
    return epochs_each


class Progressive(Regularizer):
    """Cuts the search into stages. Each has a new, deeper supernet with fewer candidates: the strongest.

    Each list has one entry for each stage: `shares` of the epochs, `layers` of the supernet (null: the space's),
    `candidates` that an edge keeps (null: all). In the first stage an edge has all its candidates. A whole list may be
    null. With `keep_alpha` the kept candidates' alpha continues in the next stage. Otherwise alpha starts again.
    Weights, both optimizers and the learning rate's schedule start again in each stage. `none` is dropped or kept like
    any other candidate.

    DrNAS' method is shares [1, 1], layers null, candidates [null, 4], keep_alpha true, together with partial_channels'
    k [6, 4].
    """

    NAME = "progressive"
    LANES = True
    SOURCE = "P-DARTS (Chen et al. 2019, arXiv 1904.12760), section 3.2; DrNAS (arXiv 2006.10355): shrinking"
    NEUTRAL = {"shares": [1.0], "layers": None, "candidates": None}
    FORMULA = (
        "stage s: layers[s] cells, each edge's candidates[s] candidates of largest arch weight, share[s] of the epochs"
    )
    DIFFERS = (
        "P-DARTS: paper and code agree (5, 11, 17 layers; 8, 5, 3 candidates; 25 epochs each of 75; `none` competes as "
        "any other candidate between stages and is left out by the last selection); alpha rests in the first 10 epochs "
        "of each stage (alpha_warmup). DrNAS' code widens the trained supernet, keeps its optimizer and has one cosine "
        "over all epochs, in a space of 7 candidates without `none`; ours begins each stage anew."
    )
    # Two epochs are too few for three stages, and 17 layers too many for a short test.
    CONTRACT: ClassVar[Mapping[str, object]] = {"shares": [1.0, 1.0], "layers": [3, 4], "candidates": [None, 5]}

    class Settings(registry.Settings):
        shares: tuple[Share, ...] = Field(
            (1.0, 1.0, 1.0), min_length=1, description="Each stage's share of the epochs, relative to the others."
        )
        layers: tuple[Layers | None, ...] | None = Field(
            (5, 11, 17), description="Cells of each stage's supernet. `null` is the space's number."
        )
        candidates: tuple[Candidates | None, ...] | None = Field(
            (None, 5, 3),
            description="How many candidates an edge has in each stage. `null` keeps those of the stage before.",
        )
        keep_alpha: bool = Field(False, description="Whether the kept candidates' alpha goes on into the next stage.")

        @model_validator(mode="after")
        def _one_a_stage(self) -> Progressive.Settings:
            for name in ("layers", "candidates"):
                given = getattr(self, name)
                if given is not None and len(given) != len(self.shares):
                    raise ValueError(
                        f"{name} has {len(given)} entries and shares {len(self.shares)}; "
                        "give one for each stage, or null"
                    )
            return self

    def _entry(self, name: str, stage: int) -> int | None:
        given: tuple[int | None, ...] | None = getattr(self.settings, name)
        return None if given is None else given[stage]

    def check(self, space: Space, epochs: int) -> None:
        stages = len(self.settings.shares)
        if epochs < stages:
            raise InputError(f"{epochs} epochs are too few for {stages} stages; each takes at least one")
        smallest = min(len(row) for cell in space.cells.values() for row in cell.candidates)
        for stage in range(stages):
            if (layers := self._entry("layers", stage)) is not None:
                try:
                    space.narrowed(space.cells, layers)
                except InputError as error:
                    raise InputError(f"{error}; set layers: null") from None
            count = self._entry("candidates", stage)
            if stage == 0 and count not in (None, smallest):
                raise InputError(f"candidates: the first stage has all {smallest} of the space; begin with null")
            if count is not None and count > smallest:
                raise InputError(f"candidates: stage {stage + 1} keeps {count}, but no more than {smallest} are left")
            smallest = smallest if count is None else count

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if self.effective(self.settings) is not None and not self.stages(around.section.epochs):
            yield Idle(
                "", "is one stage with all that the space has; give shares of two or more, or leave progressive out"
            )
        elif self.settings.keep_alpha and len(self.settings.shares) == 1:
            yield Idle(
                "keep_alpha", "is true, and there is one stage alone; leave it out, or give shares of two or more"
            )

    def stages(self, epochs: int) -> tuple[SearchStage, ...]:
        plan = tuple(
            SearchStage(
                length,
                self._entry("layers", stage),
                self._entry("candidates", stage) if stage else None,
                self.settings.keep_alpha and stage > 0,
            )
            for stage, length in enumerate(epochs_of(self.settings.shares, epochs))
        )
        return () if plan == (SearchStage(epochs),) else plan
