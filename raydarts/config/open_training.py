"""`evaluate.training` with distributions: every genotype of `evaluate` is retrained with each training setting.

The first setting is `evaluate`'s. Each other one becomes a transfer on the sweep's own data, with a ranking of its own.
So nothing after the loading of a spec knows of open trainings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from pydantic import ValidationError

from raydarts.config.distributions import FORMS, Draw, enumerate_draws
from raydarts.config.kinds import training_of
from raydarts.config.open_values import Choice, Path, Tied
from raydarts.config.parsing import parse_tree
from raydarts.config.source import Node
from raydarts.config.validation import where_of
from raydarts.errors import Problem, shortened
from raydarts.evaluation.trainings import SETTINGS
from raydarts.json_types import Json
from raydarts.registry import parse_strictly
from raydarts.study.allocation import ALL

MOST = 16
"""Most training settings of one sweep."""
_PLACE = "evaluate.training"
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def open_trainings(root: Node, problems: list[Problem]) -> tuple[str, ...]:
    """Writes a transfer for each further setting of an open `evaluate.training`, in place. Returns their places.

    Rungs inherit the first setting.
    """
    evaluate = root.keys.get("evaluate")
    training = None if evaluate is None else evaluate.parts.get("training")
    if evaluate is None or training is None or not any(_forms(training, _PLACE)):
        return ()
    draws = _settings(evaluate, training, training_of(root), problems)
    evaluate.keys["training"] = _node(draws[0].plain, (), draws[0]) if draws else Node({}, training.where)
    transfers = root.keys.get("transfer")
    if transfers is None or transfers.value is None:
        transfers = root.keys["transfer"] = Node([], training.where)
    if not isinstance(transfers.value, list):
        return ()  # it is refused
    before = len(transfers.value)
    seeds = evaluate.keys.get("seeds")
    for name, draw in zip(_names(draws), draws, strict=True):
        if draw is draws[0]:
            continue
        where = where_of((), draw.lines)
        stage = {"name": Node(name, where), "top_k": Node(ALL, where), "training": _node(draw.plain, (), draw)}
        transfers.value.append(Node(stage if seeds is None else {**stage, "seeds": seeds}, where))
    return tuple(f"transfer.{index}" for index in range(before, len(transfers.value)))


def as_written(problems: Sequence[Problem], places: Sequence[str]) -> list[Problem]:
    """Returns problems of the written transfers as those of `evaluate`, where their settings stand."""
    told = []
    for problem in problems:
        place = next((each for each in places if problem.path.startswith(f"{each}.")), None)
        told.append(problem if place is None else replace(problem, path=f"evaluate{problem.path[len(place) :]}"))
    return told


def _forms(node: Node, path: str) -> Iterator[tuple[str, Node, str]]:
    """Yields every distribution and tied value in a part of the spec: its kind, itself, and its place."""
    for key, item in node.parts.items():
        if key in FORMS:
            yield key, node, path
        yield from _forms(item, path if key in FORMS else f"{path}.{key}")
    for index, item in enumerate(node.items):
        yield from _forms(item, f"{path}.{index}")


def _settings(evaluate: Node, training: Node, kind: str, problems: list[Problem]) -> list[Draw]:
    """Returns the distinct settings of a training of this kind. With problems it returns none."""
    met: list[Problem] = []
    for form, node, place in _forms(training, _PLACE):
        if form == Tied.KIND:
            met.append(Problem(*node.where, place, "a tied value can only stand under search; write the value"))
    if met:
        problems += met
        return []
    tree = parse_tree(training, _PLACE, met)
    for dimension in tree.distributions():
        distribution = dimension.distribution
        if not distribution.is_finite or not distribution.is_even:
            form = f"{distribution.KIND} with weights" if isinstance(distribution, Choice) else distribution.KIND
            message = (
                f"each genotype is retrained with each setting, once; {form} is no such list: write grid: [values]"
            )
            met.append(Problem(*distribution.where, dimension.name, message))
    table = evaluate.keys.get("table")
    if table is not None and table.value is not None:
        met.append(Problem(*training.where, _PLACE, "is left open, and nothing is trained where a table is read"))
    problems += met
    if met:
        return []
    distinct: dict[str, Draw] = {}
    for draw in islice(enumerate_draws(tree), 100 * MOST):
        distinct.setdefault(_key(draw.plain, kind), draw)
        if len(distinct) > MOST:
            message = (
                f"has more than {MOST} settings, and each genotype is retrained with each; allowed: {MOST} at most"
            )
            problems.append(Problem(*training.where, _PLACE, message))
            return []
    return list(distinct.values())


def _key(plain: Mapping[str, Json], kind: str) -> str:
    """Returns a text that is equal for settings that are equal with all defaults written out."""
    try:
        settings = parse_strictly(SETTINGS[kind], {"name": kind, **plain})
    except ValidationError:
        return json.dumps(plain, sort_keys=True)  # it is refused later
    return json.dumps(settings.model_dump(mode="json"), sort_keys=True)


def _names(draws: list[Draw]) -> list[str]:
    """Returns a name for each setting: what is open, and its value."""
    names: list[str] = []
    for draw in draws:
        words = [
            f"{draw.paths[name][-1] if draw.paths[name] else 'training'}-{draw.choices[name]}" for name in draw.choices
        ]
        name = _NOT_IN_A_NAME.sub("_", shortened("-".join(words), 60).replace("...", "-"))
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return names


def _node(plain: Json, path: Path, draw: Draw) -> Node:
    """Returns a part of a setting as a part of a spec, with its lines."""
    where = where_of(path, draw.lines)
    if isinstance(plain, Mapping):
        return Node({key: _node(item, (*path, key), draw) for key, item in plain.items()}, where)
    if isinstance(plain, list | tuple):
        return Node([_node(item, (*path, index), draw) for index, item in enumerate(plain)], where)
    if plain is None or isinstance(plain, bool | int | float | str):
        return Node(plain, where)
    raise TypeError(f"{type(plain).__name__} is no value of a spec")
