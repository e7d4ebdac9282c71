"""Writes the tables of docs/remedies.md from the registry and from the measured costs in docs/remedy_costs.json.

    python docs/make_remedies.py [--check]

What stands above the first heading of the tables is written by hand and kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raydarts.catalogue import catalogue, defaults_of, not_with

FOLDER = Path(__file__).parent
PAGE = FOLDER / "remedies.md"
COSTS = FOLDER / "remedy_costs.json"
MARK = "<!-- from here on written by docs/make_remedies.py -->"


def escaped(text: str) -> str:
    return text.replace("|", "\\|")


def cost_of(row: Mapping[str, Any], costs: Mapping[str, Any]) -> str:
    """`1.02 (0.98 to 1.10)`: the step's time over the plain step's."""
    found = costs["remedies"].get(f"{row['family']}:{row['name']}")
    return "not measured" if found is None else f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def tables() -> str:
    rows, costs = catalogue("remedies"), json.loads(COSTS.read_text(encoding="utf-8"))
    lines = [
        MARK,
        "",
        "## All of them",
        "",
        "| remedy | what it does | formula | defaults | a step costs | needs, not with |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = f"`{row['name']}`" + ("" if row["family"] == "regularizer" else f" ({row['family']})")
        cells = [name, row["about"], f"`{row['formula']}`", defaults_of(row), cost_of(row, costs), not_with(row, rows)]
        lines.append("| " + " | ".join(escaped(cell) for cell in cells) + " |")
    lines += ["", f"A step costs: {costs['how']}", "", "## Sources, and where ours differs", ""]
    for row in rows:
        neutral = "" if row["neutral"] is None else f" As absent at: {json.dumps(row['neutral'])}."
        lines += [f"**`{row['name']}`** {row['source']}.{neutral} {row['differs']}".rstrip(), ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the page is not up to date")
    arguments = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    wanted = page.partition(MARK)[0] + tables()
    if arguments.check and wanted != page:
        sys.exit(f"{PAGE}: not up to date; run python docs/make_remedies.py")
    if not arguments.check:
        PAGE.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
