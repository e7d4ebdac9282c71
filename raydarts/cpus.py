"""How many CPUs this process may use, which can be fewer than the machine has.

Slurm, `taskset` and `docker --cpuset-cpus` bind a process to some CPUs (its affinity). `docker --cpus`, Kubernetes and
systemd give it a share of their time (the quota of a control group). Whoever in raydarts counts CPUs asks here.
joblib's count, which scikit-learn brings, reads the quota at the top of the file system alone: not that of a group
below it, nor of its parents, and it rounds 1.5 CPUs up.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from raydarts.cgroups import groups, lines_of


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
    quotas = [quota for folder in groups(root, "cpu") if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _quota(folder: Path) -> float | None:
    """The quota of one group: `cpu.max` holds `150000 100000` or `max 100000`; the older version has two files."""
    parts = " ".join(lines_of(folder / "cpu.max")).split()
    if not parts:
        parts = lines_of(folder / "cpu.cfs_quota_us")[:1] + lines_of(folder / "cpu.cfs_period_us")[:1]
    try:
        quota, period = (int(part) for part in parts)
    except ValueError:  # no file, or `max`
        return None
    return quota / period if quota > 0 and period > 0 else None
