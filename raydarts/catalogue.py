"""The list of every registered choice."""

from __future__ import annotations

import inspect
from typing import Any

from rich.table import Table

from raydarts.errors import InputError
from raydarts.registry import FAMILIES, UnknownNameError, family_named, members


def catalogue(family: str | None = None) -> list[dict[str, Any]]:
    """A row for each member: `family`, `name`, `source`, `defaults`, `about`, `requires`."""
    try:
        families = [family_named(family).name] if family else list(FAMILIES)
    except UnknownNameError as error:
        raise InputError(f"{error}; 'presets' lists the presets") from None
    rows = []
    for name in families:
        for member in members(name).values():
            defaults = {
                key: None if field.is_required() else field.get_default(call_default_factory=True)
                for key, field in member.Settings.model_fields.items()
            }
            about = (inspect.getdoc(member) or "").strip().split("\n")[0]
            rows.append(
                {
                    "family": name,
                    "name": member.NAME,
                    "source": member.SOURCE,
                    "defaults": defaults,
                    "about": about,
                    "requires": list(member.REQUIRES),
                }
            )
    return rows


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows for a terminal."""
    drawn = Table(show_lines=True)
    for column in ("family", "name", "what", "defaults", "source"):
        drawn.add_column(column, overflow="fold")
    for row in rows:
        defaults = ", ".join(f"{key}={value}" for key, value in row["defaults"].items())
        drawn.add_row(row["family"], row["name"], row["about"], defaults, row["source"])
    return drawn


def presets_table(rows: list[dict[str, Any]]) -> Table:
    """Presets (`config.presets.Preset.to_json`) for a terminal."""
    drawn = Table(show_lines=True)
    for column in ("preset", "for", "what", "source"):
        drawn.add_column(column, overflow="fold")
    for row in rows:
        source = "\n".join(f"{origin}: {text}" for origin, text in row["source"].items())
        drawn.add_row(row["name"], row["for"], row["about"], source)
    return drawn
