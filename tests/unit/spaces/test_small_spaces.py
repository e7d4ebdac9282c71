"""RobustDARTS' spaces and NAS-Bench-201: their edges, their networks, their genotypes."""

from __future__ import annotations

import ast
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.errors import GenotypeError, InputError
from raydarts.evaluation.settings import NetworkSettings
from raydarts.registry import Choose, members
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Genotype, space_of
from raydarts.spaces.nasbench201 import EDGES, PRIMITIVES, arch_string
from raydarts.tasks import Classification

pytestmark = pytest.mark.usefixtures("one_thread")

RUNS = Path(__file__).parents[3].parent / "shared/data/nas/robustdarts_s1_cifar10_runs.json.gz"
ARCH = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|"
IMAGE_SPACES = [name for name, member in members("space").items() if member.TASK is Classification]  # type: ignore[attr-defined]
SMALL = {"channels": 2, "layers": 3}


def space(name: str, **settings: Any) -> Any:
    return Choose("space").parse({"name": name, **settings}).build()


def small(name: str) -> dict[str, Any]:
    return {"name": name, **({"channels": 2, "cells_per_stage": 1} if name == "nasbench201" else SMALL)}


def uniform(built: Any) -> dict[str, Tensor]:
    shapes = {name: cell.alpha_shape for name, cell in built.cells.items()}
    return {name: torch.full(shape, 1.0 / shape[1]) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", IMAGE_SPACES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7)])
def test_supernet_and_network_of_every_space_of_images_run(name: str, shape: tuple[int, int, int]) -> None:
    built = Choose("space").parse(small(name)).build()
    weights = uniform(built)
    supernet = built.supernet(Classification(shape, 5))
    inputs = torch.randn(4, *shape)
    supernet(inputs, weights).sum().backward()
    genotype = Choose("selection").parse("argmax").build()(built, weights)
    again = Genotype.from_json(json.loads(json.dumps(genotype.to_json())))
    assert again == genotype
    assert again.id == genotype.id
    size = NetworkSettings(channels=2, layers=3, auxiliary_weight=0)
    network = built.network(genotype, Classification(shape, 5), size)
    logits, auxiliary = network(inputs)
    assert logits.shape == (4, 5)
    assert auxiliary is None
    assert space_of(genotype).network(genotype, Classification(shape, 5), size)(inputs)[0].shape == (4, 5)


@pytest.mark.parametrize("name", [name for name in members("space") if name.startswith("robust")])
def test_candidates_of_the_robust_spaces(name: str) -> None:
    cells = space(name).cells
    found = {primitive for cell in cells.values() for row in cell.candidates for primitive in row}
    expected = {
        "robust_s1": {"max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3", "dil_conv_5x5"},
        "robust_s2": {"skip_connect", "sep_conv_3x3"},
        "robust_s3": {"none", "skip_connect", "sep_conv_3x3"},
        "robust_s4": {"noise", "sep_conv_3x3"},
    }
    assert found == expected[name]
    assert {cell.alpha_shape for cell in cells.values()} == {(14, 3 if name == "robust_s3" else 2)}


@pytest.mark.skipif(not RUNS.is_file(), reason="the published runs are not in shared/data/nas")
def test_every_published_s1_genotype_lies_in_s1() -> None:
    """105 searches of 50 epochs: each primitive that they chose stands on that edge in our table."""
    cells = space("robust_s1").cells
    allowed = {
        (name, edge, primitive)
        for name, spec in cells.items()
        for edge, row in zip(spec.edges, spec.candidates, strict=True)
        for primitive in row
    }
    met = set()
    for run in json.loads(gzip.decompress(RUNS.read_bytes())):
        for text in {run["genotype"], *run.get("epoch_genotype", [])}:
            for name, edges in re.findall(r"(normal|reduce)=(\[.*?\])", text):
                for number, (primitive, src) in enumerate(ast.literal_eval(edges)):
                    met.add((name, (src, 2 + number // 2), primitive))
    assert met
    assert met <= allowed
    assert len(met) > 0.9 * len(allowed)  # and hardly any of our candidates was never chosen


def test_noise_ignores_its_input_and_draws_from_its_stream() -> None:
    splits = load_splits(DataSettings(limit=96))
    plain = {"epochs": 1, "batch_size": 16, "space": {"name": "robust_s4", **SMALL}, "estimator": "finite_difference"}
    jobs = [Search(SearchSettings.model_validate(plain | {"seed": seed}), splits) for seed in (0, 0, 1)]
    for number, job in enumerate(jobs):
        torch.manual_seed(number)  # the global generator has no part in it
        job.run_epoch()
    alphas = [job.alphas["normal"] for job in jobs]
    assert torch.equal(alphas[0], alphas[1])
    assert not torch.equal(alphas[0], alphas[2])
    noise = [module for module in jobs[0].supernet.modules() if type(module).__name__ == "Noise"]
    assert noise[0](torch.zeros(4, 2, 8, 8)).std() == pytest.approx(1, abs=0.2)


def test_nasbench201_notation_and_network() -> None:
    genotype = Genotype.from_json(ARCH)
    assert Genotype.from_json({"genotype": ARCH}) == genotype
    assert arch_string(genotype) == ARCH
    assert arch_string(Genotype.from_json(genotype.to_json())) == ARCH
    assert genotype.skips() == {"cell": 1}
    built = space("nasbench201")
    assert built.cells["cell"].alpha_shape == (6, 5)
    # Counted by hand: stem 3*16*9 + 2*16; a cell of c channels has 3x3, 1x1 and 3x3 convolutions with affine
    # batch norms, 19c^2 + 6c; a block from c to 2c has 18c^2 + 36c^2 + 2c^2 and norms 8c; tail 2*64 + 64*10 + 10.
    cells = sum(5 * (19 * c * c + 6 * c) for c in (16, 32, 64))
    blocks = sum(56 * c * c + 8 * c for c in (16, 32))
    network, _ = built.standard_network(genotype)
    assert sum(p.numel() for p in network.parameters()) == 464 + cells + blocks + 778


def test_nasbench201_cell_matches_a_plain_sum() -> None:
    torch.manual_seed(0)
    supernet = space("nasbench201", channels=4, cells_per_stage=1).supernet(Classification((3, 8, 8), 10)).double()
    cell, weights = supernet.stages[0][0], torch.randn(6, 5, dtype=torch.float64)
    nodes = [torch.randn(5, 4, 8, 8, dtype=torch.float64)]
    for dst in range(1, 4):
        total = torch.zeros_like(nodes[0])
        for index, (src, end) in enumerate(EDGES):
            if end == dst:
                for weight, primitive in zip(weights[index], PRIMITIVES, strict=True):
                    if primitive != "none":
                        place = "from" + str(src) if primitive in ("skip_connect", "avg_pool_3x3") else f"edge{index}"
                        operation = cell.operations[f"{place}-{primitive}"]
                        x = torch.relu(nodes[src]) if operation.PREACTIVATED else nodes[src]
                        total = total + weight * operation(x)
        nodes.append(total)
    torch.testing.assert_close(cell(nodes[0], weights), nodes[-1], rtol=0, atol=1e-12)


def test_nasbench201_keeps_every_edge_and_none_can_win() -> None:
    built = space("nasbench201")
    weights = torch.zeros(6, 5)
    weights[range(6), [0, 1, 2, 3, 4, 0]] = 1.0
    argmax = Choose("selection").parse("argmax").build()
    chosen = argmax(built, {"cell": weights})
    assert [primitive for primitive, _ in chosen["cell"].edges()] == [PRIMITIVES[n] for n in (0, 1, 2, 3, 4, 0)]
    with pytest.raises(InputError, match="keeps every edge"):
        Choose("selection").parse({"name": "argmax", "edges_per_node": 2}).build()(built, {"cell": weights})


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"layers": 20}, "multiple of 3"),
        ({"auxiliary_weight": 0.4}, "auxiliary_weight"),
        ({"stem": "imagenet"}, "stem"),
    ],
)
def test_a_network_that_nasbench201_has_not_is_refused(size: dict[str, Any], message: str) -> None:
    settings = NetworkSettings(**{"layers": 15, "auxiliary_weight": 0, **size})
    with pytest.raises(InputError, match=message):
        space("nasbench201").network(Genotype.from_json(ARCH), Classification((3, 32, 32), 10), settings)


