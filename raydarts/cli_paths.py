"""Paths on the command line: `~` and `$NAME` are expanded where the shell does not, as in `--storage=~/runs`."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from raydarts.errors import InputError, shortened
from raydarts.genotypes.source import GenotypeFile, RunGenotype, parse
from raydarts.storage.place import Place, exists, local_path, place_of

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


def expanded(text: str) -> str:
    """`text` with `~`, `~user`, `$NAME` and `${NAME}` replaced. A file that is there under the text itself wins.

    Raises `InputError` where a variable is not set or there is no such user: a folder of that very name is never made.
    """
    if "\0" in text:
        raise InputError("a path cannot hold a NUL character")
    if _exists(text) and not text.startswith("~/"):
        return text
    for match in _VARIABLE.finditer(text):
        if (match[1] or match[2]) not in os.environ:
            raise InputError(
                f"{shortened(text)}: the variable {match[0]} is not set; set it, or write the path without it"
            )
    text = _VARIABLE.sub(lambda match: os.environ[match[1] or match[2]], text)
    if not text.startswith("~"):
        return text
    home = os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser raises where there is no such user
    if home.startswith("~"):
        user = text.split("/", 1)[0]
        raise InputError(
            f"{shortened(text)}: no home folder of {user} is known; for a folder of that name write ./{user}"
        )
    return home


def _exists(text: str) -> bool:
    try:
        return os.path.lexists(text)
    except (OSError, ValueError):
        return False


def given_place(text: str | Place) -> Place:
    """The place that an option or argument names."""
    return place_of(expanded(text) if isinstance(text, str) else text)


def given_file(text: str | Path) -> Path:
    """The file on this machine's disks that an option or argument names."""
    return local_path(expanded(str(text)))


def given_genotype(text: str) -> GenotypeFile:
    """`FILE`, `FILE:NAME` of a file that holds several genotypes, or `RUN[:ID]`: a run's genotype, or its winner."""
    return parse(text, given_file) if (of_run := _of_run(text)) is None else run_genotype(*of_run)


def given_genotypes(text: str) -> Place | GenotypeFile:
    """A run's place, one genotype of it (`RUN:ID`), or a genotype's file as in `given_genotype`."""
    of_run = _of_run(text)
    if of_run is not None:
        return of_run[0] if of_run[1] is None else run_genotype(*of_run)
    place = given_place(text)
    return parse(text, given_file) if isinstance(place, Path) else place


def given_run(text: str) -> tuple[Place, str | None]:
    """`RUN`, or `RUN:ID`: a run's place, and the id of one of its genotypes."""
    return _of_run(text) or (given_place(text), None)


def _of_run(text: str) -> tuple[Place, str | None] | None:
    """The run that a text names and the genotype's id after the last colon. None: it names no run."""
    before, colon, name = text.rpartition(":")
    named = bool(colon and before and name and "/" not in name)
    for candidate, genotype in ((text, None), (before, name)) if named else ((text, None),):
        with suppress(OSError, ValueError, InputError):  # no name that a run can have
            place = given_place(candidate)
            if exists(place / "run.json"):
                return place, genotype
    return None


def run_genotype(place: Place, name: str | None) -> RunGenotype:
    """A genotype of a run: the one whose id begins with `name`, or its winner."""
    from raydarts.genotypes.papers import file_text
    from raydarts.runs.snapshot import RunSnapshot
    from raydarts.runs.winner import chosen, file_of

    run = RunSnapshot.open(place)
    number, genotype = chosen(run, name)
    beside = file_of(run, number).parent
    folder = beside if isinstance(beside, Path) and beside.is_dir() else Path()
    return RunGenotype(str(place), number, file_text(genotype), folder)
