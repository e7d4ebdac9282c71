"""Fills in what follows from a spec's objective: the default by the kind of data, probes, and the spaces' bars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from raydarts import outside
from raydarts.config.distributions import OPTIONS, form_in
from raydarts.config.source import Node, from_plain
from raydarts.config.spec import SweepSettings
from raydarts.errors import Problem
from raydarts.evaluation.trainings import FOR_KIND, SETTINGS
from raydarts.registry import Component, Member, UnknownNameError, members, nearest, parse_strictly, resolve
from raydarts.search.settings import SearchSettings
from raydarts.study.health.base import HealthCheck
from raydarts.study.objectives import mode_of
from raydarts.study.objectives.base import Objective

Add = Callable[[str, str], None]
"""Reports a problem: the dotted path, and what is wrong."""


def fill_in_objective(sweep: Node, kind: str, problems: list[Problem], begun: bool) -> None:
    """Names the objective of a `sweep` section after the kind of data, in place.

    `metric` and `mode` were its words before. A new spec is told what to write instead. A run that has them is read.
    """
    metric: Node | None = sweep.keys.get("metric")
    mode: Node | None = sweep.keys.get("mode")
    default = f"healthy_{SETTINGS[FOR_KIND[kind]].SCORE.measure}"
    if begun:
        for key in ("metric", "mode"):
            sweep.keys.pop(key, None)
        if metric is not None:
            sweep.keys.setdefault("objective", from_plain(_plain_objective(metric.plain(), mode), metric.where[0]))
            sweep.keys.setdefault("halt", Node(False, metric.where))
    else:
        for key, node in (("metric", metric), ("mode", mode)):
            if node is not None:
                problems.append(Problem(*node.where, f"sweep.{key}", _instead(key, metric, mode, default)))
                del sweep.keys[key]
    sweep.keys.setdefault("objective", Node(default, sweep.where))


def _plain_objective(metric: object, mode: Node | None) -> Any:
    """Returns the objective of a run that named a metric."""
    if str(metric) in members("objective"):
        return str(metric)
    direction = None if mode is None else mode.plain()
    return {"name": "column", "column": str(metric), "direction": direction or mode_of(str(metric))}


def _instead(key: str, metric: Node | None, mode: Node | None, default: str) -> str:
    if key == "mode":
        return "is no key any more: an objective has its direction; leave it out"
    plain = "validation_accuracy" if metric is None else _plain_objective(metric.plain(), mode)
    shown = plain if isinstance(plain, str) else ", ".join(f"{name}: {value}" for name, value in plain.items())
    shown = shown if isinstance(plain, str) else f"{{{shown}}}"
    if shown == default.replace("healthy", "validation"):
        return f"is called objective now; write objective: {default} (healthy cells first), or objective: {shown}"
    return f"is called objective now; write objective: {shown}"


def _named(node: Node | None) -> Iterator[str]:
    """Returns the name that a component's node has, or the names of a list of components."""
    if node is not None and isinstance(node.value, list):
        for each in node.value:
            yield from _named(each)
        return
    name = node.value.get("name") if node is not None and isinstance(node.value, dict) else node
    if name is not None and isinstance(name.value, str):
        yield name.value


def _members(family: str, names: Iterable[str]) -> Iterator[type[Member]]:
    """Returns the classes of names. An unknown name is reported elsewhere."""
    for name in names:
        try:
            yield resolve(family, name)
        except UnknownNameError:
            continue


def _wanted_probes(sweep: Node) -> list[str]:
    """Returns the probes that write what a sweep ranks, bounds or stops by."""
    named = list(_named(sweep.keys.get("objective")))
    for key in ("constraints", "stop"):
        listed = sweep.keys.get(key)
        for item in () if listed is None else listed.items:
            named += _named(item.value.get("signal")) if isinstance(item.value, dict) else ()
    wanted = [getattr(member, "PROBE", None) for member in _members("objective", named)]
    health = sweep.keys.get("health")
    written = health.value if health is not None and isinstance(health.value, dict) else {}
    off = {name for name, node in written.items() if node.value is False}
    checks = [name for name in (*members("health"), *written) if name not in off]
    wanted += [getattr(member, "PROBE", None) for member in _members("health", dict.fromkeys(checks))]
    return list(dict.fromkeys(str(name) for name in wanted if name))


