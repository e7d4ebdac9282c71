"""Turns YAML nodes into a tree of the search-space language. It reports everything wrong and guesses no value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from raydarts.config.distributions import FORMS, KINDS, NUMBERS, OPTIONS, Tree, form_in
from raydarts.config.foreign import hint_for_mapping, hint_for_text, is_number, numbers_of
from raydarts.config.open_values import (
    Branch,
    Choice,
    Distribution,
    Leaf,
    OptionalItem,
    Options,
    Tied,
    TreeNode,
    to_plain,
)
from raydarts.config.source import Node, from_plain
from raydarts.config.ties import refuse_broken_ties
from raydarts.errors import Problem, shortened
from raydarts.json_types import Json, section
from raydarts.outside import is_outside
from raydarts.registry import nearest

LARGEST_WEIGHT = 1e9
"""Beside a larger weight an option of weight 1 is never drawn."""


def parse_tree(node: Node, name: str, problems: list[Problem]) -> Tree:
    """Returns the tree of a section. Problems of its distributions are added to `problems`."""
    root = _parse(node, name, problems, foreign=True)
    if misfits := list(_no_mappings(root)):
        if not any(problem.path == name for problem in problems):
            for misfit in misfits:
                file, line = misfit.where
                problems.append(Problem(file, line, name, "must be a mapping of keys"))
        root = Branch((), (), node.where)
    return refuse_broken_ties(Tree(root, name), problems)


def stored_tree(description: Mapping[str, object]) -> Tree:
    """Returns the search section of a run.json as a tree."""
    search = section(section(description.get("spec")).get("search"))
    return parse_tree(from_plain({"search": search}, "run.json").keys["search"], "search", [])


def _no_mappings(node: TreeNode) -> Iterator[TreeNode]:
    """Returns what a section could become that is no mapping of keys."""
    if isinstance(node, Options):
        for option in node.options:
            yield from _no_mappings(option)
    elif not isinstance(node, Branch) or node.keys is None:
        yield node


def _parse(node: Node, path: str, problems: list[Problem], foreign: bool, in_list: bool = False) -> TreeNode:
    """Parses one node. `in_list`: it is an item of a list.

    `foreign` says whether to look for other tools' forms of a distribution. The settings of a class from outside
    (`module:Class`) may look like one.
    """
    if isinstance(node.value, list):
        return _list(node, path, problems, foreign)
    if not isinstance(node.value, dict):
        if foreign and isinstance(node.value, str) and (advice := hint_for_text(node.value)):
            _problem(problems, node, path, f"{shortened(json.dumps(node.value))}: {advice}")
            return Leaf(None, node.where)
        return Leaf(node.value, node.where)
    named = node.value.get("name")
    own = named is not None and isinstance(named.value, str) and ":" in named.value
    foreign = foreign and not own
    form = form_in(node.value)
    if form is not None:
        return _form(form, node, path, problems, foreign, in_list)
    if foreign and (forms := [key for key in node.value if key in FORMS]):
        return _not_alone(forms[0], node, path, problems)
    if foreign and (advice := hint_for_mapping({key: item.plain() for key, item in node.value.items()})):
        _problem(problems, node, path, f"{shortened(json.dumps(node.plain()))}: {advice}")
        return Leaf(None, node.where)
    if len(node.value) == 1:
        ((key, only),) = node.value.items()
        if isinstance(only.value, list) and (hint := nearest(key, list(KINDS))):
            _problem(problems, only, path, f"unknown distribution '{key}'{hint} (allowed: {', '.join(KINDS)})")
            return Leaf(None, node.where)
    items = tuple(
        _parse(item, f"{path}.{key}", problems, foreign and not is_outside(key)) for key, item in node.value.items()
    )
    return Branch(tuple(node.value), items, node.where)


def _problem(problems: list[Problem], node: Node, path: str, message: str) -> None:
    problems.append(Problem(*node.where, path, message))


def _not_alone(form: str, node: Node, path: str, problems: list[Problem]) -> Leaf:
    """Reports a distribution or a tied value beside other keys."""
    others = [key for key in node.keys if key not in (form, *FORMS[form].BESIDE)]
    beside = [f"{key} stands beside {each.KIND}" for each in FORMS.values() for key in each.BESIDE if key in others]
    what = "a tied value" if form == Tied.KIND else "a distribution"
    message = f"{what} stands alone: '{form}' cannot be beside {', '.join(others)}"
    _problem(problems, node.keys[others[0]], path, "; ".join([message, *beside]))
    return Leaf(None, node.where)


def _list(node: Node, path: str, problems: list[Problem], foreign: bool) -> Branch:
    items = [_parse(item, f"{path}.{index}", problems, foreign, in_list=True) for index, item in enumerate(node.items)]
    if not any(isinstance(item, OptionalItem) for item in items):
        return Branch(None, tuple(items), node.where)
    bare = [_label(item.item if isinstance(item, OptionalItem) else item) for item in items]
    labels = _unique([OptionalItem.ABSENT, *bare])[1:]
    named = [
        OptionalItem.of(item.item, label, item.where) if isinstance(item, OptionalItem) else item
        for item, label in zip(items, labels, strict=True)
    ]
    return Branch(None, tuple(named), node.where, labels)


def _form(form: str, node: Node, path: str, problems: list[Problem], foreign: bool, in_list: bool) -> TreeNode:
    if form == Tied.KIND:
        return _tied(node, path, problems)
    if form == OptionalItem.KIND and in_list:
        item = _parse(node.keys[form], path, problems, foreign)
        return OptionalItem.of(item, _label(item), node.where)
    if form == OptionalItem.KIND:
        message = (
            "optional stands for an item of a list, as in regularizers: [{optional: beta_decay}]; to try several "
            "values of a setting write {choice: [...]}"
        )
        _problem(problems, node, path, message)
        return Leaf(None, node.where)
    return _distribution(form, node, path, problems, foreign)


def _tied(whole: Node, path: str, problems: list[Problem]) -> Leaf | Tied:
    node, times = whole.keys[Tied.KIND], whole.keys.get("times")
    if not isinstance(node.value, str) or not re.fullmatch(r"search(\.[^.\s]+)+", node.value):
        got = shortened(json.dumps(node.plain()))
        _problem(problems, node, path, f"tied_to names another place by its keys, such as search.lr; got {got}")
    elif times is None:
        return Tied(node.value, None, whole.where)
    elif is_number(times.value) and times.value != 0:
        return Tied(node.value, times.value, whole.where)
    else:
        got = shortened(json.dumps(times.plain()))
        _problem(problems, times, path, f"times must be a number other than 0; got {got}")
    return Leaf(None, whole.where)


def _distribution(kind: str, whole: Node, path: str, problems: list[Problem], foreign: bool) -> Leaf | Distribution:
    node, where = whole.keys[kind], whole.where
    if not isinstance(node.value, list) or not node.value:
        wanted = "a list of options" if kind in OPTIONS else "a list of numbers"
        numbers = numbers_of({key: item.plain() for key, item in node.parts.items()}) or []
        known = kind in NUMBERS and len(numbers) in NUMBERS[kind].FORMS
        write = f": write {{{kind}: {json.dumps(numbers)}}}" if known else ", with at least one in it"
        _problem(problems, node, path, f"{kind} needs {wanted}{write}")
        return Leaf(None, where)
    if kind in OPTIONS:
        options = tuple(_parse(item, path, problems, foreign) for item in node.value)
        labels = _unique(_labels(options))
        if kind == Choice.KIND:
            return Choice(where, options, labels, _weights(whole.keys.get("weights"), len(options), path, problems))
        return OPTIONS[kind](where, options, labels)
    made = NUMBERS[kind]
    numbers = [item.value for item in node.value if is_number(item.value)]
    form = made.FORMS.get(len(numbers))
    if form is None or len(numbers) != len(node.value):
        forms, got = " or ".join(made.FORMS.values()), shortened(json.dumps(node.plain()))
        _problem(problems, node, path, f"{kind} needs {forms}, finite numbers; got {got}")
        return Leaf(None, where)
    if complaint := made.complaint(numbers):
        _problem(problems, node, path, f"{kind} {form}: {complaint}")
        return Leaf(None, where)
    return made.of(numbers, where)


def _weights(node: Node | None, count: int, path: str, problems: list[Problem]) -> tuple[float, ...]:
    """Returns the weights of a choice. Without any, or with wrong ones, it returns none."""
    if node is None:
        return ()
    weights = [item.value for item in node.items if is_number(item.value) and 0 < item.value <= LARGEST_WEIGHT]
    if len(weights) == len(node.items) == count:
        return tuple(map(float, weights))
    got = shortened(json.dumps(node.plain()))
    message = (
        f"weights must be {count} numbers above 0, one for each option of choice, {LARGEST_WEIGHT:g} at most; got {got}"
    )
    _problem(problems, node, path, message)
    return ()


def _labels(options: Sequence[TreeNode]) -> list[str]:
    """Returns a word for each option. A mapping without a name is described by how it differs from the first one."""
    nameless = [
        option
        for option in options
        if isinstance(option, Branch) and option.keys is not None and "name" not in option.keys
    ]
    if len(options) < 2 or len(nameless) < len(options):
        return [_label(option) for option in options]
    first = dict(zip(nameless[0].keys or (), map(to_plain, nameless[0].items), strict=True))
    return ["first", *(_difference(option, first) for option in nameless[1:])]


def _difference(option: Branch, first: Mapping[str, Json]) -> str:
    words = []
    for key, item in zip(option.keys or (), option.items, strict=True):
        if key not in first or first[key] != to_plain(item):
            bare = isinstance(item, Branch) or (isinstance(item, Leaf) and isinstance(item.value, str))
            words.append(_label(item) if bare else f"{key}={_label(item)}")
    words += [f"no {key}" for key in first if key not in (option.keys or ())]
    return "+".join(words) or "first"


def _label(option: TreeNode) -> str:
    if isinstance(option, Leaf):
        return option.value if isinstance(option.value, str) else json.dumps(option.value)
    if isinstance(option, Tied):
        return str(option)
    if isinstance(option, OptionalItem):
        return f"{option.labels[1]}?"
    if isinstance(option, Distribution):
        return "|".join(option.labels) if isinstance(option, Options) else option.KIND
    if isinstance(option, Branch) and option.keys is None:
        return "+".join(_label(item) for item in option.items) or "none"
    if isinstance(option, Branch) and option.keys is not None and "name" in option.keys:
        return _label(option.items[option.keys.index("name")])
    return json.dumps(to_plain(option), separators=(",", ":"))


def _unique(labels: list[str]) -> tuple[str, ...]:
    unique: list[str] = []
    for label in labels:
        number, candidate = 1, label
        while candidate in unique or (number > 1 and candidate in labels):
            number += 1
            candidate = f"{label}#{number}"
        unique.append(candidate)
    return tuple(unique)
