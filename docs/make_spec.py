"""Writes the tables of docs/spec.md from the settings: names, types, defaults, units, and one sentence for each.

    python docs/make_spec.py [--check]

The text above the tables is written by hand and kept.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from raydarts.config.allocation import AllocatedSettings
from raydarts.config.loader import SECTIONS
from raydarts.config.spec import BudgetSettings, RungSettings, SweepSettings, TransferSettings
from raydarts.config.track import TrackSettings
from raydarts.data.settings import DataSettings
from raydarts.described import Setting, described, nested
from raydarts.registry import FAMILIES, ByName, members
from raydarts.search.settings import SearchSettings

PAGE = Path(__file__).parent / "spec.md"
MARK = "<!-- from here on written by docs/make_spec.py -->"
MODELS: dict[str, type[BaseModel]] = {
    "data": DataSettings,
    "search": SearchSettings,
    "sweep": SweepSettings,
    "evaluate": AllocatedSettings,
    "rungs": RungSettings,
    "transfer": TransferSettings,
    "budget": BudgetSettings,
    "track": TrackSettings,
}
LIKE = {"rungs": "evaluate", "transfer": "evaluate"}
"""Sections that have the keys of another one. Only the keys that differ are listed."""


def places() -> dict[type[BaseModel], list[str]]:
    """Each class of settings with all places where it stands in a spec, in the order of the sections."""
    where: dict[type[BaseModel], list[str]] = {}

    def walk(model: type[BaseModel], place: str) -> None:
        where.setdefault(model, []).append(place)
        for name, part in nested(model):
            walk(part, f"{place}.{name}")

    for section, model in MODELS.items():
        if section in LIKE:
            where.setdefault(model, []).append(section)
        else:
            walk(model, section)
    return where


def table(settings: Iterable[Setting]) -> Iterator[str]:
    yield "| key | type | default | unit | meaning |"
    yield "|---|---|---|---|---|"
    for each in settings:
        cells = (f"`{each.name}`", each.type, each.default, each.unit, each.about)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def sections() -> Iterator[str]:
    for model, where in places().items():
        settings, like = described(model), LIKE.get(where[0])
        name = model.model_fields.get("name")  # of a training; a transfer's has no default
        kind = "" if name is None or name.is_required() else f" with `name: {name.default}`"
        yield from ["", f"### {', '.join(f'`{place}`' for place in where)}{kind}", ""]
        if like is not None:
            same = described(MODELS[like])
            names = [each.name for each in settings]
            missing = [f"`{each.name}`" for each in same if each.name not in names]
            settings = [each for each in settings if each not in same]
            without = f" without {', '.join(missing)}" if missing else ""
            yield from [f"The keys of `{like}`{without}. These are different, or new:", ""]
        if issubclass(model, ByName):
            yield from [(inspect.getdoc(model) or "").split("\n")[0], ""]
            yield f"The keys are the members of the family `{model.FAMILY}`, below, or `package.module:Class`."
        else:
            yield from table(settings)


def families() -> Iterator[str]:
    for family in FAMILIES.values():
        yield from ["", f"### {family.name}: {family.purpose}"]
        without = []
        for name, member in members(family.name).items():
            settings = described(member.Settings)
            if not settings:
                without.append(name)
                continue
            about = (inspect.getdoc(member) or "").split("\n")[0]
            yield from ["", f"**`{name}`**: {about}", "", *table(settings)]
        if without:
            yield from ["", f"Without settings: {', '.join(f'`{name}`' for name in without)}."]


def page(text: str) -> str:
    """The page with its tables written anew."""
    lines = [text.partition(MARK)[0] + MARK, "", "## Sections", *sections(), "", "## Families", *families()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the page is not up to date")
    arguments = parser.parse_args()
    if missing := set(SECTIONS) - {"name", "question"} - set(MODELS):
        sys.exit(f"{__file__}: MODELS lacks the section {', '.join(sorted(missing))}; add its settings")
    text = PAGE.read_text(encoding="utf-8")
    if arguments.check and page(text) != text:
        sys.exit(f"{PAGE}: not up to date; run python docs/make_spec.py")
    if not arguments.check:
        PAGE.write_text(page(text), encoding="utf-8")


if __name__ == "__main__":
    main()
