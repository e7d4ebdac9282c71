"""The recurrent space: the paper's counts, its genotypes, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.errors import GenotypeError, InputError
from raydarts.genotype_facts import facts
from raydarts.registry import Choose
from raydarts.spaces import Genotype, space_of
from raydarts.spaces.regularization import RecurrentNetworkSettings
from raydarts.spaces.transform import MixedTransform
from raydarts.tasks import Classification, LanguageModelling

FILE = Path(__file__).parents[3].parent / "shared/data/nas/published_genotypes.json"
V1 = [["relu", 0], ["relu", 1], ["tanh", 2], ["relu", 3], ["relu", 4], ["identity", 1], ["relu", 5], ["relu", 1]]
V2 = [["sigmoid", 0], ["relu", 1], ["relu", 1], ["identity", 1], ["tanh", 2], ["sigmoid", 5], ["tanh", 3], ["relu", 5]]
# quark0/darts, rnn/genotypes.py
ENAS = """
ENAS = Genotype(
  recurrent = [('tanh', 0), ('tanh', 1), ('relu', 1), ('tanh', 3), ('tanh', 3), ('relu', 3), ('relu', 4), ('relu', 7),
               ('relu', 8), ('relu', 8), ('relu', 8)],
  concat = [2, 5, 6, 9, 10, 11]
)
"""


def space(**settings: Any) -> Any:
    return Choose("space").parse({"name": "darts-rnn", **settings}).build()


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_papers_search_model_and_alpha() -> None:
    with torch.device("meta"):
        supernet = space().supernet(LanguageModelling(10_000))
    assert count(supernet) == 4_810_000
    (cell,) = space().cells.values()
    assert cell.alpha_shape == (36, 5)
    assert cell.candidates[0] == ("none", "tanh", "relu", "sigmoid", "identity")
    assert [len(cell.incoming(node)) for node in range(1, 9)] == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("edges", [V1, V2], ids=["DARTS_V1", "DARTS_V2"])
def test_the_papers_evaluation_networks(edges: list[Any]) -> None:
    genotype = Genotype.from_json({"recurrent": edges, "concat": list(range(1, 9))})
    found = facts(genotype)
    assert found["space"] == "darts-rnn"
    assert found["parameters"] == 22_960_000
    # A token: W_0 and eight W_i, and the decoder.
    assert found["macs"] == 1700 * 1700 + 8 * 850 * 1700 + 850 * 10_000
    assert found["skips"] == {"recurrent": 1}


def test_the_published_file_has_these_cells() -> None:
    if not FILE.exists():
        pytest.skip(f"{FILE} is not here")
    published = [row for row in json.loads(FILE.read_text()) if row["path"] == "rnn/genotypes.py"]
    assert {row["name"]: row["genotype"]["recurrent"] for row in published} == {"DARTS_V1": V1, "DARTS_V2": V2}


def test_enas_cell_has_eleven_nodes(tmp_path: Path) -> None:
    file = tmp_path / "enas.txt"
    file.write_text(ENAS)
    assert facts(Genotype.from_file(file))["parameters"] == 27_295_000


def test_weights_are_drawn_as_published() -> None:
    supernet = space(units=50).supernet(LanguageModelling(200))
    for name, weight in supernet.named_parameters():
        largest = float(weight.detach().abs().max())
        assert largest == 0 if name == "bias" else 0.039 < largest <= 0.04, name


def test_every_mask_keeps_its_share_for_all_time_steps() -> None:
    """Output dropout of the whole: where it is 0 in one step it is 0 in all; no dropout in evaluation mode."""
    shares = {"cell_dropout": 0.0, "input_dropout": 0.0, "hidden_dropout": 0.0, "output_dropout": 0.0}
    built = space(units=40, nodes=2, **{**shares, "output_dropout": 0.75})
    supernet = built.supernet(LanguageModelling(7)).double()
    supernet.draw_from(torch.Generator().manual_seed(0))
    seen: list[torch.Tensor] = []
    supernet.output_mask.register_forward_hook(lambda module, inputs, output: seen.append(output))
    tokens = torch.randint(7, (5, 30))
    weights = {"recurrent": torch.full((3, 5), 0.2, dtype=torch.float64)}
    supernet(tokens, weights)
    assert seen[0].shape == (30, 40)
    assert float((seen[0] == 0).double().mean()) == pytest.approx(0.75, abs=0.05)
    assert set(seen[0].unique().tolist()) == {0.0, 4.0}
    supernet.eval()
    found = supernet(tokens, weights)
    assert seen[1] is None
    assert found.penalty is None
    assert not found.memory.requires_grad


def test_time_steps_are_the_layers() -> None:
    supernet = space(units=4, nodes=2).supernet(LanguageModelling(7)).double().eval()
    tokens = torch.randint(7, (5, 3), generator=torch.Generator().manual_seed(0))
    weights = torch.rand(3, 5, dtype=torch.float64)
    one = supernet(tokens, {"recurrent": weights}).logits
    each = weights.expand(5, -1, -1).clone()
    torch.testing.assert_close(supernet(tokens, {"recurrent": each}).logits, one, rtol=0, atol=1e-14)
    each[3] += 0.5
    other = supernet(tokens, {"recurrent": each}).logits
    assert torch.equal(other[:3], supernet(tokens, {"recurrent": weights.expand(5, -1, -1)}).logits[:3])
    assert float((other[3:] - one[3:]).detach().abs().max()) > 1e-6
    assert supernet.layers(tokens) == {"recurrent": 5}


def test_with_a_remedy_that_does_nothing_the_sums_are_the_same() -> None:
    """The path that computes an edge at a time, for remedies that change mixed operations."""

    class Nothing(MixedTransform):
        pass

    plain, transformed = (
        space(units=4, nodes=3).supernet(LanguageModelling(7), transforms).double().eval()
        for transforms in ([], [Nothing()])
    )
    transformed.load_state_dict(plain.state_dict())
    tokens = torch.randint(7, (4, 3))
    weights = {"recurrent": torch.rand(6, 5, dtype=torch.float64)}
    torch.testing.assert_close(transformed(tokens, weights).logits, plain(tokens, weights).logits, rtol=0, atol=1e-13)


def test_a_stage_may_leave_other_candidates_on_each_edge() -> None:
    built = space(units=4, nodes=2)
    (cell,) = built.cells.values()
    kept = (("none", "tanh"), ("relu", "identity"), ("tanh", "sigmoid"))
    fewer = built.narrowed({"recurrent": type(cell)(1, 2, cell.edges, kept)})
    whole, narrow = (one.supernet(LanguageModelling(7)).double().eval() for one in (built, fewer))
    narrow.load_state_dict(whole.state_dict())
    few = torch.tensor([[0.3, 0.7], [0.4, 0.6], [0.1, 0.9]], dtype=torch.float64)
    all_five = torch.zeros(3, 5, dtype=torch.float64)
    for edge, names in enumerate(kept):
        for name, weight in zip(names, few[edge], strict=True):
            all_five[edge, cell.candidates[edge].index(name)] = weight
    tokens = torch.randint(7, (4, 3))
    found = narrow(tokens, {"recurrent": few}).logits
    torch.testing.assert_close(found, whole(tokens, {"recurrent": all_five}).logits, rtol=0, atol=1e-14)


def test_candidates_left_out_have_no_gradient() -> None:
    supernet = space(units=4, nodes=2).supernet(LanguageModelling(7)).double().eval()
    weights = torch.zeros(3, 5, dtype=torch.float64)
    weights[:, 1] = 1.0
    tokens = torch.randint(7, (4, 3))
    for sparse in (False, True):
        supernet.cell.skips_zeros = sparse
        leaf = weights.clone().requires_grad_()
        supernet(tokens, {"recurrent": leaf}).logits.square().sum().backward()
        assert bool((leaf.grad[:, 1] != 0).all())
        assert bool((leaf.grad[:, 2:] == 0).all()) is sparse


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([[["tanh", 0]], [["relu", 0], ["relu", 1]]], "node 2 has 2 predecessors"),
        ([[["tanh", 0]], []], "node 2 has 0 predecessors"),
        ([["none", 0], ["tanh", 1]], "node 1: none is no activation"),
    ],
)
def test_a_cell_that_is_no_recurrent_cell_is_refused(edges: list[Any], message: str) -> None:
    genotype = Genotype.from_json({"recurrent": edges, "concat": [1, 2]})
    with pytest.raises(GenotypeError, match=message):
        space().network(genotype, LanguageModelling(7), RecurrentNetworkSettings(units=2))


def test_spaces_refuse_the_other_kind_of_data() -> None:
    with pytest.raises(InputError, match="needs text data, not image"):
        space().supernet(Classification((1, 8, 8), 10))
    with pytest.raises(InputError, match="needs image data, not text"):
        Choose("space").parse("darts-cnn").build().supernet(LanguageModelling(7))


def test_the_genotype_of_a_cell_belongs_to_the_space() -> None:
    built = space(nodes=3)
    weights = torch.zeros(6, 5)
    weights[:, 0] = 9.0  # `none` ranks no edge
    weights[0, 1] = weights[2, 4] = weights[3, 2] = 1.0
    genotype = Choose("selection").parse("argmax").build()(built, {"recurrent": weights})
    assert genotype.to_json() == {"recurrent": [["tanh", 0], ["identity", 1], ["relu", 0]], "concat": [1, 2, 3]}
    assert isinstance(space_of(genotype), type(built))
    assert genotype.skips() == {"recurrent": 1}
    for name in ("argmax", "random", "skip_limit"):
        with pytest.raises(InputError, match="every node of space darts-rnn has 1 edge, not 2"):
            Choose("selection").parse({"name": name, "edges_per_node": 2}).build().check(built)
