"""Lists every image file below one part's class folders once, and reports what else is there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".avif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff"),
)
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"RIFF")
"""Of JPEG, PNG, GIF, BMP, TIFF and WebP files."""
_EXAMPLES = 3
_ONE_CLASS = "an image has one class: remove one of them"
HIDDEN, TWICE = "passed over, hidden", "taken twice, by links within one class"

Key = tuple[int, int]
"""What a folder or file is, whatever paths lead to it: its device and inode."""


class Walk:
    """The content of ROOT/PART. `images` holds each class's files: encoded paths below the root, sorted.

    Two things are problems, because images would have several labels: a link to a folder above it, and a folder or file
    that belongs to two classes.
    """

    def __init__(self, root: Path, part: str) -> None:
        self.root, self.folder = root, root / part
        self.images: dict[str, list[bytes]] = {}
        self.problems: list[str] = []
        self._above = {_key(path) for path in (self.folder, root, *root.resolve().parents)}
        self._folders: dict[Key, tuple[str, str, int]] = {}  # class, path, images in it
        self._links: dict[Key, tuple[str, str]] = {}  # files that links lead to: class, path
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}
        self._deeper: Counter[str] = Counter()

    def take_all(self) -> None:
        loose = False
        for entry in entries(self.folder):
            if entry.name.startswith("."):
                self._say(HIDDEN, entry.path)
            elif _is_folder(entry):
                self.images[entry.name] = []
                self._take(entry.name, entry)
                self.images[entry.name].sort()
            elif _is_dead(entry):
                self.problems.append(f"{entry.path}: is a link that leads nowhere; remove it")
            else:
                loose = loose or is_image(entry)
                self._say("passed over, in no class folder", entry.path)
        self._check_links()
        if not self.images:
            what = "images that lie in no class" if loose else "no class folders"
            self.problems.append(f"{self.folder}: {what}; images are looked for in {self.folder}/CLASS/IMAGE")
        if not self.problems:  # else they say why a class is empty
            empty = [self.folder / name for name, files in self.images.items() if not files]
            self.problems += [f"{folder}: no images in it ({', '.join(SUFFIXES)})" for folder in empty]

    def _take(self, label: str, entry: os.DirEntry[str]) -> None:
        """Takes the images of a class's folder and of the folders in it."""
        waiting = [(entry, frozenset(self._above))]
        while waiting:
            folder, above = waiting.pop()
            try:
                key, content = _key(folder.path), entries(folder.path)
            except OSError as error:
                self.problems.append(f"{folder.path}: cannot be read: {error.strerror}")
                continue
            if not self._is_new(label, folder, key, above):
                continue
            deeper = [each for each in content if not each.name.startswith(".") and _is_folder(each)]
            waiting += [(each, above | {key}) for each in reversed(deeper)]
            self._deeper[label] += len(deeper)
            before, within = len(self.images[label]), os.path.relpath(folder.path, self.root)
            for each in content:
                if each.name.startswith(".") or not _is_folder(each):
                    self._take_file(label, within, each)
            self._folders[key] = (label, folder.path, len(self.images[label]) - before)

    def _is_new(self, label: str, folder: os.DirEntry[str], key: Key, above: frozenset[Key]) -> bool:
        """Returns whether the folder's images should be taken. A folder that would be taken twice is a problem."""
        if key in above:
            self.problems.append(
                f"{folder.path}: is a link to a folder above it, so that its images would be counted again, as "
                f"{label}; remove the link"
            )
            return False
        if key in self._folders:
            self.problems.append(f"{folder.path}: is the same folder as {self._folders[key][1]}; remove one of them")
            return False
        if folder.is_symlink():
            self._say("linked folders, followed", folder.path)
        return True

    def _take_file(self, label: str, within: str, entry: os.DirEntry[str]) -> None:
        if entry.name.startswith("."):
            self._say(HIDDEN, entry.path)
        elif _is_dead(entry) and _has_suffix(entry.name):
            self.problems.append(f"{entry.path}: is a link that leads nowhere; remove it")
        elif not _is_file(entry):
            self._say("passed over, no files (devices, pipes, links that lead nowhere)", entry.path)
        elif not is_image(entry):
            self._say("passed over, no images by their names", entry.path)
        else:
            self.images[label].append(os.fsencode(f"{within}/{entry.name}"))
            if entry.is_symlink():
                self._take_link(label, entry)

    def _take_link(self, label: str, entry: os.DirEntry[str]) -> None:
        status = entry.stat()
        other, where = self._links.setdefault((status.st_dev, status.st_ino), (label, entry.path))
        if other != label:
            self.problems.append(f"{entry.path}: is the same file as {where}; {_ONE_CLASS}")
        elif where != entry.path:
            self._say(TWICE, entry.path)

    def _check_links(self) -> None:
        """Checks links to files that are in a class folder themselves."""
        for label, path in self._links.values():
            target = Path(path).resolve()
            other, where, _ = self._folders.get(_key(target.parent), (label, "", 0))
            if other != label:
                self.problems.append(f"{path}: is a link to {Path(where) / target.name}; {_ONE_CLASS}")
            elif where and _has_suffix(target.name):
                self._say(TWICE, path)

    def _say(self, what: str, path: str) -> None:
        self._counts[what] += 1
        if len(examples := self._examples.setdefault(what, [])) < _EXAMPLES:
            examples.append(os.path.relpath(path, self.folder))

    def notes(self) -> Iterator[str]:
        for what, count in self._counts.items():
            examples = ", ".join(self._examples[what]) + (", ..." if count > _EXAMPLES else "")
            yield f"{self.folder}: {what}: {count:,} ({examples})"
        if deeper := +self._deeper:
            names = ", ".join(f"{name} {count}" for name, count in deeper.most_common(_EXAMPLES))
            yield f"{self.folder}: images in folders below a class's are of that class (folders: {names})"

    def count_shared_with(self, other: Walk) -> int:
        """Returns how many images both parts hold, in one folder or by a link."""
        folders = sum(count for key, (_, _, count) in self._folders.items() if key in other._folders)
        links = sum(key in other._links for key in self._links)
        return folders + links + _count_into(self, other) + _count_into(other, self)


def _count_into(walk: Walk, other: Walk) -> int:
    """Counts files of `walk` that are links into folders of `other`."""
    return sum(_key(Path(path).resolve().parent) in other._folders for _, path in walk._links.values())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Returns False also for a circle of links. It asks the disk only about links."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Like `_is_folder`."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_dead(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not (_is_file(entry) or _is_folder(entry))


def entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """Returns the folder's entries in alphabetical order."""
    with os.scandir(folder) as scan:
        return sorted(scan, key=lambda entry: entry.name)


def is_image(entry: os.DirEntry[str]) -> bool:
    """Decides by the file's suffix. A name without a suffix is decided by the file's first bytes."""
    if "." in entry.name:
        return _has_suffix(entry.name)
    if not _is_file(entry):  # to open a pipe would wait for ever
        return False
    try:
        with Path(entry.path).open("rb") as file:
            return file.read(8).startswith(_BEGINNINGS)
    except OSError:
        return False


def _has_suffix(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _key(path: Path | str) -> Key:
    status = Path(path).stat()
    return status.st_dev, status.st_ino
