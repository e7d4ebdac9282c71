"""The settings that differ between trials."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TypeGuard

SEED = "search.seed"
_MANY = 5  # a numeric setting with more distinct values than this is treated as continuous


@dataclass(frozen=True)
class Setting:
    """A swept setting. `values` are distinct, numbers ascending. `trend` means that they are numbers, and many."""

    name: str
    label: str
    values: tuple[object, ...]

    @property
    def numeric(self) -> bool:
        return len(self.numbers) == len(self.values)

    @property
    def numbers(self) -> list[int | float]:
        """Those of the values that are numbers, ascending."""
        return [value for value in self.values if is_number(value)]

    @property
    def trend(self) -> bool:
        return self.numeric and len(self.values) > _MANY

    @property
    def log(self) -> bool:
        """Whether a logarithmic axis shows the values better."""
        if not self.numeric or self.numbers[0] <= 0 or self.numbers[-1] / self.numbers[0] < 30:
            return False
        return median(self.numbers) < (self.numbers[0] + self.numbers[-1]) / 4  # most lie near the low end


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def swept(choices: Iterable[Mapping[str, object]], members: Mapping[str, str] | None = None) -> list[Setting]:
    """Returns the settings that differ between these choices. One with a single value is included if others depend on
    it. `members` are the names of list items (`members_of`).
    """
    values: dict[str, dict[str, object]] = {}
    for chosen in choices:
        for name, value in chosen.items():
            if name != SEED:
                values.setdefault(name, {})[repr(value)] = value
    met = list(values)
    ordered = sorted(met, key=lambda name: met.index(_root(name)) if _root(name) in values else met.index(name))
    several = {name: list(values[name].values()) for name in ordered if len(values[name]) > 1}
    labels = {name: short(name, members) for name in several}
    clashing = {label for label in labels.values() if list(labels.values()).count(label) > 1}
    return [
        Setting(name, name.removeprefix("search.") if labels[name] in clashing else labels[name], _ordered(distinct))
        for name, distinct in several.items()
    ]


def members_of(search: Mapping[str, object], prefix: str = "search") -> dict[str, str]:
    """Returns the name of each member of the lists in a trial's `search` settings, by its path.

    `search.regularizers.0` -> `beta_decay`. The second member of one name is `beta_decay#2`, as in W&B.
    """
    names: dict[str, str] = {}
    for key, value in search.items():
        met: list[str] = []
        for index, item in enumerate(value if isinstance(value, list | tuple) else ()):
            name = item.get("name") if isinstance(item, Mapping) else item
            if isinstance(name, str):
                met.append(name)
                count = met.count(name)
                names[f"{prefix}.{key}.{index}"] = name if count == 1 else f"{name}#{count}"
    return names


def named_members(configs: Iterable[Mapping[str, object]]) -> dict[str, str]:
    """Returns the names that list items have in all of these settings. An item with several names has none."""
    every: dict[str, set[str]] = {}
    for config in configs:
        for path, name in members_of(config).items():
            every.setdefault(path, set()).add(name)
    return {path: names.pop() for path, names in every.items() if len(names) == 1}


def _root(name: str) -> str:
    """Returns the choice that a conditional setting depends on in the end."""
    return name.split("[", maxsplit=1)[0]


_ITEM = re.compile(r"^(.*)\.(\d+)$")
_OF_ITEM = re.compile(r"^(search\.[^.\[]+\.\d+)\.(.+)$")


_NAMED_ITEM = re.compile(r"\.\d+(?:\[[^\[\]]*\])*\[([^\[\]]*)\]\.([^\[\]]+)$")
"""A setting of an item of a list that says what the item is: `.0[beta_decay].strength`."""


def short(name: str, members: Mapping[str, str] | None = None) -> str:
    """Turns `search.estimator[finite_difference].xi` into `xi [finite_difference]`.

    A setting of a list item has the name of its member: `search.regularizers.0.strength` is `beta_decay.strength`, and
    so is `search.regularizers.0[beta_decay].strength`. A choice between members is `regularizers, item 1`.
    """
    item = _NAMED_ITEM.search(name)
    options = re.findall(r"\[([^\]]*)\]", name[: item.start()] if item else name)
    last = f"{item[1]}.{item[2]}" if item else name.rsplit("].", 1)[-1]
    if (of := _OF_ITEM.match(last)) and of[1] in (members or {}):
        last = f"{(members or {})[of[1]]}.{of[2]}"
    elif item := _ITEM.match(last):
        last = f"{item[1]}, item {int(item[2]) + 1}"
    last = last.removeprefix("search.")
    return f"{last} [{', '.join(options)}]" if options else last


def _ordered(values: list[object]) -> tuple[object, ...]:
    numbers = sorted(value for value in values if is_number(value))
    return (*numbers, *(value for value in values if not is_number(value)))
