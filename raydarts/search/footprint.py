"""How much memory the tensors of a search need, alone and as a lane of a group, counted before it starts.

Passes with batches of 2 and of 3 are run on made-up data of the real shape, on the CPU. What autograd keeps for the
backward pass is counted in both. It grows by the same amount with each further image or column of text, so the amount
at the real batch size follows. Where the graph of a gradient stays for several products, a product needs about as much
beside it as a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from raydarts.data.base import ImageArrays, Size
from raydarts.data.batches import Batches
from raydarts.data.settings import TextSettings
from raydarts.data.splits import AnySplits, Splits
from raydarts.data.text import EOS, TextTokens
from raydarts.data.text_batches import LONGER
from raydarts.data.text_splits import TextSplits
from raydarts.measure import Kept, on_threads
from raydarts.search.fused import draws_lengths, unfusable
from raydarts.search.gradients import constant
from raydarts.search.hessian import differentiable_gradient
from raydarts.search.moments import Step
from raydarts.search.products import GradientGraph
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.tasks import Batch, LanguageModelling

_BATCHES = (2, 3)
_COPIES = 3
"""Of the weights, in a search: themselves, their momentum, their gradient."""
_COPIES_AHEAD = 2
"""And in an estimator that looks ahead: the saved weights, and a direction."""
_COPIES_IN_A_GROUP = 3
"""And in a group: the search's own weights and momentum beside the packed ones, and their gradient as a vector."""
_COPIES_FROM_BEFORE = 2
"""And in a group whose lanes do not end their passes together: weights and momentum as they were before the epoch."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of tensors at the fullest moment of an epoch, without data.

    `alone`: of a search. `lane`: of each of several in a group. None: such a search runs alone. `stage`: of a search in
    a stage in which each search of a group runs alone; 0: there is none.
    """

    alone: int
    lane: int | None
    stage: int = 0

    def group(self, lanes: int) -> int:
        """Returns the bytes of so many searches in one process."""
        if lanes == 1 or self.lane is None:
            return self.alone
        return max(lanes * self.lane, self.stage)


def footprint(settings: SearchSettings, size: Size) -> Footprint:
    """Counts the memory of a search on data of this size. It takes a few seconds at most for the paper's supernet."""
    text = {"text": _longest(settings.text)} if size.vocabulary else {}
    small = settings.model_copy(update={"batch_size": max(_BATCHES), **text})
    with on_threads(1):
        return _counted(settings, Search(small, made_up(small, size)), size)


def _counted(settings: SearchSettings, search: Search, size: Size) -> Footprint:
    batch = settings.batch_size if size.vocabulary else min(settings.batch_size, size.train)
    stages = []
    for stage in range(len(search.stages)):
        if stage:
            search.enter(stage)
        stages.append(_Counted.of(search, settings, batch))
    alone = max(each.alone for each in stages)
    if unfusable(settings):
        return Footprint(alone, None)
    return Footprint(alone, stages[0].lane, max((each.alone for each in stages[1:]), default=0))


@dataclass(frozen=True)
class _Counted:
    """Bytes of a stage's search."""

    alone: int
    lane: int

    @classmethod
    def of(cls, search: Search, real: SearchSettings, batch: int) -> _Counted:
        state = search.supernet.state_dict()
        weights = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
        copies = _COPIES + (0 if search.settings.estimator.name == "first_order" else _COPIES_AHEAD)
        step = _at([_kept_by_a_step(search, size) for size in _BATCHES], batch)
        hessian = 0
        if _needs_eigenvalue(search):
            hessian = _at([_kept_by_an_eigenvalue(search, size) for size in _BATCHES], batch)
        passes = max(step, hessian) + _gradients_of_logits(search, batch)
        in_a_group = copies + _COPIES_IN_A_GROUP + (_COPIES_FROM_BEFORE if draws_lengths(real) else 0)
        return cls(weights * copies + passes, weights * in_a_group + passes)


def _at(kept: Sequence[int], batch: int) -> int:
    """Returns the bytes at a batch size, by those at two others."""
    (first, second), (one, two) = kept, _BATCHES
    return first + (second - first) // (two - one) * (batch - one)


