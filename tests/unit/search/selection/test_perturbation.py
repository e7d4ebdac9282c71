"""DARTS-PT: what it removes, keeps and prunes; its epochs, its tuning, and its resume from any of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.registry import Choose
from raydarts.search.moments import SearchStage
from raydarts.search.regularizers.base import Regularizer
from raydarts.search.search import Search
from raydarts.search.selection.perturbation import Perturbation
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Space
from raydarts.spaces.cells import MixedGraph
from raydarts.streams import Streams

TINY = {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 2}
BENCHMARK = {"name": "nasbench201", "channels": 2, "cells_per_stage": 1}
SPACES = {"darts-cnn": TINY, "nasbench201": BENCHMARK}

pytestmark = pytest.mark.usefixtures("one_thread")


class Halves(Regularizer):
    """Two stages; the second has the three strongest candidates of each edge."""

    NAME = "halves"

    def stages(self, epochs: int) -> tuple[SearchStage, ...]:
        return SearchStage(epochs // 2), SearchStage(epochs - epochs // 2, candidates=3)


def space_named(plain: Any) -> Space:
    built: Space = Choose("space").parse(plain).build()
    return built


def perturbation(seed: int = 0, **settings: Any) -> Perturbation:
    found: Perturbation = Choose("selection").parse({"name": "perturbation", **settings}).build()
    found.bind(Streams(seed))
    return found


def uniform(space: Space) -> dict[str, Tensor]:
    return {
        name: torch.full(cell.alpha_shape, 1.0 / cell.alpha_shape[1], dtype=torch.float64)
        for name, cell in space.cells.items()
    }


class Judge:
    """An accuracy that each candidate adds its worth to, times its arch weight; keeps what it was shown."""

    def __init__(self, worth: Mapping[str, Tensor]) -> None:
        self.worth = worth
        self.shown: list[dict[str, Tensor]] = []

    def __call__(self, arch_weights: Mapping[str, Tensor]) -> float:
        self.shown.append({name: weights.clone() for name, weights in arch_weights.items()})
        return float(sum((self.worth[name] * weights).sum() for name, weights in arch_weights.items()))


def decide_all(selection: Perturbation, space: Space, arch_weights: dict[str, Tensor], judge: Judge) -> None:
    for epoch in range(selection.epochs(space) + 1):
        selection.decide(epoch, space, selection.project(dict(arch_weights)), judge)


def search(**changes: Any) -> Search:
    plain = {
        "epochs": 2,
        "batch_size": 16,
        "arch_lr": 0.05,
        "precision": "float64",
        "space": TINY,
        "estimator": "first_order",
        "selection": {"name": "perturbation", "tuning_epochs": 1},
        **changes,
    }
    return Search(SearchSettings.model_validate(plain), load_splits(DataSettings(limit=32)))


@cache
def finished(space: str) -> Search:
    return run(search(seed=3, space=SPACES[space]))


def run(job: Search, epochs: int | None = None) -> Search:
    while not job.finished and (epochs is None or job.epoch < epochs):
        job.run_epoch()
    return job


def equal(one: Any, other: Any) -> bool:
    """Nested states, tensors to the last bit; seconds and memory left out."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        keys = [key for key in one if key not in ("seconds", "memory_mb")]
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in keys)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def worth_by_hand(space: Space) -> dict[str, Tensor]:
    """Node 3 of `normal` can lose its edge from node 0, that of `reduce` the one from node 1."""
    worth = {name: torch.zeros(cell.alpha_shape, dtype=torch.float64) for name, cell in space.cells.items()}
    for table in worth.values():
        table[:, 0] = 100.0  # `none`: worth the most to this judge, and yet no candidate
    # edges 0->2, 1->2, 0->3, 1->3, 2->3
    for edge, candidate, value in ((0, 4, 3.0), (1, 3, 5.0), (2, 1, 1.0), (3, 2, 9.0), (4, 7, 8.0)):
        worth["normal"][edge, candidate] = value
    for edge, candidate, value in ((0, 1, 3.0), (1, 2, 5.0), (2, 5, 6.0), (3, 6, 2.0), (4, 3, 8.0)):
        worth["reduce"][edge, candidate] = value
    return worth


