"""How far a run is and how long it still takes, from its files alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypedDict

from raydarts.json_types import number, section, whole
from raydarts.runs.directory import FINAL, RunDirectory, TrialDirectory
from raydarts.runs.entries import PlannedStageEntry, TimeEntry
from raydarts.runs.faults import shares
from raydarts.runs.folders import read_promotion, retrainings
from raydarts.runs.hours import drivers, plan_of
from raydarts.study.budget import resources_of
from raydarts.study.forecast import Cohort, Cut, Forecast, Span, StageState, State, TrialState, forecast
from raydarts.study.objectives import Score, SearchScore, score_of, search_score_of
from raydarts.study.progress import Facts, Progress, progress_of
from raydarts.study.settings_words import settings_in_words
from raydarts.study.stages import SEARCH, stages_of

_LONGEST_START = 300.0
"""Seconds. A first epoch that began later after the driver says nothing of how long processes need to start."""


class Left(TypedDict):
    """What a run still takes, in seconds: the middle and its range, of all stages whose epochs were timed.

    `stage`: the one at work. `stages`: those seconds of each. `not_timed`: stages of which no epoch was timed yet,
    which are not in it. `seconds` None: nothing was timed yet.
    """

    stage: str
    seconds: float | None
    low: float | None
    high: float | None
    stages: Mapping[str, Mapping[str, float]]
    not_timed: Sequence[str]


def left(run: RunDirectory, now: float | None = None) -> Left | None:
    """What a run still takes. None for a run of a single job, where no driver is at work, or where nothing is left.

    `now`: seconds since 1970.
    """
    if run.description()["kind"] != "sweep" or not run.in_use():
        return None
    states = stage_states(run, now)
    at_work = next((stage.name for stage in states if not stage.done), None)
    return None if at_work is None else left_of(forecast(states), at_work)


def left_of(told: Forecast, at_work: str) -> Left:
    """A forecast as JSON data."""
    total = told.total
    return {
        "stage": at_work,
        "seconds": None if total is None else total.middle,
        "low": None if total is None else total.low,
        "high": None if total is None else total.high,
        "stages": {name: each.to_json() for name, each in told.stages.items()},
        "not_timed": list(told.unknown),
    }


def stage_states(run: RunDirectory, now: float | None = None) -> list[StageState]:
    """Every stage of a sweep as it stands. A trial runs where an attempt has claimed it and a driver holds the run.

    Since its last epoch a trial has been at work as long as this driver has.
    """
    now = time.time() if now is None else now
    description, in_use = run.description(), run.in_use()
    begun = max((each["started"] for each in drivers(run).values()), default=now)
    plans = {entry["name"]: entry for entry in plan_of(run)}
    alone = description.get("stage")
    names = [SEARCH, *(stage.name for stage in stages_of(description))] if alone is None else [alone]
    states = []
    for name in names:
        trials = run.trials() if name == SEARCH else retrainings(run, name)
        plan = plans.get(name)
        most = 1 if plan is None else plan["epochs"]
        each = [trial_state(trial, number, most, begun, now, in_use) for number, trial in enumerate(trials)]
        states.append(stage_state(name, plan, _total(run, name, plan, len(trials)), [one for one in each if one]))
    return _with_startup(states, begun)


def stage_state(name: str, plan: PlannedStageEntry | None, total: int, trials: Sequence[TrialState] = ()) -> StageState:
    """A stage out of its plan and its trials."""
    if plan is None:
        return StageState(name, total, max((trial.most for trial in trials), default=1), trials=trials)
    running = sum(trial.state == "running" for trial in trials)
    ended = sum(trial.state == "ended" for trial in trials)
    planned = plan.get("places", 1)
    places = running if running and running + ended < total else max(running, planned)
    cohorts = tuple(
        Cohort(each["trials"], tuple(Cut(int(epoch), keeps) for epoch, keeps in each["cuts"]))
        for each in plan.get("cohorts", [])
    )
    return StageState(
        name,
        total,
        plan["epochs"],
        places,
        trials,
        cohorts,
        plan.get("like", ""),
        plan.get("seconds"),
        together=plan.get("together", 1),
    )


def _with_startup(states: Sequence[StageState], begun: float) -> list[StageState]:
    """Each stage starts its processes anew. They need what those of a stage that has begun needed."""
    firsts = [span.start - begun for stage in states for trial in stage.trials for span in trial.spans[:1]]
    waits = [seconds for seconds in firsts if 0 <= seconds <= _LONGEST_START]
    return [replace(stage, startup=min(waits, default=0.0)) for stage in states]


def span_of(entry: TimeEntry) -> Span:
    """An epoch's time as the forecast takes it."""
    return Span(float(entry["start"]), float(entry["end"]), f"{entry.get('host', '')}:{entry.get('pid', '')}")


