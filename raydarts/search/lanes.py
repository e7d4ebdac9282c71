"""Searches as lanes of one supernet: their weights packed, one pass for all, their losses side by side.

Only what touches the supernet is fused. Alpha, relaxation, regularizers, Adam and all random draws stay each search's
own and run once for each lane. They are small.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.rnn import pad_sequence

from raydarts.search.estimators.base import Estimator
from raydarts.search.gradients import constant, gradients_of
from raydarts.search.lane_passes import together, union
from raydarts.search.model import SearchModel
from raydarts.search.moments import Step
from raydarts.search.objective import Modes, tied_weights, without_statistics
from raydarts.search.passes import Answer, Kind, Pass, differentiable, entered
from raydarts.search.regularizers.base import defines, with_terms
from raydarts.search.weights import LaneWeights, Vector
from raydarts.spaces.drawn import draw_from
from raydarts.spaces.lanes import views
from raydarts.tasks import Batch, Loss


def lane_batch(batches: Sequence[Batch], kind: str) -> Batch:
    """Returns the batches of all lanes as one: images side by side in the channels, all else in a new dimension.

    Args:
        batches: one for each lane.
        kind: the task's kind of data.

    One lane's batch stays as it is. Batches of a text are filled up to the longest.
    """
    if len(batches) == 1:
        return batches[0]
    inputs, targets = [batch.inputs for batch in batches], [batch.targets for batch in batches]
    if kind == "image":
        return Batch(torch.cat(inputs, 1), torch.stack(targets))
    lengths = tuple(len(each) for each in inputs)
    return Batch(
        pad_sequence(inputs, batch_first=True),
        pad_sequence(targets, batch_first=True),
        _memories([batch.memory for batch in batches]),
        lengths=None if len({*lengths}) == 1 else lengths,
    )


def _memories(each: Sequence[Tensor | None]) -> Tensor | None:
    """Returns the hidden states of all lanes as one. One that begins its text again has none, which is 0."""
    like = next((memory for memory in each if memory is not None), None)
    if like is None:
        return None
    return torch.stack([torch.zeros_like(like) if memory is None else memory for memory in each])


class GroupStep:
    """One step of Algorithm 1 of all lanes: each lane's step, and their batches as one."""

    def __init__(self, steps: Sequence[Step], kind: str) -> None:
        self.steps, self._kind = tuple(steps), kind
        self.weight_batch = lane_batch([step.weight_batch for step in steps], kind)
        self._alpha_batches: dict[frozenset[int], Batch] = {}

    def alpha_batch_of(self, asking: Iterable[int]) -> Batch:
        """Returns the alpha-batches of the lanes that ask. Others draw none, and have one of theirs in its place."""
        of = frozenset(asking)
        if of not in self._alpha_batches:
            filler = self.steps[min(of)].alpha_batch
            each = [step.alpha_batch if lane in of else filler for lane, step in enumerate(self.steps)]
            self._alpha_batches[of] = lane_batch(each, self._kind)
        return self._alpha_batches[of]

    def uneven(self, trained: Sequence[int]) -> bool:
        """Returns whether the lanes' batches have different lengths: those of weights, or of the `trained` alphas."""
        return any(batch.lengths is not None for batch in self._batches(trained))

    def tensors(self, trained: Sequence[int]) -> list[Tensor | None]:
        """Returns the tensors of the weight-batch, and those of the alpha-batch of the `trained` lanes, if any."""
        return [tensor for batch in self._batches(trained) for tensor in (batch.inputs, batch.targets, batch.memory)]

    def _batches(self, trained: Sequence[int]) -> list[Batch]:
        return [self.weight_batch, *([self.alpha_batch_of(trained)] if trained else [])]

    def of(self, tensors: Sequence[Tensor | None], trained: Sequence[int]) -> GroupStep:
        """Returns this step with these `tensors` as its batches."""
        step = copy.copy(self)
        step.weight_batch = _with(self.weight_batch, tensors[:3])
        step._alpha_batches = {frozenset(trained): _with(self.weight_batch, tensors[3:])} if trained else {}
        return step


