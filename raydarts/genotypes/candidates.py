"""Finds the genotypes in a file and their names. It executes nothing and reads nothing of them yet."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace


class BrokenCallError(ValueError):
    """A text whose only `Genotype(...)` is no Python: the reason and the line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


CALL = re.compile(r"\b\w*Genotype\s*\(")
_DEFINITION = re.compile(r"\b(?:class|def)\s+$")
_NAME = re.compile(r"([A-Za-z_]\w*)\s*(?::[^=\n]*)?=\s*$")
_LARGEST_PROGRAM = 200_000  # characters; beyond, a text is read as a log
_LARGEST_CALL = 50_000
_MOST_UNCLOSED = 100
_TOKEN = re.compile(r"""[()]|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""")
_KEYS = ("normal", "reduce", "recurrent", "cell", "genotype")
_READ = ("range", "list", "tuple")


@dataclass(frozen=True)
class Candidate:
    """A genotype in a file: its names (none or several), and its line or its position in a list.

    `value` is a call or a JSON value. Candidates with the same `key` are the same genotype. A call's lines count from
    the file's line `first_line`.
    """

    names: tuple[str, ...]
    unit: str
    number: int
    value: object
    key: str
    first_line: int = 1


def called(call: ast.Call) -> str:
    """Returns the function's name without its prefix."""
    function = call.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def in_json(value: object) -> list[Candidate] | None:
    """Returns the genotypes of a JSON file that holds several, by name or in a list.

    None means that the value is one genotype.
    """
    items: list[tuple[str | None, object]] = []
    if isinstance(value, Mapping) and not any(key in value for key in _KEYS):
        items = list(value.items())
    elif isinstance(value, list):
        items = [(_name_of(item), item) for item in value]
    candidates = [
        Candidate((name,) if name else (), "item", number, item, _key_of(item))
        for number, (name, item) in enumerate(items, start=1)
        if _looks_like_one(item)
    ]
    return candidates or None


def _name_of(item: object) -> str | None:
    name = item.get("name") if isinstance(item, Mapping) else None
    return name if isinstance(name, str) else None


def _looks_like_one(item: object) -> bool:
    if isinstance(item, str):
        return CALL.search(item) is not None or item.startswith("|")
    return isinstance(item, Mapping) and any(key in item for key in _KEYS)


def _key_of(item: object) -> str:
    inner = item.get("genotype", item) if isinstance(item, Mapping) else item
    return json.dumps(inner, sort_keys=True)


def in_text(text: str) -> list[Candidate]:
    """Returns the calls `Genotype(...)` of a Python text, or of any other text (a log).

    Raises `BrokenCallError` if no call is Python.
    """
    tree = _program(text.strip())
    before = text[: len(text) - len(text.lstrip())].count("\n")
    candidates = [] if tree is None else _of_program(tree, before)
    candidates = candidates or list(_of_lines(text))
    if len({each.number for each in candidates}) < len(candidates):  # several on a line
        candidates = [replace(each, unit="item", number=number) for number, each in enumerate(candidates, start=1)]
    return candidates


def _program(text: str) -> ast.Module | None:
    """Returns the text as Python, or None if it is no Python or too much."""
    if len(text) > _LARGEST_PROGRAM:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's warnings about the text: odd escapes and comparisons
            return ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _of_program(tree: ast.Module, before: int) -> list[Candidate]:
    names: dict[int, list[str]] = {}
    calls: dict[int, ast.Call] = {}
    by_name: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node).endswith("Genotype"):
            calls[id(node)] = node
        for name, value in _named(node):
            if isinstance(value, ast.Call):
                names.setdefault(id(value), []).append(name)
                by_name[name] = id(value)
            elif isinstance(value, ast.Name) and value.id in by_name:  # DARTS = DARTS_V2
                names[by_name[value.id]].append(name)
    literal = [call for call in calls.values() if not _has_variables(call)]
    return [
        Candidate(
            tuple(dict.fromkeys(names.get(id(call), ()))), "line", call.lineno + before, call, _dumped(call), before + 1
        )
        for call in sorted(literal or calls.values(), key=lambda call: (call.lineno, call.col_offset))
    ]


def _named(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Returns the values that a node names."""
    if isinstance(node, ast.Assign):
        yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and isinstance(node.target, ast.Name) and node.value:
        yield node.target.id, node.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value, value


def _has_variables(call: ast.Call) -> bool:
    """Returns whether it is code that makes genotypes (`Genotype(normal=gene, ...)`), and no genotype."""
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    return any(
        isinstance(node, ast.Name) and node.id not in _READ for argument in arguments for node in ast.walk(argument)
    )


def _dumped(call: ast.Call) -> str:
    try:
        return ast.dump(call)
    except (RecursionError, ValueError):  # too deep, or a number of thousands of digits, which is refused when read
        return f"line {call.lineno}"


def _of_lines(text: str) -> Iterator[Candidate]:
    """Returns the calls anywhere in a text. Each ends at its closing bracket."""
    end = unclosed = 0
    lines = 1
    counted = 0
    broken: BrokenCallError | None = None
    sound = False
    for match in CALL.finditer(text):
        if match.start() < end or _DEFINITION.search(text, max(0, match.start() - 20), match.start()):
            continue
        lines += text.count("\n", counted, match.start())
        counted = match.start()
        stop = _closing(text, match.end())
        if stop is None:
            unclosed += 1
            broken = broken or BrokenCallError(lines, "Genotype( without its closing bracket")
            if unclosed > _MOST_UNCLOSED:
                break
            continue
        end = stop
        snippet = text[match.start() : stop]
        try:
            call = ast.parse(snippet, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else "too deep or too large"
            reason = "a number of thousands of digits" if "digits" in reason else reason
            broken = broken or BrokenCallError(lines, reason)
            continue
        before = _NAME.search(text, max(0, match.start() - 120), match.start())
        if isinstance(call, ast.Call):
            sound = True
            yield Candidate((before[1],) if before else (), "line", lines, call, "".join(snippet.split()), lines)
    if broken is not None and not sound:
        raise broken


def _closing(text: str, start: int) -> int | None:
    """Returns where the bracket that opens before `start` ends. Quoted text is skipped."""
    depth = 1
    for token in _TOKEN.finditer(text, start, start + _LARGEST_CALL):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return None
