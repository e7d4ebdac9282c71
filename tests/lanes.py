"""Sweeps of scripted jobs in groups: each job runs its epoch by itself, so that a group changes no figure at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from raydarts.execution import group
from raydarts.execution.job import Job
from raydarts.sweeping import fusing
from tests.fault import fakes

together: list[list[tuple[int, int]]] = []
"""The seed and the coming epoch of each job, of each time that several ran together."""


class EachAlone:
    """What `search.fused.FusedSearch` promises, without its speed."""

    def run_epoch(self, jobs: Sequence[Job]) -> list[Mapping[str, Any] | Exception]:
        return each_alone(jobs)


def each_alone(jobs: Sequence[Job]) -> list[Mapping[str, Any] | Exception]:
    """Run one epoch of each job."""
    together.append([(int(getattr(job, "settings")["seed"]), job.epoch + 1) for job in jobs])  # noqa: B009
    results: list[Mapping[str, Any] | Exception] = []
    for job in jobs:
        try:
            results.append(job.run_epoch())
        except (OSError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # of this lane alone
            results.append(error)
    return results


@contextmanager
def scripted_lanes() -> Iterator[None]:
    """Inside, sweeps of scripted jobs may be fused, where they run in this process."""
    together.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusing, "DEFAULT_BUILDER", fakes.BUILDER)
        patch.setattr(group, "together", EachAlone)
        yield
