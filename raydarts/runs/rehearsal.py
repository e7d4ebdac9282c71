"""Runs that are rehearsals: they show that a sweep runs and what it costs. Nothing that they measure is a result."""

from __future__ import annotations

from collections.abc import Mapping

from raydarts.errors import RunError
from raydarts.runs.directory import RunDirectory

WARNING = "a rehearsal at tiny scale: no figure below is a result"


def is_rehearsal(description: Mapping[str, object]) -> bool:
    """Whether a run.json is that of a rehearsal."""
    return description.get("rehearsal") is not None


def refuse(run: RunDirectory, use: str) -> None:
    """Raise `RunError` where a rehearsal is to be used as if it had results."""
    if is_rehearsal(run.description()):
        raise RunError(f"{run.path}: is a rehearsal, and nothing that it measured is a result; {use}")
