"""Settings in words: what docs/spec.md and `raydarts list` say of each one. The sentences stand at the settings."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

from raydarts.registry import Choose, ChooseSome, Component
from raydarts.units import Unit

_PLAIN = {bool: "`true` or `false`", int: "whole number", float: "number", str: "text", types.NoneType: "`null`"}


@dataclass(frozen=True)
class Setting:
    """One setting, as text. `unit` is empty where there is none; `default` is `required` where there is none."""

    name: str
    type: str
    default: str
    unit: str
    about: str

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def described(model: type[BaseModel]) -> list[Setting]:
    """The settings of one class, in its order. Nested settings are one entry; see `nested`."""
    return [
        Setting(
            name,
            _type(field.annotation, field.metadata),
            _default(field),
            _unit(field.annotation, field.metadata),
            field.description or "",
        )
        for name, field in model.model_fields.items()
    ]


def nested(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The settings of this class that are mappings of settings themselves, each with its class."""
    for name, field in model.model_fields.items():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel) and part is not Component:
                yield name, part


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "see there" if isinstance(value, BaseModel) and not isinstance(value, Component) else _text(value)


def _text(value: object) -> str:
    if isinstance(value, Component):
        return value.name
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_text(item) for item in value)}]"
    return value if isinstance(value, str) else json.dumps(value)


def _unit(annotation: object, metadata: Iterable[object]) -> str:
    for mark in metadata:
        if isinstance(mark, Unit):
            return mark.name
    names = [_unit(part, ()) for part in get_args(annotation)]
    if get_origin(annotation) is Annotated:
        names += [mark.name for mark in get_args(annotation)[1:] if isinstance(mark, Unit)]
    return next(filter(None, names), "")


def _type(annotation: object, metadata: Iterable[object]) -> str:
    marks = list(metadata)
    if some := next((mark for mark in marks if isinstance(mark, ChooseSome)), None):
        return f"`{some.family}` by name, or a list of them"
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0], [*marks, *parts[1:]])
    if origin in (Union, types.UnionType):
        kinds = [part for part in parts if not (isinstance(part, type) and issubclass(part, BaseModel))]
        texts = ["mapping"] if len(kinds) < len(parts) else []
        return " or ".join([*texts, *(_type(part, [] if part is types.NoneType else marks) for part in kinds)])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in parts)
    if origin is tuple:
        if len(parts) == 2 and parts[1] is Ellipsis:
            return f"list, each {_type(parts[0], ())}{_limits(marks)}"
        texts = [_type(part, ()) for part in parts]
        return f"list of {len(texts)}, each {texts[0]}" if len(set(texts)) == 1 else f"[{', '.join(texts)}]"
    if origin is dict:
        return "mapping" if parts[1] is Any else f"mapping, each value {_type(parts[1], ())}"
    for mark in marks:
        if isinstance(mark, Choose):
            return f"`{mark.family}` by name"
        if isinstance(mark, AfterValidator) and mark.func.__name__ == "expanded":
            return "path"
    if isinstance(annotation, type) and annotation in _PLAIN:
        return _PLAIN[annotation] + _limits(marks)
    return "mapping"


def _limits(marks: Iterable[object]) -> str:
    """` >= 1, < 2`."""
    texts: list[str] = []
    for mark in _flat(marks):
        match mark:
            case Ge(limit):
                texts.append(f">= {limit}")
            case Gt(limit):
                texts.append(f"> {limit}")
            case Le(limit):
                texts.append(f"<= {limit}")
            case Lt(limit):
                texts.append(f"< {limit}")
            case MinLen(length):
                texts.append(f"length >= {length}")
            case MaxLen(length):
                texts.append(f"length <= {length}")
    return " " + ", ".join(texts) if texts else ""


def _flat(marks: Iterable[object]) -> Iterator[object]:
    """Pydantic puts the limits of a nested type into a `FieldInfo` of its own."""
    for mark in marks:
        if isinstance(mark, FieldInfo):
            yield from mark.metadata
        else:
            yield mark
