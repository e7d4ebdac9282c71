"""Algorithm 1 on a small supernet: what settings, estimators and remedies do to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.errors import InputError, NonFiniteError
from raydarts.registry import Choose, members
from raydarts.search.moments import EpochReport, Moment, Step, Stop
from raydarts.search.regularizers.base import Regularizer
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from tests.unit.search.second_order import gradient_of, second_order

ESTIMATORS = list(members("estimator"))


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


class StopAtTwo(Regularizer):
    """Stops after epoch 2 and takes epoch 1."""

    NAME = "stop_at_two"

    def should_stop(self, report: EpochReport) -> Stop | None:
        assert len(report.genotypes) == report.epoch
        return Stop("enough", 1) if report.epoch == 2 else None


class StopAtOnce(Regularizer):
    """Stops after every epoch, with the last genotype."""

    NAME = "stop_at_once"

    def should_stop(self, report: EpochReport) -> Stop | None:
        return Stop("at once")


class Pull(Regularizer):
    """Adds a constant to dL/dalpha of the normal cell."""

    NAME = "pull"

    def alpha_gradient(self, alphas: Mapping[str, Tensor], step: Any) -> Mapping[str, Tensor]:
        return {"normal": torch.full_like(alphas["normal"], 3.0)}


class PullAgain(Pull):
    """Adds it once more."""

    NAME = "pull_again"


class Push(Regularizer):
    """Adds ones to the weights' gradient."""

    NAME = "push"

    def weight_gradient(self, weights: Sequence[Tensor], step: Any) -> Sequence[Tensor]:
        return [torch.ones_like(weight) for weight in weights]


class Uniform(Regularizer):
    """Replaces the arch weights of the weight step by uniform ones."""

    NAME = "uniform"

    @contextmanager
    def perturb(self, arch_weights: dict[str, Tensor], step: Any) -> Iterator[None]:
        for name, value in arch_weights.items():
            arch_weights[name] = torch.full_like(value, 0.5)
        yield


class OtherDecay(Regularizer):
    """Sets the weight decay, as weight_l2 does."""

    NAME = "other_decay"
    OVERRIDES = ("weight_decay",)

    def optimizer_overrides(self, asked: Mapping[str, float]) -> dict[str, float]:
        return {"weight_decay": 1.0}


def own(cls: type[Regularizer]) -> dict[str, str]:
    return {"name": f"{__name__}:{cls.__name__}"}


def search(**changes: Any) -> Search:
    plain = {
        "epochs": 2,
        "batch_size": 16,
        "arch_lr": 0.05,
        "precision": "float64",
        "space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1},
        "estimator": "first_order",
        **changes,
    }
    return Search(SearchSettings.model_validate(plain), load_splits(DataSettings(limit=64)))


def run(job: Search) -> Search:
    while not job.finished:
        job.run_epoch()
    return job


def alpha_of(job: Search) -> Tensor:
    return torch.cat([alpha.detach().flatten() for alpha in job.alphas.values()])


def at(progress: float) -> Moment:
    """A hundredth epoch of a search of 101, at progress 1."""
    return Moment(round(100 * progress), 101)


def ready(progress: float = 1.0, **changes: Any) -> tuple[Search, Step]:
    """A search within an epoch, with its first step."""
    job = search(**changes)
    for regularizer in job.regularizers:
        regularizer.on_epoch_start(at(progress))
    job.supernet.train()
    return job, Step(job.objective, *next(job.loop.batches()))


def weight_gradient(job: Search, step: Step) -> Any:
    return job.loop.weight_gradient(job.model, step)


def test_equal_settings_give_equal_alpha_and_any_other_estimator_setting_another() -> None:
    finite = {"name": "finite_difference", "xi": 0.5, "epsilon": 0.01}
    settings = {
        "base": finite,
        "xi": {**finite, "xi": 0.1},
        "epsilon": {**finite, "epsilon": 0.5},
        "exact": {"name": "exact_hvp", "xi": 0.5},
        "first": {"name": "first_order"},
    }
    found = {name: alpha_of(run(search(estimator=each, epochs=1))) for name, each in settings.items()}
    assert torch.equal(found["base"], alpha_of(run(search(estimator=finite, epochs=1))))
    names = list(found)
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            assert not torch.equal(found[one], found[other]), (one, other)


def test_xi_zero_is_first_order_in_a_whole_search() -> None:
    first = alpha_of(run(search()))
    for name in ("finite_difference", "exact_hvp"):
        assert torch.equal(alpha_of(run(search(estimator={"name": name, "xi": 0}))), first)