@pytest.mark.parametrize("text", ["", "|nor_conv_3x3|", "nonsense", "|a~0|+|b|", "|a~x|"])
def test_invalid_architecture_strings_are_refused(text: str) -> None:
    with pytest.raises(GenotypeError, match=r"here: .*no architecture"):
        Genotype.from_json(text, "here")


def test_imagenet_network() -> None:
    """48 channels, 14 layers, the authors' stems: 4.7M parameters (paper, table 3)."""
    cell = {
        "normal": [["sep_conv_3x3", 0], ["sep_conv_3x3", 1], ["sep_conv_3x3", 0], ["sep_conv_3x3", 1],
                   ["sep_conv_3x3", 1], ["skip_connect", 0], ["skip_connect", 0], ["dil_conv_3x3", 2]],
        "normal_concat": [2, 3, 4, 5],
        "reduce": [["max_pool_3x3", 0], ["max_pool_3x3", 1], ["skip_connect", 2], ["max_pool_3x3", 1],
                   ["max_pool_3x3", 0], ["skip_connect", 2], ["skip_connect", 2], ["max_pool_3x3", 1]],
        "reduce_concat": [2, 3, 4, 5],
    }  # fmt: skip
    genotype = Genotype.from_json(cell)
    size = NetworkSettings(channels=48, layers=14, stem="imagenet")
    with torch.device("meta"):
        network = space("darts-cnn").network(genotype, Classification((3, 224, 224), 1000), size)
        logits, auxiliary = network(torch.empty(2, 3, 224, 224))
    assert logits.shape == auxiliary.shape == (2, 1000)
    parameters = {name: p.numel() for name, p in network.named_parameters() if not name.startswith("auxiliary")}
    assert round(sum(parameters.values()) / 1e6, 1) == 4.7
    assert network.stem.width == 48


