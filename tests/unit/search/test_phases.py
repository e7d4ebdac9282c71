"""A search in stages: when which supernet, of which candidates; the pieces by themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from raydarts.errors import InputError
from raydarts.registry import Choose
from raydarts.search.moments import Moment, SearchStage
from raydarts.search.phases import carried, moment, narrowed, plan_stages, strongest
from raydarts.search.regularizers.base import Regularizer
from raydarts.spaces.darts_cnn import PRIMITIVES
from raydarts.tasks import Classification

pytestmark = pytest.mark.usefixtures("one_thread")

ROBUST = ["robust_s1", "robust_s2", "robust_s3", "robust_s4"]


class InTwo(Regularizer):
    """Two stages, the second one epoch longer."""

    NAME = "in_two"

    def stages(self, epochs: int) -> tuple[SearchStage, ...]:
        return (SearchStage(epochs // 2), SearchStage(epochs - epochs // 2, candidates=2))


class AlsoInTwo(InTwo):
    NAME = "also_in_two"


class Wrong(Regularizer):
    NAME = "wrong"

    def stages(self, epochs: int) -> tuple[SearchStage, ...]:
        return (SearchStage(epochs - 1),)


class WantsOne(Regularizer):
    NAME = "wants_one"

    def check_stages(self, stages: Any) -> None:
        if len(stages) != 1:
            raise InputError("wants_one: there must be one stage")


def of(cls: type[Regularizer]) -> Regularizer:
    return cls(cls.Settings())


def space(name: str = "darts-cnn", **settings: Any) -> Any:
    return Choose("space").parse({"name": name, **settings}).build()


def test_without_a_plan_there_is_one_stage() -> None:
    assert plan_stages([of(WantsOne)], 7) == (SearchStage(7),)
    assert plan_stages([], 7) == (SearchStage(7),)


def test_one_plan_is_taken_and_two_are_refused() -> None:
    assert plan_stages([of(InTwo)], 5) == (SearchStage(2), SearchStage(3, candidates=2))
    with pytest.raises(InputError, match="in_two and also_in_two both cut the search"):
        plan_stages([of(InTwo), of(AlsoInTwo)], 5)


def test_a_plan_must_have_all_epochs_and_suit_the_others() -> None:
    with pytest.raises(ValueError, match="wrong: its stages do not add up to 5"):
        plan_stages([of(Wrong)], 5)
    with pytest.raises(InputError, match="must be one stage"):
        plan_stages([of(WantsOne), of(InTwo)], 5)


def test_moment_of_each_epoch() -> None:
    stages = (SearchStage(2), SearchStage(1), SearchStage(3))
    found = [moment(stages, epoch) for epoch in range(8)]
    assert [(now.epoch, now.stage, now.stage_epoch, now.stage_epochs) for now in found] == [
        (0, 0, 0, 2), (1, 0, 1, 2), (2, 1, 0, 1), (3, 2, 0, 3), (4, 2, 1, 3), (5, 2, 2, 3), (6, 2, 3, 3), (7, 2, 4, 3),
    ]  # fmt: skip
    assert {now.epochs for now in found} == {6}
    assert [now.progress for now in found[:6]] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert Moment(0, 1).progress == 0


def test_the_strongest_are_kept_in_the_spaces_order_and_none_competes() -> None:
    weights = torch.zeros(2, 8)
    weights[0, [6, 0, 2]] = torch.tensor([0.2, 0.5, 0.3])
    weights[1, [4, 3, 1]] = torch.tensor([0.5, 0.3, 0.2])
    found = strongest(space(nodes=1), {"normal": weights, "reduce": weights.flip(0)}, 3)
    assert found["normal"] == (
        ("none", "avg_pool_3x3", "dil_conv_3x3"),
        ("max_pool_3x3", "skip_connect", "sep_conv_3x3"),
    )
    assert found["reduce"] == found["normal"][::-1]


def test_ties_go_to_the_earlier_candidate_and_something_is_left_to_pick() -> None:
    even = torch.full((2, 8), 0.125)
    assert strongest(space(nodes=1), {"normal": even, "reduce": even}, 2)["normal"] == (PRIMITIVES[:2],) * 2
    none = even.clone()
    none[:, 0], none[:, 5] = 0.9, 0.5
    assert strongest(space(nodes=1), {"normal": none, "reduce": none}, 1)["normal"] == (("sep_conv_5x5",),) * 2
    weights = torch.full((6, 5), 0.1)
    weights[:, 0] = 0.6
    assert strongest(space("nasbench201"), {"cell": weights}, 1)["cell"] == (("none",),) * 6  # may be picked there


@pytest.mark.parametrize("seed", range(3))
def test_the_strongest_are_those_of_topk(seed: int) -> None:
    weights = torch.rand(14, 8, generator=torch.Generator().manual_seed(seed))
    found = strongest(space(), {"normal": weights, "reduce": weights}, 5)["normal"]
    kept = weights.topk(5).indices.sort().values.tolist()
    assert found == tuple(tuple(PRIMITIVES[index] for index in row) for row in kept)


@pytest.mark.parametrize("name", ROBUST)
def test_edges_with_few_candidates_narrow_to_one(name: str) -> None:
    built = space(name)
    weights = {
        cell_type: torch.rand(cell.alpha_shape, generator=torch.Generator().manual_seed(3))
        for cell_type, cell in built.cells.items()
    }
    kept = strongest(built, weights, 1)
    small = narrowed(built, kept, None)
    assert {cell.alpha_shape for cell in small.cells.values()} == {(14, 1)}
    for cell_type, cell in built.cells.items():
        for row, candidates, (left,) in zip(weights[cell_type], cell.candidates, kept[cell_type], strict=True):
            order = [candidates[index] for index in row.argsort(descending=True).tolist()]
            assert left == next(primitive for primitive in order if primitive != "none")
    ones = {cell_type: torch.ones(14, 1) for cell_type in small.cells}
    for selection in ("argmax", "skip_limit"):
        genotype = Choose("selection").parse(selection).build()(small, ones)
        assert [len(node) for node in genotype["normal"].nodes] == [2] * 4
        assert built.owns(genotype)


def test_narrowed_changes_only_what_is_given() -> None:
    built = space(channels=2, layers=3, nodes=1)
    assert narrowed(built, None, None) is built
    deeper = narrowed(built, None, 5)
    assert len(deeper.supernet(Classification((1, 8, 8), 3)).cells) == 5
    assert deeper.cells == built.cells
    candidates = {"normal": (("none", "skip_connect"),) * 2, "reduce": (("avg_pool_3x3", "sep_conv_5x5"),) * 2}
    fewer = narrowed(built, candidates, None)
    assert fewer.cells == {name: replace(built.cells[name], candidates=candidates[name]) for name in built.cells}
    supernet = fewer.supernet(Classification((1, 8, 8), 3))
    assert len(supernet.cells) == 3
    assert {key.split("-", 1)[1] for key in supernet.cells[0].operations} == {"skip_connect"}
    assert built.cells["normal"].candidates == (PRIMITIVES,) * 2  # the space itself is as it was
    with pytest.raises(InputError, match="no number of layers"):
        narrowed(space("nasbench201"), None, 5)


def test_carried_takes_each_kept_candidates_own_alpha() -> None:
    built = space(nodes=1)
    alphas = {name: torch.arange(16.0).view(2, 8) + number for number, name in enumerate(built.cells)}
    candidates = {"normal": (("none", "dil_conv_5x5"), ("max_pool_3x3", "skip_connect"))}
    candidates["reduce"] = candidates["normal"]
    found = carried(built, alphas, narrowed(built, candidates, None))
    assert found["normal"].tolist() == [[0.0, 7.0], [9.0, 11.0]]
    assert found["reduce"].tolist() == [[1.0, 8.0], [10.0, 12.0]]
