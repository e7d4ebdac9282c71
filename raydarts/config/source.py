"""YAML as a tree of nodes that know their lines, and `--set` on top of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from raydarts.config import yaml_text
from raydarts.config.yaml_text import LARGEST_TEXT, MAX_DEPTH, MAX_NODES, YamlTextError
from raydarts.digits import whole_number
from raydarts.errors import Problem, SpecError, shortened
from raydarts.json_types import Json
from raydarts.storage.files import plain

Where = tuple[str, int]
Scalar = None | bool | int | float | str
_LARGEST_NUMBER = 2**63
_KINDS = {
    "TaggedScalar": "value with a tag (!...)",
    "CommentedSet": "set",
    "bytes": "binary value",
    "TimeStamp": "date",
    "datetime": "date",
}


@dataclass
class Node:
    """A YAML value: a dict of nodes, a list of nodes, or a scalar. `where` is its (file, line)."""

    value: dict[str, Node] | list[Node] | Scalar
    where: Where

    @property
    def keys(self) -> dict[str, Node]:
        """The keys of a node that is a mapping. Raises `TypeError` for any other."""
        if not isinstance(self.value, dict):
            raise TypeError(f"{self.where}: not a mapping")
        return self.value

    @property
    def items(self) -> list[Node]:
        """The items of a node that is a list; of any other none."""
        return self.value if isinstance(self.value, list) else []

    @property
    def parts(self) -> dict[str, Node]:
        """Returns the nodes below this one: by key, or by an item's number. A scalar has none."""
        if isinstance(self.value, list):
            return {str(index): item for index, item in enumerate(self.value)}
        return self.value if isinstance(self.value, dict) else {}

    def plain(self) -> Json:
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def _refuse(file: str, line: int, message: str, path: str = "") -> NoReturn:
    raise SpecError([Problem(file, line, path, message)])


def _parse(text: str, file: str) -> object:
    try:
        loaded = yaml_text.load(text)
    except YamlTextError as error:
        _refuse(file, error.line, error.message)
    if _size(loaded, {}) > MAX_NODES:
        _refuse(file, 0, f"unfolds to more than {MAX_NODES:,} values; its aliases multiply")
    return loaded


def _scalar(value: object, where: Where, path: str) -> Scalar:
    """Returns plain scalars. ruamel's keep their spelling."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
        _refuse(*where, "a whole number too large for any setting (above 2**63)", path)
    if isinstance(value, str):
        return _text(value, where, path)
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    if type(value).__name__ == "ScalarBoolean":
        return bool(value)
    kind_of = type(value).__name__
    _refuse(*where, f"a {_KINDS.get(kind_of, kind_of)} is no value of a spec; quote it if it is a text", path)


def _text(value: str, where: Where, path: str) -> str:
    """Returns a text that can be stored and can name a file."""
    if "\0" in value:
        _refuse(*where, "holds a NUL character (\\0), which no text of a spec may", path)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        _refuse(*where, "holds half a surrogate pair (\\ud800 to \\udfff), which is no character", path)
    return str(value)


def _node(value: object, where: Where, path: str = "", depth: int = 0) -> Node:
    if depth > MAX_DEPTH:
        _refuse(*where, "nested too deeply (does an alias hold itself?)", path)
    file = where[0]
    if isinstance(value, Mapping):
        items = {}
        for key, item in value.items():
            line = _line(value, key, where[1])
            if not isinstance(key, str):
                _refuse(file, line, f"the key {shortened(repr(key))} is not a text; quote it", path)
            items[_text(key, (file, line), path)] = _node(
                item, (file, line), f"{path}.{key}" if path else str(key), depth + 1
            )
        return Node(items, where)
    if isinstance(value, list):
        entries = [
            _node(item, (file, _line(value, index, where[1])), f"{path}.{index}", depth + 1)
            for index, item in enumerate(value)
        ]
        return Node(entries, where)
    return Node(_scalar(value, where, path), where)


def _size(value: object, known: dict[int, int]) -> int:
    """Returns the number of values with aliases unfolded. Each shared part is visited once."""
    items = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
    if id(value) not in known:
        known[id(value)] = 1  # in case it contains itself
        known[id(value)] = 1 + sum(_size(item, known) for item in items)
    return known[id(value)]


def _line(container: object, key: object, default: int) -> int:
    """Returns the line (from 1) of a key or item, or its container's line if ruamel does not know it (merged keys)."""
    try:
        marks = container.lc  # type: ignore[attr-defined] # of ruamel's containers
        mark = marks.key(key) if isinstance(container, Mapping) else marks.item(key)
        return int(mark[0]) + 1
    except (AttributeError, KeyError, TypeError, IndexError):
        return default


