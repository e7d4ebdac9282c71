"""The seam of random relaxations: who draws when, from which stream, and that a killed search goes on alike."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.registry import Choose, members
from raydarts.search.moments import Step
from raydarts.search.search import Search
from raydarts.search.selection.argmax import Argmax
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Space
from tests.unit.search.second_order import gradient_of, second_order

RANDOM: list[Any] = [name for name, member in members("relaxation").items() if member.RANDOM]
RANDOM.append({"name": "gumbel", "hard": False})
IDS = [str(one if isinstance(one, str) else "gumbel-soft") for one in RANDOM]
PASSES = {"first_order": 1, "finite_difference": 4, "exact_hvp": 3}

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
each_relaxation = pytest.mark.parametrize("relaxation", RANDOM, ids=IDS)


class Tuned(Argmax):
    """Argmax after two epochs more."""

    NAME = "tuned"

    def epochs(self, space: Space) -> int:
        return 2


def search(relaxation: Any, limit: int = 64, **changes: Any) -> Search:
    plain = {
        "epochs": 2,
        "batch_size": 16,
        "arch_lr": 0.05,
        "alpha_init": 0.5,
        "precision": "float64",
        "space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1},
        "estimator": "first_order",
        "relaxation": relaxation,
        **changes,
    }
    return Search(SearchSettings.model_validate(plain), load_splits(DataSettings(limit=limit)))


def ready(relaxation: Any, **changes: Any) -> tuple[Search, Step]:
    job = search(relaxation, **changes)
    job.supernet.train()
    return job, Step(job.objective, *next(job.loop.batches()))


def recorded(job: Search, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The arch weights of every pass from now on, of all cell types in one tensor."""
    seen: list[Tensor] = []
    right = job.objective.data_loss

    def recording(batch: Any, arch_weights: Mapping[str, Tensor]) -> Any:
        seen.append(torch.cat([value.detach().clone() for value in arch_weights.values()]))
        return right(batch, arch_weights)

    monkeypatch.setattr(job.objective, "data_loss", recording)
    return seen


def state(job: Search, stream: str) -> Tensor:
    return job.streams[stream].get_state()


def test_there_are_random_relaxations() -> None:
    assert {"gumbel", "dirichlet"} <= set(IDS)