@pytest.mark.parametrize("drop", [0.0, 0.5])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimate_does_not_change_the_model(estimator: str, drop: float) -> None:
    job, step = ready(estimator=estimator, regularizers=[{"name": "drop_path", "probability": drop}])
    before = {key: value.clone() for key, value in job.supernet.state_dict().items()}
    alpha, dropout = alpha_of(job).clone(), job.streams["dropout"].get_state()
    job.architect.gradient(step)
    assert any("running_mean" in key for key in before)
    assert all(torch.equal(value, before[key]) for key, value in job.supernet.state_dict().items())
    assert torch.equal(alpha_of(job), alpha)
    assert torch.equal(job.streams["dropout"].get_state(), dropout)
    weight_gradient(job, step)  # the weight step's own pass does update them
    assert not all(torch.equal(value, before[key]) for key, value in job.supernet.state_dict().items())


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_the_finite_difference_tends_to_the_exact_product_on_the_supernet(drop: float) -> None:
    remedies = [{"name": "drop_path", "probability": drop}]

    def estimate(estimator: dict[str, Any]) -> Tensor:
        return second_order(*ready(estimator=estimator, regularizers=remedies), estimator["xi"])

    exact = estimate({"name": "exact_hvp", "xi": 0.5})
    # dL/dalpha jumps where a ReLU or a maximum in the supernet switches; at larger epsilons (1e-5 and up
    # here) w + eps v and w - eps v lie on different sides of such a switch, and jump / (2 eps) prevails.
    found = estimate({"name": "finite_difference", "xi": 0.5, "epsilon": 1e-7})
    assert exact.norm() > 1e-3
    assert (exact - found).norm() < 1e-5 * exact.norm()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_beta_decay_alpha_gradient_matches_the_formula(estimator: str) -> None:
    # alpha away from 0, where the softmax would be uniform whatever the formula
    plain = {"estimator": estimator, "alpha_init": 1.0}
    without, step = ready(**plain)
    without_loss = without.architect.gradient(step)
    job, step = ready(progress=0.5, regularizers=[{"name": "beta_decay", "strength": 8.0}], **plain)
    loss = job.architect.gradient(step)
    alphas = torch.cat([alpha.detach() for alpha in job.alphas.values()])
    edges = len(alphas)
    by_hand = 8.0 * 0.5 * sum(row.exp().sum().log() for row in alphas) / edges
    assert torch.allclose(loss.value.detach() - without_loss.value.detach(), by_hand, rtol=1e-10)
    assert torch.equal(loss.data, without_loss.data)
    expected = 8.0 * 0.5 * alphas.softmax(-1).flatten() / edges
    torch.testing.assert_close(gradient_of(job) - gradient_of(without), expected, rtol=1e-8, atol=1e-10)


def test_beta_decay_starts_at_strength_zero() -> None:
    remedy = Choose("regularizer").parse({"name": "beta_decay", "strength": 4.0}).build()
    alphas = {"normal": torch.zeros(3, 8, dtype=torch.float64)}
    remedy.on_epoch_start(at(0.0))
    assert remedy.penalty(alphas, alphas) is None
    values = []
    for progress in (0.25, 1.0):
        remedy.on_epoch_start(at(progress))
        values.append(float(remedy.penalty(alphas, alphas)))
    assert values == pytest.approx([torch.tensor(8.0).log().item(), 4 * torch.tensor(8.0).log().item()])


def test_weight_l2_multiplies_the_weight_decay() -> None:
    job = search(weight_decay=0.01, regularizers=[{"name": "weight_l2", "factor": 3.0}])
    assert job.weight_optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.03)
    assert job.architect.optimizer.param_groups[0]["weight_decay"] == pytest.approx(1e-3)


def test_two_remedies_that_set_one_setting_are_refused() -> None:
    with pytest.raises(InputError, match=r"weight_l2 and .*OtherDecay both set weight_decay"):
        search(regularizers=["weight_l2", own(OtherDecay)])


def test_drop_path_drops_whole_images_and_keeps_the_mean() -> None:
    job = search(regularizers=[{"name": "drop_path", "probability": 0.4}])
    remedy = job.regularizers[0]
    transform = remedy.transform()
    ones = torch.ones(20000, 2, 3, 3, dtype=torch.float64)

    def out(training: bool) -> Tensor:
        return transform.on_edge(ones, ones, None, None, training=training)

    remedy.on_epoch_start(at(0.0))
    assert out(True) is ones
    remedy.on_epoch_start(at(0.5))  # probability 0.2
    dropped = out(True)
    assert torch.equal(dropped, dropped[:, :1, :1, :1].expand_as(dropped))
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 1 / 0.8], dtype=torch.float64))
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)
    assert float((dropped[:, 0, 0, 0] == 0).double().mean()) == pytest.approx(0.2, abs=0.015)
    assert out(False) is ones


def test_drop_path_is_drawn_for_each_edge_and_not_in_evaluation_mode() -> None:
    job, step = ready(regularizers=[{"name": "drop_path", "probability": 0.5}])
    plain, _ = ready()
    plain.supernet.load_state_dict(job.supernet.state_dict())
    state = job.streams["dropout"].get_state()
    measured = []
    for each in (job, plain):
        each.supernet.eval()
        measured.append(each.objective.measure(step.weight_batch).data)
    assert torch.equal(*measured)
    assert torch.equal(job.streams["dropout"].get_state(), state)
    job.supernet.train()
    plain.supernet.train()
    assert not torch.equal(
        job.objective.measure(step.weight_batch).data, plain.objective.measure(step.weight_batch).data
    )


