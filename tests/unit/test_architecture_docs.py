"""The walks in docs/architecture.md, from a setting in the spec to its use, name files that have the setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## From the spec to its use")[1].split("\n## ")[0]


def walks() -> dict[str, list[str]]:
    """The name of each walk, and its files."""
    found = {}
    for title, table in re.findall(r"^\*\*(.+?)\*\*.*\n\n((?:\|.*\n)+)", SECTION, re.M):
        files = [file for row in table.splitlines()[2:] for file in re.findall(r"`([\w/]+\.py)`", row.split("|")[1])]
        found[title.removeprefix("A ").strip("`")] = files
    return found


@pytest.mark.parametrize("name", ["xi", "objective", "gpus", "genotype"])
def test_a_walk_has_at_most_eight_files_and_each_has_the_name(name: str) -> None:
    files = walks()[name]
    assert 4 <= len(files) <= 8
    assert len(set(files)) == len(files)
    without = [file for file in files if not re.search(rf"\b{name}\b", (ROOT / "raydarts" / file).read_text())]
    assert not without
