"""Schedulers: which trials stop early, and which wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from raydarts.registry import Member
from raydarts.study.objectives import SearchScore
from raydarts.study.scheduling import Decider


@dataclass(frozen=True)
class Horizon:
    """What a scheduler must know of the sweep: its objective, and the most epochs any trial runs."""

    objective: SearchScore
    epochs: int
    seed: int

    @property
    def metric(self) -> str:
        """The key under which a scheduler is shown the objective's number."""
        return self.objective.name

    @property
    def mode(self) -> str:
        """`max` or `min`: which way that number is better."""
        return self.objective.mode


class Scheduler(Member):
    """Decides after each epoch of a trial whether it goes on.

    `PAUSES`: it may pause trials too. A paused trial waits until the scheduler lets it go on. `AVERAGES`: it averages
    what trials report, so it is shown the objective's finite form.
    """

    AVERAGES: ClassVar[bool] = False
    PAUSES: ClassVar[bool] = False

    @property
    def draws(self) -> bool:
        """Whether it draws at random, by the seed of its `Horizon`."""
        return False

    def meetings(self, horizon: Horizon) -> frozenset[int]:
        """The epochs after which the search seeds of a configuration wait for one another (`sweep.replicates`).

        They are the epochs at which it may stop a configuration, or some of them where it may at any. None by default:
        a seed may then run to its end before the others of its configuration have begun.
        """
        return frozenset()

    def build(self, horizon: Horizon) -> Decider:
        """The scheduler at work; `driving.Driven` makes one of any scheduler of Ray Tune's."""
        raise NotImplementedError
