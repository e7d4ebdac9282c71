"""docs/spec.md and `raydarts list` say of every setting what the setting itself says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from raydarts.cli import app
from raydarts.config.loader import load_spec
from raydarts.described import described
from raydarts.registry import FAMILIES, members
from raydarts.units import Epochs
from tests.scripts import script


@pytest.fixture(scope="module")
def make_spec() -> ModuleType:
    return script("docs/make_spec.py")


def test_page_is_up_to_date(make_spec: ModuleType) -> None:
    text = make_spec.PAGE.read_text(encoding="utf-8")
    assert make_spec.page(text) == text, "docs/spec.md is stale; run python docs/make_spec.py"


def _models(make_spec: ModuleType) -> Iterator[tuple[str, type[BaseModel]]]:
    for model, places in make_spec.places().items():
        yield places[0], model
    for family in FAMILIES:
        for name, member in members(family).items():
            yield f"{family} {name}", member.Settings


def test_every_setting_has_one_plain_sentence(make_spec: ModuleType) -> None:
    for place, model in _models(make_spec):
        for setting in described(model):
            about = setting.about
            assert about.endswith("."), f"{place}.{setting.name} needs a description in its Field(...)"
            assert about[0].isupper() or not about[0].isalpha(), f"{place}.{setting.name}: {about}"


def test_every_section_of_a_spec_is_on_the_page(make_spec: ModuleType) -> None:
    assert {*make_spec.MODELS, "name", "question"} == set(make_spec.SECTIONS)


def test_example_on_the_page_is_a_valid_spec(make_spec: ModuleType, tmp_path: Path) -> None:
    lines = make_spec.PAGE.read_text(encoding="utf-8").split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("        "))
    example = [line[8:] for line in takewhile(lambda line: not line or line.startswith("        "), lines[first:])]
    path = tmp_path / "quick.yaml"
    path.write_text("\n".join(example), encoding="utf-8")
    assert load_spec(path).name == "quick"


def test_described_shows_type_limits_default_unit_and_sentence() -> None:
    class Example(BaseModel):
        rest: Epochs | None = Field(3, ge=1, lt=9, description="Epochs of rest.")

    (setting,) = described(Example)
    assert setting.to_json() == {
        "name": "rest",
        "type": "whole number >= 1, < 9 or `null`",
        "default": "3",
        "unit": "epochs",
        "about": "Epochs of rest.",
    }


def test_list_prints_the_sentences_of_the_settings() -> None:
    rows = json.loads(CliRunner().invoke(app, ["list", "estimator", "--json"]).output)
    (row,) = (each for each in rows if each["name"] == "finite_difference")
    settings = described(members("estimator")["finite_difference"].Settings)
    assert row["settings"] == [each.to_json() for each in settings]
    printed = CliRunner().invoke(app, ["list", "estimator"], env={"COLUMNS": "400"}).output
    for each in settings:
        assert each.about in printed