def switch_on_probes(root: Node) -> None:
    """Adds the probes that the sweep needs to `search.probes`, in place. A distribution of probes is left as it is.

    A probe from outside that a class of the spec names is allowed, because the spec names that class.
    """
    sweep, search = root.keys.get("sweep"), root.keys.setdefault("search", Node({}, root.where))
    if search.value is None:
        search.value = {}
    if sweep is None or not isinstance(sweep.value, dict):
        return
    wanted = _wanted_probes(sweep)
    outside.allow(outside.names_in(wanted))
    for each in _options(search):
        _switch_on(each, wanted, sweep)


def _options(search: Node) -> list[Node]:
    """Returns the mappings that `search` may be: itself, or those of its choice."""
    if isinstance(search.value, dict) and (kind := form_in(search.value)) in OPTIONS and kind is not None:
        return [option for item in search.value[kind].items for option in _options(item)]
    return [search] if isinstance(search.value, dict) else []


def _switch_on(search: Node, wanted: Sequence[str], sweep: Node) -> None:
    probes = search.keys.get("probes")
    if probes is None:
        default = [probe.name for probe in SearchSettings.model_fields["probes"].get_default(call_default_factory=True)]
        if all(name in default for name in wanted):
            return
        probes = search.keys["probes"] = Node([Node(name, sweep.where) for name in default], sweep.where)
    if isinstance(probes.value, list):
        there = {name for item in probes.items for name in _named(item)}
        probes.value.extend(Node(name, sweep.where) for name in wanted if name not in there)


def with_health(sweep: SweepSettings, written: Node | None, drawn: Iterable[SearchSettings], add: Add) -> SweepSettings:
    """Returns the sweep with every health check that the spec does not leave out, at the spaces' bars.

    Two spaces with different bars need one in `sweep.health`.
    """
    keys = written.value if written is not None and isinstance(written.value, dict) else {}
    spaces = {settings.space.name: settings.space.member for settings in drawn}
    chosen: dict[str, Component] = {}
    of_spaces = [name for member in spaces.values() for name in getattr(member, "HEALTH", {})]
    for name in dict.fromkeys((*members("health"), *of_spaces)):
        if name in keys:
            continue
        bars = {space: _bar(member, name) for space, member in spaces.items()}
        different = {repr(bar) for bar in bars.values()}
        if len(different) > 1:
            said = "; ".join(f"{space} {_shown(bar)}" for space, bar in bars.items())
            add("sweep.health", f"the spaces have different bars of {name} ({said}); write sweep.health.{name}")
        bar = next(iter(bars.values()), None)
        if bar is not None:
            chosen[name] = bar
    if not chosen:
        return sweep
    health = type(sweep.health).model_validate({**chosen, **sweep.health.chosen})
    return sweep.model_copy(update={"health": health})


def _bar(space: type[Member], name: str) -> Component | None:
    """Returns a space's check of this name. None: the space leaves it out."""
    health = getattr(space, "HEALTH", {}).get(name, {} if name in members("health") else None)
    if health is None or health is False:
        return None
    member = resolve("health", name)
    return Component(
        family="health", name=name, settings=parse_strictly(member.Settings, {} if health is True else dict(health))
    )


def _shown(bar: Component | None) -> str:
    return "none" if bar is None else f"{bar.settings.most:g}"


def check_columns(sweep: SweepSettings, reported: Iterable[tuple[str, ...]], held_out: bool, add: Add) -> None:
    """Checks that every search reports each figure that the sweep names. `reported`: columns of each configuration.

    Columns may hold `*`.
    """
    halts = bool(sweep.halt) or sweep.score.healthy
    named: list[tuple[str, Objective | HealthCheck]] = [
        (place, component.build()) for place, component in sweep.signals
    ]
    if halts:
        named += [(f"health.{name}", component.build()) for name, component in sweep.health.chosen.items()]
    for columns in dict.fromkeys(reported):
        missing = [
            (place, member)
            for place, member in named
            if not any(fnmatchcase(_column(member), pattern) for pattern in columns)
        ]
        for place, member in missing:
            add(f"sweep.{place}", _not_reported(member, columns, held_out))
        if missing:
            return


def _column(member: Objective | HealthCheck) -> str:
    return member.column if isinstance(member, Objective) else member.COLUMN


def _not_reported(member: Objective | HealthCheck, columns: tuple[str, ...], held_out: bool) -> str:
    column = _column(member)
    if column.startswith("validation") and not held_out:
        part = column.replace("validation", "alpha")
        hint = f"; with data.validation_fraction 0 nothing is held out, use objective: {part}"
    else:
        hint = nearest(column, list(columns))
    needs = "" if column == member.registered else f"{member.registered} reads "
    return f"{needs}'{column}', which is not reported{hint} (allowed: {', '.join(columns)})"
