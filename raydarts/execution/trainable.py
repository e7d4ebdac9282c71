"""What Ray Tune runs: one class for searches, groups of searches and evaluations, an epoch a step.

The checkpoints are raydarts' own: a process that is lost is started again by Tune from nothing, and
the first step takes up from the newest checkpoint in the trial's folder.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ray import tune

from raydarts.execution.group import SweepGroup
from raydarts.execution.jobs import bundle
from raydarts.execution.shared_data import Copies, give
from raydarts.execution.trial import SweepTrial


class JobTrainable(tune.Trainable):
    """A `SweepTrial` under Tune, whose config is the trial's, or a `SweepGroup`. An OSError goes to Tune, which tries
    again.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What Tune gives a trial's process; where it only watches workers, which Ray Train places, next to nothing."""
        if config["workers"] > 1:
            return tune.PlacementGroupFactory([{"memory": 1}])  # a byte: Ray refuses a request for nothing at all
        return tune.PlacementGroupFactory([bundle(config)])

    data: ClassVar[Copies] = {}
    """Where the trials' data lie in the object store."""

    def setup(self, config: dict[str, Any]) -> None:
        give(self.data)
        self._runs = SweepGroup(config) if "group" in config else SweepTrial(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        return self._runs.step()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: see the module's docstring."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing."""

    def cleanup(self) -> None:
        self._runs.close()


def trainable_with(copies: Copies) -> type[JobTrainable]:
    """Returns the class for trials whose data lie in the object store. It goes to workers with what it refers to."""
    if not copies:
        return JobTrainable

    class Given(JobTrainable):
        data = copies

    Given.__name__ = Given.__qualname__ = JobTrainable.__name__
    return Given