def test_what_costs_most_accuracy_stays_and_a_node_keeps_its_two_costliest_edges() -> None:
    space = space_named(TINY)
    selection, judge = perturbation(tuning_epochs=1), Judge(worth_by_hand(space))
    arch_weights = uniform(space)
    decide_all(selection, space, arch_weights, judge)
    genotype = selection(space, selection.project(arch_weights))
    assert genotype["normal"].nodes == (
        (("sep_conv_3x3", 0), ("skip_connect", 1)),
        (("avg_pool_3x3", 1), ("dil_conv_5x5", 2)),
    )
    assert genotype["reduce"].nodes == (
        (("max_pool_3x3", 0), ("avg_pool_3x3", 1)),
        (("sep_conv_5x5", 0), ("skip_connect", 2)),
    )
    # 7 candidates on each of 5 edges, then 3 edges of the one node that has more than two; in two cells
    assert len(judge.shown) == 2 * (5 * 7 + 3)


def test_alpha_does_not_decide() -> None:
    space = space_named(TINY)
    selection, judge = perturbation(tuning_epochs=1), Judge(worth_by_hand(space))
    skewed = uniform(space)
    for weights in skewed.values():
        weights[:, 1] += 0.02  # argmax would take max_pool everywhere
    decide_all(selection, space, skewed, judge)
    assert selection(space, selection.project(skewed))["normal"].nodes[0][0] == ("sep_conv_3x3", 0)


def test_one_candidate_at_a_time_is_removed_and_the_others_stay_as_they_are() -> None:
    space = space_named(TINY)
    selection, judge = perturbation(), Judge(worth_by_hand(space))
    arch_weights = uniform(space)
    selection.decide(0, space, arch_weights, judge)
    removed = []
    for shown in judge.shown[:7]:
        assert torch.equal(shown["reduce"], arch_weights["reduce"])
        (place,) = (shown["normal"] != arch_weights["normal"]).nonzero().tolist()
        assert shown["normal"][tuple(place)] == 0
        removed.append(place)
    assert len({edge for edge, _ in removed}) == 1
    assert [candidate for _, candidate in removed] == list(range(1, 8))  # all but `none`
    decided = removed[0][0]
    for shown in judge.shown[7:]:  # the reduction cell is decided beside the normal cell as it now is
        assert sorted(shown["normal"][decided].tolist()) == [0.0] * 7 + [1.0]


def test_a_decision_is_made_every_tuning_epochs_and_between_them_none() -> None:
    space = space_named(TINY)
    selection, judge = perturbation(tuning_epochs=3), Judge(worth_by_hand(space))
    arch_weights = uniform(space)
    calls = []
    for epoch in range(selection.epochs(space) + 1):
        before = len(judge.shown)
        selection.decide(epoch, space, selection.project(dict(arch_weights)), judge)
        calls.append(len(judge.shown) - before)
    assert calls == [14, 0, 0] * 5 + [6]


@pytest.mark.parametrize(
    ("space", "settings", "epochs"),
    [
        ("darts-cnn", {}, 80),
        ("darts-cnn", {"tuning_epochs": 10}, 160),
        ("robust_s1", {}, 80),
        ("nasbench201", {}, 25),
        (TINY, {}, 25),
    ],
)
def test_how_many_epochs_it_takes_and_that_a_plan_counts_them(space: Any, settings: Any, epochs: int) -> None:
    assert perturbation(**settings).epochs(space_named(space)) == epochs
    spec = {"epochs": 50, "space": space, "selection": {"name": "perturbation", **settings}}
    assert SearchSettings.model_validate(spec).total_epochs == 50 + epochs


def test_ties_go_to_the_earlier_candidate_and_the_lower_edges() -> None:
    space = space_named(TINY)
    selection = perturbation(tuning_epochs=1)
    judge = Judge({name: torch.zeros_like(weights) for name, weights in uniform(space).items()})
    decide_all(selection, space, uniform(space), judge)
    cell = selection(space, selection.project(uniform(space)))["normal"]
    assert cell.nodes == ((("max_pool_3x3", 0), ("max_pool_3x3", 1)),) * 2


