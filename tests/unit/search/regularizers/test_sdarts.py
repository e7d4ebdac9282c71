"""SmoothDARTS: the ball and its projections, the radius, random noise, and the attack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.config.checks import check_draw
from raydarts.config.distributions import Draw
from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.registry import Choose
from raydarts.search.moments import Moment, Step
from raydarts.search.regularizers.sdarts import Ball
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.tasks import Loss

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL: dict[str, dict[str, Any]] = {
    "darts-cnn": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1},
    "robust_s4": {"name": "robust_s4", "channels": 2, "layers": 3},
}
BOTH = pytest.mark.parametrize("name", ["sdarts_rs", "sdarts_adv"])


def ready(remedy: Any, radius: float = 0.2, **changes: Any) -> tuple[Search, Step, Any]:
    """A search whose remedy's radius is this, its first step, and the remedy."""
    plain: dict[str, Any] = {
        "batch_size": 16,
        "alpha_init": 1.0,
        "precision": "float64",
        "space": SMALL["darts-cnn"],
        "regularizers": [remedy],
        **changes,
    }
    job = Search(SearchSettings.model_validate(plain), load_splits(DataSettings(limit=32)))
    job.supernet.train()
    job.regularizers[0]._radius = radius  # type: ignore[attr-defined]
    return job, Step(job.objective, *next(job.loop.batches())), job.regularizers[0]


