"""Genotypes in the files people have: whatever stands around one, and several in one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydarts.errors import GenotypeError
from raydarts.genotypes.source import NamedGenotype
from raydarts.spaces import Genotype, space_of

REDUCE = "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=range(2, 3)"
ONE = f"Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=[2], {REDUCE})"
TWO = ONE.replace("sep_conv_3x3", "dil_conv_3x3")
ID = Genotype.from_json(ONE).id
OTHER = Genotype.from_json(TWO).id


def read(text: str, tmp_path: Path, name: str | None = None) -> Genotype:
    path = tmp_path / "g.py"
    path.write_text(text)
    return Genotype.from_file(path if name is None else NamedGenotype(path, name))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f'"""Found by us: Genotype(no)."""\n# a comment\nX = {ONE}\n', id="doc string"),
        pytest.param(f"X: Genotype = {ONE}\n", id="annotated"),
        pytest.param(f"print({ONE})\n", id="print"),
        pytest.param(f"print {ONE}\n", id="print of Python 2"),
        pytest.param(f"2024-01-01 10:00:00,123 INFO genotype = {ONE}\n", id="log line"),
        pytest.param(f"it's epoch #3: {ONE} ok?\n", id="log line with quotes"),
        pytest.param(f"# X = {ONE}\n", id="comment alone"),
        pytest.param(f"genotype: {ONE}", id="colon"),
        pytest.param(f"from x import *\n\n\nclass A:\n    G = genotypes.{ONE}\n", id="in a class"),
        pytest.param(f"def f(g):\n    return Genotype(normal=g)\nX = {ONE}\n", id="beside code that makes one"),
        pytest.param(f"1 {ONE}\n2 {ONE}\n", id="the same twice"),
        pytest.param(f'{{"genotype": "{ONE}"}}\n{{"epoch": 2}}\n', id="line of JSON"),
    ],
)
def test_single_genotype_is_read_from_any_surrounding_text(text: str, tmp_path: Path) -> None:
    assert read(text, tmp_path).id == ID


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"A = {ONE}\nB = {TWO}\nBEST = B\n", {"A": ID, "B": OTHER, "BEST": OTHER, "1": ID, "2": OTHER}),
        (f"GS = {{'a': {ONE},\n 'b': {TWO}}}\n", {"a": ID, "b": OTHER}),
        (f"\n\nepoch 1 genotype = {ONE}\nepoch 2 genotype = {TWO}\n", {"3": ID, "4": OTHER}),
        (f"[{ONE}, {TWO}]", {"1": ID, "2": OTHER}),
        (f'{{"A": "{ONE}", "B": {{"genotype": "{TWO}"}}}}', {"A": ID, "B": OTHER}),
        (
            f'[{{"name": "A", "genotype": "{ONE}"}}, {{"name": "B", "genotype": "{TWO}"}}]',
            {"A": ID, "B": OTHER, "2": OTHER},
        ),
    ],
)
def test_one_of_several_is_chosen_by_name_or_place(text: str, names: dict[str, str], tmp_path: Path) -> None:
    for name, wanted in names.items():
        assert read(text, tmp_path, name).id == wanted
    with pytest.raises(GenotypeError, match=r"g\.py: holds 2 genotypes; choose one as .*g\.py:\S+\. It has "):
        read(text, tmp_path)
    with pytest.raises(GenotypeError, match="holds no genotype 'Z'; it has "):
        read(text, tmp_path, "Z")


def test_a_name_that_stands_twice_is_chosen_by_its_line(tmp_path: Path) -> None:
    text = f"A = {ONE}\nA = {TWO}\n"
    with pytest.raises(GenotypeError, match=r"'A' stands 2 times; choose one by its line: A .line 1., A .line 2."):
        read(text, tmp_path, "A")
    assert read(text, tmp_path, "2").id == OTHER


@pytest.mark.parametrize("text", ["\n\nX = {}\n", "log\n...\ngenotype = {} (!)\n"])
def test_an_unknown_primitive_is_named_with_its_line_and_the_allowed_ones(text: str, tmp_path: Path) -> None:
    found = read(text.format(ONE.replace("max_pool_3x3", "max_pol_3x3")), tmp_path)
    with pytest.raises(GenotypeError) as caught:
        space_of(found, str(tmp_path / "g.py"))
    told = str(caught.value)
    assert told.startswith(f"{tmp_path}/g.py:3: no space has the primitive 'max_pol_3x3'; did you mean 'max_pool_3x3'?")
    assert "dil_conv_5x5" in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ONE.replace("1)", "0x" + "f" * 6000 + ")", 1), "g.py:1: a number above 1,000,000,000"),
        (ONE.replace("1)", "9" * 6000 + ")", 1), "a number of thousands of digits"),
        ("\nGenotype(" * 20_000, "g.py:2: not Python's form of a genotype: Genotype( without its closing bracket"),
        ("Genotype(" + "[" * 40_000, "without its closing bracket"),
        ("class Genotype(tuple):\n    pass\n", "holds no whole Genotype(...)"),
        (ONE.replace("[2]", "__import__('os').listdir()"), "g.py:1: only texts, numbers"),
    ],
)
def test_limits_of_what_is_read(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(GenotypeError) as caught:
        read(text, tmp_path)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400
