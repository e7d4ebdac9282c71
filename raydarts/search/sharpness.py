"""When the loss has become sharp in alpha: the trigger that darts_es and darts_ada share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from raydarts import registry
from raydarts.registry import Around, Idle
from raydarts.search.moments import EpochReport, Moment
from raydarts.units import Epochs, Unit

SOURCE = "RobustDARTS (Zela et al. 2020, arXiv 1909.09656), section 4.3"
DIFFERS = (
    "The paper averages over 5 epochs around epoch i and asks every epoch whether avg(i - 5) / avg(i) < 0.75; the "
    "authors' code asks every 2 epochs, looks 4 evaluations back, and wants avg_now / avg_then > 1.3: those are the "
    "defaults here. The code evaluates after epochs 1, 3, 5, ... (its epochs 0, 2, 4), and wants the earlier epoch to "
    "be the eleventh at least; here it is after epochs 2, 4, 6, ..., as the eigenvalue probe does, and the tenth. "
    "It does not ask after the last epoch; here that is asked too. Its Hessian has alpha's weight decay on the "
    "diagonal, and its batch is the epoch's last alpha-batch; ours is without, on a fixed batch. "
    "An earlier average that is not positive triggers nothing."
)


class SharpnessSettings(registry.Settings):
    """`every`: epochs from one evaluation of the eigenvalue to the next. `window`: evaluations in the moving average,
    centred. `ratio`: how many times the average must have grown (null: never asked). `lag`: evaluations from the
    earlier average to the present one. `min_epochs`: the earlier average stands at this epoch at least.
    """

    every: Epochs = Field(2, ge=1, description="Epochs from one eigenvalue to the next.")
    window: Annotated[int, Unit("eigenvalues")] = Field(
        5, ge=1, description="How many eigenvalues the centred moving average covers."
    )
    ratio: float | None = Field(
        1.3, gt=0, description="The remedy acts where the average has grown by this factor. `null`: it never acts."
    )
    lag: Annotated[int, Unit("eigenvalues")] = Field(
        4, ge=1, description="How many eigenvalues lie between the two averages that are compared."
    )
    min_epochs: Epochs = Field(10, ge=1, description="The earlier average stands at this epoch or later.")

    def idle(self, around: Around) -> Iterator[Idle]:
        if self.ratio is None:
            return
        before = max(1, math.ceil(self.min_epochs / self.every))  # evaluations up to the earlier average's epoch
        first = self.every * (before + self.span // self.every)
        if first > around.epochs:
            yield Idle(
                "",
                f"compares for the first time after epoch {first} (every, window, lag and min_epochs), and a search "
                f"has {around.epochs} epochs; lower those, raise epochs, or leave it out",
            )
        elif math.ceil(around.stretch / self.every) <= self.span // self.every:
            yield Idle(
                "",
                f"compares epochs {self.span} apart (every, window and lag), and the longest stage of the search has "
                f"{around.stretch}; lower those, or leave it out",
            )

    @property
    def span(self) -> int:
        """Epochs from the one returned to until the one in which that is decided."""
        return self.every * (self.window // 2 + self.lag)


class Rise(NamedTuple):
    """The average is `factor` times what it was at `epoch` (from 1)."""

    epoch: int
    factor: float

    @property
    def reason(self) -> str:
        return f"the dominant eigenvalue is {self.factor:.3g} times that of epoch {self.epoch}"


class Sharpness:
    """The eigenvalues of a search, and whether their moving average has risen too far.

    avg(n) is the mean of evaluations n - window + 1 to n, fewer where there are not yet as many. It stands at the
    evaluation in the middle of a whole window, n - floor(window / 2). The trigger: avg(n) / avg(n - lag) > ratio,
    and the epoch where avg(n - lag) stands is at least `min_epochs`.

    A stage of the search begins a new history, for another supernet has another loss; and where a remedy has gone
    back to an earlier epoch, later evaluations are forgotten, and no epoch before that one is returned any more: the
    search no longer has its state.
    """

    def __init__(self, settings: SharpnessSettings) -> None:
        self.settings = settings
        self._found: list[tuple[int, float]] = []  # (epoch, eigenvalue)
        self._seen = 0  # the last epoch reported
        self._first = 1  # the earliest epoch that may be returned to

    def on_epoch_start(self, now: Moment) -> None:
        if now.stage_epoch == 0:
            self._found.clear()

    def rise(self, report: EpochReport) -> Rise | None:
        """Shown each epoch; evaluates where it is due."""
        settings = self.settings
        if settings.ratio is None:
            return None
        if report.epoch <= self._seen:
            self._first = max(report.epoch - 1, 1)
            self._found = [(epoch, value) for epoch, value in self._found if epoch < report.epoch]
        self._seen = report.epoch
        if report.epoch % settings.every:
            return None
        self._found.append((report.epoch, report.dominant_eigenvalue()))
        centre = len(self._found) - settings.window // 2 - settings.lag
        if centre < 1:
            return None
        epoch = self._found[centre - 1][0]
        then, now = self._average(len(self._found) - settings.lag), self._average(len(self._found))
        if epoch < max(settings.min_epochs, self._first) or then <= 0 or now / then <= settings.ratio:
            return None
        return Rise(epoch, now / then)

    def _average(self, count: int) -> float:
        """Over the window that ends with the `count`-th evaluation."""
        values = [value for _, value in self._found[max(0, count - self.settings.window) : count]]
        return sum(values) / len(values)

    def state_dict(self) -> dict[str, Any]:
        return {"found": [list(pair) for pair in self._found], "seen": self._seen, "first": self._first}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._found = [(epoch, value) for epoch, value in state["found"]]
        self._seen, self._first = state["seen"], state["first"]