def read_file(path: Path, shown: str | None = None) -> tuple[Node, str]:
    """Returns the tree and the text of a YAML file. Messages call it `shown`. Raises `SpecError`."""
    file = shown or str(path)
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(
                4 * LARGEST_TEXT + 1
            )  # of a text of that many characters at most; /dev/zero has no end
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        _refuse(file, 0, "there is no such file")
    except IsADirectoryError:
        _refuse(file, 0, "is a folder; give the YAML file in it")
    except UnicodeDecodeError:
        if len(content) > 4 * LARGEST_TEXT:
            _refuse(file, 0, f"has more than {LARGEST_TEXT:,} characters, so it is no spec")
        _refuse(file, 0, "is not a text file (UTF-8); save it as UTF-8")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        _refuse(file, 0, f"cannot be read: {getattr(error, 'strerror', None) or error}")
    return read_text(text, file), text


def read_text(text: str, file: str) -> Node:
    """Returns the tree of a spec's text. `file` names it in errors."""
    loaded = _parse(text, file)
    if loaded is None:
        _refuse(file, 0, "is empty; see sweeps/quick.yaml for a spec")
    if not isinstance(loaded, Mapping):
        _refuse(file, 1, "a spec is a mapping of keys such as data, search, sweep, evaluate")
    return _node(loaded, (file, 1))


def yaml_of(spec: Mapping[str, object]) -> str:
    """Returns a spec that is given as a mapping, as YAML. Tuples become lists, and numbers of numpy plain ones."""
    return yaml_text.write(json.loads(json.dumps(plain(spec))))


def from_plain(value: object, file: str) -> Node:
    """Returns the tree of plain data (a run's stored spec)."""
    return _node(value, (file, 0))


def override(root: Node, assignments: Iterable[str]) -> None:
    """Applies `path.to.key=value` assignments to the tree in order. Values are read as YAML."""
    problems: list[Problem] = []
    for assignment in assignments:
        try:
            _apply(root, assignment)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)


def _apply(root: Node, assignment: str) -> None:
    origin: Where = (f"--set '{assignment}'", 0)
    path, equals, text = assignment.partition("=")
    parts = path.strip().split(".")
    if not equals or not all(part.strip() for part in parts):
        _refuse(*origin, "must be path.to.key=value, for example search.epochs=10")
    if len(parts) > MAX_DEPTH:
        _refuse(*origin, f"names a key {len(parts):,} levels deep; a spec has at most {MAX_DEPTH}")
    for part in parts:
        _text(part, origin, "")
    _assign(root, parts, _node(_parse(text, origin[0]), origin), origin)


def _assign(root: Node, parts: list[str], new: Node, origin: Where) -> None:
    node = root
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        here = ".".join(parts[: depth + 1])
        if isinstance(node.value, list):
            index, count = whole_number(part), len(node.value)
            if index is None or index >= count:
                allowed = f"allowed: 0 to {count - 1}" if count else "it is empty: set the whole list, as [value, ...]"
                _refuse(*origin, f"{here}: a list of {count} items has no item '{shortened(part)}' ({allowed})")
            if last:
                node.value[index] = new
            else:
                node = node.value[index]
            continue
        if isinstance(node.value, str):
            node.value = {"name": Node(node.value, node.where)}  # a component that is only a name gets a setting
        if not isinstance(node.value, dict):
            node.value = {}
        if last:
            node.value[part] = new
        else:
            node = node.value.setdefault(part, Node({}, origin))
