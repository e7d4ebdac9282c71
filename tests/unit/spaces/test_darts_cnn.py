"""The convolutional space: counts as published, exact sharing, odd sizes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raydarts.errors import GenotypeError
from raydarts.registry import Choose
from raydarts.spaces import Genotype, space_of
from raydarts.spaces.cells import MixedCell
from raydarts.spaces.networks import reduction_layers
from raydarts.tasks import Classification

NATIVE = Path(__file__).parents[3].parent / "shared/data/nas"
FILES = ("published_genotypes.json", "sgas_genotypes.json")


pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Size:
    channels: int = 36
    layers: int = 20
    auxiliary_weight: float = 0.0
    stem: str = "cifar"


def published() -> list[Any]:
    """Every published genotype with a parameter count: (genotype, count, count with the auxiliary head or None)."""
    found = []
    for file in FILES:
        if not (NATIVE / file).is_file():
            continue
        for entry in json.loads((NATIVE / file).read_text()):
            count = entry.get("params_c36_l20_cifar10") or entry.get("params_exact")
            if count:
                name = f"{entry.get('repo', 'sgas')}-{entry['name']}"
                found.append(pytest.param(entry["genotype"], count, entry.get("params_with_aux"), id=name))
    skip = pytest.mark.skip(reason="the published genotypes are not in shared/data/nas")
    return found or [pytest.param({}, 0, None, marks=skip, id="absent")]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def space(**settings: Any) -> Any:
    return Choose("space").parse({"name": "darts-cnn", **settings}).build()


def test_the_supernet_has_the_authors_parameters() -> None:
    assert count(space().supernet(Classification((3, 32, 32), 10))) == 1_930_618
    assert {name: cell.alpha_shape for name, cell in space().cells.items()} == {"normal": (14, 8), "reduce": (14, 8)}


@pytest.mark.parametrize(("genotype", "plain", "with_auxiliary"), published())
def test_published_networks_have_the_published_parameters(
    genotype: dict[str, Any], plain: int, with_auxiliary: int | None
) -> None:
    read = Genotype.from_json(genotype)
    with torch.device("meta"):
        assert count(space_of(read).standard_network(read)[0]) == plain
        if with_auxiliary is not None:
            assert (
                count(space().network(read, Classification((3, 32, 32), 10), Size(auxiliary_weight=0.4)))
                == with_auxiliary
            )


@pytest.mark.skipif(not (NATIVE / FILES[0]).is_file(), reason="the published genotypes are not in shared/data/nas")
def test_the_papers_own_counts_are_among_them() -> None:
    entries = json.loads((NATIVE / FILES[0]).read_text())
    counts = {
        (entry["repo"], entry["name"]): (entry["params_c36_l20_cifar10"], entry["params_with_aux"])
        for entry in entries
        if "normal" in entry["genotype"]
    }
    assert counts["quark0/darts", "DARTS_V1"] == (3_169_414, 3_645_840)
    assert counts["quark0/darts", "DARTS_V2"] == (3_349_342, 3_825_768)


def separate(cell: MixedCell, s0: Tensor, s1: Tensor, arch_weights: Tensor) -> Tensor:
    """The cell as the paper writes it: each edge by itself, each primitive by itself, `none` as zeros."""
    states = [cell.preprocess0(s0), cell.preprocess1(s1)]
    for node in range(2, 2 + cell.spec.num_nodes):
        total: Any = 0
        for index, edge in enumerate(cell.spec.edges):
            if edge.dst != node:
                continue
            stride = cell.edges[index].stride
            for weight, primitive in zip(arch_weights[index], cell.spec.candidates[index], strict=True):
                x = states[edge.src]
                if primitive == "none":
                    total = total + weight * torch.zeros_like(x[:, :, ::stride, ::stride])
                    continue
                places = (f"edge{index}-{primitive}", f"from{edge.src}-{primitive}")
                (module,) = [cell.operations[key] for key in places if key in cell.operations]
                total = total + weight * module(torch.relu(x) if module.PREACTIVATED else x)
        states.append(total)
    return torch.cat(states[2:], dim=1)


@pytest.mark.parametrize("size", [8, 7])
def test_cell_matches_a_plain_sum_over_edges_and_primitives(size: int) -> None:
    torch.manual_seed(0)
    supernet = space(channels=4, layers=3, nodes=3).supernet(Classification((1, size, size), 10)).double().train()
    inputs = torch.randn(4, 1, size, size, dtype=torch.float64)
    s0, s1 = supernet.stem(inputs)
    strides = set()
    for cell in supernet.cells:
        weights = torch.randn(9, 8, dtype=torch.float64).softmax(-1).requires_grad_()
        found, expected = cell(s0, s1, weights), separate(cell, s0, s1, weights)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        projection = torch.randn_like(found)
        gradients = [torch.autograd.grad((out * projection).sum(), weights, retain_graph=True)[0]
                     for out in (found, expected)]  # fmt: skip
        torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)
        strides |= {edge.stride for edge in cell.edges}
        s0, s1 = s1, found
    assert strides == {1, 2}


def test_reductions_stand_at_a_third_and_two_thirds() -> None:
    assert reduction_layers(8) == {2, 5}
    assert reduction_layers(20) == {6, 13}
    assert space().supernet(Classification((3, 32, 32), 10)).types.count("reduce") == 2


@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 7, 9), (2, 9, 8), (3, 28, 28), (1, 4, 4)])
def test_any_image_size_works_in_both_networks(shape: tuple[int, int, int]) -> None:
    built = space(channels=2, layers=3, nodes=2)
    supernet = built.supernet(Classification(shape, 4)).double()
    weights = {name: torch.full(cell.alpha_shape, 0.125, dtype=torch.float64) for name, cell in built.cells.items()}
    inputs = torch.randn(3, *shape, dtype=torch.float64)
    logits = supernet(inputs, weights)
    assert logits.shape == (3, 4)
    logits.sum().backward()
    cell = [["sep_conv_3x3", 0], ["skip_connect", 1], ["avg_pool_3x3", 0], ["dil_conv_5x5", 2]]
    genotype = Genotype.from_json({"normal": cell, "normal_concat": [2, 3], "reduce": cell, "reduce_concat": [2, 3]})
    network = built.network(
        genotype, Classification(shape, 4), Size(channels=2, layers=3, auxiliary_weight=0.4)
    ).double()
    found, auxiliary = network(inputs)
    assert found.shape == auxiliary.shape == (3, 4)
    assert network.eval()(inputs)[1] is None


def test_a_genotype_of_another_space_is_refused() -> None:
    cell = [["teleport", 0], ["skip_connect", 1]]
    genotype = Genotype.from_json({"normal": cell, "normal_concat": [2], "reduce": cell, "reduce_concat": [2]})
    with pytest.raises(GenotypeError, match="not of space darts-cnn"):
        space().network(genotype, Classification((3, 32, 32), 10), Size())
    with pytest.raises(GenotypeError, match="teleport"):
        space_of(genotype)