def trial_state(
    trial: TrialDirectory, number: int, most: int, begun: float, now: float, in_use: bool
) -> TrialState | None:
    """A trial as it stands. None: it has no attempt yet, or is damaged."""
    times, result, owner = trial.times(), trial.result(), trial.owner()
    description = trial.description()
    index = whole(description.get("index"), number)
    spans = [span_of(entry) for entry in times]
    said = [each for entry in times if (each := entry.get("of")) is not None]
    most = said[-1] if said else whole(section(description.get("config")).get("epochs"), most)
    epochs = len({entry.get("epoch") for entry in times})
    if (result or {}).get("status") in FINAL:
        return TrialState(trial.id, "ended", epochs, max(most, epochs), spans, index=index)
    if owner is None and not spans:
        return None
    runs = in_use and owner is not None and trial.halted() is None
    state: State = "running" if runs else "waiting"
    age = max(0.0, now - max([begun, *(span.end for span in spans)])) if runs else 0.0
    return TrialState(trial.id, state, epochs, max(most, epochs), spans, age, index=index)


def _total(run: RunDirectory, stage: str, plan: PlannedStageEntry | None, known: int) -> int:
    """How many trials a stage comes to. Retrainings are all there once it is decided who is retrained."""
    if stage != SEARCH and read_promotion(run, stage) is not None:
        return known
    return max(known, 0 if plan is None else plan["jobs"])


def progress(run: RunDirectory, title: str, notes: Mapping[str, str], now: float | None = None) -> Progress:
    """What is shown of a sweep while it runs."""
    states = stage_states(run, now)
    at_work = next((stage for stage in states if not stage.done), None)
    facts: dict[str, Facts] = {}
    if at_work is not None:
        description = run.description()
        score = search_score_of(description) if at_work.name == SEARCH else score_of(description)
        folders = run.trials() if at_work.name == SEARCH else retrainings(run, at_work.name)
        running = {trial.name for trial in at_work.trials if trial.state == "running"}
        spec = section(description.get("spec"))
        for folder in folders:
            if folder.id in running:
                facts[folder.id] = _facts(folder, at_work.name, spec, score)
    return progress_of(title, states, {stage.name: _counts(run, stage) for stage in states}, facts, notes)


def _counts(run: RunDirectory, stage: StageState) -> dict[str, int]:
    """Trials by status."""
    folders = run.trials() if stage.name == SEARCH else retrainings(run, stage.name)
    ended = Counter(str((folder.result() or {}).get("status", "")) for folder in folders)
    running = sum(trial.state == "running" for trial in stage.trials)
    return {**{status: ended.get(status, 0) for status in FINAL}, "running": running}


def _facts(trial: TrialDirectory, stage: str, spec: Mapping[str, object], score: Score) -> Facts:
    rows, times = trial.rows(), trial.times()
    workers, _, gpus = resources_of(spec, stage)
    grown = [share for _, share in shares(trial)]
    lanes = times[-1].get("lanes", 1) if times else 1
    owner = trial.owner()
    host = times[-1].get("host", "") if times else "" if owner is None else owner.get("host", "")
    given = workers * (grown[-1] if grown else gpus) / lanes
    return facts_of(trial.description(), rows[-1] if rows else {}, score, host, given)


def facts_of(
    description: Mapping[str, object], row: Mapping[str, object], score: Score, host: str, gpus: float
) -> Facts:
    """What is shown of a running trial with the figures in `row`."""
    value = number(row.get(score.metric))
    health = ""
    if isinstance(score, SearchScore) and score.health and row:
        known = [bar for bar in score.health if bar.known(row)]
        health = ("; ".join(score.unhealthy(row)) or "healthy") if known else ""
    shown = "" if value is None else f"{value:.{score.digits}f}"
    return Facts("" if description.get("genotype_id") else settings_in_words(description), shown, health, host, gpus)