@pytest.mark.parametrize("estimator", list(PASSES))
@each_relaxation
def test_one_alpha_step_has_one_draw_the_weight_step_and_the_next_alpha_step_others(
    relaxation: Any, estimator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, step = ready(relaxation, estimator=estimator)
    seen = recorded(job, monkeypatch)
    job.architect.gradient(step)
    assert len(seen) == PASSES[estimator]
    assert all(torch.equal(seen[0], other) for other in seen[1:])
    for _ in range(2):
        job.loop.weight_gradient(job.model, step)
    job.architect.gradient(step)  # alpha has not moved: only the draw can differ
    drawn = [seen[0], *seen[PASSES[estimator] : PASSES[estimator] + 3]]
    assert len(seen) == 2 * PASSES[estimator] + 2
    for number, one in enumerate(drawn):
        assert all(not torch.equal(one, other) for other in drawn[number + 1 :])


@each_relaxation
def test_the_weight_step_draws_from_its_stream_and_the_alpha_step_leaves_it(relaxation: Any) -> None:
    job, step = ready(relaxation, estimator="finite_difference")
    own, virtual = state(job, "relaxation"), state(job, "virtual")
    job.architect.gradient(step)
    assert torch.equal(state(job, "relaxation"), own)
    assert not torch.equal(state(job, "virtual"), virtual)
    assert job.parts.relaxation.generator is job.streams["relaxation"]
    virtual = state(job, "virtual")
    job.loop.weight_gradient(job.model, step)
    assert not torch.equal(state(job, "relaxation"), own)
    assert torch.equal(state(job, "virtual"), virtual)


@each_relaxation
def test_measuring_and_selecting_draw_nothing(relaxation: Any) -> None:
    job, step = ready(relaxation)
    before = job.streams.state_dict()
    found = [job.objective.measure(step.alpha_batch).data for _ in range(2)]
    assert torch.equal(*found)
    assert job.genotype == job.genotype
    assert job.measuring.eigenvalue(job.model) == job.measuring.eigenvalue(job.model)
    assert all(torch.equal(value, job.streams.state_dict()[name]) for name, value in before.items())
    expected = job.model.arch_weights()["normal"]
    torch.testing.assert_close(expected.sum(-1), torch.ones_like(expected[:, 0]))
    assert bool((expected > 0).all())


@each_relaxation
def test_the_finite_difference_tends_to_the_exact_product(relaxation: Any) -> None:
    """Under unlike draws at w + eps v and w - eps v it would be their difference over 2 eps, and grow without end.

    Epsilon is so small that no ReLU of the supernet switches between the two (see docs/method.md).
    """

    def estimate(estimator: dict[str, Any]) -> Tensor:
        return second_order(*ready(relaxation, estimator=estimator), estimator["xi"])

    exact = estimate({"name": "exact_hvp", "xi": 0.5})
    found = estimate({"name": "finite_difference", "xi": 0.5, "epsilon": 1e-8})
    assert exact.norm() > 1e-5
    assert (exact - found).norm() < 1e-5 * exact.norm()


def differences(one: Any, other: Any, at: str = "") -> list[str]:
    """Where two nested states differ, tensors to the last bit; measured figures left out."""
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [at]
    if isinstance(one, dict):
        found = [] if one.keys() == other.keys() else [at]
        keys = [key for key in one if key not in ("seconds", "memory_mb")]
        return found + [place for key in keys for place in differences(one[key], other[key], f"{at}.{key}")]
    if isinstance(one, list | tuple):
        pairs = enumerate(zip(one, other, strict=True))
        return [place for number, (a, b) in pairs for place in differences(a, b, f"{at}[{number}]")]
    return [] if one == other else [at]


def gone_on(whole: Search, second: Search, epochs: int, path: Path) -> list[str]:
    """Where two searches differ at the end: one in a single object, and one killed after `epochs` epochs."""
    metrics = []
    while not whole.finished:
        metrics.append(whole.run_epoch())
        if whole.epoch == epochs:
            torch.save(whole.state_dict(), path)
    torch.manual_seed(99)
    second.load_state_dict(torch.load(path, weights_only=True))
    assert second.epoch == epochs
    while not second.finished:
        metrics.append(second.run_epoch())
    total = whole.epoch
    return differences(metrics[epochs:total], metrics[total:]) + differences(whole.state_dict(), second.state_dict())


@pytest.mark.parametrize(
    ("relaxation", "estimator"), list(zip(RANDOM, cycle(["finite_difference", "exact_hvp"]), strict=False)), ids=IDS
)
def test_killed_search_resumes_bit_identical(relaxation: Any, estimator: str, tmp_path: Path) -> None:
    """The draws are a stream of the relaxation's: it is met by one estimator of several passes, in turn."""
    remedy = "sdarts_rs" if estimator == "exact_hvp" else {"name": "sdarts_adv", "moves": 1}

    def make() -> Search:
        return search(relaxation, limit=48, estimator=estimator, regularizers=[remedy])

    assert gone_on(make(), make(), 1, tmp_path / "state.pt") == []


@pytest.mark.parametrize("relaxation", ["gumbel", {"name": "gumbel", "hard": False}])
def test_annealing_is_restored_when_killed_during_the_selection(relaxation: Any, tmp_path: Path) -> None:
    def make() -> Search:
        remedies = ["sdarts_rs", "drop_path", "beta_decay"]
        return search(relaxation, selection=f"{__name__}:Tuned", regularizers=remedies)

    whole = make()
    assert whole.epochs == 4
    second = make()
    assert gone_on(whole, second, 3, tmp_path / "state.pt") == []
    assert second.parts.relaxation.tau == pytest.approx(0.1)
    assert second.regularizers[0]._radius == whole.regularizers[0]._radius > 0.1


@pytest.mark.parametrize("relaxation", ["gumbel", "dirichlet", "sigmoid"])
@pytest.mark.parametrize("space", ["nasbench201", "robust_s1", "robust_s4"])
def test_every_space_is_searched(relaxation: str, space: str) -> None:
    small: dict[str, Any] = {"name": space, "channels": 2}
    small |= {"cells_per_stage": 1} if space == "nasbench201" else {"layers": 3}
    selection = "threshold" if relaxation == "sigmoid" else "argmax"
    job = search(relaxation, limit=32, epochs=1, batch_size=8, space=small, selection=selection)
    before = {name: alpha.detach().clone() for name, alpha in job.alphas.items()}
    job.run_epoch()
    for name, alpha in job.alphas.items():
        assert bool(torch.isfinite(alpha).all())
        assert not torch.equal(alpha, before[name])
    assert job.genotype.cell_types == tuple(job.space.cells)


@pytest.mark.parametrize("estimator", list(PASSES))
def test_a_pass_in_which_every_edge_drew_none_has_gradient_zero(estimator: str) -> None:
    space = {"name": "nasbench201", "channels": 2, "cells_per_stage": 1}
    job, step = ready("gumbel", estimator=estimator, space=space)
    assert job.space.cells["cell"].candidates[0][0] == "none"
    with torch.no_grad():
        job.alphas["cell"][:, 0] = 1000.0
    loss = job.architect.gradient(step)
    assert bool(torch.isfinite(loss.data))
    assert not gradient_of(job).any()
    assert bool(torch.isfinite(job.loop.weight_gradient(job.model, step).value))


def test_relaxations_are_chosen_by_name() -> None:
    assert Choose("relaxation").parse("gumbel").build().SPARSE
    assert not Choose("relaxation").parse({"name": "gumbel", "hard": False}).build().SPARSE
