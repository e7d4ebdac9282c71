"""What a sweep knows before its first proposal: configurations to try first, and results of earlier runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from raydarts.config.distributions import AsDrawn, Draw, Tree
from raydarts.config.located import Misfit, differences, located
from raydarts.config.open_values import Path
from raydarts.data.settings import DataSettings
from raydarts.errors import InputError, RunError
from raydarts.json_types import items, section
from raydarts.runs.directory import RunDirectory
from raydarts.runs.reading import Damage
from raydarts.runs.rehearsal import refuse
from raydarts.runs.results import trials
from raydarts.runs.segments import segments_of
from raydarts.storage.files import plain
from raydarts.storage.place import place_of
from raydarts.study.objectives import SearchScore, figure
from raydarts.study.replicates import together
from raydarts.study.results import TrialRecord
from raydarts.study.study import Outcome, ended

_NOT_COMPARED = ("seed", "probes")
"""Settings in which trials of one configuration may differ: probes measure and change nothing."""


@dataclass(frozen=True)
class Earlier:
    """Results of earlier runs, by their draws of this space. `lines` say what of each run is used and what is not."""

    outcomes: tuple[tuple[Draw, Outcome], ...]
    lines: tuple[str, ...]

    @property
    def known(self) -> list[tuple[Draw, float]]:
        """Each draw with its one value."""
        return [(draw, outcome.value) for draw, outcome in self.outcomes if outcome.value is not None]

    def to_json(self) -> dict[str, object]:
        """Returns what a run keeps, so that its resume does not need the earlier runs."""
        known = []
        for draw, outcome in self.outcomes:
            entry: dict[str, object] = {"choices": draw.choices, "value": outcome.value}
            if outcome.values is not None:
                entry |= {"values": list(outcome.values), "excesses": list(outcome.excesses)}
            known.append(entry)
        return {"known": known, "lines": list(self.lines)}

    @classmethod
    def from_json(cls, value: Mapping[str, object], tree: Tree) -> Earlier:
        """Returns what a run kept. Raises `KeyError` if its choices are none of this space."""
        known = [
            (tree.materialise(AsDrawn(plain(section(each["choices"])))), _outcome(each))
            for each in map(section, items(value["known"]))
        ]
        return cls(tuple(known), tuple(map(str, items(value["lines"]))))


def _outcome(entry: Mapping[str, object]) -> Outcome:
    values, excesses = (_numbers(entry.get(key)) for key in ("values", "excesses"))
    return Outcome("completed", figure(entry["value"]) or 0.0, values=values or None, excesses=excesses)


def _numbers(value: object) -> tuple[float, ...]:
    return tuple(known for each in items(value) if (known := figure(each)) is not None)


def read_points(points: Sequence[Mapping[str, object]], tree: Tree) -> Iterator[tuple[int, Draw | Misfit]]:
    """Yields each point's number with its draw, or with each reason why it is no configuration of the space."""
    for number, point in enumerate(points):
        draw = located(tree, point)
        if isinstance(draw, Draw):
            yield number, draw
        else:
            yield from ((number, misfit) for misfit in draw)


def read_earlier(
    sources: Sequence[str], tree: Tree, data: DataSettings, score: SearchScore
) -> tuple[Earlier, list[tuple[int, str]]]:
    """Reads earlier runs. Returns what is usable, and the number of each source that cannot be used with the reason.

    A configuration that several trials ran, with other search seeds or in other runs, counts once, with their mean.
    """
    outcomes: dict[str, list[Outcome]] = {}
    draws: dict[str, Draw] = {}
    lines: list[str] = []
    problems: list[tuple[int, str]] = []
    for number, source in enumerate(sources):
        try:
            run = RunDirectory.open(place_of(source), Damage())
            records, unusable = _comparable(run, data)
        except (RunError, InputError, OSError) as error:
            problems.append((number, str(error)))
            continue
        used = 0
        for record in records:
            judged = record.judged
            missing = [each.metric for each in score.each if each.of(judged) is None]
            draw = _draw_of(record, tree)
            if isinstance(draw, Draw) and missing:
                draw = Misfit((), f"without {missing[0]}")
            if isinstance(draw, Draw):
                key = json.dumps(draw.choices, sort_keys=True)
                draws.setdefault(key, draw)
                outcomes.setdefault(key, []).append(ended(score, "completed", judged))
                used += 1
            elif isinstance(draw, Misfit):
                unusable.append(draw)
        why = "; ".join(_reasons(unusable))
        if not used:
            problems.append(
                (number, f"{source}: nothing in it can be used{f': {why}' if why else ', it has no trial'}")
            )
        lines.append(f"{source}: {used} trials are used" + (f", {len(unusable)} are not: {why}" if why else ""))
    return Earlier(tuple((draws[key], together(outcomes[key])) for key in draws), tuple(lines)), problems


def _comparable(run: RunDirectory, data: DataSettings) -> tuple[list[TrialRecord], list[Misfit]]:
    """Returns the trials whose figures can be compared with this sweep's, and why the others' cannot."""
    description = run.description()
    if description["kind"] != "sweep":
        raise RunError(f"{run.path}: is a {description['kind']}, not a sweep")
    refuse(run, "leave it out")
    records = trials(run)
    theirs = (description.get("spec") or {}).get("data") or {}
    if other := next(iter(differences(theirs, data.model_dump(mode="json"))), None):
        place = ".".join(map(str, ("data", *other.path)))
        return [], [Misfit((place,), other.message.replace("in this space", "in this sweep"))] * len(records)
    return records, []


def _draw_of(record: TrialRecord, tree: Tree) -> Draw | Misfit:
    if record.status != "completed":
        return Misfit((), f"{record.status}")
    if len(segments_of(record.description)) > 1:
        return Misfit((), "continued another trial")
    config = dict(record.description.get("config") or {})
    for key in _NOT_COMPARED:
        config.pop(key, None)
    draw = located(tree, config)
    if isinstance(draw, Draw):
        return draw
    first = draw[0]
    return Misfit((".".join(map(str, (tree.name, *first.path))),), first.message)


def _reasons(unusable: Sequence[Misfit]) -> Iterator[str]:
    """Yields a phrase for each kind of reason, with the number of trials and one example."""
    kinds: dict[tuple[Path, str], list[str]] = {}
    for misfit in unusable:
        kinds.setdefault((misfit.path, "" if misfit.path else misfit.message), []).append(misfit.message)
    for (path, message), messages in kinds.items():
        several = len(set(messages)) > 1
        what = message if not path else f"{path[0]} {'for example ' if several else ''}{messages[0]}"
        yield f"{len(messages)} {what}"
