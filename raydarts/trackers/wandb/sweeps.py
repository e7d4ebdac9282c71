"""A run as a W&B sweep: Ray schedules the trials, W&B shows them on a sweep's page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypedDict

from raydarts.config.distributions import OPTIONS, Dimension, Distribution, FirstChooser, Tree
from raydarts.config.parsing import stored_tree
from raydarts.digits import whole_number
from raydarts.json_types import section
from raydarts.runs.directory import RunDirectory
from raydarts.study.objectives import search_score_of
from raydarts.study.searcher import is_model_based, searcher_of
from raydarts.trackers.aside import Call, words
from raydarts.trackers.wandb import WandbSettings, names, state
from raydarts.trackers.wandb.writer import wandb_module


class Parameter(TypedDict, total=False):
    """A parameter of a W&B sweep: its values, or a distribution between two ends."""

    values: list[object]
    distribution: str
    min: float
    max: float


"""A distribution in W&B's words: `values`, or `distribution`, `min` and `max`."""
_HERE = "\0here"
_GOALS = {"max": "maximize", "min": "minimize"}


def sweep_config(run: RunDirectory, description: Mapping[str, object]) -> dict[str, object]:
    """The sweep as W&B describes one. Its parameters have the names and values that the trials' configs have.

    `method` is what the searcher amounts to in W&B's words; nobody at W&B proposes anything.
    """
    score = search_score_of(description)
    others = "grid" if searcher_of(description) == "grid" else "random"
    return {
        "name": run.name,
        "description": str(description.get("question") or ""),
        "method": "bayes" if is_model_based(description) else others,
        "metric": {"name": names.last(score.metric), "goal": _GOALS[score.mode]},
        "parameters": names.nested(parameters(stored_tree(description)), lambda part: {"parameters": part}),
    }


def parameters(tree: Tree) -> dict[str, Parameter]:
    """Config key -> its distribution in W&B's words, of a spec's search section.

    A key that hangs under several options of a choice has all of their values.
    """
    by_name: dict[str, Parameter] = {}
    for dimension in tree.distributions():
        met = _options(tree, dimension) if dimension.distribution.kind in OPTIONS else _numbers(tree, dimension)
        for key, parameter in met.items():
            by_name[key] = _together(by_name[key], parameter) if key in by_name else parameter
    return by_name


def _options(tree: Tree, dimension: Dimension) -> dict[str, Parameter]:
    """The values a choice gives to the config key that names it."""
    values: list[object] = []
    key = None
    for index in range(len(dimension.distribution.options)):
        plain = tree.materialise(FirstChooser({**dimension.forced, dimension.name: index})).plain
        flat = names.flat_config(plain)
        path = ".".join(str(part) for part in _path(dimension.name))
        marked = _key_at(plain, dimension.name)
        key = next((each for each in (marked, f"{path}.name", f"{path}.names") if each in flat), key)
        if key in flat and flat[key] not in values:
            values.append(flat[key])
    return {} if key is None else {key: {"values": _typed(values)}}


def _numbers(tree: Tree, dimension: Dimension) -> dict[str, Parameter]:
    plain = tree.materialise(FirstChooser(dict(dimension.forced))).plain
    return {_key_at(plain, dimension.name): _range(dimension.distribution)}


def _range(distribution: Distribution) -> Parameter:
    """Floats are written as floats: W&B takes `min: 0, max: 1` for whole numbers."""
    if distribution.kind == "randint":
        return {"distribution": "int_uniform", "min": int(distribution.low), "max": int(distribution.high)}
    if distribution.kind == "quniform":
        return {"values": [float(value) for value in distribution.values()]}
    kind = {"uniform": "uniform", "loguniform": "log_uniform_values"}[distribution.kind]
    return {"distribution": kind, "min": float(distribution.low), "max": float(distribution.high)}


def _typed(values: list[object]) -> list[object]:
    """Numbers of which one is a float are all floats; words, true and false stay."""
    if any(isinstance(value, float) for value in values):
        return [float(value) if isinstance(value, int) and not isinstance(value, bool) else value for value in values]
    return values


def _together(one: Parameter, other: Parameter) -> Parameter:
    if "values" in one and "values" in other:
        return {"values": _typed([*one["values"], *(value for value in other["values"] if value not in one["values"])])}
    if one.get("distribution") == other.get("distribution"):
        low, high = min(one["min"], other["min"]), max(one["max"], other["max"])
        return {**one, "min": low, "max": high}
    ends = [value for each in (one, other) for value in each.get("values", [each.get("min"), each.get("max")])]
    return {"values": _typed(list(dict.fromkeys(ends)))}


def _path(name: str) -> list[str | int]:
    """`search.regularizers.0[beta_decay].strength` -> `regularizers`, 0, `strength`."""
    parts = re.sub(r"\[[^\]]*\]", "", name).split(".")[1:]
    return [part if (index := whole_number(part)) is None else index for part in parts]


def _key_at(plain: object, name: str) -> str:
    """The config key under which the value at a distribution's place is found."""
    flat = names.flat_config(section(_with(plain, _path(name), _HERE)))
    return next((key for key, value in flat.items() if value == _HERE), "")


def _with(plain: object, path: Sequence[str | int], value: object) -> object:
    """Returns nested plain data with another value at a place."""
    if not path:
        return value
    first, *rest = path
    if isinstance(plain, list) and isinstance(first, int):
        return [_with(item, rest, value) if index == first else item for index, item in enumerate(plain)]
    inner = section(plain)
    return {**inner, str(first): _with(inner[str(first)], rest, value)}


def create(run: RunDirectory, settings: WandbSettings, prior: Sequence[str]) -> str:
    """Make the sweep at W&B and remember its id; `prior`: runs that are there already and belong to it."""
    wandb = wandb_module()
    # It prints the id and the address, which is left alone: standard output is the whole process's, and a call that
    # hangs in its thread would keep it redirected.
    sweep_id = wandb.sweep(
        sweep_config(run, run.description()),
        entity=settings.entity,
        project=settings.project,
        prior_runs=list(prior),
    )
    state.write_sweep(run, str(sweep_id), created=True, project=settings.project, entity=settings.entity)
    return str(sweep_id)


def create_in_time(run: RunDirectory, settings: WandbSettings) -> str | None:
    """`create` in a thread that is waited for `init_seconds`. None, or why there is no sweep."""
    try:
        Call(lambda: create(run, settings, []), "wandb-sweep").result(settings.init_seconds)
    except Exception as error:  # whatever W&B raises
        return words(error)
    return None
