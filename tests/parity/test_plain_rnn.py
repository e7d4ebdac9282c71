"""raydarts against the plain recurrent DARTS of `plain_rnn`: forward, penalties, and steps of each estimator."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raydarts.data.text import TextTokens
from raydarts.data.text_splits import TextSplits
from raydarts.registry import Choose
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Genotype
from raydarts.spaces.regularization import RecurrentNetworkSettings
from raydarts.streams import Streams
from raydarts.tasks import Batch, LanguageModelling

sys.path.insert(0, str(Path(__file__).parent))
import plain_rnn

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS, TOLERANCE = 4, 1e-10
VOCABULARY, UNITS, NODES, COLUMNS, BPTT = 11, 3, 3, 4, 6
DROPOUT = {
    "embedding_dropout": 0.2,
    "input_dropout": 0.3,
    "cell_dropout": 0.4,
    "hidden_dropout": 0.25,
    "output_dropout": 0.35,
}
PENALTIES = {"activation_regularization": 0.6, "slowness": 0.8}
STEPPING = {"lr": 2.0, "weight_decay": 1e-2, "grad_clip": 0.3, "arch_lr": 0.05}
VIRTUAL_CLIP = 0.2
NAMES = ("token", "vector", "cell", "hidden", "output")


def splits() -> TextSplits:
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, 600)
    source = TextTokens("random", tokens, tokens[:50], tokens[:50], tuple(map(str, range(VOCABULARY))))
    return TextSplits(source, tokens, tokens[:300], tokens[300:])


def search(estimator: str) -> Search:
    chosen: dict[str, Any] = {"name": estimator}
    if estimator != "first_order":
        chosen["grad_clip"] = VIRTUAL_CLIP
    plain = {
        "seed": 1,
        "batch_size": COLUMNS,
        "momentum": 0.0,
        "alpha_init": 0.5,
        "precision": "float64",
        "text": {"bptt": BPTT, "short_probability": 0.5},
        "space": {"name": "darts-rnn", "nodes": NODES, "units": UNITS, **DROPOUT, **PENALTIES},
        "estimator": chosen,
        **STEPPING,
    }
    job = Search(SearchSettings.model_validate(plain), splits())
    with torch.no_grad():  # 0.04 is too narrow for three units to differ by anything
        for weight in job.supernet.parameters():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=weight.dtype))
    return job


def masks_of(module: Any, *inputs: Any) -> dict[str, Tensor]:
    """The dropout masks that a pass of the module draws; its draws and statistics are the caller's to put back."""
    found: dict[str, Tensor] = {}
    hooks = [
        getattr(module, f"{name}_mask").register_forward_hook(
            lambda _module, _inputs, output, name=name: found.__setitem__(name, output)
        )
        for name in NAMES
    ]
    module(*inputs)
    for hook in hooks:
        hook.remove()
    assert all(bool((found[name] != 1).all()) for name in NAMES)  # each is 0 or above 1: all of them act
    return found


def plain_model(weights: Any) -> plain_rnn.Model:
    return plain_rnn.Model([w.detach().clone().requires_grad_() for w in weights], *PENALTIES.values())


