"""What lies in folders of images, a folder a class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raydarts.data.files import listed
from raydarts.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Listing:
    """`classes` in alphabetical order; each part's files (encoded paths below the root) and labels, sorted by path."""

    classes: tuple[str, ...]
    train_files: NDArray[np.bytes_]
    train_labels: NDArray[np.int64]
    test_files: NDArray[np.bytes_]
    test_labels: NDArray[np.int64]


def require_folders(root: Path, *parts: str) -> None:
    """`DataError` that names the folders below `root` that are not there, and the layout."""
    missing = [str(root / part) for part in parts if not (root / part).is_dir()]
    if missing:
        raise DataError(f"{', '.join(missing)}: there is no such folder; images lie in {root / parts[0]}/CLASS/IMAGE")


def list_folders(root: Path, train: str, test: str) -> Listing:
    """The images of both parts. Raises one `DataError` with everything that is wrong with the folders.

    Names that begin with a dot are passed over, and files that have no image's suffix.
    """
    require_folders(root, train, test)
    problems: list[str] = []
    found = {part: _images(root, part, problems) for part in (train, test)}
    classes = sorted(found[train])
    if classes and found[test]:
        for part, other in ((test, train), (train, test)):
            alone = [name for name in sorted(found[part]) if name not in found[other]]
            problems += [f"{root / part / name}: {root / other} has no such class" for name in alone]
    if len(classes) == 1:
        problems.append(f"{root / train}: only one class, {classes[0]}; at least two are needed")
    if problems:
        raise DataError(listed(problems))
    return Listing(tuple(classes), *_part(found[train], classes), *_part(found[test], classes))


def _images(root: Path, part: str, problems: list[str]) -> dict[str, list[bytes]]:
    """Files by class."""
    folder = root / part
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        loose = any(_is_image(entry.name) for entry in folder.iterdir())
        what = "images that lie in no class" if loose else "no class folders"
        problems.append(f"{folder}: {what}; images are looked for in {folder}/CLASS/IMAGE")
    found = {name: sorted(_below(root, folder / name)) for name in classes}
    problems += [
        f"{folder / name}: no images in it ({', '.join(SUFFIXES)})" for name, files in found.items() if not files
    ]
    return found


def _below(root: Path, folder: Path) -> Iterator[bytes]:
    for path, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        within = Path(path).relative_to(root)
        for name in names:
            if _is_image(name):
                yield os.fsencode(f"{within}/{name}")


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _part(found: dict[str, list[bytes]], classes: list[str]) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    files = np.array([file for name in classes for file in found[name]])
    labels = np.repeat(np.arange(len(classes)), [len(found[name]) for name in classes])
    return files, labels.astype(np.int64)
