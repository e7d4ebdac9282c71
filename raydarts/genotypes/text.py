"""Turns a genotype's text into plain lists and dictionaries: JSON, the authors' Python text, NAS-Bench-201's notation.

Nothing in a text is ever executed. The Python text, `Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2,
6), ...)`, is parsed into a syntax tree. Literals, lists, tuples and `range` of literals are read. Anything else is
refused with its line. A file may hold more text: other Python (`candidates` finds the calls), or lines of a log. Beside
JSON it may have lines that begin with `#`. A file with several genotypes is read by name or by line.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import NoReturn

from raydarts.errors import GenotypeError, shortened
from raydarts.genotypes.candidates import CALL, BrokenCallError, Candidate, called, in_json, in_text
from raydarts.genotypes.source import GenotypeFile, NamedGenotype, RunGenotype
from raydarts.json_types import Json

_COMMENT = re.compile(r"^#.*$", re.MULTILINE)
"""A line that JSON cannot have: `papers.file_text` writes such lines."""
_LARGEST_FILE = 1_000_000  # bytes; a genotype has hundreds
_LARGEST_RANGE = 1000
_LARGEST_NUMBER = 10**9
_FIELDS = (("normal", "normal_concat", "reduce", "reduce_concat"), ("recurrent", "concat"))
_ARCH_EDGE = re.compile(r"^([A-Za-z0-9_]+)~([0-9]{1,4})$")
_SHOWN = 30


def read_file(file: GenotypeFile) -> tuple[object, str]:
    """Returns a genotype file's value and the file's text.

    Raises `GenotypeError` with the file, and the line where the text breaks.
    """
    if isinstance(file, RunGenotype):
        return _value(file.text, str(file), None), file.text
    path, name = (file.path, file.name) if isinstance(file, NamedGenotype) else (file, None)
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_FILE + 1)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GenotypeError(f"{path}: not a JSON text: {type(error).__name__}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise GenotypeError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > _LARGEST_FILE:
        raise GenotypeError(f"{path}: larger than {_LARGEST_FILE:,} bytes, so it is no genotype")
    return _value(text, str(path), name), text


def _value(text: str, where: str, name: str | None) -> object:
    start = text.lstrip()
    if start.startswith("|"):
        return _alone(_from_arch_string(text.strip(), where), where, name)
    if not start.startswith(("{", "[", '"')) and CALL.search(text):
        return _chosen(_calls(text, where), where, name)
    try:
        value = _from_json(_COMMENT.sub("", text), where)
    except GenotypeError:
        if CALL.search(text):  # `[Genotype(...)]`; a line of JSON that holds one, among other lines
            return _chosen(_calls(text, where), where, name)
        raise
    candidates = in_json(value)
    return _alone(value, where, name) if candidates is None else _chosen(candidates, where, name)


def _alone(value: object, where: str, name: str | None) -> object:
    if name is not None:
        raise GenotypeError(f"{where}: holds one genotype without a name; leave ':{shortened(name)}' out")
    return value


def _calls(text: str, where: str) -> list[Candidate]:
    try:
        return in_text(text)
    except BrokenCallError as error:
        raise GenotypeError(f"{where}:{error.line}: not Python's form of a genotype: {error}") from error


def _chosen(candidates: list[Candidate], where: str, name: str | None) -> object:
    """Returns the only candidate, or the one with the name, line or position `name`."""
    if not candidates:
        raise GenotypeError(f"{where}: holds no whole Genotype(...)")
    if name is not None:
        named = [each for each in candidates if name in each.names] or [
            each for each in candidates if name == str(each.number)
        ]
        if not named:
            raise GenotypeError(f"{where}: holds no genotype '{shortened(name)}'; it has {_listed(candidates)}")
    else:
        named = candidates
    if len({each.key for each in named}) > 1:
        if name is not None:
            raise GenotypeError(
                f"{where}: '{shortened(name)}' stands {len(named)} times; choose one by its {named[0].unit}: "
                f"{_listed(named)}"
            )
        last = candidates[-1]
        unique = [name for name in last.names if sum(name in each.names for each in candidates) == 1]
        example = unique[0] if unique else last.number
        raise GenotypeError(
            f"{where}: holds {len(candidates)} genotypes; choose one as {where}:{example}. It has {_listed(candidates)}"
        )
    one = named[0]
    if not isinstance(one.value, ast.Call):
        return one.value
    return _Call(where, one.first_line).fields(one.value)


def _listed(candidates: list[Candidate]) -> str:
    names = [
        f"{', '.join(shortened(name, 40) for name in each.names) or 'one without a name'} ({each.unit} {each.number})"
        for each in candidates[:_SHOWN]
    ]
    return ", ".join(names) + (f" and {len(candidates) - _SHOWN:,} more" if len(candidates) > _SHOWN else "")


def read_text(text: str, where: str) -> object:
    """Reads a genotype that is one text: the authors' `Genotype(...)`, or NAS-Bench-201's `|nor_conv_3x3~0|+|...|`."""
    if len(text) > _LARGEST_FILE:
        raise GenotypeError(f"{where}: a text of {len(text):,} characters is no genotype")
    if not CALL.search(text):
        return _from_arch_string(text, where)
    return _chosen(_calls(text, where), where, None)


def lines_of(text: str, primitives: set[str]) -> dict[str, int]:
    """Returns the line where each primitive first stands in quotes. Primitives without one are left out."""
    lines = {}
    for primitive in primitives:
        place = min((at for quote in "'\"" if (at := text.find(f"{quote}{primitive}{quote}")) >= 0), default=None)
        if place is not None:
            lines[primitive] = text.count("\n", 0, place) + 1
    return lines


def _from_json(text: str, where: str) -> object:
    """Reads strict JSON: no NaN, no key twice."""
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise GenotypeError(f"{where}:{error.lineno}: not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # our own errors, numbers with thousands of digits, and deep nesting
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        reason = "a number of thousands of digits" if "set_int_max_str_digits" in reason else reason
        raise GenotypeError(f"{where}: not a JSON text of a genotype: {reason}") from error


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)[:80]!r} stands twice in one object")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _from_arch_string(text: str, where: str) -> dict[str, object]:
    """Turns NAS-Bench-201's notation into JSON: `+` divides nodes, bars enclose edges `primitive~src`."""
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


