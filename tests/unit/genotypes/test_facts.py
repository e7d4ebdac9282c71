"""Facts of a cell from its genotype alone."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from raydarts.errors import GenotypeError
from raydarts.genotypes.facts import FACTS, Kinds, cell_facts
from raydarts.genotypes.genotype import Genotype


def cnn(normal: list[str], reduce: list[str] | None = None) -> Genotype:
    def edges(names: list[str]) -> list[list[Any]]:
        return [[name, number % 2] for number, name in enumerate(names)]

    nodes = list(range(2, 2 + len(normal) // 2))
    return Genotype.from_json(
        {
            "normal": edges(normal),
            "normal_concat": nodes,
            "reduce": edges(reduce or ["max_pool_3x3"] * len(normal)),
            "reduce_concat": nodes,
        }
    )


def test_shares_are_those_of_the_normal_cell() -> None:
    genotype = cnn(["skip_connect"] * 3 + ["max_pool_3x3"] * 2 + ["sep_conv_3x3"] * 3)
    assert cell_facts(genotype) == {
        "skip_share": 3 / 8,
        "parameter_free_share": 5 / 8,
        "noise_edges": 0,
        "disconnected": 0,
    }
    assert tuple(cell_facts(genotype)) == FACTS


def test_noise_and_none_have_no_parameters_and_pass_on_nothing() -> None:
    facts = cell_facts(cnn(["noise", "sep_conv_3x3", "none", "sep_conv_3x3"]))
    assert facts == {"skip_share": 0.0, "parameter_free_share": 0.5, "noise_edges": 2, "disconnected": 0}


def test_a_cell_of_noise_alone_is_disconnected_and_so_is_a_reduction_cell() -> None:
    assert cell_facts(cnn(["noise"] * 4))["disconnected"] == 1
    assert cell_facts(cnn(["sep_conv_3x3"] * 4, ["noise"] * 4))["disconnected"] == 1
    assert cell_facts(cnn(["noise"] * 4, ["none"] * 4))["disconnected"] == 2


@pytest.mark.parametrize(
    ("text", "share", "free", "noise", "cut"),
    [
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|", 1, 1, 0, 0),
        ("|none~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|nor_conv_1x1~2|", 0, 4, 4, 1),
        ("|avg_pool_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|", 2, 6, 3, 0),
    ],
)
def test_a_cell_of_nasbench201_keeps_none_among_its_six_edges(
    text: str, share: int, free: int, noise: int, cut: int
) -> None:
    assert cell_facts(Genotype.from_json(text)) == {
        "skip_share": share / 6,
        "parameter_free_share": free / 6,
        "noise_edges": noise,
        "disconnected": cut,
    }


def test_identity_is_the_skip_of_a_recurrent_cell_where_every_node_has_weights() -> None:
    edges = [["tanh", 0], ["identity", 1], ["relu", 1], ["identity", 0]]
    facts = cell_facts(Genotype.from_json({"recurrent": edges, "concat": [1, 2, 3, 4]}))
    assert facts == {"skip_share": 0.5, "parameter_free_share": 0.0, "noise_edges": 0, "disconnected": 0}


def test_facts_of_an_outside_primitive_are_not_guessed() -> None:
    genotype = cnn(["mine:Blur", "sep_conv_3x3", "skip_connect", "sep_conv_3x3"])
    with pytest.raises(GenotypeError, match=r"whether mine:Blur has parameters is not known.*PARAMETER_FREE"):
        cell_facts(genotype)
    kinds = Kinds("skip_connect", frozenset({"mine:Blur", "skip_connect"}), frozenset(), ("normal",))
    assert cell_facts(genotype, kinds)["parameter_free_share"] == 0.5


def test_of_several_judged_cells_the_worst_share_counts() -> None:
    kinds = Kinds("skip_connect", frozenset({"skip_connect"}), frozenset({"none"}), ("normal", "reduce"))
    genotype = cnn(["sep_conv_3x3"] * 4, ["skip_connect"] * 3 + ["none"])
    facts = cell_facts(genotype, kinds)
    assert (facts["skip_share"], facts["noise_edges"]) == (0.75, 1)


def test_needs_no_torch() -> None:
    code = "import sys, json, raydarts.genotypes.facts; print(json.dumps('torch' in sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) is False
