"""A trial's job in this process, without Ray and without a fault: what the trial must have come to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from raydarts.execution.job import Job
from raydarts.execution.jobs import build_job
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.storage.files import plain


def figures(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what no two runs have in common."""
    return [{key: value for key, value in row.items() if key not in ("seconds", "memory_mb")} for row in rows]


def run_here(trial: TrialDirectory, run: RunDirectory) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The figures of its rows, and those of its result."""
    job: Job = build_job(trial.description(), run.description(), "cpu")
    rows = []
    while not job.finished:
        rows.append(plain(job.run_epoch()))
    return figures(rows), figures([plain(job.result())])[0]
