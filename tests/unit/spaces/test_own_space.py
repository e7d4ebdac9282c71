"""Spaces and primitives of the user's own: what their genotypes keep, and that their networks are built from that."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from raydarts import outside
from raydarts.config.loader import LoadedSpec, load_spec
from raydarts.errors import GenotypeError, InputError
from raydarts.genotype_facts import facts
from raydarts.genotypes.genotype import OwnSpace, describe_genotype
from raydarts.registry import Choose, UnknownNameError, resolve
from raydarts.report.drawing import draw_genotype, short_name
from raydarts.report.skips import count_skips
from raydarts.spaces import Genotype, Space, space_of
from raydarts.spaces.base import of_spaces
from raydarts.spaces.cell_space import CellSpace
from raydarts.spaces.darts_rnn import DartsRnn
from raydarts.spaces.primitives import Weighted, build_operation, has_weights
from raydarts.spaces.regularization import RecurrentNetworkSettings
from raydarts.sweeping.genotype_sources import read_genotypes
from raydarts.tasks import Classification, LanguageModelling

HERE = __name__


class Blur(nn.Module):
    """A module that knows nothing of raydarts."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)  # type: ignore[no-any-return]


class Nothing(nn.Module):
    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.pool: nn.Module = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x)  # type: ignore[no-any-return]


def swish(x: Tensor) -> Tensor:
    return x * x.sigmoid()


class Mine(CellSpace):
    """Its network is as wide as its own setting says."""

    SKIP = f"{HERE}:Nothing"

    class Settings(CellSpace.Settings):
        width: int = Field(ge=1)

    @property
    def num_nodes(self) -> int:
        return 1

    def candidates(self, cell_type: str, edges: Any) -> tuple[tuple[str, ...], ...]:
        return (("none", f"{HERE}:Blur", f"{HERE}:Nothing", "sep_conv_3x3"),) * len(edges)

    def network(self, genotype: Genotype, task: Any, settings: Any) -> nn.Module:
        network = super().network(genotype, task, settings)
        network.width = self.settings.width  # type: ignore[assignment]
        return network


class Swishing(DartsRnn):
    @property
    def cells(self) -> Any:
        cells = super().cells
        (name, cell), *_ = cells.items()
        candidates = (("none", "tanh", f"{HERE}:swish", "identity"),) * len(cell.edges)
        return {name: type(cell)(cell.num_inputs, cell.num_nodes, cell.edges, candidates)}


def mine(width: int = 5, channels: int = 4) -> Space:
    settings = {"name": f"{HERE}:Mine", "width": width, "channels": channels, "layers": 3}
    space: Space = Choose("space").parse(settings).build()
    return space


def picked(space: Space) -> Genotype:
    primitive = f"{HERE}:Blur"
    edges = [(index, primitive if index else space.SKIP) for index in range(2)]
    return space.marked(space.genotype({"normal": edges, "reduce": edges}))


class Size:
    channels, layers, auxiliary_weight, stem = 4, 3, 0.0, "cifar"


def test_a_genotype_names_its_own_space_and_is_read_back() -> None:
    genotype = picked(mine())
    plain = genotype.to_json()
    assert plain["space"] == {"name": f"{HERE}:Mine", "width": 5}
    assert plain["skip"] == f"{HERE}:Nothing"
    assert Genotype.from_json(json.loads(json.dumps(plain))) == genotype


def test_of_a_shipped_space_nothing_more_is_kept() -> None:
    space: Space = Choose("space").parse("darts-cnn").build()
    edges = [(index, "skip_connect") for index in range(2)]
    genotype = space.genotype({"normal": edges, "reduce": edges})
    assert space.marked(genotype) is genotype


def test_genotypes_are_one_where_only_the_supernet_was_another() -> None:
    assert picked(mine(channels=4)).id == picked(mine(channels=8)).id
    assert picked(mine(width=5)).id != picked(mine(width=6)).id


