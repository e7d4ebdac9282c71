"""What a run has cost, from the time of every epoch."""

from __future__ import annotations

from collections.abc import Mapping

from raydarts.json_types import section
from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import jobs, stage_of
from raydarts.runs.hours import charged_seconds, hours_of, limits, wall_hours
from raydarts.study.budget import HOUR

_UNITS = ("process_hours", "gpu_hours", "cpu_hours")


def cost_of(run: RunDirectory, description: Mapping[str, object]) -> dict[str, object]:
    """Returns epochs and hours of each stage, and of all together. The test after the last epoch is not in them."""
    spec = section(description.get("spec"))
    stages: dict[str, dict[str, object]] = {}
    hours: dict[str, dict[str, float]] = {}
    hosts: set[str] = set()
    for trial in jobs(run, description):
        name = stage_of(trial)
        times, rows = trial.times(), trial.rows()
        hosts |= {str(entry["host"]) for entry in times if entry.get("host")}
        known = stages.setdefault(name, {"stage": name, "jobs": 0, "epochs": 0, "epochs_run": 0})
        counted = {"jobs": 1, "epochs": len(rows), "epochs_run": len(times)}
        known |= {key: int(str(known[key])) + count for key, count in counted.items()}
        spent = {"process_hours": charged_seconds(trial) / HOUR, **hours_of(trial, spec)}
        so_far = hours.setdefault(name, dict.fromkeys(_UNITS, 0.0))
        hours[name] = {unit: so_far[unit] + spent[unit] for unit in _UNITS}
    return {
        "stages": [{**known, **hours[name]} for name, known in stages.items()],
        **{unit: sum(each[unit] for each in hours.values()) for unit in _UNITS},
        "wall_hours": wall_hours(run),
        "limits": limits(run),
        "hosts": sorted(hosts),
    }
