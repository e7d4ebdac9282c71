"""What the docs and the shipped sweeps say of remedies is what the registry has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from raydarts.catalogue import catalogue

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "remedies.md").read_text(encoding="utf-8")


def test_page_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "docs/make_remedies.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_remedy_has_its_cost_and_its_place_in_the_sweep() -> None:
    sweep = (ROOT / "sweeps" / "remedies.yaml").read_text(encoding="utf-8")
    for row in catalogue("remedies"):
        assert f"`{row['name']}`" in PAGE
        assert row["name"] in sweep
    assert "not measured" not in PAGE


def test_the_example_on_the_page_is_the_one_that_is_run() -> None:
    lines = 0
    for name in ("skip_budget.py", "own-remedy.yaml"):
        text = (ROOT / "docs" / "examples" / name).read_text(encoding="utf-8")
        assert text in PAGE
        lines = max(lines, len(text.splitlines()))
    assert lines < 40
