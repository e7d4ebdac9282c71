"""Genotypes: JSON in and out, errors that say what is wrong, an id of what is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raydarts.errors import GenotypeError
from raydarts.spaces import Genotype

CELL = [["sep_conv_3x3", 0], ["skip_connect", 1], ["max_pool_3x3", 0], ["dil_conv_3x3", 2]]


def plain(**changes: Any) -> dict[str, Any]:
    return {"normal": CELL, "normal_concat": [2, 3], "reduce": CELL, "reduce_concat": [2, 3], **changes}


def with_edge(number: int, edge: Any) -> list[Any]:
    return [*CELL[:number], edge, *CELL[number + 1 :]]


def test_json_round_trip(tmp_path: Path) -> None:
    genotype = Genotype.from_json(plain())
    assert genotype.to_json() == plain()
    file = tmp_path / "genotype.json"
    file.write_text(json.dumps(genotype.to_json()))
    assert Genotype.from_file(file) == genotype
    file.write_text(json.dumps({"name": "mine", "genotype": plain()}))
    assert Genotype.from_file(file) == genotype
    assert genotype.skips() == {"normal": 1, "reduce": 1}
    assert genotype["normal"].nodes[1] == (("max_pool_3x3", 0), ("dil_conv_3x3", 2))


def test_nodes_with_unlike_numbers_of_edges_are_nested() -> None:
    nested = [[["skip_connect", 0]], [["sep_conv_3x3", 0], ["sep_conv_3x3", 1], ["skip_connect", 2]]]
    genotype = Genotype.from_json(plain(normal=nested))
    assert [len(node) for node in genotype["normal"].nodes] == [1, 3]
    assert genotype.to_json()["normal"] == nested
    assert Genotype.from_json(genotype.to_json()) == genotype


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param([], "a genotype is a JSON object", id="list"),
        pytest.param({"normal": CELL, "normal_concat": [2, 3]}, "reduce, reduce_concat missing", id="no-reduce"),
        pytest.param(plain(extra=1), "unknown extra", id="unknown"),
        pytest.param({"recurrent": [["tanh", 0]]}, "concat missing", id="no-concat"),
        pytest.param(
            plain(normal=with_edge(1, ["skip_connect", 2])), "node 2: skip_connect comes from node 2", id="self"
        ),
        pytest.param(plain(reduce=with_edge(3, ["skip_connect", 7])), "reduce, node 3: .* from node 7", id="later"),
        pytest.param(plain(normal=with_edge(0, ["skip_connect", -1])), "comes from node -1", id="negative"),
        pytest.param(plain(normal=with_edge(0, ["skip_connect", True])), r"pair \[primitive, src\]", id="bool"),
        pytest.param(plain(normal=with_edge(0, [3, 0])), r"pair \[primitive, src\]", id="number"),
        pytest.param(plain(normal=with_edge(0, ["skip_connect"])), r"pair \[primitive, src\]", id="half-a-pair"),
        pytest.param(plain(normal=[]), r"normal must be a list of \[primitive, src\]", id="empty"),
        pytest.param(plain(normal="skip_connect"), r"normal must be a list of \[primitive, src\]", id="text"),
        pytest.param(plain(normal_concat=[]), "normal_concat must be a list of distinct", id="concat-empty"),
        pytest.param(plain(normal_concat=[3, 3]), "normal_concat must be a list of distinct", id="concat-twice"),
        pytest.param(plain(normal_concat="23"), "normal_concat must be a list of distinct", id="concat-text"),
        pytest.param(plain(normal_concat=[1, 3]), "normal_concat names node 1", id="concat-input"),
        pytest.param(plain(reduce_concat=[2, 4]), "reduce: 4 edges cannot be shared evenly", id="concat-beyond"),
    ],
)
def test_invalid_genotypes_are_refused_with_the_reason(value: Any, message: str) -> None:
    with pytest.raises(GenotypeError, match=f"here: .*{message}"):
        Genotype.from_json(value, "here")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b'{\n"normal": [', r"genotype\.json:2: not JSON", id="cut-off"),
        pytest.param(b"Genotype(normal=[])", r"genotype\.json: normal_concat, reduce", id="python"),
        pytest.param(b"\xff\xfe\x00", "not a JSON text", id="binary"),
        pytest.param(b"[1]", r"genotype\.json: a genotype is a JSON object", id="list"),
        pytest.param(None, "cannot be read", id="absent"),
    ],
)
def test_a_file_that_is_no_genotype_is_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "genotype.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(GenotypeError, match=message):
        Genotype.from_file(file)


def test_id_ignores_the_order_of_edges_within_a_node() -> None:
    one = Genotype.from_json(plain())
    swapped = [CELL[1], CELL[0], CELL[3], CELL[2]]
    assert Genotype.from_json(plain(normal=swapped, normal_concat=[3, 2])).id == one.id
    others = [
        plain(normal=[CELL[0], CELL[1], CELL[2], ["dil_conv_5x5", 2]]),
        plain(reduce=[CELL[0], CELL[1], CELL[2], ["dil_conv_3x3", 1]]),
        plain(normal=[["skip_connect", 0], ["sep_conv_3x3", 1], *CELL[2:]]),
        plain(normal_concat=[3]),
        plain(normal=[["max_pool_3x3", 0], CELL[1], CELL[0], CELL[3]]),
    ]
    ids = {Genotype.from_json(other).id for other in others}
    assert len(ids | {one.id}) == 1 + len(others)
    assert len(one.id) == 10
