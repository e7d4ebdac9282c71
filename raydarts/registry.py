"""Families of interchangeable parts, found by themselves.

A *family* is a folder of modules; every class in it that derives from `Member` and sets `NAME` is a
choice. The YAML, the command line's help, the docs table and the contract tests all ask this module,
so a new file is a new choice with no edit elsewhere. `package.module:Class` names one from outside.

Families are imported when first asked for, so `import raydarts.search` loads neither Ray nor Optuna.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from raydarts import outside

Parsed = TypeVar("Parsed", bound=BaseModel)


class Idle(NamedTuple):
    """A setting that does nothing. `key`: its dotted place below what says so (empty: all of that); `why`: a sentence
    without its subject, with what to write instead: `is 0, and ...; write ...`.
    """

    key: str
    why: str


@dataclass(frozen=True)
class Around:
    """What a setting may look at beside itself to know whether it does anything.

    `section`: the settings of the whole section it stands in (`SearchSettings`, `SweepSettings`, a stage's).
    `epochs`: the most that a trial of the section runs; `stretch`: the most of them with one network, which are fewer
    in a search in stages. `jobs`: how many trials there are; of a stage of retraining, how many genotypes it can be
    given. `gpus`: what each trial has. `distinct`: how many configurations the search has that differ, None where
    they cannot be counted. `onward`: how many genotypes the stage after it takes, None where there is none.
    """

    section: Any
    epochs: int
    stretch: int
    jobs: int
    gpus: float
    distinct: int | None = None
    onward: int | None = None


class Settings(BaseModel):
    """Base of all typed settings: frozen, and no key is accepted that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def idle(self, around: Around) -> Iterator[Idle]:
        """What of these settings does nothing, and why. Nested settings are asked by themselves."""
        yield from ()

    def written(self, key: str) -> bool:
        """Whether this key stands in the spec (or a preset), so that somebody expects it to act."""
        return key in self.model_fields_set


def parse_strictly(model: type[Parsed], value: Any) -> Parsed:
    """Validate without guessing: a text is no number, `true` no 1; a list does for a tuple, 1 for 1.0."""
    return model.model_validate_json(json.dumps(value), strict=True)


class Member:
    """Base of everything that can be chosen by name.

    Subclasses set `NAME` (the name in YAML), `SOURCE` (paper and equation), and a nested `Settings`
    whose defaults are the published ones. `NEUTRAL` holds the settings under which the member is
    bit-identical to its absence (None: there are none). `REQUIRES` names what must be chosen beside
    it, each as `family:name` (`a|b` where either will do); `CONFLICTS` maps what must not be, written alike, to the
    reason. `REMEDY`: it is a remedy against skip collapse; then `FORMULA` says what it computes and `DIFFERS` where
    paper, authors' code and ours part. The docstring's first line is its description in the docs.
    """

    NAME: ClassVar[str] = ""
    SOURCE: ClassVar[str] = ""
    NEUTRAL: ClassVar[Mapping[str, Any] | None] = None
    REQUIRES: ClassVar[tuple[str, ...]] = ()
    CONFLICTS: ClassVar[Mapping[str, str]] = {}
    REMEDY: ClassVar[bool] = False
    FORMULA: ClassVar[str] = ""
    DIFFERS: ClassVar[str] = ""

    class Settings(Settings):
        """No settings of its own."""

    outside_name: str | None = None  # `module:Class` where it comes from outside

    def __init__(self, settings: BaseModel) -> None:
        self.settings: Any = settings

    @property
    def registered(self) -> str:
        """The name that a spec chooses it by: `NAME`, or `module:Class` from outside."""
        return self.outside_name or self.NAME

    def idle(self, around: Around) -> Iterator[Idle]:
        """What of this member does nothing, and why. A member that acts like nothing at all says so here.

        Nested settings are asked by themselves. `config.idle` asks, for the plan of a spec.
        """
        if self.NEUTRAL is not None and self.effective(self.settings) is None:
            shown = ", ".join(f"{key}: {json.dumps(value)}" for key, value in self.NEUTRAL.items())
            yield Idle("", f"acts like nothing at {shown}; leave {self.registered} out, or write another value")

    @classmethod
    def effective(cls, settings: BaseModel) -> dict[str, Any] | None:
        """The simplest component that acts alike, for telling equal configurations apart.

        None: acts like nothing at all (a regularizer at its NEUTRAL setting). By default the
        component itself, and None at NEUTRAL.
        """
        values = settings.model_dump(mode="json")
        if cls.NEUTRAL is not None and all(values[key] == value for key, value in cls.NEUTRAL.items()):
            return None
        return {"name": cls.NAME, **values}


@dataclass(frozen=True)
class Family:
    """A family: its folder, what it is called in the plural, what it is for, and which class its members derive from.

    `base` is a class in the folder's module `base`.
    """

    name: str
    package: str
    plural: str
    purpose: str
    base: str
    aliases: tuple[str, ...] = ()


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("space", "raydarts.spaces", "spaces", "what can be searched", "Space"),
        Family("dataset", "raydarts.data", "datasets", "what it is searched on", "Dataset", ("data",)),
        Family("relaxation", "raydarts.search.relaxations", "relaxations", "alpha -> arch weights", "Relaxation"),
        Family("estimator", "raydarts.search.estimators", "estimators", "dL/dalpha", "Estimator", ("order",)),
        Family(
            "regularizer",
            "raydarts.search.regularizers",
            "regularizers",
            "remedies against skip collapse",
            "Regularizer",
        ),
        Family("selection", "raydarts.search.selection", "selections", "alpha -> genotype", "Selection"),
        Family("probe", "raydarts.search.probes", "probes", "what is measured each epoch", "Probe"),
        Family("searcher", "raydarts.searchers", "searchers", "which configurations are tried", "Searcher"),
        Family("scheduler", "raydarts.schedulers", "schedulers", "which trials stop early", "Scheduler"),
    )
}