def perturbed(job: Search, step: Step, remedy: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The arch weights before and inside `perturb`."""
    before = {name: value.detach() for name, value in job.objective.arch_weights().items()}
    inside = dict(before)
    with remedy.perturb(inside, step):
        return before, inside


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# The ball.


def bisected(point: Tensor, lower: Tensor, upper: Tensor, total: Tensor) -> Tensor:
    """The projection found otherwise: bisection on the shift."""
    low, high = torch.full_like(total, -10), torch.full_like(total, 10)
    for _ in range(100):
        middle = (low + high) / 2
        more = (point - middle).clamp(lower, upper).sum(-1, keepdim=True) > total
        low, high = torch.where(more, middle, low), torch.where(more, high, middle)
    return (point - low).clamp(lower, upper)


@pytest.mark.parametrize("radius", [0.02, 0.3, 2.0])
@pytest.mark.parametrize("candidates", [1, 2, 8])
def test_nearest_is_in_the_ball_a_distribution_and_the_nearest_such_point(candidates: int, radius: float) -> None:
    generator = torch.Generator().manual_seed(candidates)
    logits = 3 * torch.randn((50, candidates), dtype=torch.float64, generator=generator)
    share = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]  # of edges that another remedy has scaled
    centre = logits.softmax(-1) * share
    ball = Ball(centre, radius, simplex=True, projection="nearest")
    point = centre + torch.randn(centre.shape, dtype=torch.float64, generator=generator)
    found = ball.project(point)
    assert bool(((found - centre).abs() <= radius * share + 1e-15).all())
    assert bool((found >= 0).all())
    torch.testing.assert_close(found.sum(-1, keepdim=True), share, rtol=0, atol=1e-12)
    expected = bisected(point, ball.lower, ball.upper, share)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(ball.project(found), found, rtol=0, atol=1e-12)
    torch.testing.assert_close(ball.project(centre), centre, rtol=0, atol=1e-12)


def test_rescaled_clamps_and_divides_and_so_can_leave_the_ball() -> None:
    centre = torch.full((3, 8), 1 / 8, dtype=torch.float64)
    ball = Ball(centre, 0.3, simplex=True, projection="rescaled")
    point = centre.clone()
    point[0] -= 0.3
    point[0, 2] += 0.6
    point[1, :4] += 0.05
    point[2] -= rows([0.2, 0.2, 0.15, 0.2, 0.2, 0.2, 0.2, 0.2])[0]
    found = ball.project(point)
    assert found[0].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert found[1].tolist() == pytest.approx([0.175 / 1.2] * 4 + [0.125 / 1.2] * 4)
    assert found[2].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]  # all were clamped to 0: the strongest takes all
    assert float((found - centre).abs().max()) > 0.3


def test_without_a_simplex_arch_weights_are_independent() -> None:
    centre = rows([0.1, 0.5, 0.95])
    point = rows([-0.5, 0.55, 2.0])
    expected = {"nearest": [0.0, 0.55, 1.0], "rescaled": [0.0, 0.55, 1.0], "none": [-0.1, 0.55, 1.15]}
    for projection, values in expected.items():
        ball = Ball(centre, 0.2, simplex=False, projection=projection)  # type: ignore[arg-type]
        assert ball.project(point)[0].tolist() == pytest.approx(values)


# Both forms.


@BOTH
def test_the_radius_grows_from_its_start_and_does_not_quite_reach_its_end(name: str) -> None:
    remedy = Choose("regularizer").parse(name).build()
    radii = []
    for epoch in (0, 25, 49):
        remedy.on_epoch_start(Moment(epoch, 50))
        radii.append(remedy._radius)
    assert radii == pytest.approx([0.03, 0.165, 0.03 + 0.27 * 49 / 50])
    other = Choose("regularizer").parse({"name": name, "radius_start": 0.1, "radius": 0.5}).build()
    other.on_epoch_start(Moment(5, 10))
    assert other._radius == pytest.approx(0.3)


@BOTH
@pytest.mark.parametrize("space", ["darts-cnn", "robust_s4"])
def test_draws_from_its_stream_and_changes_nothing(name: str, space: str) -> None:
    job, step, remedy = ready(name, space=SMALL[space])  # robust_s4 has a candidate that draws noise
    frozen = next(module for module in job.supernet.modules() if isinstance(module, torch.nn.BatchNorm2d))
    frozen.eval()
    streams = job.streams.state_dict()
    buffers = {key: value.clone() for key, value in job.supernet.state_dict().items()}
    modes = [module.training for module in job.supernet.modules()]
    before, inside = perturbed(job, step, remedy)
    assert all(not torch.equal(before[cell], inside[cell]) for cell in before)
    assert [module.training for module in job.supernet.modules()] == modes
    assert not all(modes)
    assert all(torch.equal(value, buffers[key]) for key, value in job.supernet.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in job.supernet.parameters())
    changed = [key for key, value in job.streams.state_dict().items() if not torch.equal(value, streams[key])]
    assert changed == [name]


@BOTH
def test_at_radius_zero_nothing_is_drawn_and_nothing_changes(name: str) -> None:
    job, step, remedy = ready(name, radius=0.0)
    state = job.streams[name].get_state()
    before, inside = perturbed(job, step, remedy)
    assert all(inside[cell] is before[cell] for cell in before)
    assert torch.equal(job.streams[name].get_state(), state)


@BOTH
def test_acts_only_on_the_weight_step(name: str) -> None:
    plain, step, _ = ready({"name": name}, radius=0.0)
    job, step, _ = ready(name)
    assert torch.equal(plain.architect.gradient(step).value, job.architect.gradient(step).value)
    assert all(torch.equal(one.grad, job.alphas[cell].grad) for cell, one in plain.alphas.items())  # type: ignore[arg-type]
    found = job.loop.weight_gradient(job.model, step).value
    assert not torch.equal(found, plain.loop.weight_gradient(plain.model, step).value)


@BOTH
@pytest.mark.parametrize("relaxation", ["gumbel", "dirichlet", "sigmoid"])
def test_acts_under_every_relaxation(name: str, relaxation: str) -> None:
    space = SMALL["darts-cnn"] | {"nodes": 2}  # of one-hot arch weights noise may leave two edges as they are
    job, step, remedy = ready({"name": name, "projection": "nearest"}, relaxation=relaxation, space=space)
    before, inside = perturbed(job, step, remedy)
    for cell, value in inside.items():
        assert 0 < float((value - before[cell]).abs().max()) <= 0.2 + 1e-12
        assert 0 <= float(value.min()) <= float(value.max()) <= 1
        if relaxation != "sigmoid":
            torch.testing.assert_close(value.sum(-1), torch.ones_like(value[:, 0]))


@BOTH
def test_what_a_selection_has_decided_stays_decided(name: str) -> None:
    job, step, remedy = ready(name)

    def project(arch_weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        decided = torch.ones(2, 8, dtype=torch.float64)
        decided[0] = torch.eye(8)[3]
        return {cell: value * decided for cell, value in arch_weights.items()}

    job.objective.project = project
    before, inside = perturbed(job, step, remedy)
    assert not inside["normal"][0, [0, 1, 2, 4, 5, 6, 7]].any()
    assert not torch.equal(inside["normal"], before["normal"])


def test_the_two_refuse_each_other() -> None:
    problems: list[Any] = []
    check_draw(Draw({"regularizers": ["sdarts_rs", "sdarts_adv"]}, {}, {}), problems)
    assert "twice the radius" in str(problems[0])


# Random noise.


@pytest.mark.parametrize("projection", ["rescaled", "nearest", "none"])
def test_random_noise_is_uniform_and_then_projected(projection: str) -> None:
    job, step, remedy = ready({"name": "sdarts_rs", "projection": projection})
    state = job.streams["sdarts_rs"].get_state()
    before, inside = perturbed(job, step, remedy)
    generator = torch.Generator()
    generator.set_state(state)
    for cell, value in before.items():
        noise = torch.empty(2, 8, dtype=torch.float64).uniform_(-1, 1, generator=generator) * 0.2
        point = value + noise
        if projection == "rescaled":
            point = point.clamp(0, 1) / point.clamp(0, 1).sum(-1, keepdim=True)
        if projection != "nearest":
            torch.testing.assert_close(inside[cell], point, rtol=1e-12, atol=0)
        else:
            torch.testing.assert_close(inside[cell].sum(-1), torch.ones(2, dtype=torch.float64))
            assert float((inside[cell] - value).abs().max()) <= 0.2 + 1e-12


# The attack.


def recorded(job: Search, monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Tensor], float]]:
    """Arch weights and loss of every pass from now on; all must be in evaluation mode."""
    seen: list[tuple[dict[str, Tensor], float]] = []
    right = job.objective.data_loss

    def recording(batch: Any, arch_weights: Mapping[str, Tensor]) -> Loss:
        assert not job.supernet.training
        loss = right(batch, arch_weights)
        seen.append(({cell: value.detach().clone() for cell, value in arch_weights.items()}, float(loss.data)))
        return loss

    monkeypatch.setattr(job.objective, "data_loss", recording)
    return seen


def evaluated(job: Search, step: Step, arch_weights: Mapping[str, Tensor]) -> float:
    job.supernet.eval()
    with torch.no_grad(), job.objective.virtual():
        found = float(job.objective.data_loss(step.weight_batch, arch_weights).data)
    job.supernet.train()
    return found


@pytest.mark.parametrize("projection", ["nearest", "none"])
@pytest.mark.parametrize("radius", [0.03, 0.3])
def test_the_attack_stays_in_its_ball_and_the_simplex(
    radius: float, projection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, step, remedy = ready({"name": "sdarts_adv", "projection": projection}, radius)
    seen = recorded(job, monkeypatch)
    before, inside = perturbed(job, step, remedy)
    assert len(seen) == 9  # before, seven moves, after
    for points, _ in [*seen, (inside, 0.0)]:
        for cell, value in points.items():
            assert float((value - before[cell]).abs().max()) <= radius * (1 + 1e-12)
            if projection == "nearest":
                assert float(value.min()) >= 0
                torch.testing.assert_close(value.sum(-1), torch.ones_like(value[:, 0]), rtol=0, atol=1e-12)
    assert any(not torch.equal(inside[cell], before[cell]) for cell in before)


@pytest.mark.parametrize("projection", ["nearest", "rescaled", "none"])
@pytest.mark.parametrize("space", ["darts-cnn", "robust_s4"])
def test_the_attack_never_lowers_the_loss_it_attacks(space: str, projection: str) -> None:
    job, step, remedy = ready({"name": "sdarts_adv", "projection": projection, "moves": 3}, space=SMALL[space])
    rose = 0
    for radius in (0.01, 0.1, 0.5):
        remedy._radius = radius
        before, inside = perturbed(job, step, remedy)
        gained = evaluated(job, step, inside) - evaluated(job, step, before)
        assert gained >= 0
        rose += gained > 0
    assert rose > 0


def test_attack_without_success_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    job, step, remedy = ready({"name": "sdarts_adv", "moves": 2})
    right, calls = job.objective.data_loss, []

    def falling(batch: Any, arch_weights: Mapping[str, Tensor]) -> Loss:
        calls.append(1)
        loss = right(batch, arch_weights)
        return Loss(loss.value - len(calls), loss.data, loss.correct, loss.count)

    monkeypatch.setattr(job.objective, "data_loss", falling)
    before, inside = perturbed(job, step, remedy)
    assert len(calls) == 4
    assert all(torch.equal(inside[cell], before[cell]) for cell in before)


def test_an_attack_that_fails_restores_the_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    job, step, remedy = ready("sdarts_adv")

    def broken(batch: Any, arch_weights: Any) -> Loss:
        raise RuntimeError("no memory")

    monkeypatch.setattr(job.objective, "data_loss", broken)
    with pytest.raises(RuntimeError, match="no memory"):
        perturbed(job, step, remedy)
    assert all(module.training for module in job.supernet.modules())
    assert all(parameter.requires_grad for parameter in job.supernet.parameters())


@pytest.mark.parametrize("settings", [{}, {"moves": 3}, {"reach": 0.5}])
def test_attack_matches_projected_gradient_ascent(settings: dict[str, Any]) -> None:
    job, step, remedy = ready({"name": "sdarts_adv", "projection": "none", **settings})
    generator = torch.Generator()
    generator.set_state(job.streams["sdarts_adv"].get_state())
    before, inside = perturbed(job, step, remedy)
    radius, moves = 0.2, settings.get("moves", 7)
    size = settings.get("reach", 2.0) * radius / moves
    point = {
        cell: value + radius * torch.empty(2, 8, dtype=torch.float64).uniform_(-1, 1, generator=generator)
        for cell, value in before.items()
    }
    job.supernet.eval()
    for _ in range(moves):
        leaves = {cell: value.clone().requires_grad_() for cell, value in point.items()}
        logits = job.supernet(step.weight_batch.inputs, leaves)
        torch.nn.functional.cross_entropy(logits, step.weight_batch.targets).backward()
        for cell, leaf in leaves.items():
            assert leaf.grad is not None
            moved = leaf.detach() + size * leaf.grad.sign()
            point[cell] = before[cell] + (moved - before[cell]).clamp(-radius, radius)
    for cell, value in point.items():
        torch.testing.assert_close(inside[cell], value, rtol=0, atol=1e-12)
