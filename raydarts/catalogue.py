"""Lists every registered choice."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NotRequired, TypedDict

from rich.table import Table
from rich.text import Text

from raydarts.described import described
from raydarts.errors import InputError
from raydarts.registry import FAMILIES, Member, UnknownNameError, family_named, members
from raydarts.terminal import line

if TYPE_CHECKING:
    from raydarts.config.presets import PresetRow

REMEDIES = ("remedies", "remedy")
"""Not a family: the members of all families that are remedies against skip collapse."""


class Row(TypedDict):
    """What `raydarts list --json` prints of a member."""

    family: str
    name: str
    about: str
    source: str
    defaults: Mapping[str, object]
    settings: Sequence[Mapping[str, str]]
    neutral: Mapping[str, object] | None
    requires: Sequence[str]
    conflicts: Mapping[str, str]
    overrides: Sequence[str]
    formula: NotRequired[str]
    differs: NotRequired[str]


def catalogue(family: str | None = None) -> list[Row]:
    """A row for each member of one family, of `remedies`, or of all families (None).

    Keys: `family`, `name`, `about`, `source`, `defaults`, `settings`, `neutral`, `requires`, `conflicts`, `overrides`.
    A remedy also has its `formula`, and in `differs` where paper, authors' code and our code differ.
    """
    try:
        families = [family_named(family).name] if family and family not in REMEDIES else list(FAMILIES)
    except UnknownNameError as error:
        raise InputError(f"{error}; 'remedies' lists the remedies of all families, 'presets' the presets") from None
    pairs = [(name, member) for name in families for member in members(name).values()]
    return [_row(name, member) for name, member in pairs if family not in REMEDIES or member.REMEDY]


def _row(family: str, member: type[Member]) -> Row:
    defaults = {
        key: None if field.is_required() else field.get_default(call_default_factory=True)
        for key, field in member.Settings.model_fields.items()
    }
    row: Row = {
        "family": family,
        "name": member.NAME,
        "about": (inspect.getdoc(member) or "").strip().split("\n")[0],
        "source": member.SOURCE,
        "defaults": defaults,
        "settings": [setting.to_json() for setting in described(member.Settings)],
        "neutral": None if member.NEUTRAL is None else dict(member.NEUTRAL),
        "requires": list(member.REQUIRES),
        "conflicts": dict(member.CONFLICTS),
        "overrides": list(getattr(member, "OVERRIDES", ())),
    }
    if member.REMEDY:
        row["formula"], row["differs"] = member.FORMULA, member.DIFFERS
    return row


def defaults_of(row: Row) -> str:
    """`factor 9.0, ramp linear`."""
    return ", ".join(f"{key} {'null' if value is None else value}" for key, value in row["defaults"].items()) or "-"


def not_with(row: Row, rows: Iterable[Row]) -> str:
    """Returns what a remedy needs and what it cannot be combined with, each with the reason.

    A conflict is shown at both members.
    """
    sentences = [f"needs {need.replace(':', ' ').replace('|', ' or ')}" for need in row["requires"]]
    for key, reason in row["conflicts"].items():
        sentences.append(f"not with {key.partition(':')[2].replace('|', ', ')}: {reason}")
    for other in rows:
        for key, reason in other["conflicts"].items():
            family, _, names = key.partition(":")
            if family == row["family"] and row["name"] in names.split("|"):
                sentences.append(f"not with {other['name']}: {reason}")
        shared = set(row["overrides"]) & set(other["overrides"])
        if shared and other["name"] != row["name"]:
            sentences.append(f"not with {other['name']}: both set {', '.join(sorted(shared))}")
    return "; ".join(sentences) or "-"


def table(rows: Sequence[Row]) -> Table:
    """Returns the rows for a terminal. One family shows types and sentences of its settings, several only defaults."""
    one_family = len({row["family"] for row in rows}) == 1
    drawn = Table(show_lines=True)
    for column in ("family", "name", "what", "settings" if one_family else "defaults", "source"):
        drawn.add_column(column, overflow="fold")
    for row in rows:
        settings = settings_of(row) if one_family else defaults_of(row)
        drawn.add_row(row["family"], row["name"], row["about"], settings, row["source"])
    return drawn


def settings_of(row: Row) -> Text:
    """Returns one line for each setting: `epsilon = 0.01 (number > 0): ...`."""
    lines = []
    for each in row["settings"]:
        kind = ", ".join(filter(None, (each["type"], each["unit"])))
        lines.append(f"{each['name']} = {each['default']} ({kind}): {each['about']}")
    return Text("\n".join(lines) or "-")


def remedies_table(rows: Sequence[Row]) -> Table:
    """Returns the remedies for a terminal. Differences from paper and authors' code are in the docs and in `--json`."""
    drawn = Table(show_lines=True)
    for column in ("remedy", "what it does", "formula", "defaults", "needs, not with"):
        drawn.add_column(column, overflow="fold")
    for row in rows:
        name = row["name"] if row["family"] == "regularizer" else f"{row['family']}: {row['name']}"
        texts = (name, row["about"], row["formula"], defaults_of(row), not_with(row, rows))
        drawn.add_row(*(line(text) for text in texts))
    return drawn


def presets_table(rows: Iterable[PresetRow]) -> Table:
    """Returns presets (`config.presets.Preset.to_json`) for a terminal."""
    drawn = Table(show_lines=True)
    for column in ("preset", "for", "what", "source"):
        drawn.add_column(column, overflow="fold")
    for row in rows:
        source = "\n".join(f"{origin}: {text}" for origin, text in row["source"].items())
        drawn.add_row(row["name"], row["for"], row["about"], source)
    return drawn
