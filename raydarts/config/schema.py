"""The JSON schema of a spec, for editors: completion, descriptions, and problems while one writes.

It is made from the same settings that read a spec. It knows keys, names, types and bounds. What needs several values
at once, the data or a column's name, `raydarts validate` alone can say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from raydarts.config.allocation import AllocatedSettings
from raydarts.config.distributions import NUMBERS, OPTIONS
from raydarts.config.open_numbers import Number, QUniform, RandInt
from raydarts.config.open_values import OptionalItem, Tied
from raydarts.config.presets import names
from raydarts.config.spec import (
    BudgetSettings,
    RungSettings,
    SweepSettings,
    TransferSettings,
)
from raydarts.config.track import TrackSettings
from raydarts.data.settings import DataSettings
from raydarts.evaluation.trainings import SETTINGS
from raydarts.registry import FAMILIES, MARK, members
from raydarts.search.settings import SearchSettings

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"
OUTSIDE: Schema = {"type": "string", "pattern": "^[A-Za-z_][\\w.]*:[A-Za-z_]\\w*$"}
"""The name of a class of the user's own, `module:Class`."""


def spec_schema() -> Schema:
    """Returns the schema of a whole spec."""
    made = _Made()
    search = made.opened(made.model(SearchSettings), "search")
    evaluate = made.model(AllocatedSettings)
    evaluate["properties"]["training"] = made.opened(evaluate["properties"]["training"], "evaluate.training")
    sections: dict[str, Schema] = {
        "name": {"type": ["string", "null"], "description": "Name of the run. Default: the file's name."},
        "question": {"type": ["string", "null"], "description": "What the sweep is to find out."},
        "data": _or_null(_with_preset(made.model(DataSettings), "data")),
        "search": _or_null(search),
        "sweep": _or_null(made.model(SweepSettings)),
        "rungs": _or_null({"type": "array", "items": made.model(RungSettings)}),
        "evaluate": _or_null(evaluate),
        "transfer": _or_null({"type": "array", "items": made.model(TransferSettings)}),
        "budget": _or_null(made.model(BudgetSettings)),
        "track": _or_null(made.model(TrackSettings)),
    }
    made.finish()
    return {
        "$schema": DRAFT,
        "title": "raydarts sweep",
        "type": "object",
        "properties": sections,
        "additionalProperties": False,
        "$defs": dict(sorted(made.definitions.items())),
    }


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: dict[str, Schema], required: tuple[str, ...] = (), description: str = "") -> Schema:
    plain: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return (
        plain
        | ({"required": list(required)} if required else {})
        | ({"description": description} if description else {})
    )


def _with_preset(schema: Schema, kind: str) -> Schema:
    """Returns a section's schema with the key `preset`."""
    one: Schema = {"enum": names(kind)}
    preset = {"anyOf": [one, {"type": "array", "items": one}], "description": "Published settings, below the own keys."}
    return {**schema, "properties": {"preset": preset, **schema["properties"]}}


