"""What raydarts raises, and which exit code each becomes.

    RaydartsError
    |-- InputError                 exit code 2: something the user gave is wrong; nothing was started
    |   |-- SpecError              a spec (YAML): all its problems at once, each with file:line
    |   |-- GenotypeError          a genotype (JSON)
    |   |-- DataError              a data set: missing files, wrong shapes, an empty split
    |   |-- CheckpointError        checkpoints are there, and none belongs to this job
    |   |-- RunError               a run directory: absent, foreign, locked, or already there
    |   |   `-- DamagedError       a file of a run that cannot be read as what it should be, or leads out of the run
    |   |-- ResourceError          more CPUs or GPUs asked for than there are
    |   `-- ClusterError           a Ray cluster that does not answer, refuses, or has another raydarts
    |-- StorageError               exit code 4: the storage failed or is not to be seen; the run can be resumed
    `-- TrialError                 a trial's own failure; the trial is marked failed, the sweep goes on
        |-- NonFiniteError         a loss or gradient that is not finite, with epoch, batch and setting
        `-- MemoryFullError        no memory left, of a GPU or of the machine, with what to change

Anything else that escapes is a bug in raydarts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


def shortened(text: str, most: int = 80) -> str:
    """`text`, or where it is longer than `most` its beginning and end, with its length said."""
    if len(text) <= most:
        return text
    end = most // 4
    return f"{text[: most - end]}... ({len(text):,} characters in all) ...{text[-end:]}"


class RaydartsError(Exception):
    """Base of every error raydarts raises on purpose."""


class InputError(RaydartsError):
    """Something the user gave is wrong. The command line turns it into one message and exit code 2."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with a spec.

    `file` and `line` say where (line 0: the whole file), `path` is the dotted path of the key,
    `message` says what is wrong, what is allowed and what to do.
    """

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        """One line. A file's values are in it, so that line feeds are told as `\\n`, and what is long is cut."""
        file = shortened(self.file, 200)
        where = f"{file}:{self.line}" if self.line else file
        place = f"{where}: {shortened(self.path, 200)}: " if self.path else f"{where}: "
        return (place + shortened(self.message, 1500)).replace("\r", "\\r").replace("\n", "\\n")


class SpecError(InputError):
    """A spec that cannot be run, with all of its problems in the order of their lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[SpecError], tuple[tuple[Problem, ...]]]:
        return (type(self), (self.problems,))


class GenotypeError(InputError):
    """A genotype that is not well formed or does not belong to the space."""


class DataError(InputError):
    """A data set that cannot be loaded or split as asked."""


class CheckpointError(InputError):
    """Checkpoints that are whole, and none of which belongs to this job."""


class RunError(InputError):
    """A run directory that is absent, foreign, in use, or already there."""


class DamagedError(RunError):
    """A file of a run that raydarts cannot have written so: damaged, of another kind, or a link out of the run."""


class ResourceError(InputError):
    """More CPUs or GPUs asked for than the machine or cluster can ever give."""


class ClusterError(InputError):
    """A Ray cluster that does not answer, refuses the token or the job, or has another version of raydarts."""


class StorageError(RaydartsError, OSError):
    """The storage failed, for longer than is waited, or a node does not see it. No trial's fault: the run can go on."""


class TrialError(RaydartsError):
    """A trial's own failure: repeating it would fail again, so it is not retried."""


class NonFiniteError(TrialError):
    """A loss or gradient became NaN or infinite; raised before any optimizer steps."""


class MemoryFullError(TrialError):
    """A GPU's or the machine's memory was full, and the spec has no (further) retry for that."""
