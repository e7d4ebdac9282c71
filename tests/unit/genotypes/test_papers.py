"""Genotypes as papers print them."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydarts.genotypes.genotype import Genotype
from raydarts.genotypes.papers import file_text, printed

DARTS = {
    "normal": [["sep_conv_3x3", 0], ["skip_connect", 1]] * 4,
    "normal_concat": [2, 3, 4, 5],
    "reduce": [["max_pool_3x3", 0], ["max_pool_3x3", 1]] * 4,
    "reduce_concat": [3, 5],
}
RECURRENT = {"recurrent": [["relu", 0], ["tanh", 1]], "concat": [1, 2]}
BENCHMARK = {"cell": [[["nor_conv_3x3", 0]], [["none", 0], ["skip_connect", 1]], [["none", 0]] * 3], "cell_concat": [3]}
UNEVEN = {
    "normal": [[["sep_conv_3x3", 0]], []],
    "normal_concat": [2],
    "reduce": [[["none", 0]], [["none", 1], ["none", 2]]],
    "reduce_concat": [2, 3],
}
OWN = {**RECURRENT, "space": {"name": "mine:Space", "nodes": 2}, "skip": "identity"}


def test_the_authors_text() -> None:
    assert printed(Genotype.from_json(RECURRENT)) == (
        "Genotype(recurrent=[('relu', 0), ('tanh', 1)], concat=range(1, 3))"
    )
    assert "normal_concat=range(2, 6)" in printed(Genotype.from_json(DARTS))
    assert "reduce_concat=[3, 5]" in printed(Genotype.from_json(DARTS))


def test_the_notation_of_nas_bench_201() -> None:
    assert printed(Genotype.from_json(BENCHMARK)) == "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~0|none~0|"


@pytest.mark.parametrize("plain", [DARTS, RECURRENT, BENCHMARK, UNEVEN], ids=["darts", "rnn", "201", "uneven"])
def test_what_is_printed_reads_back(plain: dict[str, object], tmp_path: Path) -> None:
    genotype = Genotype.from_json(plain)
    file = tmp_path / "g.txt"
    file.write_text(printed(genotype))
    assert Genotype.from_file(file) == genotype


@pytest.mark.parametrize(
    "plain", [DARTS, RECURRENT, BENCHMARK, UNEVEN, OWN], ids=["darts", "rnn", "201", "uneven", "own"]
)
def test_a_file_with_both_forms_reads_back_whole(plain: dict[str, object], tmp_path: Path) -> None:
    genotype = Genotype.from_json(plain)
    file = tmp_path / "g.txt"
    file.write_text(file_text(genotype))
    assert Genotype.from_file(file) == genotype
    assert file.read_text().count("\n# ") == 2