class _Made:
    """Schemas of settings, each family's once. A marked place of pydantic's schema becomes a reference."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._wanted: list[tuple[str, bool]] = []

    def model(self, settings: type[BaseModel]) -> Schema:
        """Returns the schema of a class of settings, without references to its parts."""
        raw = settings.model_json_schema()
        definitions = raw.pop("$defs", {})
        whole: Schema = self._resolved(raw, definitions)
        return whole

    def _resolved(self, node: Any, definitions: dict[str, Schema]) -> Any:
        if isinstance(node, list):
            return [self._resolved(item, definitions) for item in node]
        if not isinstance(node, dict):
            return node
        if MARK in node:
            kind, name = node[MARK]
            beside = {key: node[key] for key in ("description",) if key in node}
            return {**self._marked(kind, name), **beside}
        if "$ref" in node:
            part = self._resolved(definitions[node["$ref"].rpartition("/")[2]], definitions)
            return {**part, **{key: value for key, value in node.items() if key != "$ref"}}
        left_out = ("title", "default") if "properties" not in node else ("title",)
        resolved = {
            key: (
                {name: self._resolved(item, definitions) for name, item in value.items()}
                if key == "properties"
                else self._resolved(value, definitions)
            )
            for key, value in node.items()
            if key not in left_out
        }
        if resolved.get("type") == "object" and resolved.get("additionalProperties") is False:
            resolved["description"] = str(resolved.get("description", "")).partition("\n")[0]
        return resolved

    def _marked(self, kind: str, name: str) -> Schema:
        if kind == "family":
            return self._reference(name, opened=False)
        if kind == "some":
            one = self._reference(name, opened=False)
            return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
        if kind == "by_name":
            return self._by_name(name)
        return {"anyOf": [_with_preset(self.model(settings), "training") for settings in SETTINGS.values()]}

    def _reference(self, family: str, opened: bool) -> Schema:
        key = f"{family}, open" if opened else family
        if key not in self.definitions:
            self.definitions[key] = {}  # a family may be asked for again while it is made
            self._wanted.append((family, opened))
        return {"$ref": f"#/$defs/{key.replace(' ', '%20')}"}

    def finish(self) -> None:
        """Makes every family that was referred to."""
        while self._wanted:
            family, opened = self._wanted.pop()
            self.definitions[f"{family}, open" if opened else family] = self._family(family, opened)

    def _family(self, family: str, opened: bool) -> Schema:
        """Returns what chooses a member: its name, or its name with settings."""
        known = members(family)
        texts = {name: (member.__doc__ or "").strip().partition("\n")[0] for name, member in known.items()}
        choices: list[Schema] = [
            {"oneOf": [{"const": name, "description": text} for name, text in texts.items()]},
            OUTSIDE,
        ]
        for name, member in known.items():
            settings = self.model(member.Settings)["properties"]
            if opened:
                settings = {key: self.opened(value, f"{family} {name} {key}") for key, value in settings.items()}
            required = tuple(self.model(member.Settings).get("required", ()))
            choices.append(_object({"name": {"const": name}, **settings}, ("name", *required), texts[name]))
        choices.append({"type": "object", "properties": {"name": OUTSIDE}, "required": ["name"]})
        return {"anyOf": choices, "description": FAMILIES[family].purpose}

    def _by_name(self, family: str) -> Schema:
        """Returns a mapping whose keys are members."""
        properties = {
            name: {"anyOf": [{"type": ["boolean", "null"]}, self.model(member.Settings)]}
            for name, member in members(family).items()
        }
        return {**_object(properties), "patternProperties": {OUTSIDE["pattern"]: {}}}

    def opened(self, schema: Schema, name: str) -> Schema:
        """Returns the schema of a value that may be a distribution, and whose parts may be."""
        key = f"open: {name}"
        if key in self.definitions:
            return {"$ref": f"#/$defs/{_escaped(key)}"}
        self.definitions[key] = {}
        inner = self._inner(schema, name)
        if name == "search":
            inner = _with_preset(inner, "search")
        itself = {"$ref": f"#/$defs/{_escaped(key)}"}
        kinds = [inner, *(_object(form.properties(itself), (form.KIND,)) for form in OPTIONS.values())]
        under_search = not name.startswith("evaluate")
        if any(_is_number(part) for part in _parts(inner)):
            kinds.append(self._shared(*(_NUMBERS if under_search else _LISTED)))
        if under_search:
            kinds.append(self._shared(*_TIED))
        self.definitions[key] = {"anyOf": kinds} | (
            {"description": schema["description"]} if "description" in schema else {}
        )
        return itself

    def _shared(self, key: str, schema: Schema) -> Schema:
        """Returns a reference to a schema that many others have as a part."""
        self.definitions[key] = schema
        return {"$ref": f"#/$defs/{_escaped(key)}"}

    def _inner(self, schema: Schema, name: str) -> Schema:
        """Returns the schema with its parts opened."""
        if "$ref" in schema:
            family = schema["$ref"].rpartition("/")[2]
            if family in FAMILIES:
                return self._reference(family, opened=True)
        changed = dict(schema)
        if "properties" in schema:
            changed["properties"] = {
                key: self.opened(value, f"{name}.{key}") for key, value in schema["properties"].items()
            }
        if "anyOf" in schema:
            mappings = [part for part in schema["anyOf"] if "properties" in part]
            several = len(mappings) > 1  # they may have keys of one name, such as the trainings
            changed["anyOf"] = [
                self._inner(part, f"{name} {number}" if several else name)
                for number, part in enumerate(schema["anyOf"], start=1)
            ]
        if isinstance(schema.get("items"), dict):
            each = self.opened(schema["items"], f"{name}, each")
            optional = _object(OptionalItem.properties(each), (OptionalItem.KIND,))
            changed["items"] = {"anyOf": [each, optional]}
        if "prefixItems" in schema:
            changed["prefixItems"] = [self.opened(part, f"{name}, each") for part in schema["prefixItems"]]
        return changed


def _of_numbers(kinds: Iterable[type[Number]]) -> Schema:
    return {"anyOf": [_object(form.properties({}), (form.KIND,)) for form in kinds]}


_NUMBERS = ("distribution of numbers", _of_numbers(NUMBERS.values()))
_LISTED = ("list of numbers", _of_numbers([QUniform, RandInt]))
_TIED = ("tied value", _object(Tied.properties(), (Tied.KIND,)))


def _escaped(key: str) -> str:
    return key.replace(" ", "%20")


def _parts(schema: Schema) -> Iterator[Schema]:
    yield schema
    for part in schema.get("anyOf", ()):
        yield from _parts(part)


def _is_number(schema: Schema) -> bool:
    return schema.get("type") in ("number", "integer")
