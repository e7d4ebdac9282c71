"""From a genotype's text to plain lists and dictionaries: JSON, the authors' Python text, NAS-Bench-201's notation.

Nothing in a text is ever executed. The Python text, `Genotype(normal=[('sep_conv_3x3', 1), ...],
normal_concat=range(2, 6), ...)`, is parsed into a syntax tree out of which literals, lists, tuples and
`range` of literals are read; whatever else stands there is refused with its line. A file may hold more
Python around it (`NAME = Genotype(...)`, imports, lists of primitives), and one genotype.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from raydarts.errors import GenotypeError

_LARGEST_FILE = 1_000_000  # bytes; a genotype has hundreds
_LARGEST_RANGE = 1000
_FIELDS = (("normal", "normal_concat", "reduce", "reduce_concat"), ("recurrent", "concat"))
_CALL = re.compile(r"\b\w*Genotype\s*\(")
_ARCH_EDGE = re.compile(r"^([A-Za-z0-9_]+)~([0-9]{1,4})$")


def read_file(path: Path) -> Any:
    """A genotype file's value. Raises `GenotypeError` naming the file, and the line where the text breaks."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise GenotypeError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise GenotypeError(f"{path}: not a JSON text: {type(error).__name__}") from error
    if len(content) > _LARGEST_FILE:
        raise GenotypeError(f"{path}: larger than {_LARGEST_FILE:,} bytes, so it is no genotype")
    start = text.lstrip()
    if start.startswith("|") or (not start.startswith(("{", "[", '"')) and _CALL.search(text)):
        return read_text(text.strip(), str(path))
    return _from_json(text, str(path))


def read_text(text: str, where: str) -> dict[str, Any]:
    """A genotype that is one text: the authors' `Genotype(...)`, else NAS-Bench-201's `|nor_conv_3x3~0|+|...|`."""
    return _from_python(text, where) if _CALL.search(text) else _from_arch_string(text, where)


def _from_json(text: str, where: str) -> Any:
    """Strict JSON: neither NaN nor a key twice."""
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise GenotypeError(f"{where}:{error.lineno}: not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # our own refusals; numbers of thousands of digits; nesting
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise GenotypeError(f"{where}: not a JSON text of a genotype: {reason}") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)[:80]!r} stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _from_arch_string(text: str, where: str) -> dict[str, Any]:
    """NAS-Bench-201's notation into the JSON form: nodes divided by `+`, edges `primitive~src` between bars."""
    nodes = []
    for node in text.split("+"):
        edges = [_ARCH_EDGE.match(edge) for edge in node.strip("|").split("|")]
        if not all(edges):
            raise GenotypeError(
                f"{where}: {text[:80]!r} is no architecture like |nor_conv_3x3~0|+|none~0|...|+|...|, "
                "nor a text Genotype(normal=[...], ...)"
            )
        nodes.append([[edge[1], int(edge[2])] for edge in edges if edge])
    return {"cell": nodes, "cell_concat": [len(nodes)]}


def _from_python(text: str, where: str) -> dict[str, Any]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        raise GenotypeError(f"{where}{line}: not Python's form of a genotype: {reason}") from error
    calls = list(_calls(tree))
    if len(calls) != 1:
        names = ", ".join(name for name, _ in calls[:20])
        raise GenotypeError(
            f"{where}: {f'holds {len(calls)} genotypes ({names})' if calls else 'holds no genotype'}; "
            "one is read: leave one Genotype(...) in it"
        )
    return _Call(where).fields(calls[0][1])


def _calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """The statements `Genotype(...)` and `NAME = Genotype(...)`, with their names."""
    for statement in tree.body:
        value = statement.value if isinstance(statement, ast.Expr | ast.Assign) else None
        if isinstance(value, ast.Call) and _called(value).endswith("Genotype"):
            target = statement.targets[0] if isinstance(statement, ast.Assign) else None
            yield (target.id if isinstance(target, ast.Name) else "unnamed"), value


def _called(call: ast.Call) -> str:
    function = call.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


class _Call:
    """Reads one `Genotype(...)`; `where` begins each error."""

    def __init__(self, where: str) -> None:
        self.where = where

    def fields(self, call: ast.Call) -> dict[str, Any]:
        """Its arguments by name; positional ones in the authors' order. What is None is left out."""
        recurrent = {"recurrent", "concat"} & {keyword.arg for keyword in call.keywords}
        order = _FIELDS[1] if recurrent or (not call.keywords and len(call.args) == 2) else _FIELDS[0]
        if len(call.args) > len(order):
            self._refuse(call, f"Genotype has {len(order)} parts ({', '.join(order)})")
        found = {name: self._value(value) for name, value in zip(order, call.args, strict=False)}
        for keyword in call.keywords:
            if keyword.arg is None or keyword.arg in found:
                self._refuse(keyword, f"{keyword.arg or '**'} cannot stand here")
            found[keyword.arg] = self._value(keyword.value)
        return {name: value for name, value in found.items() if value is not None}

    def _value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
            return node.value
        if isinstance(node, ast.List | ast.Tuple):
            return [self._value(item) for item in node.elts]
        if isinstance(node, ast.Call) and not node.keywords:
            arguments = [self._value(item) for item in node.args]
            if _called(node) == "range" and self._makes_a_range(arguments):
                return list(range(*arguments))
            if _called(node) in ("list", "tuple") and len(arguments) == 1 and isinstance(arguments[0], list):
                return arguments[0]
        self._refuse(node, "only texts, numbers, lists, tuples and range(first, after_last) are read here")

    @staticmethod
    def _makes_a_range(arguments: list[Any]) -> bool:
        return 1 <= len(arguments) <= 2 and all(
            isinstance(value, int) and 0 <= value <= _LARGEST_RANGE for value in arguments
        )

    def _refuse(self, node: ast.expr | ast.keyword, reason: str) -> NoReturn:
        raise GenotypeError(f"{self.where}:{node.lineno}: {reason}")
