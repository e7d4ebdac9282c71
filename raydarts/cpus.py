"""How many CPUs this process may use, which can be fewer than the machine has.

Slurm, `taskset` and `docker --cpuset-cpus` bind a process to some CPUs (its affinity). `docker --cpus`, Kubernetes and
systemd give it a share of their time (the quota of a control group). Whoever in raydarts counts CPUs asks here.
joblib's count, which scikit-learn brings, reads the quota at the top of the file system alone: not that of a group
below it, nor of its parents, and it rounds 1.5 CPUs up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil


@dataclass(frozen=True)
class Cpus:
    """`there`: how many CPUs the machine has. `usable`: how many this process may use, and why these (`reason`)."""

    there: int
    usable: int
    reason: str = ""

    def __str__(self) -> str:
        if self.usable == self.there:
            return f"{self.usable} CPU{'s' * (self.usable != 1)}"
        return f"{self.usable} of {self.there} CPUs ({self.reason})"


def usable_cpus() -> int:
    """How many CPUs this process may use, at least 1."""
    return cpus().usable


def cpus(root: Path = Path("/")) -> Cpus:
    """What this process may use. `root`: where `/proc` and `/sys` lie; tests have files of their own there."""
    there = os.cpu_count() or 1
    bound, quota = _affinity(there), cgroup_quota(root)
    usable = max(1, min(there, bound, there if quota is None else int(quota)))
    if usable == there:
        return Cpus(there, usable)
    if usable == bound:
        return Cpus(there, usable, "by this process's CPU affinity")
    return Cpus(there, usable, f"by its control group's quota of {quota:g}")


def _affinity(there: int) -> int:
    """How many CPUs the process is bound to. macOS binds none."""
    asked = getattr(psutil.Process(), "cpu_affinity", None)
    return there if asked is None else len(asked())


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """How many CPUs' time the process's control groups give it, as a fraction; None where they do not say.

    A group has no more than each of its parents, so the least of them counts. Both versions of control groups are
    read, as a machine may have both mounted.
    """
    quotas = [quota for folder in _groups(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of the process's control groups that hold CPUs, and of all their parents that are to be seen."""
    paths = _paths(root)
    for version, start, point in _mounts(root):
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


def _paths(root: Path) -> dict[int, PurePosixPath]:
    """The process's group by version, from /proc/self/cgroup: lines such as `4:cpu,cpuacct:/job` and `0::/job`."""
    paths = {}
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            paths[2] = PurePosixPath(path)
        elif "cpu" in controllers.split(","):
            paths[1] = PurePosixPath(path)
    return paths


def _mounts(root: Path) -> Iterator[tuple[int, PurePosixPath, str]]:
    """Where groups are mounted: version, the group that lies at the top of the mount, and its folder."""
    for line in _lines(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        start, point = (_unescape(field) for field in fields[3:5])
        if kind[0] == "cgroup2":
            yield 2, PurePosixPath(start), point
        elif kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            yield 1, PurePosixPath(start), point


def _unescape(field: str) -> str:
    """mountinfo writes a blank as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _quota(folder: Path) -> float | None:
    """The quota of one group: `cpu.max` holds `150000 100000` or `max 100000`; the older version has two files."""
    parts = " ".join(_lines(folder / "cpu.max")).split()
    if not parts:
        parts = _lines(folder / "cpu.cfs_quota_us")[:1] + _lines(folder / "cpu.cfs_period_us")[:1]
    try:
        quota, period = (int(part) for part in parts)
    except ValueError:  # no file, or `max`
        return None
    return quota / period if quota > 0 and period > 0 else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
