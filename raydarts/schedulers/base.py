"""Schedulers: which trials stop early, and which wait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from raydarts.config.distributions import Tree
from raydarts.registry import Member
from raydarts.study.forecast import Cohort
from raydarts.study.objectives import SearchScore
from raydarts.study.scheduling import Decider

if TYPE_CHECKING:
    from raydarts.config.spec import SweepSettings


@dataclass(frozen=True)
class Horizon:
    """What a scheduler must know of the sweep: its objective, and the most epochs any trial runs."""

    objective: SearchScore
    epochs: int
    seed: int
    search: Tree | None = None
    """What the trials' settings are drawn from."""

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

    `PAUSES`: it may pause trials too. A paused trial waits until the scheduler lets it go on. `FORKS`: it may let a
    trial go on from another trial's checkpoint. Then it is shown an epoch only when there is a checkpoint of it.
    `AVERAGES`: it averages what trials report, so it is shown the objective's finite form. `SEVERAL`: with several
    objectives it compares trials by `Report.values`, or by nothing. Another one compares one number, and is refused.
    """

    SEVERAL: ClassVar[bool] = False
    AVERAGES: ClassVar[bool] = False
    PAUSES: ClassVar[bool] = False
    FORKS: ClassVar[bool] = False

    @property
    def draws(self) -> bool:
        """Whether it draws at random, by the seed of its `Horizon`."""
        return False

    def refusals(self, search: Tree, sweep: SweepSettings) -> Iterator[tuple[str, str]]:
        """Why it cannot do its work in this sweep. Asked when a spec is read.

        Each is a key of its settings, empty for all of them, and a sentence with what to write instead. `sweep` is the
        section's settings.
        """
        if self.FORKS and sweep.replicates is not None:
            yield (
                "",
                f"{self.registered} copies a trial's weights and settings to another one, so the search seeds of a "
                "configuration would no longer have the same settings; leave sweep.replicates out, or write scheduler: "
                "asha",
            )

    def refuses_objectives(self, names: Sequence[str]) -> str | None:
        """Why it cannot take several objectives, with what to write instead. None: it can.

        Asked when a spec is read.
        """
        if self.SEVERAL:
            return None
        return (
            f"{self.registered} compares trials by one number, and there are {len(names)} objectives "
            f"({', '.join(names)}); write scheduler: moasha, which keeps the trials of the first fronts, or fifo, or "
            "one objective"
        )

    def changes(self, search: Tree) -> tuple[str, ...]:
        """The names of the settings that it changes while trials run."""
        return ()

    def meetings(self, horizon: Horizon) -> frozenset[int]:
        """The epochs after which the search seeds of a configuration wait for one another (`sweep.replicates`).

        They are the epochs at which it may stop a configuration, or some of them where it may at any. None by default:
        a seed may then run to its end before the others of its configuration have begun.
        """
        return frozenset()

    def cohorts(self, horizon: Horizon) -> tuple[Cohort, ...]:
        """What share of trials it lets go on, and after which epochs, as far as its settings say so beforehand.

        The time left is forecast by it. None by default: then the forecast knows what was stopped so far.
        """
        return ()

    def build(self, horizon: Horizon) -> Decider:
        """The scheduler at work; `driving.Driven` makes one of any scheduler of Ray Tune's."""
        raise NotImplementedError