def test_a_weight_that_is_not_a_number_stops_the_search_before_a_step() -> None:
    job = search()
    job.run_epoch()
    with torch.no_grad():
        next(job.supernet.parameters()).view(-1)[0] = float("nan")
    before, weights = alpha_of(job).clone(), [weight.detach().clone() for weight in job.supernet.parameters()]
    adam = [state["step"].clone() for state in job.architect.optimizer.state.values()]
    with pytest.raises(NonFiniteError, match=r"alpha loss .* epoch 2, batch 0; .*search\.lr "):
        job.run_epoch()
    assert torch.equal(alpha_of(job), before)
    assert [state["step"] for state in job.architect.optimizer.state.values()] == adam
    for weight, saved in zip(job.supernet.parameters(), weights, strict=True):
        assert torch.equal(weight, saved) or bool(saved.isnan().any())


def test_a_diverging_weight_loss_names_its_learning_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    job = search()
    before = [weight.detach().clone() for weight in job.supernet.parameters()]
    right = job.objective.perturbed_weight_loss

    def wrong(step: Step) -> Any:
        loss = right(step)
        return type(loss)(loss.value * float("inf"), loss.data, loss.correct, loss.count)

    monkeypatch.setattr(job.objective, "perturbed_weight_loss", wrong)
    with pytest.raises(NonFiniteError, match=r"weight loss .* epoch 1, batch 0; .*search\.lr"):
        job.run_epoch()
    assert all(torch.equal(w, saved) for w, saved in zip(job.supernet.parameters(), before, strict=True))


def test_a_stop_ends_the_search_with_the_genotype_of_its_epoch() -> None:
    job = run(search(epochs=5, arch_lr=0.5, regularizers=[own(StopAtTwo)]))
    assert job.epoch == 2
    result = job.result()
    assert result["stopped_early"] == "enough"
    assert job.genotypes[0] != job.genotypes[1]  # else the next line would say little
    assert result["genotype"] == job.genotypes[0].to_json()
    assert result["genotype_id"] == job.genotypes[0].id


def test_the_first_stop_wins_and_without_an_epoch_the_last_genotype_counts() -> None:
    job = run(search(epochs=5, regularizers=[own(StopAtTwo), own(StopAtOnce)]))
    assert job.epoch == 1
    assert job.result()["stopped_early"] == "at once"
    assert job.result()["genotype"] == job.genotypes[-1].to_json()
    assert run(search(epochs=1)).result()["stopped_early"] is None


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_terms_of_alphas_gradient_are_added(estimator: str) -> None:
    plain, step = ready(estimator=estimator)
    plain.architect.gradient(step)
    job, step = ready(estimator=estimator, regularizers=[own(Pull), own(PullAgain)])
    job.architect.gradient(step)
    added = {name: alpha.grad - plain.alphas[name].grad for name, alpha in job.alphas.items()}
    torch.testing.assert_close(added["normal"], torch.full_like(added["normal"], 6.0))
    assert not added["reduce"].any()


def test_terms_of_the_weights_gradient_are_added_before_clipping() -> None:
    plain, step = ready(grad_clip=0)
    weight_gradient(plain, step)
    job, step = ready(grad_clip=0, regularizers=[own(Push)])
    weight_gradient(job, step)
    for weight, other in zip(job.supernet.parameters(), plain.supernet.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad + 1)
    job, step = ready(grad_clip=0.5, regularizers=[own(Push)])
    weight_gradient(job, step)
    norm = torch.cat([weight.grad.flatten() for weight in job.supernet.parameters()]).norm()
    assert float(norm) == pytest.approx(0.5, rel=1e-4)


def test_perturbations_act_on_the_weight_step_alone() -> None:
    plain, step = ready(alpha_init=1.0)
    job, step = ready(alpha_init=1.0, regularizers=[own(Uniform)])
    assert torch.equal(plain.architect.gradient(step).value, job.architect.gradient(step).value)
    assert torch.equal(gradient_of(plain), gradient_of(job))
    halves = {name: torch.full_like(alpha, 0.5) for name, alpha in job.alphas.items()}
    expected = torch.nn.functional.cross_entropy(
        plain.supernet(step.weight_batch.inputs, halves), step.weight_batch.targets
    )
    found = weight_gradient(job, step).value
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert not torch.equal(found, weight_gradient(plain, step).value)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_papers_zero_alpha_begins_with_equal_attention_and_moves(estimator: str) -> None:
    job = search(estimator=estimator, epochs=1)
    shares = job.model.arch_weights()["normal"]
    assert torch.equal(shares, torch.full_like(shares, 1 / shares.shape[1]))
    before = job.genotype  # all candidates tie: the earliest of the first edges, always the same
    assert {primitive for primitive, _ in dict(before.cells)["normal"].edges()} == {"max_pool_3x3"}
    assert job.genotype == before
    job.run_epoch()
    alpha = job.alphas["normal"]
    assert torch.isfinite(alpha).all()
    assert alpha.unique().numel() == alpha.numel()  # neither edges nor candidates stay alike
