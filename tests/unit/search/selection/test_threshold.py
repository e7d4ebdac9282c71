"""FairDARTS' selection: at most two edges a node, and of these what reaches the threshold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.errors import InputError
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.registry import Choose
from raydarts.spaces import Genotype
from raydarts.tasks import Classification


def space_of(name: str) -> Any:
    return Choose("space").parse({"name": name, **({"nodes": 2} if name == "darts-cnn" else {})}).build()


def select(weights: Tensor, space: str = "darts-cnn", **settings: Any) -> Genotype:
    chosen = Choose("selection").parse({"name": "threshold", **settings}).build()
    found: Genotype = chosen(space_of(space), dict.fromkeys(space_of(space).cells, weights))
    return found


def weights() -> Tensor:
    found = torch.full((5, 8), 0.1, dtype=torch.float64)
    found[0, 4], found[1, 3] = 0.9, 0.84  # node 2: one of its two edges passes
    found[2, 5], found[3, 1], found[4, 6] = 0.86, 0.95, 0.99  # node 3: all three pass, the weakest is one too many
    return found


def test_of_the_two_strongest_edges_those_that_reach_the_threshold_stand() -> None:
    assert select(weights())["normal"].nodes == (
        (("sep_conv_3x3", 0),),
        (("max_pool_3x3", 1), ("dil_conv_3x3", 2)),
    )


def test_threshold_and_edges_per_node_change_the_genotype() -> None:
    nodes = [len(node) for node in select(weights(), threshold=0.8)["normal"].nodes]
    assert nodes == [2, 2]
    assert [len(node) for node in select(weights(), threshold=0.96)["normal"].nodes] == [0, 1]
    assert [len(node) for node in select(weights(), edges_per_node=3)["normal"].nodes] == [1, 3]
    assert [len(node) for node in select(weights(), edges_per_node=1)["normal"].nodes] == [1, 1]
    exact = torch.full((5, 8), 0.85, dtype=torch.float64)
    assert select(exact)["normal"].nodes[0] == (("max_pool_3x3", 0), ("max_pool_3x3", 1))  # >=, ties to the earlier


def test_none_neither_stands_nor_ranks() -> None:
    found = weights()
    found[:, 0] = 1.0
    assert select(found) == select(weights())


def test_a_cell_of_which_nothing_passes_is_a_genotype_and_a_network() -> None:
    genotype = select(torch.full((5, 8), 0.5))
    assert genotype["normal"].nodes == ((), ())
    assert Genotype.from_json(genotype.to_json()) == genotype
    size = EvaluationSettings.model_validate({"network": {"channels": 2, "layers": 3}}).network
    network = space_of("darts-cnn").network(genotype, Classification((1, 8, 8), 10), size)
    logits, _ = network(torch.randn(3, 1, 8, 8))
    assert logits.shape == (3, 10)
    assert torch.equal(logits[0], logits[1])  # its cells are zeros: it sees nothing
    logits.sum().backward()


def test_where_every_edge_is_kept_what_does_not_pass_is_none() -> None:
    found = torch.full((6, 5), 0.1)
    found[1, 2], found[4, 1], found[5, 0] = 0.9, 0.86, 1.0
    assert select(found, "nasbench201")["cell"].nodes == (
        (("none", 0),),
        (("nor_conv_1x1", 0), ("none", 1)),
        (("none", 0), ("skip_connect", 1), ("none", 2)),
    )
    with pytest.raises(InputError, match="leave edges_per_node out"):
        select(found, "nasbench201", edges_per_node=2)
