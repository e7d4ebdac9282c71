"""docs/presets.md: every number in its tables is the preset's or the default's, and every preset is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from raydarts.config.presets import all_presets
from raydarts.evaluation.language_settings import LanguageSettings
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.search.settings import SearchSettings

TEXT = (Path(__file__).parent.parent.parent.parent / "docs" / "presets.md").read_text()
PRESETS = {f"{preset.kind}/{preset.name}": preset for preset in all_presets()}
DEFAULTS = {
    "search": SearchSettings().model_dump(mode="json"),
    "training": EvaluationSettings().model_dump(mode="json"),
    "language": LanguageSettings().model_dump(mode="json"),
}


def flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {
            key: leaf for part, item in value.items() for key, leaf in flat(item, f"{path}.{part}".strip(".")).items()
        }
    return {path: value}


def tables() -> dict[str, list[list[str]]]:
    """The rows of each table under its heading (a second one under a heading: with a number)."""
    found: dict[str, list[list[str]]] = {}
    for part in TEXT.split("\n## ")[1:]:
        heading = part.split("\n")[0]
        for block in re.findall(r"(?:^\|.*\n)+", part, re.MULTILINE):
            rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in block.splitlines()]
            found[heading if heading not in found else f"{heading} 2"] = [rows[0], *rows[2:]]
    return found


TABLES = tables()
SETTINGS = [heading for heading, rows in TABLES.items() if rows[0][0] == "setting"]


def cells() -> Iterator[tuple[str, str, str, str]]:
    """Heading, column, setting and cell of every value."""
    for heading in SETTINGS:
        header, *rows = TABLES[heading]
        for row in rows:
            for column, cell in zip(header[1:], row[1:], strict=False):
                if "`" in column:
                    yield heading, column, row[0].strip("`"), cell


def origin(key: str, setting: str) -> str:
    while setting not in PRESETS[key].origins:
        setting = setting.rpartition(".")[0]
    return PRESETS[key].origins[setting]


def value_of(column: str, setting: str) -> Any:
    """What a cell must say, by its column's heading."""
    if defaults := re.search(r"`(\w+)` defaults", column):
        known = flat(DEFAULTS[defaults[1]])
    else:
        known = flat(PRESETS[column.split("`")[1]].values.plain())
    return known[setting] if setting in known else known[f"{setting}.name"]


def test_every_cell_is_the_presets_or_the_defaults() -> None:
    checked, wrong = 0, []
    for heading, column, setting, cell in cells():
        key = column.split("`")[1]
        silent = column.startswith("paper") and origin(key, setting) != "paper"
        expected = "silent" if silent else value_of(column, setting)
        if YAML(typ="safe", pure=True).load(cell) != expected:
            wrong.append((heading, column, setting, cell, expected))
        checked += 1
    assert wrong == []
    assert checked > 200


@pytest.mark.parametrize("heading", SETTINGS)
def test_a_table_leaves_no_setting_of_its_presets_out(heading: str) -> None:
    header, *rows = TABLES[heading]
    shown = {row[0].strip("`") for row in rows}
    for key in re.findall(r"`(\w+/[\w-]+)`", " ".join(header)):
        values = flat(PRESETS[key].values.plain())
        missing = set(values) - shown
        if heading.startswith("Retraining by other"):  # the page says: the others are those of this one
            paper = flat(PRESETS["training/darts-cifar10"].values.plain())
            missing = {setting for setting in missing if values[setting] != paper[setting]}
        assert not missing, f"{key}: {missing}"


def test_every_preset_is_listed_with_its_sources() -> None:
    header, *rows = TABLES["All presets"]
    assert header == ["preset", "source", "what"]
    listed = {row[0].strip("`"): row[1:] for row in rows}
    assert set(listed) == set(PRESETS)
    for key, preset in PRESETS.items():
        source = "; ".join(f"{kind}: {text}" for kind, text in preset.sources.items())
        assert listed[key] == [source, preset.about]