def test_in_nasbench201_none_is_a_candidate_and_no_edge_is_pruned() -> None:
    space = space_named(BENCHMARK)
    selection = perturbation(tuning_epochs=1)
    worth = torch.zeros(6, 5, dtype=torch.float64)
    best = [0, 1, 2, 3, 4, 0]
    worth[range(6), best] = 1.0
    judge = Judge({"cell": worth})
    decide_all(selection, space, uniform(space), judge)
    projected = selection.project(uniform(space))["cell"]
    assert projected.argmax(1).tolist() == best
    assert torch.equal(projected.sum(1), torch.ones(6, dtype=torch.float64))
    assert len(judge.shown) == 6 * 5
    names = [space.cells["cell"].candidates[edge][candidate] for edge, candidate in enumerate(best)]
    assert [name for name, _ in selection(space, {"cell": projected})["cell"].edges()] == names


def test_what_is_decided_is_imposed_and_alpha_of_open_edges_alone_learns() -> None:
    space = space_named(TINY)
    selection, judge = perturbation(tuning_epochs=1), Judge(worth_by_hand(space))
    arch_weights = uniform(space)
    assert equal(selection.project(dict(arch_weights)), arch_weights)
    selection.decide(0, space, arch_weights, judge)
    leaves = {name: weights.clone().requires_grad_() for name, weights in arch_weights.items()}
    projected = selection.project(dict(leaves))
    sum(weights.square().sum() for weights in projected.values()).backward()
    for name, leaf in leaves.items():
        (edge,) = (projected[name] != arch_weights[name]).any(1).nonzero().flatten().tolist()
        assert leaf.grad is not None
        assert not leaf.grad[edge].any()
        others = [other for other in range(5) if other != edge]
        assert torch.equal(leaf.grad[others], 2 * arch_weights[name][others])
    for epoch in range(1, 6):
        selection.decide(epoch, space, selection.project(dict(arch_weights)), judge)
    final = selection.project(dict(arch_weights))
    assert final["normal"].sum(1).tolist() == [1, 1, 0, 1, 1]
    assert final["reduce"].sum(1).tolist() == [1, 1, 1, 0, 1]


def test_the_genotype_before_the_last_decision_is_argmaxs_with_the_decisions_imposed() -> None:
    space = space_named(TINY)
    worth = worth_by_hand(space)
    selection, judge = perturbation(tuning_epochs=1), Judge(worth)
    weights = uniform(space)
    for table in weights.values():
        table[:, 5] += 0.02
        table[4] *= 0.5  # edge 2->3 would lose against the other two
    plain = Choose("selection").parse("argmax").build()(space, weights)
    assert selection(space, selection.project(dict(weights))) == plain
    while 4 not in selection.state_dict()["rows"].get("normal", {}):
        epoch = len(selection.state_dict()["rows"].get("normal", {}))
        selection.decide(epoch, space, selection.project(dict(weights)), judge)
    assert ("dil_conv_5x5", 2) in selection(space, selection.project(dict(weights)))["normal"].nodes[1]


def test_the_order_is_drawn_anew_for_each_seed_and_from_a_stream_of_its_own() -> None:
    space = space_named("darts-cnn")
    orders = []
    for seed in (0, 0, 1):
        selection = perturbation(seed, tuning_epochs=1)
        decide_all(selection, space, uniform(space), Judge(uniform(space)))
        orders.append([list(rows) for rows in selection.state_dict()["rows"].values()])
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][0] != sorted(orders[0][0])
    with_argmax = run(search(selection="argmax"))
    assert equal(run(search(), 2).model.state_dict(), with_argmax.model.state_dict())


def test_the_judge_is_the_supernets_accuracy_under_batch_statistics_and_leaves_no_trace() -> None:
    job = run(search(space={"name": "robust_s4", "channels": 2, "layers": 3}), 1)  # noise is drawn there
    arch_weights = job.model.arch_weights()
    before = copy.deepcopy(job.supernet.state_dict())
    noise = job.streams["dropout"].get_state()
    found = job._judge(arch_weights)
    assert found == job._judge(arch_weights)
    assert equal(job.supernet.state_dict(), before)
    assert torch.equal(job.streams["dropout"].get_state(), noise)
    assert job.supernet.training
    batches = list(job.data["alpha"].sequential(64))
    with torch.no_grad():
        right = [
            (job.supernet(batch.inputs, arch_weights).argmax(1) == batch.targets).double().mean() for batch in batches
        ]
    assert len(right) == 1
    assert found == float(right[0])


