"""Genotypes by chance."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from raydarts.registry import Choose
from raydarts.spaces import Genotype, Space
from raydarts.streams import Streams


def space_named(name: str) -> Space:
    return Choose("space").parse(name).build()


def drawn(space: Space, seed: int) -> Genotype:
    selection = Choose("selection").parse("random").build()
    selection.bind(Streams(seed))
    arch_weights = {name: torch.zeros(cell.alpha_shape) for name, cell in space.cells.items()}
    found = selection(space, arch_weights)
    assert selection(space, {name: value + 1 for name, value in arch_weights.items()}) == found
    return found


@pytest.mark.parametrize("name", ["darts-cnn", "robust_s1", "robust_s4"])
def test_each_node_has_two_edges_of_the_space_and_never_none(name: str) -> None:
    space = space_named(name)
    for seed in range(20):
        for cell_type, cell in drawn(space, seed).cells:
            spec = space.cells[cell_type]
            for node, chosen in enumerate(cell.nodes, start=spec.num_inputs):
                assert len({src for _, src in chosen}) == 2
                for primitive, src in chosen:
                    index = [tuple(edge) for edge in spec.edges].index((src, node))
                    assert primitive in spec.candidates[index]
                    assert primitive != space.ZERO


def test_all_cells_of_nasbench201_are_equally_likely() -> None:
    space = space_named("nasbench201")
    genotypes = [drawn(space, seed) for seed in range(200)]
    assert len({genotype.id for genotype in genotypes}) > 190  # of 15,625
    counts = Counter(primitive for genotype in genotypes for primitive, _ in genotype["cell"].edges())
    assert set(counts) == set(space.cells["cell"].candidates[0])  # none too
    assert all(abs(count / 1200 - 0.2) < 0.06 for count in counts.values())


def test_edges_are_drawn_too() -> None:
    space = space_named("darts-cnn")
    sources = Counter(src for seed in range(100) for _, src in drawn(space, seed)["normal"].nodes[3])
    assert set(sources) == {0, 1, 2, 3, 4}
    assert all(abs(count / 200 - 0.2) < 0.1 for count in sources.values())