def test_the_network_is_built_by_the_space_it_names_with_its_settings() -> None:
    read = Genotype.from_json(picked(mine(width=7)).to_json())
    network = space_of(read).network(read, Classification((1, 8, 8), 10), Size())
    assert network.width == 7  # type: ignore[comparison-overlap]
    assert any(isinstance(module, Blur) for module in network.modules())
    assert network(torch.zeros(2, 1, 8, 8))[0].shape == (2, 10)


def test_its_facts_name_it_and_count_its_skips(tmp_path: Path) -> None:
    genotype = picked(mine())
    found = facts(genotype)
    assert found["space"] == f"{HERE}:Mine"
    assert found["skips"] == {"normal": 1, "reduce": 1} == describe_genotype(genotype.to_json())["skips"]
    draw_genotype(genotype.to_json(), tmp_path / "cells.png", None)
    assert short_name(f"{HERE}:Blur") == "Blur"


def test_a_supernet_learns_through_modules_of_ones_own() -> None:
    space = mine()
    supernet = space.supernet(Classification((1, 8, 8), 10))
    weights = {name: torch.rand(cell.alpha_shape, requires_grad=True) for name, cell in space.cells.items()}
    supernet(torch.rand(2, 1, 8, 8), weights).square().sum().backward()
    for name in weights:
        assert (weights[name].grad[:, 1:] != 0).all()  # type: ignore[index]


def test_a_module_is_weighted_and_an_activation_is_no_convolution() -> None:
    operation = build_operation(f"{HERE}:Blur", 4, 1, affine=False, normalised=False)
    assert isinstance(operation, Weighted)
    x = torch.rand(1, 4, 5, 5)
    assert torch.equal(operation(x, torch.tensor(0.5)), 0.5 * operation(x))
    assert [has_weights(f"{HERE}:{name}") for name in ("Blur", "Nothing", "swish")] == [True, False, True]
    with pytest.raises(InputError, match="unknown primitive 'blur'"):
        build_operation("blur", 4, 1, affine=False, normalised=False)


def test_a_recurrent_cell_takes_activations_of_ones_own() -> None:
    space: Space = Choose("space").parse({"name": f"{HERE}:Swishing", "nodes": 2, "units": 4}).build()
    task = LanguageModelling(11)
    torch.manual_seed(0)
    supernet = space.supernet(task).eval()  # no dropout: a dropped word leaves zeros, and swish(0) = 0
    weights = {name: torch.rand(cell.alpha_shape, requires_grad=True) for name, cell in space.cells.items()}
    supernet(torch.zeros(3, 2, dtype=torch.int64), weights).logits.square().sum().backward()
    assert (weights["recurrent"].grad[:, 2] != 0).any()  # type: ignore[index]
    genotype = space.marked(space.genotype({"recurrent": [(0, f"{HERE}:swish"), (1, "identity")]}))
    assert genotype.to_json()["space"] == {"name": f"{HERE}:Swishing", "nodes": 2}
    read = Genotype.from_json(genotype.to_json())
    network = space_of(read).network(read, task, RecurrentNetworkSettings(units=4))
    assert network(torch.zeros(3, 2, dtype=torch.int64)).logits.shape == (3, 2, 11)
    assert read.skips() == {"recurrent": 1}


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("darts-cnn", "names a space of your own"),
        (3, "names a space of your own"),
        ({"width": 5}, "names a space of your own"),
        (f"{HERE}:Mine", "width: Field required"),
        ({"name": f"{HERE}:Mine", "width": 0}, "width: "),
        ({"name": f"{HERE}:Mine", "width": 5, "depth": 1}, "depth: "),
        (f"{HERE}:Blur", "not a subclass of raydarts.spaces.base.Space"),
        (f"{HERE}:Other", "has no Other"),
        ("not_there_at_all:Other", "there is no module not_there_at_all"),
        (f"{HERE}:Swishing", "whose cells or primitives are others"),
    ],
)
def test_a_space_that_cannot_be_is_refused_in_words(space: Any, words: str) -> None:
    plain = picked(mine()).to_json() | {"space": space}
    with pytest.raises(GenotypeError, match=rf"^best\.json: .*{words}"):
        space_of(Genotype.from_json(plain, "best.json"), "best.json")