class UnknownNameError(LookupError):
    """No such member; the message names the allowed ones and the nearest."""


def nearest(name: str, allowed: list[str]) -> str:
    """A hint of the nearest right name, or an empty string."""
    close = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.55)
    return f"; did you mean '{close[0]}'?" if close else ""


def family_named(name: str) -> Family:
    """The family called `name` (singular, plural or alias)."""
    for family in FAMILIES.values():
        if name in (family.name, family.plural, *family.aliases):
            return family
    allowed = sorted(FAMILIES)
    raise UnknownNameError(f"no family '{name}'{nearest(name, allowed)} (families: {', '.join(allowed)})")


@cache
def members(family: str) -> dict[str, type[Member]]:
    """All shipped members of a family by name, in alphabetical order."""
    package = importlib.import_module(FAMILIES[family].package)
    found: dict[str, type[Member]] = {}
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if info.ispkg:
            continue
        module = importlib.import_module(info.name)
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, Member) and "NAME" in vars(cls) and cls.NAME and cls.__module__ == info.name:
                if cls.NAME in found:
                    raise RuntimeError(f"two members of family {family} are called '{cls.NAME}'")
                found[cls.NAME] = cls
    return dict(sorted(found.items()))


def resolve(family: str, name: str) -> type[Member]:
    """The class behind a name, or behind `package.module:Class` from outside raydarts."""
    if ":" in name:
        return _resolve_external(family, name)
    known = members(family)
    if name not in known:
        raise UnknownNameError(
            f"unknown {family} '{name}'{nearest(name, list(known))} (allowed: {', '.join(known)}, or module:Class)"
        )
    return known[name]


def _resolve_external(family: str, name: str) -> type[Member]:
    try:
        cls = outside.load(name)
    except outside.OutsideError as error:
        raise UnknownNameError(f"cannot load {family} '{name}': {error}") from error
    home = FAMILIES[family]
    base: type[Member] = getattr(importlib.import_module(f"{home.package}.base"), home.base)
    if not (inspect.isclass(cls) and issubclass(cls, base)):
        raise UnknownNameError(f"{family} '{name}' is not a subclass of {base.__module__}.{base.__qualname__}")
    member: type[Member] = cls
    return member


class Component(BaseModel):
    """A chosen member with its settings: in YAML `name`, or `{name: ..., setting: value}`."""

    model_config = ConfigDict(frozen=True)

    family: str
    name: str
    settings: Any

    def build(self) -> Any:
        """An instance of the member."""
        member = self.member(self.settings)
        if outside.is_outside(self.name):
            member.outside_name = self.name
        return member

    @property
    def member(self) -> type[Member]:
        return resolve(self.family, self.name)

    def plain(self) -> dict[str, Any]:
        """As in YAML, every setting written out."""
        return {"name": self.name, **self.settings.model_dump(mode="json")}

    def effective(self) -> dict[str, Any] | None:
        """See `Member.effective`; a member from outside keeps its `module:Class` name."""
        plain = self.member.effective(self.settings)
        if plain is not None and plain["name"] == self.member.NAME:
            plain["name"] = self.name
        return plain


@dataclass(frozen=True)
class Choose:
    """Annotation `Annotated[Component, Choose("estimator")]`: a field that holds one member of a family.

    A nested validation error is raised as it is: `config` unfolds it, so that every problem of a
    component keeps its own key and line.
    """

    family: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.plain()),
        )

    def parse(self, value: Any) -> Component:
        if isinstance(value, Component):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            allowed = ", ".join(members(self.family))
            raise PydanticCustomError(
                "component",
                "{message}",
                {"message": f"needs a {self.family}: a name or {{name: ...}} (allowed: {allowed})"},
            )
        rest = {key: setting for key, setting in value.items() if key != "name"}
        try:
            member = resolve(self.family, value["name"])
        except UnknownNameError as error:
            raise PydanticCustomError("component_name", "{message}", {"message": str(error)}) from None
        return Component(family=self.family, name=value["name"], settings=parse_strictly(member.Settings, rest))