def _with(batch: Batch, tensors: Sequence[Tensor | None]) -> Batch:
    inputs, targets, memory = tensors
    return Batch(inputs, targets, memory, batch.lr_scale)  # type: ignore[arg-type]


def _of_one_lane(loss: Loss) -> Loss:
    """Returns the loss of a supernet without lanes as that of one lane."""
    parts = loss.value, loss.data, loss.correct, loss.penalty, loss.memory
    value, data, correct, penalty, memory = (None if part is None else part[None] for part in parts)
    return Loss(value, data, correct, loss.count, penalty, memory)  # type: ignore[arg-type]


class LaneObjective(Modes):
    """The losses of K searches (`BilevelObjective`), each `(K,)`. `alphas` are those of lane 0, then of lane 1."""

    def __init__(self, supernet: torch.nn.Module, models: Sequence[SearchModel]) -> None:
        self.supernet = supernet
        self.lanes = [model.objective for model in models]
        self.task, self.amp = self.lanes[0].task, self.lanes[0].amp
        self.weights: list[Tensor] = [weight for weight in supernet.parameters() if weight.requires_grad]
        self.alphas: list[Tensor] = [alpha for lane in self.lanes for alpha in lane.alphas]
        self.frozen: frozenset[int] = frozenset()
        self.tied = tied_weights(supernet, self.weights)
        self._norms = [module for module in supernet.modules() if isinstance(module, _BatchNorm)]
        # A search counts the weights that its modules hold fixed, too.
        learning = iter(range(len(self.weights)))
        self._place = [next(learning) if weight.requires_grad else None for weight in supernet.parameters()]

    def data_loss(self, batch: Batch, arch_weights: Sequence[Mapping[str, Tensor]]) -> Loss:
        """Returns the task's losses. `arch_weights` are by cell type, for each lane."""
        with self._mixed(batch):
            if len(arch_weights) == 1:
                return _of_one_lane(self.task.loss(self.supernet, batch, arch_weights[0]))
            steps = None if batch.lengths is None else max(batch.lengths)
            stacked = {name: _stacked([lane[name] for lane in arch_weights], steps) for name in arch_weights[0]}
            return self.task.loss(self.supernet, batch, stacked)

    def training_loss(self, batch: Batch, arch_weights: Sequence[Mapping[str, Tensor]]) -> Loss:
        loss = self.data_loss(batch, arch_weights)
        return loss if loss.penalty is None else replace(loss, value=loss.value + loss.penalty)

    def weight_loss(self, batch: Batch) -> Loss:
        return self.training_loss(batch, [lane.arch_weights() for lane in self.lanes])

    def perturbed_weight_loss(self, group: GroupStep) -> Loss:
        """Returns the losses of the weight step, under each lane's perturbations of its arch weights."""
        with ExitStack() as stack:
            arch_weights = [lane.arch_weights() for lane in self.lanes]
            together(
                [
                    lane.perturbing(weights, step, stack)
                    for lane, weights, step in zip(self.lanes, arch_weights, group.steps, strict=True)
                ],
                partial(self.passed, group),
            )
            with self.mixing():
                return self.training_loss(group.weight_batch, arch_weights)

    def passed(self, group: GroupStep, kind: Kind, asked: Mapping[int, Pass]) -> dict[int, Answer]:
        """Answers passes of one kind in one pass of all lanes. A lane that asks for none takes another lane's place."""
        another = next(iter(asked.values()))
        arch_weights = [
            differentiable(asked.get(lane, another).arch_weights, kind.by) for lane in range(len(self.lanes))
        ]
        positions = union(each.by_weights or () for each in asked.values())
        places = [place for position in positions if (place := self._place[position]) is not None]
        leaves = (
            [self.weights[place] for place in places]
            if kind.by_weights
            else [weights[name] for weights in arch_weights for name in kind.by]
        )
        batch = group.weight_batch if kind.part == "weight" else group.alpha_batch_of(asked)
        with ExitStack() as setting:
            setting.enter_context(entered(self, kind.mode))
            setting.enter_context(self.virtual())
            setting.enter_context(constant([] if kind.by_weights else self.weights))
            setting.enter_context(torch.set_grad_enabled(bool(leaves)))
            loss = self.data_loss(batch, arch_weights).value
            gradients = gradients_of(loss, leaves) if leaves else []
        losses = loss.detach().unbind()
        if not kind.by_weights:
            count = len(kind.by)
            return {lane: Answer(losses[lane], gradients[lane * count : (lane + 1) * count]) for lane in asked}
        each = dict(zip(places, (gradient.chunk(len(self.lanes)) for gradient in gradients), strict=True))
        return {
            lane: Answer(losses[lane], [self._of_lane(position, lane, each) for position in wanted.by_weights or ()])
            for lane, wanted in asked.items()
        }

    def of_lane(self, values: Sequence[Tensor], lane: int) -> list[Tensor]:
        """Returns views of a lane's part of values like the weights, at the positions of a search's own weights."""
        each = {place: value.chunk(len(self.lanes)) for place, value in enumerate(values)}
        return [self._of_lane(position, lane, each) for position in range(len(self._place))]

    def _of_lane(self, position: int, lane: int, each: Mapping[int, Sequence[Tensor]]) -> Tensor:
        place = self._place[position]
        return torch.zeros_like(self.lanes[lane].weights[position]) if place is None else each[place][lane]

    def learning(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Returns those of a lane's values, at the positions of its own weights, that are trained."""
        return [value for value, place in zip(values, self._place, strict=True) if place is not None]

    def frozen_places(self) -> tuple[frozenset[int], ...]:
        """Returns the places of the weights that the remedies of each lane have frozen."""
        return tuple(
            frozenset(place for position in lane.frozen if (place := self._place[position]) is not None)
            for lane in self.lanes
        )

    def alpha_loss(self, batch: Batch) -> Loss:
        arch_weights = [lane.arch_weights() for lane in self.lanes]
        loss = self.data_loss(batch, arch_weights)
        penalties = [list(lane.penalties(own)) for lane, own in zip(self.lanes, arch_weights, strict=True)]
        if not any(penalties):
            return loss
        none = loss.value.new_zeros(())
        return replace(
            loss, value=loss.value + torch.stack([sum(each[1:], each[0]) if each else none for each in penalties])
        )

    @contextmanager
    def virtual(self) -> Iterator[None]:
        with without_statistics(self._norms), self.replaying():
            yield

    @contextmanager
    def replaying(self) -> Iterator[None]:
        with ExitStack() as stack:
            for lane in self.lanes:
                stack.enter_context(lane.replaying())
            yield

    @torch.no_grad()
    def measure(self, batch: Batch) -> Loss:
        """Returns the data losses in the module's current mode. No relaxation draws."""
        return self.data_loss(batch, [lane.arch_weights(expected=True) for lane in self.lanes])


def _stacked(arch_weights: Sequence[Tensor], steps: int | None) -> Tensor:
    """Returns arch weights of all lanes. Those of each time step, `(T, num_edges, num_ops)`, are filled to `steps`."""
    if steps is not None and arch_weights[0].dim() == 3:
        arch_weights = [nn.functional.pad(each, (0, 0, 0, 0, 0, steps - len(each))) for each in arch_weights]
    return torch.stack(list(arch_weights))


class LaneAdam:
    """Adam of the alphas of K searches, in one vector. Each lane has the settings and the state of its own optimizer.

    `trained` says whose alpha is trained in this epoch. All else stays as it is.
    """

    def __init__(self, models: Sequence[SearchModel], trained: Sequence[bool]) -> None:
        self._optimizers = [model.architect.optimizer for model in models]
        self._trained = list(trained)
        each = [model.objective.alphas for model in models]
        self._alphas = [alpha for alphas in each for alpha in alphas]
        self._flat = [alpha.detach().view(-1) for alpha in self._alphas]  # writing here writes alpha
        self._sizes = [flat.numel() for flat in self._flat]
        lengths = torch.tensor([sum(alpha.numel() for alpha in alphas) for alphas in each])
        like = self._flat[0]

        def spread(values: Sequence[float]) -> Tensor:
            numbers = torch.tensor(list(values), dtype=like.dtype)
            return numbers.repeat_interleave(lengths).to(like.device)

        groups = [optimizer.param_groups[0] for optimizer in self._optimizers]
        self._lr, self._decay = (spread([group[name] for group in groups]) for name in ("lr", "weight_decay"))
        self._beta1, self._beta2 = (spread([group["betas"][index] for group in groups]) for index in (0, 1))
        self._epsilon = spread([group["eps"] for group in groups])
        self._acts = None if all(trained) else spread([float(acts) for acts in trained]).bool()
        self._count = spread([self._steps(optimizer) for optimizer in self._optimizers])
        self._m, self._v = (self._moments(name) for name in ("exp_avg", "exp_avg_sq"))
        self._alpha = torch.cat(self._flat)

    @staticmethod
    def _steps(optimizer: torch.optim.Optimizer) -> float:
        return max((float(state["step"]) for state in optimizer.state.values()), default=0.0)

    def _moments(self, name: str) -> Tensor:
        states = (optimizer.state for optimizer in self._optimizers for _ in optimizer.param_groups[0]["params"])
        pairs = zip(states, self._alphas, self._flat, strict=True)
        return torch.cat([
            state[alpha][name].flatten() if alpha in state else torch.zeros_like(flat) for state, alpha, flat in pairs
        ])  # fmt: skip

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Takes the step of each lane whose alpha is trained, in place. `gradients` are in the order of all lanes'
        alphas.
        """
        g = torch.cat([gradient.flatten() for gradient in gradients])
        g = torch.addcmul(g, self._decay, self._alpha)
        m = self._m + (1 - self._beta1) * (g - self._m)
        v = self._beta2 * self._v + (1 - self._beta2) * g * g
        self._count += 1
        rate = self._lr / (1 - self._beta1**self._count)
        scale = v.sqrt() / (1 - self._beta2**self._count).sqrt() + self._epsilon
        alpha = self._alpha - rate * (m / scale)
        if self._acts is not None:
            alpha, m, v = (
                torch.where(self._acts, new, old) for new, old in ((alpha, self._alpha), (m, self._m), (v, self._v))
            )
        torch._foreach_copy_([self._alpha, self._m, self._v], [alpha, m, v])
        torch._foreach_copy_(self._flat, torch.split(alpha, self._sizes))

    def store(self, lanes: Sequence[int]) -> None:
        """Writes the state into the optimizers of these lanes."""
        m, v, count = (torch.split(whole, self._sizes) for whole in (self._m, self._v, self._count))
        parts = iter(zip(self._alphas, m, v, count, strict=True))
        for lane, optimizer in enumerate(self._optimizers):
            for _ in optimizer.param_groups[0]["params"]:
                alpha, m_part, v_part, counts = next(parts)
                if lane in lanes and self._trained[lane]:
                    optimizer.state[alpha] = {
                        "step": counts[0].to("cpu", torch.float32, copy=True),
                        "exp_avg": m_part.view_as(alpha).clone(),
                        "exp_avg_sq": v_part.view_as(alpha).clone(),
                    }


class LaneModel:
    """The supernet, the weights' SGD and the estimator of K searches. `load` packs their models, `store` unpacks them.

    In between, the models' own weights are those of before. Their alpha is trained in place.
    """

    def __init__(self, models: Sequence[SearchModel]) -> None:
        first = models[0]
        self.models = list(models)
        parts, streams = first.parts, first.parts.streams
        transforms = [type(same[0]).fused(same) for same in zip(*(model.transforms for model in models), strict=True)]
        with torch.random.fork_rng(devices=[]):  # initial values are drawn, and replaced by `load`
            supernet = first.space.supernet(parts.task, transforms, lanes=len(models))
        supernet.to(streams.device, parts.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.supernet = supernet
        draw_from(self.supernet, [model.parts.streams["dropout"] for model in models])
        self.objective = LaneObjective(self.supernet, models)
        self.weights = LaneWeights(
            self.objective.weights, len(models), [len(model.objective.alphas) for model in models]
        )
        estimators: list[Estimator] = [model.architect.estimator for model in models]
        self.estimator = estimators[0].of(estimators)
        self.watched = any(
            defines(type(each), "watch", "watching", "weight_gradient", "weight_terms")
            for model in models
            for each in model.regularizers
        )
        self.clipping = self.weights.number([model.parts.settings.grad_clip for model in models])
        # The models' tensors and their places in the packed ones. They stay where they are in memory.
        packed = supernet.state_dict()
        states = [model.supernet.state_dict() for model in models]
        self._places = [[*views(packed, len(models), lane).values()] for lane in range(len(models))]
        self._own = [[state[name] for name in packed] for state in states]
        trained = [name for name, weight in supernet.named_parameters() if weight.requires_grad]
        by_name = [dict(model.supernet.named_parameters()) for model in models]
        self._trained = [[weights[name] for name in trained] for weights in by_name]

    def alpha_norms(self, gradients: Sequence[Tensor]) -> Tensor:
        """Returns `(K,)`, which is finite where all gradients of a lane's alphas are."""
        norms = torch.stack(torch._foreach_norm(list(gradients)))
        return torch.zeros_like(norms[: len(self.models)]).index_add_(0, self.weights.lane_of_alpha, norms)

    def load(self, trained: Sequence[bool]) -> None:
        """Packs the models' weights, running statistics and optimizers. `trained`: whose alpha is trained now."""
        self.adam = LaneAdam(self.models, trained)
        _copy(self._places, self._own)
        self.weights.begin(
            [model.weight_optimizer for model in self.models],
            [
                self._buffers(model.weight_optimizer, weights)
                for model, weights in zip(self.models, self._trained, strict=True)
            ],
        )
        self.weights.freeze(self.objective.frozen_places())

    def weight_gradient(self, gradients: list[Tensor], group: GroupStep) -> Vector:
        """Returns the weights' gradient as a vector, with the terms of the lanes' remedies, and clipped."""
        objective, w = self.objective, self.weights
        vector = w.vector(gradients)
        if self.watched:
            lanes = range(len(self.models))
            changed = [objective.of_lane(gradients, lane) for lane in lanes]
            before = [list(each) for each in changed]
            weights = [objective.of_lane([weight.detach() for weight in objective.weights], lane) for lane in lanes]
            together(
                [
                    with_terms(model.regularizers, own, mine, step)
                    for model, own, mine, step in zip(self.models, weights, changed, group.steps, strict=True)
                ],
                partial(objective.passed, group),
            )
            for lane in lanes:
                if any(one is not other for one, other in zip(changed[lane], before[lane], strict=True)):
                    vector[0][lane] = w.row(objective.learning(changed[lane]))
            w.freeze(objective.frozen_places())
        return [w.clip(vector, self.clipping) * vector[0]]

    @staticmethod
    def _buffers(optimizer: torch.optim.Optimizer, weights: Sequence[Tensor]) -> list[Tensor]:
        """Returns the momentum of these weights. Before the first step it is made, at 0, which is the same."""
        for weight in weights:
            if optimizer.state[weight].get("momentum_buffer") is None:
                optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight.detach())
        return [optimizer.state[weight]["momentum_buffer"] for weight in weights]

    def store(self, lanes: Sequence[int]) -> None:
        """Unpacks weights, running statistics and optimizers into these lanes' models."""
        self.adam.store(lanes)
        _copy([self._own[lane] for lane in lanes], [self._places[lane] for lane in lanes])
        for lane in lanes:
            model, weights = self.models[lane], self._trained[lane]
            self.weights.unpack_momentum(lane, self._buffers(model.weight_optimizer, weights))

    def advance(self, lanes: Sequence[int]) -> None:
        """Advances the schedules of the learning rates of these lanes' models."""
        with warnings.catch_warnings():  # the optimizer's own `step` was not called
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            for lane in lanes:
                self.models[lane].schedule.step()


@torch.no_grad()
def _copy(to: Sequence[Sequence[Tensor]], values: Sequence[Sequence[Tensor]]) -> None:
    """Copies each lane's tensors."""
    for theirs, mine in zip(to, values, strict=True):
        torch._foreach_copy_(list(theirs), list(mine))