def test_reading_a_genotype_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = picked(mine()).to_json() | {"space": "evil_space:Evil"}
    monkeypatch.setattr(outside, "load", lambda name: pytest.fail(f"{name} was loaded"))
    read = Genotype.from_json(plain)
    assert read.space == OwnSpace("evil_space:Evil")
    assert read.outside_names() == {"evil_space:Evil", f"{HERE}:Blur", f"{HERE}:Nothing"}


def test_a_member_must_be_of_its_family() -> None:
    with pytest.raises(UnknownNameError, match=r"not a subclass of raydarts\.search\.estimators\.base\.Estimator"):
        resolve("estimator", f"{HERE}:Mine")


SPEC = f"""
data: {{dataset: digits, limit: 80, validation_fraction: 0.25}}
search: {{epochs: 1, batch_size: 16, space: {{name: "{HERE}:Mine", width: 5, channels: 4, layers: 3}}}}
evaluate: {{training: {{epochs: 1, batch_size: 16, network: {{channels: 4, layers: 3, auxiliary_weight: 0}}}}}}
"""


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedSpec:
    (tmp_path / "spec.yaml").write_text(SPEC)
    return load_spec(tmp_path / "spec.yaml")


def test_a_spec_names_its_code_and_that_of_its_candidates(loaded: LoadedSpec) -> None:
    assert loaded.outside_names() == sorted(f"{HERE}:{name}" for name in ("Blur", "Mine", "Nothing"))


def test_given_genotypes_fit_the_space_they_name(loaded: LoadedSpec, tmp_path: Path) -> None:
    file = tmp_path / "genotype.json"
    file.write_text(json.dumps(picked(mine(width=9)).to_json()))
    (candidate,) = read_genotypes(loaded, [file])["candidates"]
    assert candidate["genotype"]["space"]["width"] == 9  # the genotype's own, not the spec's
    file.write_text(json.dumps(picked(mine()).to_json() | {"space": {"name": "another:Space", "width": 5}}))
    with pytest.raises(InputError, match="of this spec's space"):
        read_genotypes(loaded, [file])
    assert "another" not in sys.modules


def test_a_genotype_that_names_no_space_gets_the_specs(loaded: LoadedSpec, tmp_path: Path) -> None:
    plain = picked(mine()).to_json()
    del plain["space"], plain["skip"]
    file = tmp_path / "genotype.json"
    file.write_text(json.dumps(plain))
    (candidate,) = read_genotypes(loaded, [file])["candidates"]
    assert candidate["genotype"] == picked(mine()).to_json()
    assert candidate["skips"] == {"normal": 1, "reduce": 1}


def test_a_published_genotype_stays_one_where_a_shipped_space_has_it() -> None:
    shipped: Space = Choose("space").parse("darts-cnn").build()
    cell = [["sep_conv_3x3", 0], ["sep_conv_3x3", 1]]
    genotype = Genotype.from_json({"normal": cell, "normal_concat": [2], "reduce": cell, "reduce_concat": [2]})
    assert of_spaces(genotype, {"darts-cnn": shipped, f"{HERE}:Mine": mine()}) is genotype
    assert of_spaces(genotype, {f"{HERE}:Mine": mine()}) == mine().marked(genotype)


def test_another_genotypes_primitives_are_not_loaded_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spec.yaml").write_text("search: {space: darts-cnn}\nevaluate: {}\n")
    (tmp_path / "evil_operation.py").write_text("raise SystemExit('it was run')")
    monkeypatch.setattr(outside, "_last", [str(tmp_path)])
    cell = [["evil_operation:X", 0], ["sep_conv_3x3", 1]]
    plain = {"normal": cell, "normal_concat": [2], "reduce": cell, "reduce_concat": [2]}
    (tmp_path / "genotype.json").write_text(json.dumps(plain))
    with pytest.raises(InputError, match=r"names code:\n  evil_operation:X, from (.|\n)*--trust"):
        read_genotypes(load_spec(tmp_path / "spec.yaml"), [tmp_path / "genotype.json"])


def test_a_report_counts_the_skips_that_a_genotype_names() -> None:
    assert count_skips(picked(mine()).to_json()) == {"normal": 1, "reduce": 1}
