"""Checks plain data against typed settings. Reports all problems at once, in words, with file and line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from raydarts.config.open_values import Path
from raydarts.config.source import Where
from raydarts.errors import Problem, shortened
from raydarts.evaluation.trainings import ChooseTraining
from raydarts.json_types import section
from raydarts.registry import ByName, Choose, UnknownNameError, members, nearest, parse_strictly, resolve

Model = TypeVar("Model", bound=BaseModel)
_COMPARED = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
}


def check(
    model: type[Model], plain: object, lines: Mapping[Path, Where], prefix: str, problems: list[Problem]
) -> Model | None:
    """Returns the settings, or None with `problems` added. `lines` are keyed by path within the section `prefix`."""
    try:
        return parse_strictly(model, plain)
    except ValidationError as error:
        errors: dict[Path, list[tuple[ErrorDetails, Path]]] = {}
        for details in _unfold(error, ()):
            path = _existing(details["loc"], plain, details["type"])
            errors.setdefault(path, []).append((details, path))
        for path, group in errors.items():
            message = _join([_words(details, model, plain, path) for details, _ in group])
            if prefix == "search" and message.startswith("must be "):
                message += _several(group[0][0]["input"])
            dotted = ".".join([prefix, *map(str, path)])
            problems.append(Problem(*where_of(path, lines), dotted, message))
        return None


def where_of(path: Path, lines: Mapping[Path, Where]) -> Where:
    """Returns the place of a path, or of the nearest path above it."""
    for length in range(len(path), -1, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return ("spec", 0)


def _unfold(error: ValidationError, prefix: Path) -> list[ErrorDetails]:
    """Returns flat errors. A component's errors come wrapped in one of the field that holds it."""
    flat: list[ErrorDetails] = []
    for details in error.errors(include_url=False):
        loc = (*prefix, *details["loc"])
        inner = details.get("ctx", {}).get("error")
        if isinstance(inner, ValidationError):
            flat += _unfold(inner, loc)
        else:
            flat.append({**details, "loc": loc})
    return flat


def _existing(loc: Path, plain: object, kind: str) -> Path:
    """Returns `loc` without the tags that pydantic adds for unions: only what exists in the data."""
    path: list[str | int] = []
    for part in loc:
        in_list = isinstance(plain, list) and isinstance(part, int) and part < len(plain)
        if not in_list and part not in section(plain):
            if kind == "missing" and part == loc[-1]:
                path.append(part)
            break
        plain = _part(plain, part)
        path.append(part)
    return tuple(path)


def _shown(value: object) -> str:
    return shortened(json.dumps(value) if not isinstance(value, str) else f"'{value}'", 80)


def _several(value: object) -> str:
    """Returns what to write if there is a list instead of one value."""
    if not isinstance(value, list) or not value or any(isinstance(item, list | dict) for item in value):
        return ""
    return f"; to try each of them write {{grid: {_shown(value)}}}"


def _words(details: ErrorDetails, model: type[BaseModel], plain: object, path: Path) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(model, plain, path)
    if kind == "missing":
        return "is missing; it has no default"
    if kind in _COMPARED:
        key, words = _COMPARED[kind]
        return f"must be {words} {context[key]:g}, got {_shown(details['input'])}"
    if kind in _WANTED:
        return f"must be {_WANTED[kind]}, got {_shown(details['input'])}"
    if kind == "literal_error":
        return f"must be {context['expected']}, got {_shown(details['input'])}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_too_short":
        return f"must have at least {context['min_length']} characters, got {_shown(details['input'])}"
    if kind == "string_too_long":
        return f"must have at most {context['max_length']} characters, got {_shown(details['input'])}"
    if kind in ("too_short", "too_long"):
        return f"needs {context.get('min_length', context.get('max_length'))} items, got {context['actual_length']}"
    return details["msg"]


def _join(messages: list[str]) -> str:
    """Joins the alternatives of a union in one sentence: must be 'lr' or a number, got 'fast'."""
    unique = list(dict.fromkeys(messages))
    if len(unique) > 1 and all(message.startswith("must be ") and ", got " in message for message in unique):
        wanted = [message.removeprefix("must be ").rsplit(", got ", 1)[0] for message in unique]
        return f"must be {' or '.join(wanted)}, got {unique[0].rsplit(', got ', 1)[1]}"
    return "; ".join(unique)


def _unknown_key(model: type[BaseModel], plain: object, path: Path) -> str:
    """Returns the allowed keys, the nearest of them, and which other member of the family has the key."""
    key = str(path[-1])
    shown = shortened(key)
    holder, family, name = _holder(model, plain, path[:-1])
    allowed = [*(["name"] if family else []), *holder.model_fields]
    message = f"unknown key '{shown}'{nearest(key, allowed)} (allowed: {', '.join(allowed) or 'none'})"
    if family:
        others = [other for other, member in members(family).items() if key in member.Settings.model_fields]
        if others:
            here = ", ".join(allowed)
            only = ", ".join(others)
            message = f"'{shown}' does not exist under {shortened(name)}, only under {only} (allowed here: {here})"
    return message


def _part(plain: object, part: str | int) -> object:
    """Returns what a mapping has under a key, or a list at a place."""
    if isinstance(plain, list) and isinstance(part, int):
        return plain[part]
    return plain[part] if isinstance(plain, Mapping) else None


def _holder(model: type[BaseModel], plain: object, path: Path) -> tuple[type[BaseModel], str | None, str]:
    """Returns the settings class at `path`, with the family and name of its component."""
    family: str | None = None
    name = ""
    for part in path:
        plain = _part(plain, part)
        if isinstance(part, int):
            continue_family = family
        elif issubclass(model, ByName) and part not in model.model_fields:
            model, name = resolve(model.FAMILY, part).Settings, part  # its settings were checked, so there is one
            continue
        else:
            info = model.model_fields[part]
            continue_family = _family(info.metadata, info.annotation)
            nested = info.annotation
            choice = next((item for item in info.metadata if isinstance(item, ChooseTraining)), None)
            if choice is not None:
                nested = choice.settings_for(section(plain))
            if continue_family is None and isinstance(nested, type) and issubclass(nested, BaseModel):
                model, family = nested, None
                continue
        if continue_family is not None:
            family = continue_family
            chosen = plain.get("name") if isinstance(plain, Mapping) else plain
            if isinstance(chosen, str):
                try:
                    model, name = resolve(family, chosen).Settings, chosen
                except UnknownNameError:
                    break
    return model, family, name


def _family(metadata: Sequence[object], annotation: object) -> str | None:
    for item in metadata:
        if isinstance(item, Choose):
            return item.family
    for argument in getattr(annotation, "__args__", ()):
        if family := _family(list(getattr(argument, "__metadata__", ())), argument):
            return family
    return None
