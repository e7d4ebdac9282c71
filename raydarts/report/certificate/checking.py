"""Whether a certificate still follows from its run: everything is computed again, and compared to the last digit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from raydarts.errors import DamagedError, RunError
from raydarts.report.certificate.body import MADE_BY, certificate, paths_of, read_certificate
from raydarts.report.certificate.files import FileEntry, differences_of, files_of
from raydarts.runs.reading import Damage
from raydarts.storage.place import Place

_SHOWN = 60
"""Characters of a value in a message."""


@dataclass(frozen=True)
class Check:
    """What differs between a certificate and its run. `figures`: values that are in the certificate otherwise.

    `unreadable`: why nothing could be computed from the run; None: it could.
    """

    files: list[str]
    figures: list[str]
    unreadable: str | None = None

    @property
    def holds(self) -> bool:
        return not self.files and not self.figures and self.unreadable is None


def check_certificate(path: Place, file: Place, damage: Damage) -> Check:
    """Compares a certificate with the run at `path`.

    Raises `InputError` if `file` is no certificate, `RunError` if there is no run at `path`.
    """
    certified = read_certificate(file)
    if not path.is_dir():
        raise RunError(f"{path}: there is no such run")
    own = (file, paths_of(path, file)[1] if file.suffix == ".json" else file)
    before = cast(Mapping[str, FileEntry], certified["files"])
    here = files_of(path, own)
    changed = differences_of(before, here)
    try:
        made = certificate(path, damage, own)
    except (DamagedError, RunError) as error:
        return Check(changed, [], str(error))
    parts = [{key: value for key, value in each.items() if key not in (MADE_BY, "files")} for each in (certified, made)]
    return Check(changed, list(_differences(parts[0], parts[1], "")))


def _differences(certified: object, here: object, place: str) -> Iterator[str]:
    """Yields each place where two values differ, in the order of their keys."""
    if isinstance(certified, Mapping) and isinstance(here, Mapping):
        for key in sorted({*certified, *here}, key=str):
            where = f"{place}.{key}" if place else str(key)
            if key not in here:
                yield f"{where}: the certificate has it, and it does not follow from the run"
            elif key not in certified:
                yield f"{where}: follows from the run, and the certificate lacks it"
            else:
                yield from _differences(certified[key], here[key], where)
    elif isinstance(certified, list) and isinstance(here, list):
        if len(certified) != len(here):
            yield f"{place}: {len(certified)} entries in the certificate, {len(here)} from the run"
        for number, (one, other) in enumerate(zip(certified, here, strict=False)):
            yield from _differences(one, other, f"{place}.{number}")
    elif type(certified) is not type(here) or certified != here:
        yield f"{place}: {_shown(certified)} in the certificate, {_shown(here)} from the run"


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
