"""The table of faults names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TABLE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TABLE)


@pytest.mark.parametrize(("file", "test"), [pair for pair in NAMED if pair[1]])
def test_every_named_test_exists(file: str, test: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_fault_has_a_test() -> None:
    rows = [line for line in TABLE.split("## What is counted")[0].splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 9
    assert all(re.search(r"`tests/[\w/]+\.py", row) for row in rows)
