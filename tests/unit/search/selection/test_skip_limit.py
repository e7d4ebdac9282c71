"""P-DARTS' limit: the weakest skips go one by one, and all is picked again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.registry import Choose
from raydarts.spaces import Genotype

SKIP, SEP3 = 3, 4


def space(name: str = "darts-cnn", **settings: Any) -> Any:
    return Choose("space").parse({"name": name, **settings}).build()


def pick(
    built: Any, normal: Tensor, reduce: Tensor | None = None, name: str = "skip_limit", **settings: Any
) -> Genotype:
    selection = Choose("selection").parse({"name": name, **settings}).build()
    if "cell" in built.cells:
        return selection(built, {"cell": normal})
    return selection(built, {"normal": normal, "reduce": normal if reduce is None else reduce})


def all_skips() -> Tensor:
    """Three nodes, nine edges, the skip strongest on each, more so on later edges; sep_conv_3x3 next."""
    weights = torch.full((9, 8), 0.01, dtype=torch.float64)
    weights[:, SKIP] = torch.arange(9) / 100 + 0.5
    weights[:, SEP3] = 0.3
    return weights


def test_matches_hand_computation() -> None:
    cell = pick(space(nodes=3), all_skips())["normal"]
    # Chosen at first: edges 0, 1 | 3, 4 | 7, 8, all of them skips. The skips of edges 0 and 1 go: node 2 has no
    # other edges, so sep_conv_3x3 is next. Edge 3's goes, and edge 2's takes its place; that goes too, and of the
    # equal sep_conv_3x3 of edges 2 and 3 the lower one stands beside edge 4. Edge 4's goes; edges 7 and 8 are left.
    assert cell.nodes == (
        (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
        (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
        (("skip_connect", 2), ("skip_connect", 3)),
    )


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 6])
def test_limits_only_the_normal_cell(limit: int) -> None:
    found = pick(space(nodes=3), all_skips(), max_skips=limit)
    assert found.skips() == {"normal": limit, "reduce": 6}
    assert all(len(node) == 2 for node in found["normal"].nodes)


def plainly(weights: Tensor, limit: int) -> list[tuple[int, int]]:
    """(edge, candidate) of four nodes, by the authors' rule: set the weakest chosen skip to 0 and pick again."""
    weights = weights.clone()
    weights[:, 0] = 0
    while True:
        chosen, start = [], 0
        for node in range(2, 6):
            best = weights[start : start + node].max(1)
            for edge in sorted(best.values.argsort(descending=True)[:2].tolist()):
                chosen.append((start + edge, int(best.indices[edge])))
            start += node
        skips = [edge for edge, candidate in chosen if candidate == SKIP]
        if len(skips) <= limit:
            return chosen
        weights[min(skips, key=lambda edge: float(weights[edge, SKIP])), SKIP] = 0


@pytest.mark.parametrize("seed", range(6))
def test_matches_reference_implementation(seed: int) -> None:
    logits = torch.randn(14, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits[:, SKIP] += 1.5
    weights = logits.softmax(-1)
    built = space()
    assert pick(built, weights, name="argmax").skips()["normal"] > 2
    for limit in (0, 1, 2):
        expected = built.genotype({
            name: [(edge, built.cells[name].candidates[edge][candidate]) for edge, candidate in plainly(weights, limit)]
            for name in built.cells
        })  # fmt: skip
        assert pick(built, weights, max_skips=limit)["normal"] == expected["normal"]


def test_equals_argmax_within_the_limit() -> None:
    weights = torch.rand(14, 8, generator=torch.Generator().manual_seed(0))
    weights[:, SKIP] = 0.0
    assert pick(space(), weights) == pick(space(), weights, name="argmax")
    assert pick(space(), weights, edges_per_node=1) == pick(space(), weights, name="argmax", edges_per_node=1)
    given = weights.clone()
    pick(space(), weights, max_skips=0)
    assert torch.equal(weights, given)


def test_nasbench201s_only_cell_is_limited() -> None:
    weights = torch.tensor([0.1, 0.6, 0.2, 0.05, 0.05]).repeat(6, 1) + torch.arange(6)[:, None] / 100
    found = pick(space("nasbench201"), weights)
    assert [primitive for primitive, _ in found["cell"].edges()] == ["nor_conv_1x1"] * 4 + ["skip_connect"] * 2


def test_keeps_skips_without_a_replacement() -> None:
    built = space(nodes=2)
    only = (("skip_connect",), ("skip_connect",), ("skip_connect",), ("sep_conv_3x3",), ("dil_conv_3x3",))
    small = built.narrowed({name: replace(cell, candidates=only) for name, cell in built.cells.items()})
    weights = torch.tensor([[0.5], [0.6], [0.9], [0.2], [0.1]])
    nodes = pick(small, weights, max_skips=0)["normal"].nodes
    assert nodes == (
        (("skip_connect", 0), ("skip_connect", 1)),
        (("sep_conv_3x3", 1), ("dil_conv_3x3", 2)),
    )
