"""Which trials a process runs together, in a file of the run: `groups/KEY.json`.

The driver writes it after it has decided on the trials, before the process begins its next epoch. The process reads it
then. So a trial leaves a group, or comes into it, without a message to the process. A process that is started again
after the last one was lost finds its trials there.
"""

from __future__ import annotations

from collections.abc import Mapping

from raydarts.runs.directory import RunDirectory
from raydarts.runs.reading import read_record
from raydarts.runs.records import GROUP
from raydarts.storage.place import FilePlace, delete, entries, make_folder

_FOLDER = "groups"


def _file(run: RunDirectory, key: str) -> FilePlace:
    return run.files / _FOLDER / f"{key}.json"


def write_group(run: RunDirectory, key: str, lanes: Mapping[str, str]) -> None:
    """Keep the trials of a group. `lanes`: the trial's name by the key of its giving."""
    make_folder(run.files / _FOLDER)
    run.write(f"{_FOLDER}/{key}.json", {"lanes": [{"key": lane, "trial": trial} for lane, trial in lanes.items()]})


def read_group(run: RunDirectory, key: str) -> dict[str, str]:
    """The trials of a group now. Empty if there is no such group any more."""
    group = read_record(_file(run, key), kind=GROUP)
    return {} if group is None else {lane["key"]: lane["trial"] for lane in group["lanes"]}


def end_group(run: RunDirectory, key: str) -> None:
    """A group has ended."""
    delete(_file(run, key))


def end_groups(run: RunDirectory) -> None:
    """Remove what an earlier driver left. A process of its that still lives then ends after its epoch."""
    for entry in entries(run.files / _FOLDER):
        delete(entry.place)