def test_the_weights_are_tuned_at_a_tenth_of_the_rate_and_alpha_only_if_asked() -> None:
    def rates(**settings: Any) -> list[float]:
        selection = {"name": "perturbation", "tuning_epochs": 1, **settings}
        job = search(epochs=1, lr=0.2, lr_min=0.01, space=BENCHMARK, selection=selection)
        found = []
        while not job.finished:
            if job.epoch == 1:
                alphas = [alpha.clone() for alpha in job.alphas.values()]
            found.append(job.run_epoch()["lr"])
        moved = any(not torch.equal(*pair) for pair in zip(alphas, job.alphas.values(), strict=True))
        assert moved == settings.get("train_alpha", True)
        return found[1:]

    assert rates() == pytest.approx([0.02] * 5)
    assert rates(train_alpha=False, lr_factor=0.5) == pytest.approx([0.1] * 5)
    cosine = 0.01 + 0.01 * (1 + torch.cos(torch.arange(5) * torch.pi / 5)) / 2
    assert rates(lr_min=0.01) == pytest.approx(cosine.tolist())


@pytest.mark.parametrize(
    "killed_after",
    [2, 5, 7],
    ids=["before the first decision", "between two edges", "after the last"],
)
def test_resume_during_the_selection_is_bit_identical(killed_after: int, tmp_path: Path) -> None:
    """Of two cell types: tests/contract/test_regularizers.py."""
    whole = finished("nasbench201")
    assert whole.epoch == 7
    first = run(search(seed=3, space=BENCHMARK), killed_after)
    torch.save(first.state_dict(), tmp_path / "state")
    second = search(seed=3, space=BENCHMARK)
    second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert equal(run(second).state_dict(), whole.state_dict())
    assert equal(second.result(), whole.result())
    assert all(whole.state_dict()["selection"]["rows"].values())


def test_search_returns_the_decided_genotype() -> None:
    job = finished("darts-cnn")
    state = job.state_dict()["selection"]
    for name, cell in job.space.cells.items():
        kept = {edge: row.index(1.0) for edge, row in state["rows"][name].items() if any(row)}
        picks = {(cell.candidates[edge][index], cell.edges[edge].src) for edge, index in kept.items()}
        assert len(kept) == 4
        assert set(job.genotypes[-1][name].edges()) == picks
        assert job.space.ZERO not in {primitive for primitive, _ in picks}
    assert job.result()["genotype"] == job.genotypes[-1].to_json()


def test_rejected_candidates_are_left_out_of_passes() -> None:
    job = finished("nasbench201")
    used = set()
    cells = [module for module in job.supernet.modules() if isinstance(module, MixedGraph)]
    hooks = [
        operation.register_forward_hook(lambda *_, place=(number, key): used.add(place))
        for number, cell in enumerate(cells)
        for key, operation in cell.operations.items()
    ]
    job.objective.measure(next(iter(job.data["alpha"].sequential(16))))
    for hook in hooks:
        hook.remove()
    rows = job.state_dict()["selection"]["rows"]["cell"]
    chosen = {cells[0].keys[edge][row.index(1.0)] for edge, row in rows.items()} - {None}
    assert used == {(number, key) for number in range(3) for key in chosen}


@pytest.mark.parametrize("space", [BENCHMARK, {"name": "robust_s3", "channels": 2, "layers": 3}])
def test_it_works_in_the_other_spaces(space: Any) -> None:
    job = run(search(space=space, epochs=1))
    assert job.epoch == 1 + perturbation(tuning_epochs=1).epochs(job.space)
    for name, cell in job.space.cells.items():
        kept = len(cell.edges) if job.space.KEEPS_ALL_EDGES else 2 * cell.num_nodes
        assert len(job.genotypes[-1][name].edges()) == kept


def test_after_stages_it_decides_among_the_candidates_that_are_left() -> None:
    job = run(search(regularizers=[{"name": f"{__name__}:Halves"}]))
    assert job.epoch == 2 + 5
    rows = job.state_dict()["selection"]["rows"]
    assert all(len(row) == 3 for of_type in rows.values() for row in of_type.values())
    assert job.candidates is not None
    for name, cell in job.space.cells.items():
        left = {
            (primitive, edge.src)
            for edge, candidates in zip(cell.edges, job.candidates[name], strict=True)
            for primitive in candidates
        }
        assert set(job.genotypes[-1][name].edges()) <= left
