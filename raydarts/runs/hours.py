"""What a run has spent, what it may spend, and what it may still need.

GPU-hours and CPU-hours: each epoch's time (times.jsonl; epochs run again count again) times what its stage gives to a
trial. Of trials that one process ran together each is charged an equal share of that time. Counted are epochs: not the
start of processes, an epoch that a kill cut off, or the test after the last epoch.
Wall hours: the time drivers were at work, all drivers of the run together, idle cluster or not.
"""

from __future__ import annotations

from collections.abc import Mapping

from raydarts.json_types import number, section
from raydarts.runs.directory import FINAL, RunDirectory, TrialDirectory
from raydarts.runs.entries import PlannedStageEntry, TimeEntry
from raydarts.runs.faults import shares
from raydarts.runs.folders import jobs, read_allocation, stage_of
from raydarts.study.budget import HOUR, BudgetReport, Needed, allotted, needed_of, resources_of, settings_of
from raydarts.study.stages import EVALUATE

_FILE, _DRIVERS, _PLAN = "budget.json", "drivers.json", "plan.json"


def limits(run: RunDirectory) -> dict[str, float]:
    """The hours a run may spend, by unit; those changed at a resume, else the spec's. Empty: no limit."""
    changed = run.read(_FILE)
    by_unit = changed["limits"] if changed else section(run.description().get("spec")).get("budget")
    return {unit: float(hours) for unit, value in section(by_unit).items() if (hours := number(value)) is not None}


def change_limits(run: RunDirectory, new: Mapping[str, float | None], at: float) -> None:
    """From now on `new` holds in place of the limits so far, which are kept beside it. `at`: seconds since 1970."""
    earlier = (run.read(_FILE) or {}).get("earlier", [])
    kept = {unit: hours for unit, hours in new.items() if hours is not None}
    run.write(_FILE, {"limits": kept, "earlier": [*earlier, {"limits": limits(run), "until": at}]})


def _lasted(entry: TimeEntry) -> float:
    return max(0.0, float(entry["end"]) - float(entry["start"]))


def _share(entry: TimeEntry) -> float:
    """The seconds of its process that an epoch of a trial cost: trials that ran together share them equally."""
    return _lasted(entry) / entry.get("lanes", 1)


def seconds_of(trial: TrialDirectory) -> float:
    """How long a trial's epochs took, those run again too."""
    return sum(_lasted(entry) for entry in trial.times())


def charged_seconds(trial: TrialDirectory) -> float:
    """How many seconds of a process a trial's epochs cost, those run again too."""
    return sum(_share(entry) for entry in trial.times())


def hours_of(trial: TrialDirectory, spec: Mapping[str, object]) -> dict[str, float]:
    """A trial's GPU-hours and CPU-hours."""
    stage = stage_of(trial)
    hours = charged_seconds(trial) / HOUR
    by_unit = {unit: hours * share for unit, share in allotted(spec, stage).items()}
    if settings_of(spec, stage).get("out_of_memory"):
        by_unit["gpu_hours"] += _grown_hours(trial, spec, stage)
    return by_unit


def _grown_hours(trial: TrialDirectory, spec: Mapping[str, object], stage: str) -> float:
    """GPU-hours of a trial beyond its stage's share, since it was given a larger one."""
    (workers, _, planned), grown = resources_of(spec, stage), shares(trial)
    extra = 0.0
    for entry in trial.times():
        given_then = [share for since, share in grown if since <= float(entry["start"])]
        if given_then:
            extra += _share(entry) * (given_then[-1] - planned)
    return workers * extra / HOUR


def drivers(run: RunDirectory) -> dict[str, dict[str, float]]:
    """When each driver of the run started and was last known to be at work, in seconds since 1970."""
    times: dict[str, dict[str, float]] = run.read(_DRIVERS) or {}
    return times


def write_driver(run: RunDirectory, token: str, started: float, seen: float) -> None:
    run.write(_DRIVERS, {**drivers(run), token: {"started": started, "seen": seen}})


def wall_hours(run: RunDirectory) -> float:
    """All drivers' times together."""
    return sum(max(0.0, each["seen"] - each["started"]) for each in drivers(run).values()) / HOUR


def spent(run: RunDirectory) -> dict[str, float]:
    """Hours by unit."""
    description = run.description()
    each = [hours_of(trial, description["spec"]) for trial in jobs(run, description)]
    by_unit = {unit: sum(hours[unit] for hours in each) for unit in ("gpu_hours", "cpu_hours")}
    return {**by_unit, "wall_hours": wall_hours(run)}


def write_plan(run: RunDirectory, stages: list[Mapping[str, object]]) -> None:
    """Keep what the stages amount to at most: `name`, `jobs`, `epochs` each."""
    run.write(_PLAN, stages)


def extend_plan(run: RunDirectory, more: Mapping[str, Mapping[str, object]]) -> None:
    """Add to what is kept of each stage, by its name: how many trials run at a time, and what the time left needs."""
    if plan := plan_of(run):
        write_plan(run, [{**entry, **more.get(entry["name"], {})} for entry in plan])


def plan_of(run: RunDirectory) -> list[PlannedStageEntry]:
    """What is kept of each stage; empty for a run that was begun without a plan."""
    stages: list[PlannedStageEntry] | None = run.read(_PLAN)
    return stages or []


def needed(run: RunDirectory) -> list[Needed]:
    """For each stage what it still needs at most, in GPU-hours and CPU-hours; None where no epoch of it was timed.

    The mean time of the stage's epochs so far, times the epochs that the plan still has. Trials that end early or
    genotypes that coincide make it less. Empty for a run that was begun without a plan.
    """
    description = run.description()
    spec, everyone = description["spec"], jobs(run, description)
    stages: list[Needed] = []
    sure = any(entry["stop"] is not None for entry in read_allocation(run))
    for stage in plan_of(run):
        trials = [trial for trial in everyone if stage_of(trial) == stage["name"]]
        timed = sum(len(trial.times()) for trial in trials)
        seconds = sum(charged_seconds(trial) for trial in trials) / timed if timed else None
        ended = [trial for trial in trials if (trial.result() or {}).get("status") in FINAL]
        begun = sum(len(trial.rows()) for trial in trials if trial not in ended)
        most = len(trials) if sure and stage["name"] == EVALUATE else stage["jobs"]  # no more seeds are added
        epochs = max(0, (most - len(ended)) * stage["epochs"] - begun)
        stages.append(needed_of(spec, stage["name"], epochs, seconds))
    return stages


def budget_report(run: RunDirectory) -> BudgetReport:
    """Limits, what is spent, and what is still needed at most."""
    return {"limits": limits(run), "spent": spent(run), "needed": needed(run)}
