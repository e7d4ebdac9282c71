"""Several searches run together: the lanes of one supernet, for little more than the price of one.

Each lane is an ordinary `Search`. Between epochs it is exactly what it would be alone: its rows, checkpoints, stops and
errors are its own. Within an epoch its weights are packed with the others' (`lanes.LaneModel`) and Algorithm 1 runs for
all of them at once. The figures equal those of the search alone up to rounding.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from raydarts.data.splits import AnySplits
from raydarts.float32 import arithmetic
from raydarts.measure import Meter, reset_peak_memory
from raydarts.registry import Component, Member
from raydarts.search.gradients import constant, gradients_of
from raydarts.search.graphs import Captured, Repeated, cuda_graph
from raydarts.search.hessian import dominant_eigenvalues
from raydarts.search.lanes import GroupStep, LaneModel, lane_batch
from raydarts.search.loop import Pair
from raydarts.search.model import SearchModel, copied
from raydarts.search.moments import Step
from raydarts.search.regularizers.base import Regularizer, asks, defines
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Space
from raydarts.states import State
from raydarts.tasks import Loss

logger = logging.getLogger("raydarts")
Result = TypeVar("Result")

Figures = dict[str, float | None]
Outcome = dict[str, object] | Exception
"""A lane's metrics of an epoch, or the error that ended it."""


def unfusable(settings: SearchSettings) -> list[str]:
    """Returns why a search with these settings runs alone. Empty: it can be a lane."""
    asked = [settings.space, settings.estimator, settings.relaxation, *_acting(settings)]
    reasons = [f"the {each.family} {each.name} does not run in lanes" for each in asked if not each.member.LANES]
    space = settings.space.build()
    if names := space.outside_primitives():
        reasons.append(f"{', '.join(sorted(names))} may mix channels, and lanes lie beside each other in the channels")
    if settings.relaxation.build().SPARSE:
        reasons.append(f"the relaxation {settings.relaxation.name} leaves out other candidates in each search")
    return reasons


def ungraphable(settings: SearchSettings) -> list[str]:
    """Returns why a step of a search with these settings is no CUDA graph. What a step draws at random is seen only
    when it runs.
    """
    reasons = unfusable(settings)
    if settings.relaxation.build().RANDOM:
        reasons.append(f"the relaxation {settings.relaxation.name} draws at random")
    looking = [each.name for each in _acting(settings) if _looks_at_steps(each)]
    return reasons + [f"the regularizer {name} looks at each step's batches" for name in looking]


def structure(settings: SearchSettings) -> str:
    """Returns what searches must have in common to be lanes of one group. They must be on the same data, too.

    Other settings may differ: seeds, rates, decays, clipping, xi, epsilon, strengths, regularizers that do not change
    the supernet.
    """
    changing = [each for each in _acting(settings) if _changes_the_supernet(each)]
    common = {
        "space": settings.space.plain(),
        "batch_size": settings.batch_size,
        "precision": settings.precision,
        "tf32": settings.tf32,
        "amp": settings.amp,
        "cuda_graph": settings.cuda_graph,
        "text": settings.text.model_dump(mode="json"),
        "estimator": [settings.estimator.name, (settings.estimator.effective() or {}).get("name")],
        "supernet": [_fixed(each) for each in changing],
        "passes": [_fixed(each) for each in _acting(settings) if _asks_for_passes(each)],
    }
    return json.dumps(common, sort_keys=True)


def draws_lengths(settings: SearchSettings) -> bool:
    """Returns whether each seed cuts a text into batches of other lengths, and so into another number of them."""
    text, space = settings.text, settings.space.member
    varied = 0 < text.short_probability < 1 or text.bptt_deviation > 0
    return varied and issubclass(space, Space) and space.TASK.KIND == "text"


def _acting(settings: SearchSettings) -> list[Component]:
    return [each for each in settings.regularizers if each.effective() is not None]


def _changes_the_supernet(component: Component) -> bool:
    member: type[Member] = component.member
    return issubclass(member, Regularizer) and member.transform is not Regularizer.transform


