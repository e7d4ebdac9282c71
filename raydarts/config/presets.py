"""Presets: published settings by name, below a section's own keys.

`preset: NAME`, or a list of names, may stand in the sections of `KINDS_OF`. A preset is a YAML file
`raydarts/presets/KIND/NAME.yaml`. Its values are grouped by their origin: the paper, the authors' code (where the paper
is silent, or where the preset is the code's), or us.

Later presets replace earlier ones. The section's own keys come last. Mappings are merged key by key. Everything else is
replaced as a whole: values, lists, distributions, and choices (mappings with a `name`, such as `space`). So no setting
of one choice is left in another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from raydarts.config.distributions import FORMS, OPTIONS
from raydarts.config.source import Node, read_file
from raydarts.digits import whole_number
from raydarts.errors import Problem, shortened
from raydarts.json_types import Json
from raydarts.registry import nearest

FOLDER = Path(__file__).parent.parent / "presets"
KINDS_OF = {"data": "data", "search": "search", "evaluate.training": "training"}
"""The sections that may have `preset`, and the kind of preset."""
IN_LISTS = {"rungs.*.training": "training", "transfer.*.training": "training", "transfer.*.data": "data"}
"""The same for listed stages. `*` is an item's number."""
ORIGINS = ("paper", "code", "ours")


PresetRow = TypedDict(
    "PresetRow",
    {
        "name": str,
        "for": str,
        "about": str,
        "source": Mapping[str, str],
        "values": Json,
        "origins": Mapping[str, str],
    },
)
"""A preset as JSON."""


@dataclass(frozen=True)
class Preset:
    """`sources` says what `paper`, `code` and `ours` are. `origins` says which of them each value comes from, by dotted
    path.
    """

    name: str
    kind: str
    about: str
    sources: Mapping[str, str]
    values: Node
    origins: Mapping[str, str]

    def to_json(self) -> PresetRow:
        return {
            "name": self.name,
            "for": self.kind,
            "about": self.about,
            "source": dict(self.sources),
            "values": self.values.plain(),
            "origins": dict(self.origins),
        }


def names(kind: str) -> list[str]:
    """Returns the presets of a kind."""
    return sorted(path.stem for path in (FOLDER / kind).glob("*.yaml"))


def read_preset(kind: str, name: str) -> Preset:
    """Reads a shipped preset. Errors in its values name the preset."""
    root = read_file(FOLDER / kind / f"{name}.yaml", shown=f"preset {name}")[0].keys
    values = Node({}, root["values"].where)
    origins: dict[str, str] = {}
    for origin, block in root["values"].keys.items():
        values = merge(block, values)  # no value stands in two blocks; the first block's keys stand first
        origins |= dict.fromkeys(_leaves(block, ""), origin)
    return Preset(
        name,
        kind,
        str(root["about"].value),
        {origin: str(text.value) for origin, text in root["source"].keys.items()},
        values,
        origins,
    )


def all_presets() -> list[Preset]:
    """Returns every shipped preset, by kind and name."""
    return [read_preset(kind, name) for kind in KINDS_OF.values() for name in names(kind)]


def _merges(node: Node) -> bool:
    return isinstance(node.value, dict) and "name" not in node.value and not FORMS.keys() & node.value.keys()


def _leaves(node: Node, path: str) -> Iterator[str]:
    if not _merges(node):
        yield path
        return
    for key, item in node.keys.items():
        yield from _leaves(item, f"{path}.{key}" if path else key)


def merge(under: Node, over: Node, *, section: bool = False) -> Node:
    """Merges `over` onto `under`, by the rule above. The keys of `over` come first, because a grid follows their order.

    `section` says that both are mappings and are merged although one may have a `name` (a training's kind).
    """
    if not (section or (_merges(under) and _merges(over))):
        return over
    below, above = under.keys, over.keys
    merged = {key: merge(below[key], item) if key in below else item for key, item in above.items()}
    return Node(merged | {key: item for key, item in below.items() if key not in above}, over.where)


