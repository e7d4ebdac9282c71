"""With what, and where, a run is made: versions, the commit of the sources, the machine. run.json keeps it."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

from raydarts.cpus import usable_cpus


def versions() -> dict[str, str | None]:
    known: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("raydarts", "torch", "torchvision", "ray", "optuna", "numpy"):
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            known[name] = None
    return known


def machine() -> dict[str, str | int]:
    """Where the driver runs. Trials may run elsewhere: their hosts are in times.jsonl."""
    return {"system": platform.platform(), "architecture": platform.machine(), "cpus": usable_cpus()}


def git_commit() -> str | None:
    """The commit of the sources that run: of the wheel that `make wheel` made, or of the git checkout they lie in."""
    here = Path(__file__).parent
    packaged = here.parent / "COMMIT"
    if packaged.exists():
        return packaged.read_text(encoding="utf-8").strip()
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
