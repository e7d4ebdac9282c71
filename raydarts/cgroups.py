"""The control groups of this process, which limit what it may use: CPUs, memory. Both versions are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the process's groups under a controller (`cpu`, `memory`), and of all their parents that are to be
    seen. A group has no more than each of its parents.

    `root`: where `/proc` and `/sys` lie; tests have files of their own there. A machine may have both versions mounted.
    """
    paths = _paths(root, controller)
    for version, start, point in _mounts(root, controller):
        path = paths.get(version)
        if path is None:
            continue
        top = root / point.lstrip("/")
        # A container often sees its own group alone, mounted at the top: its path is then that of the mount.
        below = path.relative_to(start) if path.is_relative_to(start) else PurePosixPath()
        if ".." in below.parts:  # the process is outside of what is mounted here
            below = PurePosixPath()
        folder = top / below
        yield folder
        while folder != top:
            folder = folder.parent
            yield folder


def _paths(root: Path, controller: str) -> dict[int, PurePosixPath]:
    """The process's group by version, from /proc/self/cgroup: lines such as `4:cpu,cpuacct:/job` and `0::/job`."""
    paths = {}
    for line in lines_of(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            paths[2] = PurePosixPath(path)
        elif controller in controllers.split(","):
            paths[1] = PurePosixPath(path)
    return paths


def _mounts(root: Path, controller: str) -> Iterator[tuple[int, PurePosixPath, str]]:
    """Where groups are mounted: version, the group that lies at the top of the mount, and its folder."""
    for line in lines_of(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        start, point = (_unescape(field) for field in fields[3:5])
        if kind[0] == "cgroup2":
            yield 2, PurePosixPath(start), point
        elif kind[0] == "cgroup" and controller in kind[2].split(","):
            yield 1, PurePosixPath(start), point


def _unescape(field: str) -> str:
    """mountinfo writes a blank as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def lines_of(file: Path) -> list[str]:
    """The lines of a file. No lines where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
