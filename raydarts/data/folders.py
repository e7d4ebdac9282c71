"""Folders of images, one folder for each class."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raydarts.data.files import listed
from raydarts.data.paths import is_folder, shown
from raydarts.data.walk import Walk, entries
from raydarts.errors import DataError


@dataclass(frozen=True)
class Listing:
    """The files of both parts. `classes` are in alphabetical order.

    Each part has files (encoded paths below the root) and labels, sorted by path. `notes` says what was skipped and
    what may be a mistake, one line each.
    """

    classes: tuple[str, ...]
    train_files: NDArray[np.bytes_]
    train_labels: NDArray[np.int64]
    test_files: NDArray[np.bytes_]
    test_labels: NDArray[np.int64]
    notes: tuple[str, ...]


def require_folders(root: Path, *parts: str) -> None:
    """Raises `DataError` with the missing folders below `root` and the layout."""
    missing = [str(root / part) for part in parts if not is_folder(root / part)]
    if missing:
        try:
            there = ", ".join(entry.name for entry in entries(root)) or "nothing"
        except OSError as error:
            there = error.strerror or str(error)
        raise DataError(
            f"{', '.join(missing)}: there is no such folder; images lie in {root / parts[0]}/CLASS/IMAGE "
            f"(in {root}: {shown(there[:200])})"
        )


def list_folders(root: Path, train: str, test: str) -> Listing:
    """Returns the images of both parts. Raises one `DataError` with everything that is wrong with the folders.

    Links to files and folders are followed. Names that start with a dot and files that are no images by their names are
    skipped, with a note.
    """
    require_folders(root, train, test)
    walks = {part: Walk(root, part) for part in (train, test)}
    for walk in walks.values():
        try:
            walk.take_all()
        except OSError as error:
            raise DataError(f"{shown(str(error.filename))}: cannot be read: {error.strerror}") from error
    problems = [problem for walk in walks.values() for problem in walk.problems]
    images = {part: walk.images for part, walk in walks.items()}
    classes = sorted(images[train])
    if classes and images[test]:
        for part, other in ((test, train), (train, test)):
            alone = [name for name in sorted(images[part]) if name not in images[other]]
            problems += [
                f"{root / part / name}: {root / other} has no such class{_alike(name, images[other])}" for name in alone
            ]
    if len(classes) == 1:
        problems.append(f"{root / train}: only one class, {classes[0]}; at least two are needed")
    if problems:
        raise DataError(listed(shown(problem) for problem in problems))
    notes = [*_unread(root, train, test), *(note for walk in walks.values() for note in walk.notes())]
    notes += [*_alike_classes(root / train, classes), *_shared(walks[train], walks[test])]
    return Listing(
        tuple(classes), *_part(images[train], classes), *_part(images[test], classes), tuple(map(shown, notes))
    )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _alike(name: str, others: dict[str, list[bytes]]) -> str:
    near = [other for other in sorted(others) if _folded(other) == _folded(name)]
    return f" (it has {near[0]}; the names must be the same letter by letter)" if near else ""


def _alike_classes(folder: Path, classes: list[str]) -> Iterator[str]:
    for _, group in groupby(sorted(classes, key=_folded), key=_folded):
        if len(names := list(group)) > 1:
            yield f"{folder}: {' and '.join(names)} are {len(names)} classes, though they look alike"


def _unread(root: Path, *parts: str) -> Iterator[str]:
    others = [entry.name for entry in entries(root) if entry.name not in parts and entry.is_dir(follow_symlinks=False)]
    if others:
        yield f"{root}: not read, beside {' and '.join(parts)}: {', '.join(others[:10])}"


def _shared(train: Walk, test: Walk) -> Iterator[str]:
    """Returns test images that are training images by a link."""
    if shared := test.count_shared_with(train):
        yield (
            f"{test.folder}: {shared:,} of its {sum(map(len, test.images.values())):,} files are files of "
            f"{train.folder}: test figures say little of new images"
        )


def _part(by_class: dict[str, list[bytes]], classes: list[str]) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    files = np.array([file for name in classes for file in by_class[name]])
    labels = np.repeat(np.arange(len(classes)), [len(by_class[name]) for name in classes])
    return files, labels.astype(np.int64)
