"""`search.amp`: which passes compute in bfloat16, and that everything else keeps its type."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.data.splits import AnySplits
from raydarts.search.fused import FusedSearch, structure
from raydarts.search.model import copied
from raydarts.search.moments import Step
from raydarts.search.regularizers.auxiliary_skip import _AddSkip
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.spaces.lanes import add_weighted, plus_weighted, weighted
from tests.commands import run_here
from tests.unit.search.test_fused import settings, splits, text_splits

pytestmark = pytest.mark.usefixtures("one_thread")

MIXED: dict[str, Any] = {"precision": "float32", "amp": "bfloat16"}
CONVOLUTIONS = {"name": "nasbench201", "channels": 4, "cells_per_stage": 1}
TEXT: dict[str, Any] = {
    "space": {"name": "darts-rnn", "nodes": 2, "units": 3},
    "batch_size": 4,
    "text": {"bptt": 6, "measured_columns": 3},
}


def search(data: AnySplits | None = None, **changes: Any) -> Search:
    return Search(settings(**{"estimator": "first_order", **MIXED, **changes}), data or splits())


def seen(search: Search) -> dict[str, set[torch.dtype]]:
    """Runs an epoch. Returns the types that the stem's convolution gave: in alpha's step, the weights', and outside."""
    known: dict[str, set[torch.dtype]] = {"alpha": set(), "weights": set(), "outside": set()}
    now = ["outside"]

    def named(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            now.append(name)
            try:
                return work(*arguments)
            finally:
                now.pop()

        return run

    search.architect.gradient = named("alpha", search.architect.gradient)  # type: ignore[method-assign]
    search.loop.weight_gradient = named("weights", search.loop.weight_gradient)  # type: ignore[method-assign]
    stem = next(module for module in search.supernet.modules() if isinstance(module, torch.nn.Conv2d))
    stem.register_forward_hook(lambda module, inputs, output: known[now[-1]].add(output.dtype))
    search.run_epoch()
    return known


@pytest.mark.parametrize(
    ("estimator", "alpha"),
    [
        ("first_order", torch.bfloat16),
        ({"name": "finite_difference", "xi": 0.0}, torch.bfloat16),
        ("finite_difference", torch.float32),
        ("exact_hvp", torch.float32),
    ],
)
def test_the_weights_step_is_mixed_and_alphas_is_if_it_is_first_order(estimator: Any, alpha: torch.dtype) -> None:
    known = seen(search(estimator=estimator, probes=["eigenvalue"]))
    assert known == {"weights": {torch.bfloat16}, "alpha": {alpha}, "outside": {torch.float32}}


def test_passes_that_a_remedy_asks_for_are_exact() -> None:
    known = seen(search(regularizers=["sdarts_adv"]))
    assert known["weights"] == {torch.float32, torch.bfloat16}


def kept(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from kept(each)


def test_what_is_kept_has_the_precision_of_the_search() -> None:
    one = search()
    one.run_epoch()
    types = {tensor.dtype for tensor in kept(one.state_dict()) if tensor.is_floating_point()}
    assert types == {torch.float32}


@pytest.mark.parametrize("changes", [{}, {"space": CONVOLUTIONS}, TEXT], ids=["darts-cnn", "nasbench201", "text"])
def test_lanes_are_mixed_as_the_same_searches_alone(changes: dict[str, Any]) -> None:
    """Rounding to bfloat16 differs where sums are in another order. Without `amp` the rows differ more."""
    data = text_splits() if changes is TEXT else splits()
    together = [search(data, seed=1, lr=lr, **changes) for lr in (0.05, 0.1)]
    rows = FusedSearch().run_epoch(together)
    for row, lr in zip(rows, (0.05, 0.1), strict=True):
        assert isinstance(row, dict), row
        alone, plain = (search(data, seed=1, lr=lr, **changes, amp=amp).run_epoch() for amp in ("bfloat16", "off"))
        for name in ("weight_loss", "alpha_loss"):
            mixed, figure, exact = (float(str(each[name])) for each in (row, alone, plain))
            assert mixed == pytest.approx(figure, rel=5e-3)
            assert mixed != exact


def test_searches_of_other_types_are_no_lanes_of_one_group() -> None:
    one, other = (settings(precision="float32", amp=amp) for amp in ("off", "bfloat16"))
    assert structure(one) != structure(other)


def test_a_mixed_search_goes_on_bit_identically() -> None:
    whole, half = search(), search()
    half.run_epoch()
    rest = search()
    rest.load_state_dict(copied(half.state_dict()))
    rows = [whole.run_epoch(), whole.run_epoch()], rest.run_epoch()
    assert rows[0][1]["weight_loss"] == rows[1]["weight_loss"]
    for one, other in zip(kept(whole.state_dict()), kept(rest.state_dict()), strict=True):
        assert torch.equal(one, other)


def test_alphas_gradient_is_near_the_exact_one() -> None:
    gradients = []
    for changes in ({"precision": "float64", "amp": "off"}, MIXED):
        one = search(space=CONVOLUTIONS, **changes)
        one.supernet.train()
        weight_batch, draw = next(iter(one.loop.batches()))
        one.architect.gradient(Step(one.objective, weight_batch, draw, 0))
        gradients.append(torch.cat([alpha.grad.flatten().double() for alpha in one.alphas.values()]))  # type: ignore[union-attr]
    assert not torch.equal(*gradients)
    assert torch.nn.functional.cosine_similarity(*gradients, 0) > 0.9


SPEC = """
data: {dataset: digits, limit: 64}
search:
  epochs: 1
  batch_size: 16
  space: {name: nasbench201, channels: 2, cells_per_stage: 1}
  estimator: first_order
"""


def test_the_command_takes_the_type(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    losses = {}
    for amp in ("off", "bfloat16"):
        words = ["--set", f"search.amp={amp}", "--storage", tmp_path, "--name", amp]
        done = run_here("search", tmp_path / "spec.yaml", *words)
        assert done.code == 0, done.err
        (row,) = (
            json.loads(line) for line in (tmp_path / amp / "trials" / "0000" / "metrics.jsonl").read_text().splitlines()
        )
        losses[amp] = row["weight_loss"]
        assert json.loads((tmp_path / amp / "run.json").read_text())["spec"]["search"].get("amp", "off") == amp
    assert losses["off"] != losses["bfloat16"]
    assert losses["off"] == pytest.approx(losses["bfloat16"], rel=0.1)


def test_float64_is_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    words = ["--set", "search.amp=bfloat16", "--set", "search.precision=float64"]
    done = run_here("validate", tmp_path / "spec.yaml", *words)
    assert done.code == 2
    assert "mixes with precision float32 alone" in done.err + done.out
    assert SearchSettings(precision="float64").amp == "off"


def test_arch_weights_are_not_rounded_to_bfloat16() -> None:
    """Near an eighth, bfloat16 has steps of 0.0005. Arch weights differ by less at first."""
    weight = torch.tensor([0.1251, 0.1252], requires_grad=True)
    x = torch.ones(2, 4, 3, 3, dtype=torch.bfloat16)
    total = weighted(weight, 1024 * x)
    assert total[0, :, 0, 0].tolist() == [128.0] * 4  # 128.1 and 128.2 in bfloat16
    assert plus_weighted(-128 * x, weight, 1024 * x).dtype == torch.bfloat16
    (gradient,) = torch.autograd.grad(add_weighted(total, weight, x).sum(), weight)
    assert gradient.dtype == torch.float32
    assert gradient.tolist() == [2 * 2 * 9 * (1024 + 1)] * 2  # bfloat16 would make it 36864


@pytest.mark.parametrize("coefficients", [(0.3,), (0.3, 0.3), (0.3, 0.7)], ids=["alone", "equal lanes", "lanes"])
def test_an_auxiliary_skip_rounds_no_coefficient(coefficients: tuple[float, ...]) -> None:
    transforms = [_AddSkip("skip") for _ in coefficients]
    for transform, coefficient in zip(transforms, coefficients, strict=True):
        transform.coefficient = coefficient
    made = _AddSkip.fused(transforms) if len(transforms) > 1 else transforms[0]
    assert isinstance(made, _AddSkip)
    three = torch.full((1, len(coefficients), 1, 1), 3.0, dtype=torch.bfloat16)  # 3 times bfloat16's 0.3 is 0.902
    added = made.added(torch.zeros_like(three), three)
    assert added.dtype == torch.bfloat16
    assert added.flatten().tolist() == (3 * torch.tensor(coefficients)).bfloat16().tolist()
    assert round(added.flatten()[0].item(), 3) == 0.898
