"""What Tune's error files say, as they are written by Ray."""

from __future__ import annotations

import pytest

from raydarts.execution.executor import Loss
from raydarts.execution.tune import read_failure
from raydarts.runs import faults

DIED = """The actor died unexpectedly before finishing this task.
	class_name: JobTrainable
	pid: 16616
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
"""
RAISED = """ray::JobTrainable.train() (pid=1, ip=10.0.0.2, actor_id=3)
  File "trainable.py", line 90, in step
OSError: the disk was away
"""
STORAGE = RAISED.replace("OSError", "raydarts.errors.StorageError")
WORKER = RAISED.replace("OSError", "raydarts.execution.data_parallel.WorkersLostError")


def written(*failures: tuple[int, str]) -> str:
    return "".join(f"Failure # {number} (occurred at 2026-11-25_09-24-04)\n{text}" for number, text in failures)


@pytest.mark.parametrize(
    ("failures", "what"),
    [
        ([(1, DIED)], faults.LOST),
        ([(1, RAISED)], faults.FILES),
        ([(1, STORAGE)], faults.STORAGE),
        ([(1, STORAGE), (2, RAISED)], faults.FILES),
        ([(1, RAISED), (2, DIED)], faults.LOST),
        ([(1, WORKER)], faults.LOST),
        ([(0, DIED)], faults.PREEMPTED),
        ([(1, DIED), (1, DIED)], faults.PREEMPTED),
        ([(1, DIED), (1, DIED), (2, DIED)], faults.LOST),
    ],
)
def test_the_last_failure_is_known(failures: list[tuple[int, str]], what: str) -> None:
    assert read_failure(written(*failures)) == Loss(what, failures[-1][1].splitlines()[-1])
