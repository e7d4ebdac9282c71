"""The paper's selection: two strongest edges a node, never `none`, ties to the lower edge."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.registry import Choose
from raydarts.spaces import Genotype
from raydarts.spaces.darts_cnn import PRIMITIVES


def select(normal: Tensor, reduce: Tensor | None = None, **settings: Any) -> Genotype:
    nodes = {5: 2, 9: 3, 14: 4}[len(normal)]
    space = Choose("space").parse({"name": "darts-cnn", "nodes": nodes}).build()
    selection = Choose("selection").parse({"name": "argmax", **settings}).build()
    return selection(space, {"normal": normal, "reduce": normal if reduce is None else reduce})


def test_the_two_strongest_edges_of_each_node_are_kept() -> None:
    weights = torch.full((5, 8), 0.01)
    weights[0, 4], weights[1, 3] = 0.2, 0.3  # node 2: both of its edges
    weights[2, 5], weights[3, 1], weights[4, 6] = 0.1, 0.4, 0.2  # node 3: edges from 0, 1, 2
    cell = select(weights)["normal"]
    assert cell.nodes == (
        (("sep_conv_3x3", 0), ("skip_connect", 1)),
        (("max_pool_3x3", 1), ("dil_conv_3x3", 2)),
    )
    assert cell.concat == (2, 3)


def test_none_is_never_chosen_and_does_not_rank_an_edge() -> None:
    weights = torch.full((5, 8), 0.01)
    weights[:, 0] = 0.9
    weights[2, 0] = 5.0  # the strongest `none` of node 3, and the weakest of all else
    weights[2, 1:] = 0.001
    nodes = select(weights)["normal"].nodes
    assert [src for _, src in nodes[1]] == [1, 2]
    assert all(primitive != "none" for node in nodes for primitive, _ in node)


def test_ties_go_to_the_lower_edge_and_the_earlier_candidate() -> None:
    nodes = select(torch.full((14, 8), 0.125))["reduce"].nodes
    assert nodes == ((("max_pool_3x3", 0), ("max_pool_3x3", 1)),) * 4


def test_cell_types_are_independent() -> None:
    normal, reduce = torch.rand(14, 8), torch.rand(14, 8)
    both = select(normal, reduce)
    assert both["normal"] == select(normal)["normal"]
    assert both["reduce"] == select(reduce)["reduce"]
    assert both["normal"] != both["reduce"]


@pytest.mark.parametrize("seed", range(5))
def test_matches_reference_implementation(seed: int) -> None:
    weights = torch.rand(14, 8, generator=torch.Generator().manual_seed(seed)).softmax(-1)
    expected, start = [], 0
    for node in range(2, 6):
        rows = weights[start : start + node, 1:]
        kept = sorted(rows.max(1).values.argsort(descending=True)[:2].tolist())
        expected.append(tuple((PRIMITIVES[1 + int(rows[src].argmax())], src) for src in kept))
        start += node
    assert select(weights)["normal"].nodes == tuple(expected)


def test_edges_per_node_sets_the_number_of_edges() -> None:
    weights = torch.rand(9, 8)
    assert [len(node) for node in select(weights, edges_per_node=1)["normal"].nodes] == [1, 1, 1]
    assert [len(node) for node in select(weights, edges_per_node=3)["normal"].nodes] == [2, 3, 3]
