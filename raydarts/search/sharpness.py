"""Detects when the loss has become sharp in alpha. `darts_es` and `darts_ada` share this trigger."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import Field

from raydarts import registry
from raydarts.registry import Around, Idle
from raydarts.search.moments import EpochReport, Moment
from raydarts.states import State
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
    """When the eigenvalue is measured, and which rise is too much."""

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

    def due(self, epoch: int) -> bool:
        """Returns whether the eigenvalue is evaluated after this epoch."""
        return self.ratio is not None and epoch % self.every == 0

    @property
    def span(self) -> int:
        """Epochs from the epoch that the search returns to until the epoch of that decision."""
        return self.every * (self.window // 2 + self.lag)


class Rise(NamedTuple):
    """The average is now `factor` times its value at `epoch` (from 1)."""

    epoch: int
    factor: float

    @property
    def reason(self) -> str:
        return f"the dominant eigenvalue is {self.factor:.3g} times that of epoch {self.epoch}"


class Sharpness:
    """The eigenvalues of a search. Detects when their moving average has risen too far.

    avg(n) is the mean of evaluations n - window + 1 to n, or of fewer at the beginning. It belongs to the evaluation in
    the middle of a whole window, n - floor(window / 2). The trigger is avg(n) / avg(n - lag) > ratio, if avg(n - lag)
    belongs to epoch `min_epochs` or later.

    A stage of the search starts a new history, because another supernet has another loss. If a remedy has returned to
    an earlier epoch, later evaluations are removed. Epochs before that one cannot be returned to any more, because the
    search no longer has their states.
    """

    def __init__(self, settings: SharpnessSettings) -> None:
        self.settings = settings
        self._eigenvalues: list[tuple[int, float]] = []  # (epoch, eigenvalue)
        self._seen = 0  # the last epoch reported
        self._first = 1  # the earliest epoch to which the search may return

    def on_epoch_start(self, now: Moment) -> None:
        if now.stage_epoch == 0:
            self._eigenvalues.clear()

    def rise(self, report: EpochReport) -> Rise | None:
        """Evaluates the eigenvalue if it is due, and returns a rise. Called in each epoch."""
        settings = self.settings
        if settings.ratio is None:
            return None
        if report.epoch <= self._seen:
            self._first = max(report.epoch - 1, 1)
            self._eigenvalues = [(epoch, value) for epoch, value in self._eigenvalues if epoch < report.epoch]
        self._seen = report.epoch
        if not settings.due(report.epoch):
            return None
        self._eigenvalues.append((report.epoch, report.dominant_eigenvalue()))
        centre = len(self._eigenvalues) - settings.window // 2 - settings.lag
        if centre < 1:
            return None
        epoch = self._eigenvalues[centre - 1][0]
        then, now = self._average(len(self._eigenvalues) - settings.lag), self._average(len(self._eigenvalues))
        if epoch < max(settings.min_epochs, self._first) or then <= 0 or now / then <= settings.ratio:
            return None
        return Rise(epoch, now / then)

    def _average(self, count: int) -> float:
        """Returns the mean over the window that ends with evaluation number `count`."""
        values = [value for _, value in self._eigenvalues[max(0, count - self.settings.window) : count]]
        return sum(values) / len(values)

    def state_dict(self) -> State:
        return {"found": [list(pair) for pair in self._eigenvalues], "seen": self._seen, "first": self._first}

    def load_state_dict(self, state: State) -> None:
        self._eigenvalues = [(epoch, value) for epoch, value in state["found"]]
        self._seen, self._first = state["seen"], state["first"]
