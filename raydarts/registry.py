"""Families of interchangeable parts. They are discovered automatically.

A *family* is a folder of modules and packages. Every class in it that derives from `Member` and sets `NAME` is a
choice. The YAML, the command line's help, the docs tables and the contract tests all use this module. So a new file
is a new choice without any other edit. `package.module:Class` names one from outside.

A family is imported when it is first used. So `import raydarts.search` loads neither Ray nor Optuna.
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

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_serializer, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from raydarts import outside

MARK = "x-raydarts"
"""The key by which a JSON schema says what stands at a place. `config.schema` replaces it.

`[family, NAME]`: a member with its settings. `[some, NAME]`: one or a list of them. `[by_name, NAME]`: a mapping from
members to settings. `[training, ""]`: the settings of a training.
"""
Parsed = TypeVar("Parsed", bound=BaseModel)


class Idle(NamedTuple):
    """A setting that does nothing.

    `key` is its dotted place below the part that reports it. Empty means all of that part. `why` is a sentence without
    its subject, with what to write instead: `is 0, and ...; write ...`.
    """

    key: str
    why: str


@dataclass(frozen=True)
class Around:
    """What a setting may read beside itself to know whether it does anything.

    - `section`: the settings of the whole section (`SearchSettings`, `SweepSettings`, a stage's).
    - `epochs`: the most epochs of a trial of the section.
    - `stretch`: the most epochs with one network. They are fewer than `epochs` in a search in stages.
    - `jobs`: the number of trials. For the section `sweep` that of configurations: each has a trial for each search
      seed. For a stage of retraining, the most genotypes it can get.
    - `gpus`: the GPUs of each trial.
    - `distinct`: the number of different configurations of the search. None if they cannot be counted.
    - `onward`: the number of genotypes that the next stage takes. None if there is no next stage.
    - `random_cells`: how many random cells the sweep draws.
    """

    section: Any
    epochs: int
    stretch: int
    jobs: int
    gpus: float
    distinct: int | None = None
    onward: int | None = None
    random_cells: int = 0


class Settings(BaseModel):
    """Base of all typed settings. They are frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def idle(self, around: Around) -> Iterator[Idle]:
        """Yields the settings that do nothing, with the reason. Nested settings are asked separately."""
        yield from ()

    def written(self, key: str) -> bool:
        """Returns whether this key is in the spec or a preset, so that somebody expects it to act."""
        return key in self.model_fields_set

    def may_change(self) -> tuple[str, ...]:
        """Returns the keys that may get another value between two epochs of a search. Nested settings say theirs.

        A key belongs here if no tensor has another shape, no part comes or goes, and nothing that the search remembers
        was made with the old value.
        """
        return ()


def parse_strictly(model: type[Parsed], value: object) -> Parsed:
    """Validates without guessing: a text is no number, and `true` is not 1. A list may stand for a tuple, 1 for 1.0."""
    return model.model_validate_json(json.dumps(value), strict=True)


class Member:
    """Base of everything that can be chosen by name.

    - `NAME`: the name in YAML. `SOURCE`: paper and equation.
    - `Settings`: nested class whose defaults are the published ones.
    - `NEUTRAL`: settings under which the member gives the same bits as without it. None: there are none.
    - `REQUIRES`: what must be chosen beside it, each as `family:name` (`a|b` for either).
    - `CONFLICTS`: what must not be chosen beside it, in the same form, with the reason.
    - `LANES`: whether a search with it can be a lane of a group (`search.fused`). Spaces, estimators, relaxations and
      regularizers are asked. A class says so itself; it does not inherit it, because it may change what it inherits.
    - `REMEDY`: whether it is a remedy against skip collapse. Then `FORMULA` says what it computes, and `DIFFERS` where
      paper, authors' code and ours differ.

    The docstring's first line is its description in the docs.
    """

    NAME: ClassVar[str] = ""
    SOURCE: ClassVar[str] = ""
    NEUTRAL: ClassVar[Mapping[str, object] | None] = None
    REQUIRES: ClassVar[tuple[str, ...]] = ()
    CONFLICTS: ClassVar[Mapping[str, str]] = {}
    LANES: ClassVar[bool] = False
    REMEDY: ClassVar[bool] = False
    FORMULA: ClassVar[str] = ""
    DIFFERS: ClassVar[str] = ""

    class Settings(Settings):
        """No settings of its own."""

    outside_name: str | None = None  # `module:Class` where it comes from outside

    def __init_subclass__(cls, **further: object) -> None:
        super().__init_subclass__(**further)
        cls.LANES = bool(vars(cls).get("LANES", False))

    def __init__(self, settings: BaseModel) -> None:
        self.settings: Any = settings

    @property
    def registered(self) -> str:
        """The name by which a spec chooses it: `NAME`, or `module:Class` from outside."""
        return self.outside_name or self.NAME

    def idle(self, around: Around) -> Iterator[Idle]:
        """Yields what of this member does nothing, with the reason. A member without any effect says so here.

        Nested settings are asked separately. `config.idle` asks for the plan of a spec.
        """
        if self.NEUTRAL is not None and self.effective(self.settings) is None:
            shown = ", ".join(f"{key}: {json.dumps(value)}" for key, value in self.NEUTRAL.items())
            yield Idle("", f"acts like nothing at {shown}; leave {self.registered} out, or write another value")

    @classmethod
    def effective(cls, settings: BaseModel) -> dict[str, object] | None:
        """Returns the simplest component that acts the same, to recognise equal configurations.

        None means no effect (a regularizer at its NEUTRAL setting). By default it is the component itself, and None at
        NEUTRAL.
        """
        values = settings.model_dump(mode="json")
        if cls.NEUTRAL is not None and all(values[key] == value for key, value in cls.NEUTRAL.items()):
            return None
        return {"name": cls.NAME, **values}


@dataclass(frozen=True)
class Family:
    """A family: its folder, its plural name, its purpose, and the base class of its members.

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
        Family("objective", "raydarts.study.objectives", "objectives", "what search trials are ranked by", "Objective"),
        Family("health", "raydarts.study.health", "healths", "when a derived cell has collapsed", "HealthCheck"),
        Family("searcher", "raydarts.searchers", "searchers", "which configurations are tried", "Searcher"),
        Family("scheduler", "raydarts.schedulers", "schedulers", "which trials stop early", "Scheduler"),
        Family(
            "tracker", "raydarts.trackers", "trackers", "where a run is shown while it goes on", "Tracker", ("track",)
        ),
    )
}


class UnknownNameError(LookupError):
    """There is no such member. The message names the allowed ones and the nearest."""


def nearest(name: str, allowed: list[str]) -> str:
    """Returns a hint with the nearest allowed name, or an empty text."""
    close = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.55)
    return f"; did you mean '{close[0]}'?" if close else ""


def family_named(name: str) -> Family:
    """Returns the family called `name` (singular, plural or alias)."""
    for family in FAMILIES.values():
        if name in (family.name, family.plural, *family.aliases):
            return family
    allowed = sorted(FAMILIES)
    raise UnknownNameError(f"no family '{name}'{nearest(name, allowed)} (families: {', '.join(allowed)})")


@cache
def members(family: str) -> dict[str, type[Member]]:
    """Returns all shipped members of a family by name, in alphabetical order."""
    package = importlib.import_module(FAMILIES[family].package)
    classes: dict[str, type[Member]] = {}
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        module = importlib.import_module(info.name)
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, Member) and "NAME" in vars(cls) and cls.NAME and cls.__module__ == info.name:
                if cls.NAME in classes:
                    raise RuntimeError(f"two members of family {family} are called '{cls.NAME}'")
                classes[cls.NAME] = cls
    return dict(sorted(classes.items()))


def resolve(family: str, name: str) -> type[Member]:
    """Returns the class of a name, or of `package.module:Class` from outside raydarts."""
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
        """Returns an instance of the member."""
        member = self.member(self.settings)
        if outside.is_outside(self.name):
            member.outside_name = self.name
        return member

    @property
    def member(self) -> type[Member]:
        return resolve(self.family, self.name)

    def plain(self) -> dict[str, object]:
        """Returns the YAML form with every setting."""
        return {"name": self.name, **self.settings.model_dump(mode="json")}

    def effective(self) -> dict[str, object] | None:
        """See `Member.effective`. A member from outside keeps its `module:Class` name."""
        plain = self.member.effective(self.settings)
        if plain is not None and plain["name"] == self.member.NAME:
            plain["name"] = self.name
        return plain


@dataclass(frozen=True)
class Choose:
    """Annotation `Annotated[Component, Choose("estimator")]`: a field that holds one member of a family.

    A nested validation error is raised unchanged. `config` unfolds it, so that every problem of a component keeps its
    key and line.
    """

    family: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.plain()),
        )

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, Any]:
        return {MARK: ["family", self.family]}

    def parse(self, value: object) -> Component:
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


Some = Component | tuple[Component, ...]


@dataclass(frozen=True)
class ChooseSome(Choose):
    """Annotation `Annotated[Some, ChooseSome("objective")]`: one member of a family, or a list of several.

    A list of one is that one.
    """

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def plain(value: Some) -> object:
            return value.plain() if isinstance(value, Component) else [each.plain() for each in value]

        return core_schema.no_info_plain_validator_function(
            self.parse_some, serialization=core_schema.plain_serializer_function_ser_schema(plain)
        )

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, Any]:
        return {MARK: ["some", self.family]}

    def parse_some(self, value: object) -> Some:
        """Raises all problems of a list together, each under its number: see `Choose`."""
        if not isinstance(value, list | tuple):
            return self.parse(value)
        chosen: list[Component] = []
        wrong: list[InitErrorDetails] = []
        for number, each in enumerate(value):
            try:
                chosen.append(self.parse(each))
            except PydanticCustomError as error:
                wrong.append(InitErrorDetails(type=error, loc=(number,), input=each))
            except ValidationError as error:
                wrong.append(InitErrorDetails(type="value_error", loc=(number,), input=each, ctx={"error": error}))
        if wrong:
            raise ValidationError.from_exception_data(self.family, wrong)
        return chosen[0] if len(chosen) == 1 else tuple(chosen)


class ByName(Settings):
    """Settings whose keys are members of one family: `{wandb: {mode: offline}, tensorboard: true}`.

    `true` chooses a member with its defaults, a mapping sets its settings; `false` and null do not choose it.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    FAMILY: ClassVar[str]

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> dict[str, Any]:
        return {MARK: ["by_name", cls.FAMILY]}

    @property
    def chosen(self) -> dict[str, Component]:
        """The chosen members by the names that the spec gives them."""
        return dict(self.model_extra or {})

    @classmethod
    def parse_member(cls, name: str, given: object) -> Component | None:
        """One member with its settings; None where it is not chosen. Raises what pydantic raises."""
        if given is None or given is False:
            return None
        if given is not True and not isinstance(given, Mapping):
            wanted = f"must be true, false or a mapping of keys, got {json.dumps(given)[:80]}"
            raise PydanticCustomError("member", "{message}", {"message": wanted})
        try:
            member = resolve(cls.FAMILY, name)
        except UnknownNameError as error:
            raise PydanticCustomError("member_name", "{message}", {"message": str(error)}) from None
        settings = parse_strictly(member.Settings, {} if given is True else dict(given))
        return Component(family=cls.FAMILY, name=name, settings=settings)

    @model_validator(mode="before")
    @classmethod
    def _parse_members(cls, value: object) -> object:
        """A nested validation error is raised as it is, under the member's name: see `Choose`."""
        if not isinstance(value, Mapping):
            return value
        chosen: dict[str, Component] = {}
        wrong: list[InitErrorDetails] = []
        for name, given in value.items():
            try:
                member = given if isinstance(given, Component) else cls.parse_member(str(name), given)
            except PydanticCustomError as error:
                wrong.append(InitErrorDetails(type=error, loc=(name,), input=given))
            except ValidationError as error:
                wrong.append(InitErrorDetails(type="value_error", loc=(name,), input=given, ctx={"error": error}))
            else:
                if member is not None:
                    chosen[str(name)] = member
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return chosen

    @model_serializer
    def _plain(self) -> dict[str, object]:
        return {name: component.settings.model_dump(mode="json") for name, component in self.chosen.items()}
