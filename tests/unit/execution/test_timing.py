"""How long an epoch takes: on which threads it is timed, and what counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from raydarts.execution import timing


class Job:
    """Each epoch takes the next number of CPU seconds, over all threads."""

    def __init__(self, *seconds: float) -> None:
        self.left, self.now = list(seconds), 0.0
        self.threads: list[int] = []
        self.supernet, self.device = nn.Linear(1, 1), torch.device("cpu")

    @property
    def finished(self) -> bool:
        return not self.left

    def run_epoch(self) -> dict[str, object]:
        self.threads.append(torch.get_num_threads())
        self.now += self.left.pop(0)
        return {}


@pytest.mark.parametrize(
    ("threads", "epochs", "seconds", "on_threads"),
    [
        (1, (3.0, 2.0), 2.0, [1, 1]),  # the first one warms up
        (1, (9.0, 2.0), 9.0, [1]),
        (1, (3.0,), 3.0, [1]),
        (2, (3.0, 4.0), 2.0, [1, 2]),
        (2, (3.0, 8.0), 3.0, [1, 2]),  # two threads are slower than one
        (2, (9.0, 10.0), 5.0, [1, 2]),
        (2, (3.0,), 3.0, [1]),
        (16, (3.0, 4.0), 2.0, [1, 2]),  # there are two CPUs
    ],
)
def test_an_epoch_is_timed_on_the_threads_of_a_trial_if_they_help(
    threads: int, epochs: tuple[float, ...], seconds: float, on_threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    job: Any = Job(*epochs)
    monkeypatch.setattr(timing.time, "process_time", lambda: job.now)
    monkeypatch.setattr(timing, "usable_cpus", lambda: 2)
    before = torch.get_num_threads()
    assert timing.timed(lambda: job, threads, quick=8.0).seconds == seconds
    assert job.threads == on_threads
    assert torch.get_num_threads() == before