def _asks_for_passes(component: Component) -> bool:
    """Returns whether a remedy asks for passes of its own. They would be run for lanes that do not ask, too."""
    member: type[Member] = component.member
    return issubclass(member, Regularizer) and asks(member)


def _looks_at_steps(component: Component) -> bool:
    member: type[Member] = component.member
    return issubclass(member, Regularizer) and (
        asks(member) or defines(member, "perturb", "alpha_gradient", "weight_gradient", "watch")
    )


def _fixed(component: Component) -> dict[str, object]:
    """Returns a component without the numbers that may differ between lanes."""
    values = component.settings.model_dump(mode="json")
    free = component.settings.may_change()
    return {"name": component.name, **{key: value for key, value in values.items() if key not in free}}


@dataclass
class _Lane:
    """A search in an epoch that began at `started`: its place in the group, and its state before.

    `train_alpha` says whether its alpha is trained.
    """

    index: int
    search: Search
    before: State
    train_alpha: bool
    started: float

    @property
    def model(self) -> SearchModel:
        return self.search.model

    def finish(self) -> dict[str, object]:
        """Runs the begun epoch alone."""
        return self.search.finish_epoch(self.train_alpha, self.started)

    def repeat(self) -> dict[str, object]:
        """Runs the epoch from its start, alone and without a graph."""
        self.search.load_state_dict(self.before)
        return Search.run_epoch(self.search)


