"""What an executor is: it runs attempts of trials, says what happened, and does what it is answered.

An executor knows no searcher, no scheduler and no budget. Whoever wants trials run gives it a `Handler`. There are two:
`tune.TuneExecutor` (Ray Tune, on a cluster or on this machine) and `local.LocalExecutor` (this process, in one fixed
order).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypedDict, TypeVar


class NotNow(Enum):
    """Why a handler gives no trial: `LATER`, one that runs now must report or end first; `NEVER`, there are no more."""

    LATER = "later"
    NEVER = "never"


@dataclass(frozen=True)
class Loss:
    """An attempt is lost. `what`: one of `runs.faults.WORDS`. `message`: the error's last line."""

    what: str
    message: str


class Growth(TypedDict):
    """By what factor a trial's share of a GPU grows where its memory was full, and how often."""

    grow: float
    retries: int


class TrialConfig(TypedDict, total=False):
    """A `SweepTrial`'s config, which says what each of them is.

    `kind`: trials of one kind can share a process; None: the trial runs alone. A group's config has `run`, the run's
    folder, and `group`, the group's name.
    """

    id: str
    directory: str
    cpus: float
    gpus: float
    custom: Mapping[str, float]
    workers: int
    max_failures: int
    epoch_timeout: float | None
    out_of_memory: Growth | None
    checkpoint_every: int
    own_code: Sequence[str]
    kind: str | None
    run: str
    group: str


Config_co = TypeVar("Config_co", covariant=True)
"""What an executor must know of a trial."""


class Handler(Protocol[Config_co]):
    """Gives trials to an executor and hears of them. `key` names one giving of a trial.

    A trial that is given again, for example after it waited, has another key.
    """

    def start(self, key: str) -> Config_co | NotNow:
        """The next trial."""

    def reported(self, key: str, row: Mapping[str, object]) -> bool:
        """A trial has ended an epoch. `row`: its finite figures, with `epoch`, and `done`, whether it was the last one.

        Returns whether the trial goes on. If it does not, its process is let go of, and `ended` is called.
        """

    def lost(self, key: str, loss: Loss, again: bool) -> None:
        """An attempt is lost. `again`: the executor tries once more. Else the trial is over, and `ended` is not called.

        `loss.what` is empty where no error is known.
        """

    def ended(self, key: str) -> None:
        """A trial has no process any more: it has run its last epoch, or `reported` answered no."""


class Executor(Protocol):
    """Runs the trials that a handler gives."""

    def run(self, handler: Handler[TrialConfig], places: int, most: int | None, max_failures: int) -> None:
        """Run trials until the handler has no more and all have ended, at most `places` at a time.

        `most`: how many are given at most; None: any number. An attempt that is lost is tried again `max_failures`
        times. An exception of the handler's ends the run and is raised here.
        """