def expand(root: Node, problems: list[Problem]) -> dict[str, tuple[str, ...]]:
    """Puts the presets named in a spec below its sections, in place. Returns their names by section."""
    named: dict[str, tuple[str, ...]] = {}
    if "search" in root.keys:
        _refuse_under_distributions(root.keys["search"], "search", problems)
    for section, kind in _places(root):
        node = _at(root, section)
        if node is None or not isinstance(node.value, dict):
            continue
        asked: Node | None = node.value.pop("preset", None)
        if asked is None or asked.value is None:
            continue
        if beside := [key for key in node.value if key in FORMS]:
            message = f"a preset cannot stand beside a distribution ({beside[0]}) of the whole section; put the "
            problems.append(Problem(*asked.where, f"{section}.preset", message + "distribution on the keys it is of"))
            continue
        chosen = _asked(asked, section, kind, problems)
        under = Node({}, node.where)
        for name in chosen:
            under = merge(under, read_preset(kind, name).values, section=True)
        node.value = merge(under, node, section=True).value
        if chosen:
            named[section] = tuple(chosen)
    return named


def _at(root: Node, section: str) -> Node | None:
    node: Node | None = root
    for part in section.split("."):
        node = None if node is None else node.parts.get(part)
    return node


def _places(root: Node) -> Iterator[tuple[str, str]]:
    """Returns each section of this spec that may have a preset, and the kind of preset."""
    yield from KINDS_OF.items()
    for pattern, kind in IN_LISTS.items():
        stages, _, inside = pattern.partition(".*.")
        listed = root.keys.get(stages)
        for index in range(0 if listed is None else len(listed.items)):
            yield f"{stages}.{index}.{inside}", kind


def _pattern(path: str) -> str:
    """Returns a dotted path with `*` for every number."""
    return ".".join(part if whole_number(part) is None else "*" for part in path.split("."))


def _asked(asked: Node, section: str, kind: str, problems: list[Problem]) -> list[str]:
    """Returns the valid names among the requested ones."""
    known: list[str] = []
    path, allowed = f"{section}.preset", names(kind)
    nodes: list[Node] = asked.value if isinstance(asked.value, list) else [asked]
    for node in nodes:
        name = node.value
        if isinstance(name, dict) and any(key in FORMS for key in name):
            message = "a preset cannot be swept: it says what is fixed. Name one here; to compare two, run two sweeps"
        elif not isinstance(name, str):
            message = f"must be the name of a preset or a list of names, got {shortened(json.dumps(node.plain()))}"
        elif name in allowed:
            known.append(name)
            continue
        else:
            message = f"unknown preset '{shortened(name)}'{nearest(name, allowed)} (allowed here: {', '.join(allowed)})"
            others = [place for place, other in KINDS_OF.items() if other != kind and name in names(other)]
            if others:
                message = f"'{name}' belongs under {' or '.join(others)} (allowed here: {', '.join(allowed)})"
        problems.append(Problem(*node.where, path, message))
    return known


def _refuse_under_distributions(node: Node, path: str, problems: list[Problem]) -> None:
    """Reports and removes presets inside the options of a distribution."""
    if isinstance(node.value, list):
        for index, item in enumerate(node.value):
            _refuse_under_distributions(item, f"{path}.{index}", problems)
    elif isinstance(node.value, dict):
        for key, item in node.value.items():
            if key in OPTIONS and isinstance(item.value, list):
                for option in item.value:
                    inside = option.value
                    if isinstance(inside, dict) and "preset" in inside and "name" not in inside:
                        named: Node = inside.pop("preset")
                        message = f"a preset cannot stand under a distribution ({key}); name it as search.preset"
                        problems.append(Problem(*named.where, path, message))
            _refuse_under_distributions(item, path if key in OPTIONS else f"{path}.{key}", problems)


def split_overrides(assignments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Splits `--set`s into those that must come before presets (of `preset`, of whole sections) and the others.

    The others act on the merged section. So `search.space.channels=32` changes a preset's space.
    """
    listed = list(assignments)
    paths = [assignment.partition("=")[0].strip() for assignment in listed]
    places = {*KINDS_OF, *IN_LISTS}
    whole = {*places, "evaluate", "rungs", "rungs.*", "transfer", "transfer.*"}
    last = max((index for index, path in enumerate(paths) if _pattern(path) in whole), default=-1)
    first = {
        index
        for index, path in enumerate(paths)
        if index <= last or (path.endswith(".preset") and _pattern(path.removesuffix(".preset")) in places)
    }
    return [listed[index] for index in sorted(first)], [
        assignment for index, assignment in enumerate(listed) if index not in first
    ]
