"""A run as a W&B sweep: Ray schedules the trials, W&B shows them on a sweep's page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from raydarts.config.distributions import Dimension, FirstChooser, Tree, enumerate_draws
from raydarts.config.open_numbers import Number
from raydarts.config.open_values import Choice, OptionalItem, Options, Path
from raydarts.config.parsing import parse_tree
from raydarts.config.source import from_plain
from raydarts.json_types import section
from raydarts.runs.directory import RunDirectory
from raydarts.study.objectives import search_score_of
from raydarts.study.searcher import is_model_based, searcher_of
from raydarts.trackers.aside import Call, words
from raydarts.trackers.wandb import WandbSettings, names, state
from raydarts.trackers.wandb.writer import wandb_module

Parameter = Mapping[str, Any]
"""A parameter of a W&B sweep: its values, or a distribution."""
_HERE = "\0here"
_MOST_LISTS = 2000
"""Of how many configurations the lists with optional items are told."""
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
        "parameters": _nested(parameters(section(section(description.get("spec")).get("search")))),
    }


def parameters(search: object) -> dict[str, Parameter]:
    """Config key -> its distribution in W&B's words, of a spec's search section as run.json holds it.

    A key that hangs under several options of a choice has all of their values.
    """
    tree = parse_tree(from_plain({"search": search}, "run.json").keys["search"], "search", [])
    by_name: dict[str, tuple[Parameter, list[Any]]] = {}
    for dimension in tree.distributions():
        for key, parameter, ends in _parameter(tree, dimension):
            known = by_name.get(key)
            by_name[key] = (parameter, ends) if known is None else _together(known, (parameter, ends))
    return {key: parameter for key, (parameter, _) in by_name.items()}


def _parameter(tree: Tree, dimension: Dimension) -> Iterator[tuple[str, Parameter, list[Any]]]:
    """Yields the config key of a distribution, the distribution in W&B's words, and the ends of its values."""
    distribution = dimension.distribution
    if isinstance(distribution, OptionalItem):
        yield from _items(tree, dimension)
    elif isinstance(distribution, Options):
        yield from _options(tree, dimension, distribution)
    elif isinstance(distribution, Number):
        draw = tree.materialise(FirstChooser(dict(dimension.forced)))
        yield _key_at(draw.plain, draw.paths[dimension.name]), distribution.in_wandb(), distribution.ends()


def _options(tree: Tree, dimension: Dimension, distribution: Options) -> Iterator[tuple[str, Parameter, list[Any]]]:
    """The values a choice gives to the config key that names it."""
    values: list[object] = []
    shares: list[float] = []
    key = None
    for index in range(len(distribution.options)):
        draw = tree.materialise(FirstChooser({**dimension.forced, dimension.name: index}))
        flat, place = names.flat_config(draw.plain), draw.paths[dimension.name]
        path = ".".join(map(str, place))
        key = next(
            (each for each in (_key_at(draw.plain, place), f"{path}.name", f"{path}.names") if each in flat), key
        )
        if key in flat and flat[key] not in values:
            values.append(flat[key])
            shares.append(0.0)
        if key in flat and isinstance(distribution, Choice) and distribution.weights:
            shares[values.index(flat[key])] += distribution.weights[index] / sum(distribution.weights)
    if key is not None:
        yield key, {"values": _typed(values), **({"probabilities": shares} if any(shares) else {})}, values


def _items(tree: Tree, dimension: Dimension) -> Iterator[tuple[str, Parameter, list[Any]]]:
    """The lists that optional items make."""
    draw = tree.materialise(FirstChooser({**dimension.forced, dimension.name: 1}))
    path = ".".join(map(str, draw.paths[dimension.name][:-1]))
    flats = [names.flat_config(each.plain) for each in islice(enumerate_draws(tree, ends=True), _MOST_LISTS)]
    for key in (f"{path}.names", path):
        values = [flat[key] for flat in flats if key in flat]
        if values:
            distinct = list({repr(value): value for value in values}.values())
            yield key, {"values": distinct}, distinct
            return


def _typed(values: list[object]) -> list[object]:
    """Numbers of which one is a float are all floats; words, true and false stay."""
    if any(isinstance(value, float) for value in values):
        return [float(value) if isinstance(value, int) and not isinstance(value, bool) else value for value in values]
    return values


def _together(one: tuple[Parameter, list[Any]], other: tuple[Parameter, list[Any]]) -> tuple[Parameter, list[Any]]:
    """Two parameters of one config key, each with its ends, as one."""
    (first, ends), (second, more) = one, other
    if "values" in first and "values" in second:
        values = _typed([*first["values"], *(value for value in second["values"] if value not in first["values"])])
        return {"values": values}, values
    ends = _typed(list(dict.fromkeys([*ends, *more])))
    alike = {**first, "min": 0, "max": 0} == {**second, "min": 0, "max": 0}
    if alike and "min" in first:
        return {**first, "min": min(first["min"], second["min"]), "max": max(first["max"], second["max"])}, ends
    return (first if first == second else {"values": ends}), ends


def _key_at(plain: object, path: Path) -> str:
    """The config key under which the value at a distribution's place is found."""
    flat = names.flat_config(section(_with(plain, path, _HERE)))
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


def _nested(flat: Mapping[str, Parameter]) -> dict[str, object]:
    """As W&B writes nested parameters: `{estimator: {parameters: {xi: ...}}}`."""
    inner: dict[str, dict[str, Parameter]] = {}
    whole: dict[str, object] = {}
    for name, parameter in flat.items():
        first, _, rest = name.partition(".")
        if rest:
            inner.setdefault(first, {})[rest] = parameter
        whole[first] = None if rest else dict(parameter)  # in the order of the spec
    return whole | {first: {"parameters": _nested(below)} for first, below in inner.items()}


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
