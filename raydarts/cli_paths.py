"""Paths on the command line: `~` and `$NAME` are expanded where the shell does not, as in `--storage=~/runs`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from raydarts.errors import InputError, shortened
from raydarts.genotypes.source import GenotypeFile, parse
from raydarts.storage.place import Place, local_path, place_of

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
    """`FILE`, or `FILE:NAME` of a file that holds several genotypes."""
    return parse(text, given_file)


def given_genotypes(text: str) -> Place | GenotypeFile:
    """A run's place, or a genotype's file as in `given_genotype`."""
    place = given_place(text)
    return parse(text, given_file) if isinstance(place, Path) else place