def _kept_by_a_step(search: Search, size: int) -> int:
    """Returns the most bytes that are kept at a time for the passes of one step. The weights do not count.

    Passes that remedies ask for run one after the other, so they keep no more.
    """
    model = search.model
    weights, alpha = (_batch(search, part, size) for part in ("weight", "alpha"))
    step = Step(model.objective, weights, lambda: alpha)
    keeps = str(getattr(search.settings.estimator.member, "KEEPS", "unknown"))
    search.supernet.train()
    model.objective.begin_epoch()

    def whole_step() -> None:
        model.architect.gradient(step)
        search.loop.weight_gradient(model, step)

    if keeps == "unknown":
        return _kept(search, whole_step)
    of_a_pass = _kept(search, lambda: model.objective.perturbed_weight_loss(step))
    if keeps == "pass":
        return of_a_pass
    graph = _kept(search, lambda: GradientGraph(model.objective, weights))
    return graph if keeps == "gradient" else graph + of_a_pass


def _kept_by_an_eigenvalue(search: Search, size: int) -> int:
    """Returns the same for the dominant eigenvalue: the graph of a gradient, and a product with it."""
    objective, batch = search.objective, _batch(search, "alpha", size)

    def graph() -> None:
        with differentiable_gradient(objective, batch):
            pass

    def one_pass() -> object:
        with objective.virtual(), constant(objective.weights):
            return objective.data_loss(batch, objective.arch_weights(expected=True))

    return _kept(search, graph) + _kept(search, one_pass)


def _gradients_of_logits(search: Search, columns: int) -> int:
    """Returns the bytes of a text's logits and log-probabilities as gradients: a backward pass begins with both.

    With a large vocabulary no other gradient is as large. Logits of images are small.
    """
    if not isinstance(search.parts.task, LanguageModelling):
        return 0
    logits = search.settings.text.bptt * columns * search.parts.task.vocabulary_size
    return 2 * logits * search.parts.dtype.itemsize


def _kept(search: Search, work: Callable[[], object]) -> int:
    kept = Kept(search.supernet.state_dict().values())
    with search.streams.governing(), kept.counting():
        work()
    return kept.most


def _needs_eigenvalue(search: Search) -> bool:
    asked = [*search.probes, *search.regularizers]
    return any(each.needs_eigenvalue(epoch) for each in asked for epoch in range(1, search.settings.epochs + 1))


def _batch(search: Search, part: str, size: int) -> Batch:
    data: Batches = search.data[part]
    return next(iter(data.epoch(size, search.streams[f"{part}_order"], search.streams[f"{part}_augment"])))


def _longest(text: TextSettings) -> TextSettings:
    """Returns the settings under which each batch has the length of the longest."""
    longer = LONGER if text.bptt_deviation > 0 else 0
    return text.model_copy(update={"bptt": text.bptt + longer, "short_probability": 0.0, "bptt_deviation": 0.0})


def made_up(settings: SearchSettings, size: Size) -> AnySplits:
    """Returns a few made-up images or tokens of each part."""
    if size.vocabulary:
        columns = max(settings.batch_size, settings.text.measured_columns)
        tokens = np.zeros(columns * (settings.text.bptt + 2), np.int64)
        words = (EOS, *(f"w{number}" for number in range(1, size.vocabulary)))
        return TextSplits(TextTokens("made-up text", tokens, tokens, tokens, words), tokens, tokens, tokens)
    count, channels = settings.batch_size, size.channels
    noise = np.random.default_rng(0).integers(0, 256, (count, size.height, size.width, channels), dtype=np.uint8)
    labels, all_of_them = np.zeros(count, np.int64), np.arange(count)
    grey = (0.5,) * channels
    source = ImageArrays("made-up images", noise, labels, noise, labels, size.classes, grey, grey)
    return Splits(source, all_of_them, all_of_them, all_of_them[:0])


def data_bytes(size: Size, used: int, *, in_files: bool, on_a_gpu: bool) -> int:
    """Returns the bytes that a process needs for data: as they were read, and of images also the parts that are used.

    Args:
        size: what the data hold, all of them.
        used: how many training images are used.
        in_files: whether images stay in their files, so that labels alone are in memory.
        on_a_gpu: whether the bytes on the GPU are wanted.
    """
    if size.vocabulary:
        return 8 * (size.train + size.validation + size.test)
    image = 8 + (0 if in_files else size.height * size.width * size.channels)
    return image * used if on_a_gpu else image * (used + size.train + size.test)
