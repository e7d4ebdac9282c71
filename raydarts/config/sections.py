"""Reads single sections of a spec into typed settings. Every problem is reported with its line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from raydarts.config.distributions import form_in
from raydarts.config.open_values import Tied
from raydarts.config.parsing import parse_tree
from raydarts.config.source import Node, Where
from raydarts.config.validation import Model, check
from raydarts.errors import Problem, shortened


def within(path: str, section: str) -> bool:
    return path == section or path.startswith(f"{section}.")


def no_consequences(problems: Iterable[Problem], broken: Iterable[str]) -> list[Problem]:
    """Drops problems that follow from a broken distribution, because there is no value to check."""
    roots = tuple(broken)
    return [problem for problem in problems if not any(within(problem.path, path) for path in roots)]


def where_in(sections: Mapping[str, Node], key: str, default: Where) -> Where:
    """Returns the place of the dotted `key`, or of the nearest section above it."""
    place, parts = default, sections
    for part in key.split("."):
        node = parts.get(part)
        if node is None:
            break
        place, parts = node.where, node.parts
    return place


def text_of(sections: Mapping[str, Node], key: str, default: str, problems: list[Problem]) -> str:
    node = sections.get(key)
    if node is None or node.value is None:
        return default
    if not isinstance(node.value, str):
        problems.append(
            Problem(*node.where, key, f"must be a text, got {shortened(json.dumps(node.plain()))}; quote it")
        )
        return default
    return node.value


def mapping(sections: Mapping[str, Node], key: str, where: Where, problems: list[Problem]) -> Node:
    node = sections.get(key)
    if node is None or node.value is None:
        return Node({}, where)
    if not isinstance(node.value, dict):
        problems.append(
            Problem(*node.where, key, f"must be a mapping of keys, got {shortened(json.dumps(node.plain()))}")
        )
        return Node({}, node.where)
    return node


def section(
    model: type[Model], sections: Mapping[str, Node], key: str, where: Where, problems: list[Problem]
) -> Model | None:
    """Reads a section that may have no distributions."""
    return _settings(model, mapping(sections, key, where, problems), key, problems)


def optional(
    model: type[Model], sections: Mapping[str, Node], key: str, where: Where, problems: list[Problem]
) -> Model | None:
    """Reads a section that may be absent or null. Then it returns None."""
    absent = key not in sections or sections[key].value is None
    return None if absent else section(model, sections, key, where, problems)


def listed(model: type[Model], sections: Mapping[str, Node], key: str, problems: list[Problem]) -> tuple[Model, ...]:
    """Reads a list of sections. Returns only its valid items."""
    node = sections.get(key)
    if node is None or node.value is None:
        return ()
    if not isinstance(node.value, list):
        message = f"must be a list of stages, each a mapping of keys, got {shortened(json.dumps(node.plain()))}"
        problems.append(Problem(*node.where, key, message))
        return ()
    items = {f"{key}.{index}": item for index, item in enumerate(node.value)}
    loaded = [section(model, items, name, node.where, problems) for name in items]
    return tuple(settings for settings in loaded if settings is not None)


def _settings(model: type[Model], node: Node, key: str, problems: list[Problem]) -> Model | None:
    before = len(problems)
    _refuse_distributions(node, key, problems)
    if len(problems) > before:
        return None
    draw = parse_tree(node, key, problems).materialise(None)
    consequences: list[Problem] = []
    settings = check(model, draw.plain, draw.lines, key, consequences)
    broken = [problem.path for problem in problems[before:]]
    problems += no_consequences(consequences, broken)
    return None if broken else settings


def _refuse_distributions(node: Node, path: str, problems: list[Problem]) -> None:
    if isinstance(node.value, list):
        for index, item in enumerate(node.value):
            _refuse_distributions(item, f"{path}.{index}", problems)
    elif isinstance(node.value, dict):
        if kind := form_in(node.value):
            what = "a tied value" if kind == Tied.KIND else f"a distribution ({kind})"
            places = "under search" if kind == Tied.KIND else "under search, or in evaluate.training"
            message = f"{what} can only stand {places}: this is one for the whole run"
            problems.append(Problem(*node.where, path, message))
            return
        for key, item in node.value.items():
            _refuse_distributions(item, f"{path}.{key}", problems)
