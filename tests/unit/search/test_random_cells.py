"""Random cells: healthy, distinct, of the size of a discovered cell, and the same for the same seed."""

from __future__ import annotations

from typing import Any

import pytest

from raydarts.genotype_facts import network_cost
from raydarts.genotypes.facts import cell_facts
from raydarts.registry import Component
from raydarts.search.random_cells import Healthy, Size, draw_cells
from raydarts.spaces import Genotype, Space
from raydarts.study.bars import Bar

HALF_SKIPS = (Bar("skip_share", "skip_share", most=0.5), Bar("disconnected", "disconnected", most=0))


def space(name: str, **settings: Any) -> Space:
    made: Space = Component.model_validate({"family": "space", "name": name, "settings": {}}).build()
    return type(made)(type(made).Settings(**settings))


def healthy(*bars: Bar, max_skips: int | None = None) -> Healthy:
    return Healthy(HALF_SKIPS, bars, max_skips)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("darts-cnn", {"nodes": 2}), ("darts-rnn", {}), ("nasbench201", {}), ("robust_s1", {}), ("robust_s4", {})],
)
def test_cells_are_distinct_healthy_and_of_the_space(name: str, settings: dict[str, Any]) -> None:
    of = space(name, **settings)
    cells = draw_cells([Size(of)], 6, 3, healthy(), set())
    assert len({cell.id for cell in cells}) == 6
    for cell in cells:
        assert of.owns(cell)
        assert Genotype.from_json(cell.to_json()).id == cell.id
        facts = cell_facts(cell, of.kinds)
        assert facts["skip_share"] <= 0.5
        assert facts["disconnected"] == 0
    again = draw_cells([Size(of)], 6, 3, healthy(), set())
    assert [cell.id for cell in again] == [cell.id for cell in cells]
    assert [cell.id for cell in draw_cells([Size(of)], 6, 4, healthy(), set())] != [cell.id for cell in cells]
    others = draw_cells([Size(of)], 6, 3, healthy(), {cells[0].id})
    assert cells[0].id not in {cell.id for cell in others}


def test_a_cell_has_as_many_nodes_and_edges_as_the_discovered_one() -> None:
    spaces = [space("darts-cnn", nodes=4), space("darts-cnn", nodes=2)]
    edges = [[["sep_conv_3x3", 0]], [["sep_conv_3x3", 0], ["max_pool_3x3", 1], ["skip_connect", 2]]]
    found = Genotype.from_json(
        {"normal": edges, "normal_concat": [2, 3], "reduce": edges[:1] * 2, "reduce_concat": [2, 3]}
    )
    size = Size.of(found, spaces)
    assert size is not None
    assert size.space is spaces[1]
    for cell in draw_cells([size], 5, 0, healthy(), set()):
        assert {name: [len(node) for node in each.nodes] for name, each in cell.cells} == {
            "normal": [1, 3],
            "reduce": [1, 1],
        }
    assert Size.of(found, spaces[:1]) is None


def test_bars_on_skips_and_on_the_network_hold() -> None:
    of = space("darts-cnn", nodes=2)
    free = draw_cells([Size(of)], 20, 0, healthy(), set())
    limit = sorted(network_cost(of, cell)[0] for cell in free)[5]
    small = draw_cells([Size(of)], 3, 0, healthy(Bar("parameters", "parameters", most=limit)), set())
    assert len(small) == 3
    assert all(network_cost(of, cell)[0] <= limit for cell in small)
    none = draw_cells([Size(of)], 5, 0, healthy(max_skips=0), set())
    assert all(sum(cell.skips().values()) == 0 for cell in none)
    assert any(sum(cell.skips().values()) > 0 for cell in free)


def test_a_space_that_holds_no_more_gives_fewer() -> None:
    of = space("nasbench201")
    listed = {cell.id for cell in draw_cells([Size(of)], 3, 0, healthy(), set())}
    assert {cell.id for cell in draw_cells([Size(of)], 5, 0, healthy(), set(), listed)} == listed
    assert draw_cells([Size(of)], 5, 0, healthy(max_skips=-1), set()) == []