def _ends_of_range(arguments: Sequence[object]) -> list[int]:
    """Returns the one or two arguments of a `range(...)` that is read here. Of any other none."""
    ends = [value for value in arguments if isinstance(value, int) and 0 <= value <= _LARGEST_RANGE]
    return ends if len(ends) == len(arguments) and len(ends) in (1, 2) else []


class _Call:
    """Reads one `Genotype(...)`. Errors start with `where`. `first_line` is the file's line of the tree's line 1."""

    def __init__(self, where: str, first_line: int) -> None:
        self.where = where
        self.first_line = first_line

    def fields(self, call: ast.Call) -> dict[str, object]:
        """Returns its arguments by name. Positional ones are in the authors' order. Arguments that are None are left
        out.
        """
        recurrent = {"recurrent", "concat"} & {keyword.arg for keyword in call.keywords}
        order = _FIELDS[1] if recurrent or (not call.keywords and len(call.args) == 2) else _FIELDS[0]
        if len(call.args) > len(order):
            self._refuse(call, f"Genotype has {len(order)} parts ({', '.join(order)})")
        values = {name: self._value(value) for name, value in zip(order, call.args, strict=False)}
        for keyword in call.keywords:
            if keyword.arg is None or keyword.arg in values:
                self._refuse(keyword, f"{keyword.arg or '**'} cannot stand here")
            values[keyword.arg] = self._value(keyword.value)
        return {name: value for name, value in values.items() if value is not None}

    def _value(self, node: ast.expr) -> Json:
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
            if isinstance(node.value, int) and abs(node.value) > _LARGEST_NUMBER:
                self._refuse(node, f"a number above {_LARGEST_NUMBER:,} is no node of a cell")
            return node.value
        if isinstance(node, ast.List | ast.Tuple):
            return [self._value(item) for item in node.elts]
        if isinstance(node, ast.Call) and not node.keywords:
            arguments = [self._value(item) for item in node.args]
            if called(node) == "range" and (ends := _ends_of_range(arguments)):
                return list(range(*ends))
            if called(node) in ("list", "tuple") and len(arguments) == 1 and isinstance(arguments[0], list):
                return arguments[0]
        self._refuse(node, "only texts, numbers, lists, tuples and range(first, after_last) are read here")

    def _refuse(self, node: ast.expr | ast.keyword, reason: str) -> NoReturn:
        raise GenotypeError(f"{self.where}:{self.first_line + node.lineno - 1}: {reason}")
