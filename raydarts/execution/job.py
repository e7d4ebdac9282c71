"""A job: anything that goes on epoch by epoch, can be saved, and ends with a result.

A search and an evaluation are jobs; a Ray trainable and the command line both drive them through
this one protocol, so neither knows which it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


class Job(Protocol):
    """What `Search` and `Evaluation` have in common."""

    @property
    def epoch(self) -> int:
        """Epochs finished so far."""

    @property
    def epochs(self) -> int:
        """Epochs asked for."""

    @property
    def finished(self) -> bool:
        """True when no epoch is left (all done, or an early stop)."""

    def run_epoch(self) -> dict[str, Any]:
        """One epoch. Returns its metrics: flat, JSON-able (floats, ints, strings, None; `genotype` a dict)."""

    def result(self) -> dict[str, Any]:
        """The outcome of a finished job, JSON-able; the last metrics plus what is computed only at the end."""

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on bit-identically; loads under `torch.load(weights_only=True)`."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up from `state_dict()`'s value; `state_dict()` then gives it back to the last bit.

        May raise anything on a state that is not this job's: the job is then thrown away.
        """


@runtime_checkable
class ForkableJob(Job, Protocol):
    """A job that can go on from the state of another one, which had other settings. A search is one."""

    def restated(self, state: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        """The state of a job with the settings `before`, changed so that this job's settings count from now on.

        What does not follow from the settings stays to the last bit. `load_state_dict` takes what is returned.
        """
