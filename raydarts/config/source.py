"""YAML as a tree of nodes that know where they stand, and `--set` on top of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from raydarts.errors import Problem, SpecError

Where = tuple[str, int]
MAX_DEPTH = 60
MAX_NODES = 200_000


@dataclass
class Node:
    """A YAML value: a dict of nodes, a list of nodes, or a scalar; `where` is its (file, line)."""

    value: Any
    where: Where

    def plain(self) -> Any:
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def _refuse(file: str, line: int, message: str, path: str = "") -> NoReturn:
    raise SpecError([Problem(file, line, path, message)])


def _yaml() -> YAML:
    yaml = YAML(typ="rt", pure=True)  # YAML 1.2: 1e-3 is a number, `on` a string; duplicate keys are errors
    yaml.allow_duplicate_keys = False
    return yaml


def _parse(text: str, file: str) -> Any:
    try:
        return _yaml().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 0
        problem = (error.problem or str(error)).split("\n")[0]
        if "duplicate key" in problem:
            _refuse(file, line, f"{problem.removeprefix('found ')}; a key may stand once, remove one of them")
        _refuse(file, line, f"not readable as YAML: {problem}")
    except (YAMLError, ValueError, RecursionError) as error:
        _refuse(file, 0, f"not readable as YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}")


def _scalar(value: Any, where: Where, path: str) -> Any:
    """ruamel's scalars keep their spelling; plain ones are wanted."""
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if type(value).__name__ == "ScalarBoolean":
        return bool(value)
    _refuse(*where, f"a {type(value).__name__} is no value of a spec; quote it if it is a text", path)


def _node(value: Any, where: Where, path: str = "", depth: int = 0) -> Node:
    if depth > MAX_DEPTH:
        _refuse(*where, "nested too deeply (does an alias hold itself?)", path)
    file = where[0]
    if isinstance(value, Mapping):
        items = {}
        for key, item in value.items():
            line = _line(value, key, where[1])
            if not isinstance(key, str):
                _refuse(file, line, f"the key {key!r} is not a text; quote it", path)
            items[str(key)] = _node(item, (file, line), f"{path}.{key}" if path else str(key), depth + 1)
        return Node(items, where)
    if isinstance(value, list):
        entries = [
            _node(item, (file, _line(value, index, where[1])), f"{path}.{index}", depth + 1)
            for index, item in enumerate(value)
        ]
        return Node(entries, where)
    return Node(_scalar(value, where, path), where)


def _size(value: Any, known: dict[int, int]) -> int:
    """How many values there are once aliases are unfolded; each shared part is counted through once."""
    items = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
    if id(value) not in known:
        known[id(value)] = 1  # meanwhile, should it hold itself
        known[id(value)] = 1 + sum(_size(item, known) for item in items)
    return known[id(value)]


def _line(container: Any, key: Any, default: int) -> int:
    """1-based line of a key or item; that of its container where ruamel does not know (merged keys)."""
    try:
        marks: Any = getattr(container, "lc", None)
        found = marks.key(key) if isinstance(container, Mapping) else marks.item(key)
        return int(found[0]) + 1
    except (AttributeError, KeyError, TypeError, IndexError):
        return default


def read_file(path: Path, shown: str | None = None) -> tuple[Node, str]:
    """The tree and the text of a YAML file, called `shown` in messages. Raises `SpecError`."""
    file = shown or str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        _refuse(file, 0, "there is no such file")
    except IsADirectoryError:
        _refuse(file, 0, "is a folder; give the YAML file in it")
    except UnicodeDecodeError:
        _refuse(file, 0, "is not a text file (UTF-8)")
    except OSError as error:
        _refuse(file, 0, f"cannot be read: {error.strerror}")
    loaded = _parse(text, file)
    if _size(loaded, {}) > MAX_NODES:
        _refuse(file, 0, f"unfolds to more than {MAX_NODES:,} values; its aliases multiply")
    if loaded is None:
        _refuse(file, 0, "is empty; see sweeps/quick.yaml for a spec")
    if not isinstance(loaded, Mapping):
        _refuse(file, 1, "a spec is a mapping of keys such as data, search, sweep, evaluate")
    return _node(loaded, (file, 1)), text


def from_plain(value: Any, file: str) -> Node:
    """The tree of plain data (a run's stored spec)."""
    return _node(value, (file, 0))


def override(root: Node, assignments: Iterable[str]) -> None:
    """Apply `path.to.key=value` assignments to the tree in order; values are read as YAML."""
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
    path, found, text = assignment.partition("=")
    parts = path.strip().split(".")
    if not found or not all(parts):
        _refuse(*origin, "must be path.to.key=value, for example search.epochs=10")
    _assign(root, parts, _node(_parse(text, origin[0]), origin), origin)


def _assign(root: Node, parts: list[str], new: Node, origin: Where) -> None:
    node = root
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        here = ".".join(parts[: depth + 1])
        if isinstance(node.value, list):
            if not part.isdigit() or int(part) >= len(node.value):
                count = len(node.value)
                _refuse(*origin, f"{here}: a list of {count} items has no item '{part}' (allowed: 0 to {count - 1})")
            if last:
                node.value[int(part)] = new
            else:
                node = node.value[int(part)]
            continue
        if isinstance(node.value, str):
            node.value = {"name": Node(node.value, node.where)}  # a component named shortly gets a setting
        if not isinstance(node.value, dict):
            node.value = {}
        if last:
            node.value[part] = new
        else:
            node = node.value.setdefault(part, Node({}, origin))
