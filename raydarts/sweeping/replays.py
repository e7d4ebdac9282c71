"""Many replayed sweeps: their settings, and what they came to, with intervals."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from raydarts.config.ranking import default_checks
from raydarts.config.ranking_defaults import fill_in_objective
from raydarts.config.sections import mapping, section
from raydarts.config.source import from_plain, override
from raydarts.config.spec import SweepSettings
from raydarts.errors import Problem, SpecError
from raydarts.registry import nearest
from raydarts.runs.recordings import Recordings
from raydarts.sweeping import recorded_searching
from raydarts.sweeping.picks import everything, judged, searched
from raydarts.sweeping.recorded_costs import with_costs
from raydarts.sweeping.replayed_front import judged_front
from raydarts.sweeping.replaying import Plan, replay
from raydarts.sweeping.strategy import forks

KEYS = (
    "searcher",
    "scheduler",
    "objective",
    "health",
    "halt",
    "constraints",
    "stop",
    "replicates",
    "seed",
    "max_concurrent",
)
"""The keys of a `sweep` section that a replay has. The others are about processes, and it has none."""
DRAWS = 2000
"""Resamples of an interval."""


def settings_of(recordings: Recordings, sets: Iterable[str]) -> SweepSettings:
    """The `sweep` section of a replay: that of the run directory that is replayed, or the defaults, with `--set`.

    Several run directories must agree on it, apart from the keys that `--set` writes. Raises `SpecError`.
    """
    assignments = list(sets)
    problems = []
    for each in assignments:
        path = each.split("=")[0].strip()
        parts = path.split(".")
        if parts[0] != "sweep" or len(parts) < 2:
            message = "a replay has a sweep section alone; write sweep.KEY=VALUE"
            problems.append(Problem(f"--set '{each}'", 0, "", message))
        elif parts[1] not in KEYS and parts[1] not in ("metric", "mode"):
            problems.append(
                Problem(
                    f"--set '{each}'",
                    0,
                    "",
                    f"a replay has no sweep.{parts[1]}{nearest(parts[1], list(KEYS))} (allowed: {', '.join(KEYS)})",
                )
            )
    if problems:
        raise SpecError(problems)
    written = {each.split("=")[0].strip().split(".")[1] for each in assignments}
    root = from_plain({"sweep": _common(recordings, written)}, "sweep")
    override(root, assignments)
    sections = root.keys
    node, columns = sections["sweep"], recordings.columns
    text = "validation_perplexity" in columns and "validation_accuracy" not in columns
    fill_in_objective(node, "text" if text else "image", problems, begun=False)
    settings = section(SweepSettings, sections, "sweep", root.where, problems)
    if settings is None or problems:
        raise SpecError(problems)
    health: Any = mapping(node.keys, "health", root.where, []).value
    checks = {name: check for name, check in default_checks().items() if name not in health} | settings.health.chosen
    return settings.model_copy(update={"health": type(settings.health).model_validate(checks)})


def _common(recordings: Recordings, written: set[str]) -> dict[str, Any]:
    """The sweep settings that all run directories have."""
    known = {
        place: {key: value for key, value in sweep.items() if key in KEYS and key not in written}
        for place, sweep in recordings.sweeps.items()
    }
    first = next(iter(known.values()), {})
    differing = [key for key in KEYS if any(each.get(key) != first.get(key) for each in known.values())]
    problems = [
        Problem(", ".join(known), 0, f"sweep.{key}", f"differs between the runs; write --set sweep.{key}=VALUE")
        for key in differing
    ]
    if problems:
        raise SpecError(problems)
    return dict(first)


def plan_of(recordings: Recordings, sweep: SweepSettings, workers: int, seed: int = 0) -> tuple[Plan, list[str]]:
    """A plan whose settings the recordings can answer, and lines for the user. Raises `SpecError` with every reason
    why they cannot."""
    problems: list[Problem] = []
    notes: list[str] = []

    def refuse(key: str, message: str) -> None:
        problems.append(Problem("replay", 0, f"sweep.{key}", message))

    if sweep.replicates is not None:
        recordings = _with_replicates(recordings, sweep.replicates, refuse, notes)
    recordings = with_costs(recordings, [column for _, column in _read_columns(sweep)], notes)
    figures = sorted(recordings.columns - {"epoch"})
    for key, column in _read_columns(sweep):
        if column not in figures:
            there = f"{nearest(column, figures)} (there: {', '.join(figures)})"
            refuse(key, f"needs the column {column}, which no row has{there}")
    if forks(sweep):
        refuse(
            "scheduler",
            f"{sweep.scheduler.name} lets trials go on under settings that nobody ran, so no record can answer it; "
            "allowed: schedulers that stop trials or let them wait",
        )
    if sweep.score.several:
        names = [each.name for each in sweep.objectives]
        if why := sweep.searcher.build().refuses_objectives(names):
            refuse("searcher", why)
        if why := sweep.scheduler.build().refuses_objectives(names):
            refuse("scheduler", why)
    if not problems:
        settings = recorded_searching.Settings.of(recordings.configurations)
        for why in recorded_searching.refusals(sweep, settings):
            refuse("searcher", why)
    if problems:
        raise SpecError(problems)
    return Plan(recordings, sweep, workers, seed), notes


def _with_replicates(
    recordings: Recordings, seeds: Sequence[int], refuse: Callable[[str, str], None], notes: list[str]
) -> Recordings:
    whole = [each for each in recordings.configurations if all(seed in each.runs for seed in seeds)]
    if not whole:
        counted = Counter(run.seed for run in recordings.runs)
        there = ", ".join(f"{seed} ({count} runs)" for seed, count in sorted(counted.items())[:20])
        wanted = ", ".join(map(str, seeds))
        refuse("replicates", f"no configuration was recorded with all of {wanted}; recorded: {there}")
        return recordings
    if without := len(recordings.configurations) - len(whole):
        notes.append(
            f"{without} of {len(recordings.configurations)} configurations were not recorded with every search seed of "
            "sweep.replicates and are left out"
        )
    return recordings.of(whole).with_seeds(seeds)


def _read_columns(sweep: SweepSettings) -> Iterator[tuple[str, str]]:
    """The keys of a sweep that read a column, each with that column."""
    for key, component in sweep.signals:
        yield key, component.build().column
    if sweep.halt or sweep.score.healthy:
        for bar in sweep.health.bars():
            yield f"health.{bar.name}", bar.column


def run(plan: Plan, sweeps: int, tell: Callable[[int], None] | None = None) -> list[dict[str, Any]]:
    """Replay `sweeps` sweeps. Returns what each came to."""
    rows = []
    for number in range(sweeps):
        replayed = replay(plan, number)
        row = judged(plan, replayed)
        if plan.sweep.score.several:
            row |= judged_front(searched(replayed), everything(plan, number), plan.sweep.score)
        rows.append(row)
        if tell is not None:
            tell(number + 1)
    return rows


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean over resampled sweeps."""
    import numpy as np  # noqa: PLC0415 - a command's help needs none

    array = np.asarray(values, float)
    if array.min() == array.max():
        return fmean(values), fmean(values)
    means = np.random.default_rng(0).choice(array, size=(DRAWS, len(array))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def figure_of(values: Iterable[float | None]) -> dict[str, Any] | None:
    """The mean of a figure over sweeps, its interval and its range. None: no sweep has it."""
    known = [float(value) for value in values if value is not None]
    if not known:
        return None
    low, high = interval(known)
    return {"mean": fmean(known), "interval": [low, high], "least": min(known), "most": max(known), "n": len(known)}


OF_THE_FRONT = ("hypervolume", "hypervolume_fifo", "hypervolume_share", "front_size")
FIGURES = ("epochs", "epochs_share", "clock", "best_picked", "regret", "below_best", "halts_caught", "halts_false")
OF_THE_PICK = ("figure", "skips", "parameter_free", "collapsed", "fallback")


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What sweeps came to together: each figure with its interval, and how often each configuration was picked."""
    picks = [row["pick"] for row in rows if row["pick"] is not None]
    outcome: dict[str, Any] = {"sweeps": len(rows), "without_pick": len(rows) - len(picks)}
    outcome |= {key: figure_of(row[key] for row in rows) for key in FIGURES}
    if rows and "front" in rows[0]:
        sized = [{**row, "front_size": len(row["front"])} for row in rows]
        outcome |= {key: figure_of(row[key] for row in sized) for key in OF_THE_FRONT}
    outcome |= {f"pick_{key}": figure_of(pick[key] for pick in picks) for key in OF_THE_PICK}
    outcome["halts_caught_of"] = fmean(row["halts_caught_of"] for row in rows)
    outcome["halts_false_of"] = fmean(row["halts_false_of"] for row in rows)
    outcome["finishers_collapsed"] = figure_of(
        row["finishers_collapsed"] / row["finishers"] if row["finishers"] else None for row in rows
    )
    counted = Counter(json.dumps(pick["configuration"], sort_keys=True) for pick in picks)
    outcome["picks"] = [
        {"configuration": json.loads(text), "share": count / len(picks)} for text, count in counted.most_common()
    ]
    return outcome
