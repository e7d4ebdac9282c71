"""Reading the files of a run: each is checked against `records.py` before anything is made of it.

A file that is not as it should be raises `DamagedError`, which names the file, the place in it and what is allowed.
A report goes on with what is whole: it reads with a `Damage`, in which such errors are noted. What is read is handed
on as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from raydarts.errors import DamagedError, StorageError
from raydarts.runs.records import kind_of
from raydarts.storage.place import FilePlace, read_appended, read_bytes

_DEEPEST = 64
_LARGEST = 1e305
"""Of numbers; a diverged model's perplexity reaches 1e304."""
_SHOWN = 3


class Damage:
    """What was met that is damaged, each once. Whoever reads with one goes on without what it names."""

    def __init__(self) -> None:
        self._met: dict[str, set[str]] = {}

    def note(self, place: FilePlace, error: Exception) -> None:
        self._met.setdefault(str(place), set()).add(str(error))

    def at(self, place: FilePlace) -> bool:
        """Whether this file is damaged."""
        return str(place) in self._met

    def take_in(self, other: Damage) -> None:
        """Note what another one has met too."""
        for place, problems in other._met.items():
            self._met.setdefault(place, set()).update(problems)

    @property
    def problems(self) -> list[str]:
        """In the order of their names."""
        return sorted({problem for each in self._met.values() for problem in each})


def read_record(place: FilePlace, damage: Damage | None = None, kind: TypeAdapter[object] | None = None) -> Any:
    """What a file holds, or None where it is absent. A damaged one is noted in `damage`, else raises `DamagedError`.

    `kind`: what the file must hold, where it is none of the files of every run (`records.kind_of`).
    """
    try:
        return _checked(read_bytes(place), place, str(place), kind)
    except FileNotFoundError:
        return None
    except (DamagedError, OSError) as error:
        _note(place, error, damage)
        return None


def read_records(place: FilePlace, damage: Damage | None = None) -> list[Any]:
    """The lines of a file; damaged ones are noted in `damage` and left out, else `DamagedError` is raised.

    A line that a kill or a full disk cut off is left out without a word: what it held was never reported.
    """
    try:
        content = read_appended(place)
    except (DamagedError, OSError) as error:
        _note(place, error, damage)
        return []
    values: list[object] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip() or _is_torn(line):
            continue
        try:
            values.append(_checked(line, place, f"{place}:{number}"))
        except DamagedError as error:
            _note(place, error, damage)
    return values


def read_text(place: FilePlace, damage: Damage | None = None) -> str:
    """A text for people; empty where it is absent or damaged."""
    try:
        return read_bytes(place).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except (DamagedError, OSError) as error:
        _note(place, error, damage)
        return ""


def _note(place: FilePlace, error: Exception, damage: Damage | None) -> None:
    """Raise the error, or note it. A storage that is away is no damage."""
    if damage is None or isinstance(error, StorageError):
        raise error
    what = error if isinstance(error, DamagedError) else f"{place}: cannot be read: {getattr(error, 'strerror', error)}"
    damage.note(place, DamagedError(str(what)))


def _is_torn(line: bytes) -> bool:
    """Whether it is the beginning of a line of JSON."""
    try:
        json.loads(line)
    except RecursionError:
        return False
    except ValueError:
        try:
            from_json(line)
        except ValueError as error:
            return line.lstrip().startswith(b"{") and str(error).startswith("EOF while parsing")
    return False


def _checked(content: bytes, place: FilePlace, where: str, kind: TypeAdapter[object] | None = None) -> object:
    value = parse(content, where)
    try:
        (kind or kind_of(place.name)).validate_python(value)
    except ValidationError as error:
        problems = "; ".join(_problems(error))
        raise DamagedError(f"{where}: damaged: {problems}") from None
    return value


def parse(content: bytes, where: str) -> object:
    """JSON as raydarts writes it: UTF-8, no key twice, no NaN, no number or depth beyond what can be worked with."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedError(f"{where}: damaged: is not UTF-8 text (byte {error.start})") from None
    if not text.strip():
        raise DamagedError(f"{where}: damaged: is empty")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError:
        raise DamagedError(f"{where}: damaged: is nested more than {_DEEPEST} deep") from None
    except ValueError as error:
        raise DamagedError(f"{where}: damaged: is not JSON: {str(error)[:200]}") from None
    if (problem := _unsound(value)) is not None:
        raise DamagedError(f"{where}: damaged: {problem}")
    return value


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise ValueError(f"key {_short(twice)} stands there twice")
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _unsound(value: object) -> str | None:
    """What no record may hold, at any depth."""
    waiting = [(value, 1)]
    while waiting:
        inner, depth = waiting.pop()
        if depth > _DEEPEST:
            return f"is nested more than {_DEEPEST} deep"
        for item in inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else (inner,):
            if isinstance(item, int | float):
                if not -_LARGEST <= item <= _LARGEST:  # of NaN neither holds
                    return f"holds a number beyond {_LARGEST:g}"
            elif isinstance(item, dict | list):
                waiting.append((item, depth + 1))
    return None


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _problems(error: ValidationError) -> Iterator[str]:
    """The first few problems, each with its place in the file. A value is shown short, and without control codes."""
    lines: dict[str, None] = {}
    for each in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) if isinstance(part, int) else _short(part)[1:-1] for part in each["loc"])
        message = each["msg"][0].lower() + each["msg"][1:].replace(
            "a valid dictionary or object to extract fields from", "an object"
        )
        shown = "" if each["type"] == "missing" else f", not {_short(each['input'])}"
        lines[f"{place}: {message}{shown}" if place else f"{message}{shown}"] = None
    yield from list(lines)[:_SHOWN]
    if len(lines) > _SHOWN:
        yield f"and {len(lines) - _SHOWN} more"