def _attempted(work: Callable[[], Result]) -> Result | Exception:
    """Returns the work's result, or a lane's own error. What all lanes suffer from is raised: memory, storage."""
    try:
        return work()
    except (OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        return error


class FusedSearch:
    """Runs epochs of several searches at once. It remembers nothing but the packed supernet.

    `capture` makes the graph of a step (`graphs.Captured`). A search with `cuda_graph` has one also where it is alone.
    """

    def __init__(self, capture: Captured[Taken] | None = None) -> None:
        self._packed: LaneModel | None = None
        self._repeated: Repeated[Taken] | None = None
        self._capture = capture

    def run_epoch(self, searches: Sequence[Search]) -> list[Outcome]:
        """Runs one epoch of each search. Returns its metrics, as `Search.run_epoch` does, or the error that ended it.

        The searches have equal `structure`, the same data and the same device. They may be at different epochs. Those
        whose supernets differ at the moment, as in a stage of their own, run alone. An error in a fused epoch is
        attributed by running each lane's epoch again, alone. A full memory, and an error of the storage, are raised:
        they are of all lanes.
        """
        graph = self._has_graph(searches)
        if len(searches) == 1 and not graph:
            return [_attempted(partial(Search.run_epoch, searches[0]))]
        outcomes: dict[int, Outcome] = {}
        groups: dict[str, list[_Lane]] = {}
        for index, search in enumerate(searches):
            started, before = time.perf_counter(), _before(search)
            begun = _attempted(search.begin_epoch)
            if isinstance(begun, Exception):
                outcomes[index] = begun
            else:
                groups.setdefault(_now(search), []).append(_Lane(index, search, before, begun, started))
        for lanes in groups.values():
            if len(lanes) > 1 or (graph and lanes[0].search.searching):
                outcomes |= self._together(lanes, graph)
            else:
                (lane,) = lanes
                outcomes[lane.index] = _attempted(lane.finish)
        return [outcomes[index] for index in range(len(searches))]

    def _has_graph(self, searches: Sequence[Search]) -> bool:
        """Returns whether the steps are captured. The searches of a group agree in that they ask for it."""
        first = searches[0]
        if first.settings.cuda_graph is False or (self._capture is None and first.device.type != "cuda"):
            return False
        if self._repeated is None:
            self._repeated = Repeated("a search", self._capture or cuda_graph)
        if self._repeated.refused is None and (why := [each for s in searches for each in ungraphable(s.settings)]):
            self._repeated.refuse(why[0])
        return self._repeated.refused is None

    def _together(self, lanes: Sequence[_Lane], graph: bool) -> dict[int, Outcome]:
        outcomes = _attempted(lambda: self._epoch(lanes, graph))
        if isinstance(outcomes, Exception):
            logger.warning(
                "an epoch of %d searches together failed (%s: %s), and is run again, one search after the other",
                len(lanes), type(outcomes).__name__, outcomes,
            )  # fmt: skip
            return {lane.index: _attempted(lane.repeat) for lane in lanes}
        return outcomes

    def _epoch(self, lanes: Sequence[_Lane], graph: bool) -> dict[int, Outcome]:
        started = time.perf_counter()
        outcomes: dict[int, Outcome] = {}
        reset_peak_memory(lanes[0].search.device)
        with arithmetic(tf32=lanes[0].search.settings.tf32):
            packed = self._pack(lanes)
            meters, finite, rest = algorithm_1(packed, lanes, self._repeated if graph else None)
            healthy = [place for place, fine in enumerate(finite.tolist()) if fine]
            again = [lane for place, lane in enumerate(lanes) if place not in healthy]
            if any(rest.batches):
                packed.store(healthy)
                for place in [*healthy]:
                    error = _attempted(partial(rest.finish, place, lanes[place], meters[place]))
                    if error is not None:
                        outcomes[lanes[place].index] = error
                        healthy.remove(place)
                packed.load([lane.train_alpha for lane in lanes])
            searches = [lane.search for lane in lanes]
            figures = validation(packed, searches, healthy)
            known = eigenvalues(packed, searches, healthy)
            packed.store(healthy)  # last: until then each lane can be run again
            packed.advance(healthy)
        share = (time.perf_counter() - started) / len(lanes)
        for place in healthy:
            measured = Measured(meters[place], figures[place], known.get(place))
            outcomes[lanes[place].index] = _attempted(partial(_ended, lanes[place], measured, share))
        return outcomes | {lane.index: _attempted(lane.repeat) for lane in again}

    def _pack(self, lanes: Sequence[_Lane]) -> LaneModel:
        known, models = self._packed, [lane.model for lane in lanes]
        if known is None or [*map(id, known.models)] != [*map(id, models)]:
            self._packed = known = None  # the old one's memory first
            self._packed = known = LaneModel(models)
        known.load([lane.train_alpha for lane in lanes])
        return known


class GraphedSearch(Search):
    """A search whose steps are repetitions of one CUDA graph: a group of one lane. Its figures equal those of the
    search without a graph up to rounding.
    """

    def __init__(
        self,
        settings: SearchSettings,
        splits: AnySplits,
        device: torch.device | str = "cpu",
        capture: Captured[Taken] | None = None,
    ) -> None:
        super().__init__(settings, splits, device)
        self._group = FusedSearch(capture)

    def run_epoch(self) -> dict[str, object]:
        (outcome,) = self._group.run_epoch([self])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


_UNTOUCHED = ("supernet", "weight_optimizer", "alpha_optimizer", "past")
"""Parts of a search's state that stay as they are until the packed supernet is stored: at the end of the epoch, or when
the first pass over a text has ended."""


def _before(search: Search) -> State:
    """Returns the state from which the next epoch can be run again. What a group leaves untouched is not copied."""
    state, untouched = search.state_dict(), () if draws_lengths(search.settings) else _UNTOUCHED
    return copied({key: value for key, value in state.items() if key not in untouched}) | {
        key: state[key] for key in untouched
    }


def _now(search: Search) -> str:
    """Returns what the supernets of a group must have in common at this moment."""
    if not search.searching:
        return f"deciding {id(search)}"
    return repr((search.model.stage, search.model.space.cells, search.model.space.settings))


@dataclass(frozen=True)
class Measured:
    """What the group has measured of a lane. `eigenvalue` is None if it has not."""

    meters: dict[str, Meter]
    figures: Figures
    eigenvalue: float | None


def _always(value: float) -> Callable[[SearchModel], float]:
    return lambda model: value


def _ended(lane: _Lane, measured: Measured, share: float) -> dict[str, object]:
    began, search, known = time.perf_counter(), lane.search, measured.eigenvalue
    with search.streams.governing():
        return search.end_epoch(
            measured.meters,
            lambda: share + time.perf_counter() - began,
            lambda model: measured.figures,
            search.measuring.eigenvalue if known is None else _always(known),
        )


class Taken(NamedTuple):
    """What a step of all lanes leaves: the losses, alpha's if it is trained, and which lanes are finite, `(K,)`."""

    alpha: Loss | None
    weight: Loss
    finite: Tensor


class Rest(NamedTuple):
    """What is left of the lanes' passes when the first of them has ended: batches of a text, from number `first` on.

    A lane whose pass has ended has None.
    """

    first: int
    batches: tuple[Iterator[Pair] | None, ...]

    def finish(self, place: int, lane: _Lane, meters: Mapping[str, Meter]) -> None:
        """Takes a lane's remaining steps alone."""
        batches, search = self.batches[place], lane.search
        if batches is not None:
            with search.streams.governing():
                search.loop.steps(
                    lane.model, search.epoch + 1, batches, meters, train_alpha=lane.train_alpha, first=self.first
                )


def algorithm_1(
    packed: LaneModel, lanes: Sequence[_Lane], repeated: Repeated[Taken] | None = None
) -> tuple[list[dict[str, Meter]], Tensor, Rest]:
    """Runs the paper's Algorithm 1 over one epoch of all lanes, until a lane's pass ends.

    Returns meters, which lanes stayed finite, and what is left of the other passes. A lane that is not finite goes on.
    It reaches no other lane. With `repeated` the steps are repetitions of one graph.
    """
    w, kind = packed.weights, packed.objective.task.KIND
    meters = {"weight": Meter(), "alpha": Meter()}
    finite = torch.ones(len(lanes), dtype=torch.bool, device=w.momentum_buffer[0].device)
    packed.supernet.train()
    for lane in lanes:
        lane.model.objective.begin_epoch()
    trained = [place for place, lane in enumerate(lanes) if lane.train_alpha]
    batches = [lane.search.loop.batches() for lane in lanes]
    for number in count():
        pairs = [next(each, None) for each in batches]
        steps = [
            Step(lane.model.objective, *pair, number)
            for lane, pair in zip(lanes, pairs, strict=True)
            if pair is not None
        ]
        if len(steps) < len(lanes):
            break
        group = GroupStep(steps, kind)
        w.scale([step.weight_batch.lr_scale for step in steps])
        if repeated is not None and number == 0:
            repeated.begin(partial(_step_of, packed, lanes, group, trained), partial(_still, lanes))
        if repeated is None or group.uneven(trained):
            taken = _step(packed, lanes, group)
        else:
            taken = repeated(group.tensors(trained))
        finite &= taken.finite
        if taken.alpha is not None:
            _done(taken.alpha, "alpha", meters, [lane.search if lane.train_alpha else None for lane in lanes])
        _done(taken.weight, "weight", meters, [lane.search for lane in lanes])
    if repeated is not None:
        repeated.end()
    each = [meter.lanes(len(lanes)) for meter in meters.values()]
    rest = [None if pair is None else chain([pair], further) for pair, further in zip(pairs, batches, strict=True)]
    return (
        [
            {"weight": weight, "alpha": alpha if lane.train_alpha else Meter()}
            for lane, weight, alpha in zip(lanes, *each, strict=True)
        ],
        finite,
        Rest(number, tuple(rest)),
    )


def _step(packed: LaneModel, lanes: Sequence[_Lane], group: GroupStep) -> Taken:
    """Takes one step of Algorithm 1 of all lanes."""
    objective, w, alpha = packed.objective, packed.weights, None
    fine = []
    if any(lane.train_alpha for lane in lanes):
        # 1. Update alpha by descending dL_val(w - xi dL_train(w, alpha)/dw, alpha)/dalpha.
        alpha, gradients = _alpha_gradient(packed, lanes, group)
        alpha = _without_graph(alpha)
        fine += [torch.isfinite(alpha.value), torch.isfinite(packed.alpha_norms(gradients))]
        packed.adam.step(gradients)
    # 2. Update w by descending dL_train(w, alpha)/dw.
    with constant(objective.alphas):
        weight = objective.perturbed_weight_loss(group)
    gradients = gradients_of(weight.value, objective.weights)
    weight = _without_graph(weight)
    fine.append(torch.isfinite(weight.value))
    w.step(packed.weight_gradient(gradients, group))
    return Taken(alpha, weight, torch.stack(fine).all(0))


def _without_graph(loss: Loss) -> Loss:
    """Returns the loss as a number. Its graph has memory that the next pass can use."""
    return replace(loss, value=loss.value.detach(), penalty=None)


def _step_of(
    packed: LaneModel, lanes: Sequence[_Lane], like: GroupStep, trained: Sequence[int], tensors: Sequence[Tensor | None]
) -> Taken:
    """Takes the step whose batches are these tensors."""
    return _step(packed, lanes, like.of(tensors, trained))


@contextmanager
def _still(lanes: Sequence[_Lane]) -> Iterator[None]:
    """Inside, no lane draws at random."""
    with ExitStack() as stack:
        for lane in lanes:
            stack.enter_context(lane.search.streams.still())
        yield


def _alpha_gradient(packed: LaneModel, lanes: Sequence[_Lane], group: GroupStep) -> tuple[Loss, list[Tensor]]:
    """Returns the losses and dL/dalpha of all lanes, 0 for a lane whose alpha is not trained."""
    for lane in lanes:
        if lane.train_alpha:
            lane.model.objective.begin_alpha_step()
    trained = [place for place, lane in enumerate(lanes) if lane.train_alpha]
    estimate = packed.estimator(packed.objective, group.weight_batch, group.alpha_batch_of(trained), packed.weights)
    estimated, gradients = iter(estimate.gradients), []
    for lane, step in zip(lanes, group.steps, strict=True):
        alphas = lane.model.objective.alphas
        mine = [next(estimated) for _ in alphas]
        if lane.train_alpha:
            lane.model.architect.receive(mine, step)
            gradients += [alpha.grad for alpha in alphas if alpha.grad is not None]
        else:
            gradients += [torch.zeros_like(alpha) for alpha in alphas]
    return estimate.loss, gradients


def _done(loss: Loss, part: str, meters: dict[str, Meter], searches: Sequence[Search | None]) -> None:
    meters[part].add(loss.data, loss.correct, loss.count)
    memories: Iterator[Tensor | None] = iter([None] * len(searches) if loss.memory is None else loss.memory.unbind())
    for search, memory in zip(searches, memories, strict=True):
        if search is not None:
            search.data[part].carry(memory)


def validation(packed: LaneModel, searches: Sequence[Search], lanes: Sequence[int]) -> list[Figures]:
    """Returns each lane's figures of the held-out part, as `Measuring.validation` does. One pass serves all lanes.

    The lanes differ in whether their running statistics fit. Then there are two passes.
    """
    task, meters = packed.objective.task, [Meter() for _ in searches]
    sizes: dict[int, tuple[int | None, int]] = {}
    for lane in lanes:
        search = searches[lane]
        if "validation" in search.data:
            fits = search.objective.running_statistics_fit()
            data = search.data["validation"]
            own = None if fits else data.batch_statistics_size(search.settings.batch_size)
            sizes[lane] = own, own or data.measured_size(search.settings.batch_size)
    for own, size in set(sizes.values()):
        meter = Meter()
        with packed.objective.evaluating() if own is None else packed.objective.batch_statistics():
            passes = zip(*(search.data["validation"].sequential(size) for search in searches), strict=True)
            for batches in passes:
                loss = packed.objective.measure(lane_batch(batches, task.KIND))
                _done(loss, "validation", {"validation": meter}, searches)
        for lane, mine in enumerate(meter.lanes(len(searches))):
            if sizes.get(lane) == (own, size):
                meters[lane] = mine
    return [task.figures("validation", meter) for meter in meters]


def eigenvalues(packed: LaneModel, searches: Sequence[Search], lanes: Sequence[int]) -> dict[int, float]:
    """Returns the dominant eigenvalues of those lanes that need them now.

    It returns none if few lanes need it. Then each had better compute its own.
    """
    needing = [lane for lane in lanes if searches[lane].needs_eigenvalue]
    if 2 * len(needing) <= len(searches):
        return {}
    batches = [search.measuring.eigenvalue_batch() for search in searches]
    return dominant_eigenvalues(packed.objective, lane_batch(batches, packed.objective.task.KIND), needing)