def after(estimator: str, **wrong: Any) -> tuple[float, float, float]:
    """Largest differences of w, alpha and hidden states after some steps from the same start on the same batches."""
    job = search(estimator)
    model = plain_model(job.supernet.parameters())
    start = job.alphas["recurrent"].detach().clone()
    alpha = start.clone().requires_grad_()
    settings = {
        "lr": STEPPING["lr"],
        "arch_lr": STEPPING["arch_lr"],
        "decay": STEPPING["weight_decay"],
        "clip": STEPPING["grad_clip"],
        "virtual_clip": VIRTUAL_CLIP,
    }
    darts = plain_rnn.Darts(model, alpha, estimator, **settings | wrong)
    ours, lengths, apart = job.loop.batches, set(), [0.0]

    def both() -> Iterator[tuple[Batch, Callable[[], Batch]]]:
        """The plain model takes each step before ours does."""
        hidden = [torch.zeros(COLUMNS, UNITS, dtype=torch.float64)] * 2
        for _, (weight_batch, draw) in zip(range(STEPS), ours(), strict=False):
            pair = weight_batch, draw()
            for batch, state in zip(pair, hidden, strict=True):
                apart[0] = max(apart[0], 0.0 if batch.memory is None else _largest(batch.memory, state))
            lengths.add(len(pair[0].inputs))
            with job.objective.virtual(), torch.no_grad():
                masks = masks_of(job.supernet, pair[0].inputs, job.objective.arch_weights())
            given = [(batch.inputs, batch.targets, state) for batch, state in zip(pair, hidden, strict=True)]
            hidden = list(darts.step(*given, masks, len(pair[0].inputs) / BPTT))
            yield weight_batch, partial(pair.__getitem__, 1)

    job.loop.batches = both  # type: ignore[method-assign]
    job.loop.epoch(job.model, 1)
    assert _largest(alpha, start) > 1e-3  # the comparison is of steps that were taken
    assert lengths == {BPTT // 2, BPTT}
    w = max(_largest(a, b) for a, b in zip(job.supernet.parameters(), model.w, strict=True))
    return w, _largest(job.alphas["recurrent"], alpha), apart[0]


def _largest(one: Tensor, other: Tensor) -> float:
    return float((one - other).detach().abs().max())


@pytest.mark.parametrize("estimator", ["first_order", "finite_difference", "exact_hvp"])
def test_steps_match_plain_darts(estimator: str) -> None:
    assert max(after(estimator)) < TOLERANCE


@pytest.mark.parametrize("wrong", [{"scale_implicit": False}, {"scale_lr": False}, {"virtual_clip": 0.1}, {"decay": 0}])
def test_known_mistakes_are_detected(wrong: dict[str, Any]) -> None:
    """An implicit term without the clip's factor, a learning rate that ignores the length, another clip, no decay."""
    assert max(after("finite_difference", **wrong)) > 1e3 * TOLERANCE


def test_forward_and_penalties_of_the_supernet() -> None:
    job = search("first_order")
    model = plain_model(job.supernet.parameters())
    batch = next(iter(job.data["weight"].epoch(COLUMNS, job.streams["order"], job.streams["augment"])))
    memory = torch.randn(COLUMNS, UNITS, dtype=torch.float64)
    arch_weights = job.objective.arch_weights()
    job.supernet.train()
    with job.objective.virtual():
        masks = masks_of(job.supernet, batch.inputs, arch_weights, memory)
    loss = job.objective.weight_loss(batch._replace(memory=memory))
    arch = job.alphas["recurrent"].softmax(-1)
    data, penalty, _, hidden = model.run(batch.inputs, batch.targets, memory, model.mixed_cell, arch, masks)
    assert _largest(loss.data, data) < 1e-12
    assert _largest(loss.value, data + penalty) < 1e-12
    assert float(penalty.detach()) > 1e-2
    assert _largest(loss.memory, hidden) < 1e-12  # type: ignore[arg-type]
    assert loss.count == batch.targets.numel()
    alpha_loss = job.objective.alpha_loss(batch._replace(memory=memory))
    assert torch.equal(alpha_loss.value, alpha_loss.data)  # the penalties belong to the training loss


def test_forward_of_a_genotypes_network() -> None:
    """Two nodes on s_0, a node that the mean leaves out."""
    edges, concat = [["sigmoid", 0], ["tanh", 0], ["relu", 1], ["identity", 2]], [1, 3, 4]
    genotype = Genotype.from_json({"recurrent": edges, "concat": concat})
    space = Choose("space").parse("darts-rnn").build()
    settings = RecurrentNetworkSettings(units=UNITS, **DROPOUT, **PENALTIES)
    network = space.network(genotype, LanguageModelling(VOCABULARY), settings).double()
    streams = Streams(0)
    network.draw_from(streams["dropout"])
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    tokens = torch.randint(VOCABULARY, (2, 7, COLUMNS), generator=generator)
    memory = torch.randn(COLUMNS, UNITS, generator=generator, dtype=torch.float64)
    with streams.replayed("dropout"):
        masks = masks_of(network, tokens[0], memory)
    found = network(tokens[0], memory)
    model = plain_model(network.parameters())
    order = ["none", "tanh", "relu", "sigmoid", "identity"]
    what = {"nodes": [(order.index(name), before) for name, before in edges], "mean": concat}
    _, penalty, logits, hidden = model.run(tokens[0], tokens[1], memory, model.chosen_cell, what, masks)
    assert _largest(found.logits, logits) < 1e-12
    assert _largest(found.penalty, penalty) < 1e-12
    assert _largest(found.memory, hidden) < 1e-12
    network.eval()
    ones = {name: torch.ones_like(mask) for name, mask in masks.items()}
    without = network(tokens[0], memory)
    assert _largest(without.logits, model.run(*tokens, memory, model.chosen_cell, what, ones)[2]) < 1e-12
    assert without.penalty is None
