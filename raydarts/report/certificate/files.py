"""The files of a run that a certificate is made from, each with its SHA-256, and how two such lists differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict

from raydarts.errors import DamagedError, StorageError
from raydarts.runs.log import NAME as LOG
from raydarts.storage.objects import Entry
from raydarts.storage.place import FilePlace, Place, digest, each, entries, inside, read_appended

_NOT_OF_THE_RUN = ("ray", "groups", "wandb", "tensorboard", "lock", "owner.json", "tracking.json", "report.html")
"""Folders and files of Ray, of trackers, of drivers and of readers. No figure is read from them."""
_PREFIXES = (".", "certificate.", "wandb-")
_DEEPEST = 8
_MOST_LINES = 20_000
"""Lines of a file of which each has a digest of its own."""
_LINE_DIGITS = 8


class FileEntry(TypedDict, total=False):
    """A file. `lines`: of a file of lines the first digits of each line's SHA-256, in one text.

    `instead`: what is there in the place of a file or a folder. `sha256` null: the file is too large to be read here.
    """

    sha256: str | None
    size: int
    lines: str
    instead: str


Files = dict[str, FileEntry]
"""By the path in the run."""


def files_of(run: Place, without: Sequence[Place] = ()) -> Files:
    """Returns the files of a run. `without`: files that somebody put there, such as the certificate itself.

    No link is followed.
    """
    left_out = {str(place.absolute()) for place in without}
    listed = [(path, entry) for path, entry in _walk(inside(run.absolute()), "", 1) if str(entry.place) not in left_out]
    made = each(lambda pair: (pair[0], _entry(pair[1])), listed, run)
    return {path: entry for path, entry in sorted(made, key=lambda pair: pair[0]) if entry is not None}


def _walk(folder: FilePlace, above: str, depth: int) -> Iterator[tuple[str, Entry]]:
    for entry in entries(folder):
        name = entry.place.name
        if name in _NOT_OF_THE_RUN or name.startswith(_PREFIXES):
            continue
        path = f"{above}{name}"
        if entry.is_folder and not _has_lines(name):  # an object store keeps a file of lines as a folder of parts
            if depth < _DEEPEST:
                yield from _walk(entry.place, f"{path}/", depth + 1)
        else:
            yield path, entry


def _has_lines(name: str) -> bool:
    return name == LOG or name.endswith(".jsonl")


def _entry(listed: Entry) -> FileEntry | None:
    if listed.instead is not None and not listed.is_folder:
        return {"instead": listed.instead}
    try:
        if not _has_lines(listed.place.name):
            made = digest(listed.place)
            return {"sha256": made.sha256, "size": made.size}
        content = read_appended(listed.place)
    except FileNotFoundError:
        return None
    except DamagedError:
        return {"instead": "something that cannot be read"}
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        return {"instead": "something that cannot be read"}
    whole: FileEntry = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    lines = content.splitlines()
    if listed.place.name != LOG and len(lines) <= _MOST_LINES:  # no figure is read from a log
        whole["lines"] = "".join(hashlib.sha256(line).hexdigest()[:_LINE_DIGITS] for line in lines)
    return whole


def differences_of(certified: Mapping[str, FileEntry], here: Mapping[str, FileEntry]) -> list[str]:
    """Returns what differs, a sentence for each file. `certified` is the certificate's list."""
    sentences = []
    for path in sorted({*certified, *here}):
        if path not in here:
            sentences.append(f"{path}: was removed")
        elif path not in certified:
            sentences.append(f"{path}: was added")
        elif certified[path] != here[path]:
            sentences.append(f"{path}: was changed ({_change(certified[path], here[path])})")
    return sentences


def _change(before: FileEntry, now: FileEntry) -> str:
    if "instead" in now:
        return f"it is {now['instead']}"
    if "instead" in before:
        return f"the certificate names {before['instead']}"
    size = f"{now.get('size')} bytes, certificate: {before.get('size')}"
    old, new = _lines(before), _lines(now)
    if old is None or new is None:
        return size
    changed = [number for number, (a, b) in enumerate(zip(old, new, strict=False), start=1) if a != b]
    parts = [f"{len(new)} lines, certificate: {len(old)}"] if len(old) != len(new) else []
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        parts.append(f"line {changed[0]}{more} differ{'' if more else 's'}")
    return "; ".join(parts) or size


def _lines(entry: FileEntry) -> list[str] | None:
    text = entry.get("lines")
    if text is None:
        return None
    return [text[at : at + _LINE_DIGITS] for at in range(0, len(text), _LINE_DIGITS)]