def test_triples_and_empty_nodes_are_read() -> None:
    """FairDARTS' form: [primitive, a, b], any number of edges a node; nodes without any are not concatenated."""
    triples = [["skip_connect", 2, 0], ["sep_conv_3x3", 0, 4], ["dil_conv_3x3", 4, 2], ["sep_conv_3x3", 1, 4]]
    plain = {"normal": triples, "normal_concat": [2, 3, 4, 5], "reduce": triples, "reduce_concat": [2, 3, 4, 5]}
    genotype = Genotype.from_json(plain)
    assert [len(node) for node in genotype["normal"].nodes] == [1, 0, 3, 0]
    assert genotype["normal"].concat == (2, 4)
    assert genotype["normal"].nodes[2] == (("sep_conv_3x3", 0), ("dil_conv_3x3", 2), ("sep_conv_3x3", 1))
    assert Genotype.from_json(genotype.to_json()) == genotype
    network = space("darts-cnn").network(genotype, Classification((3, 8, 8), 5), NetworkSettings(channels=4, layers=3))
    logits, _ = network(torch.randn(4, 3, 8, 8))
    logits.sum().backward()
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize(
    ("edges", "message"),
    [([["a", 2, 2]], "no edge can join"), ([["a", 0, 1]], "no edge can join"), ([["a", 0, 10**12]], "at most")],
)
def test_triples_that_make_no_cell_are_refused(edges: list[Any], message: str) -> None:
    plain = {"normal": edges, "normal_concat": [2], "reduce": edges, "reduce_concat": [2]}
    with pytest.raises(GenotypeError, match=message):
        Genotype.from_json(plain)


@pytest.mark.parametrize("concat", [[2, 3], [2], [3]])
@pytest.mark.parametrize("per_node", [1, 2, 3])
def test_json_round_trip_for_any_concatenation(concat: list[int], per_node: int) -> None:
    nodes = [[["skip_connect", src % (2 + node)] for src in range(per_node)] for node in range(2)]
    plain = {"normal": nodes, "normal_concat": concat, "reduce": nodes, "reduce_concat": concat}
    genotype = Genotype.from_json(plain)
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert [len(node) for node in genotype["normal"].nodes] == [per_node] * 2
