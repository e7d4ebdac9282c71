"""The weights as one vector: what an estimator computes with.

An estimator is written once. It runs on the weights of one search (`SearchWeights`) and on those of K searches that
share a supernet (`LaneWeights`). There every number has a value for each lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

Number: TypeAlias = float | Tensor
"""A number of one search, or `(K, 1)`: one for each lane."""
Vector: TypeAlias = list[Tensor]
"""One search: a tensor for each weight, in their order. K lanes: one tensor `(K, P)`."""


class Leaves(Protocol):
    """The tensors of an objective by which losses are differentiated."""

    @property
    def weights(self) -> Sequence[Tensor]: ...

    @property
    def alphas(self) -> Sequence[Tensor]: ...

    @property
    def frozen(self) -> frozenset[int]: ...


class WeightVector(Protocol):
    """The weights w as a vector, and the SGD that trains them."""

    @property
    def rates(self) -> list[float]:
        """The current learning rate of each lane."""

    @property
    def decays(self) -> list[float]:
        """The weight decay of each lane."""

    def number(self, values: Sequence[float]) -> Number:
        """Returns one number for each lane."""

    def of_alphas(self, number: Number) -> Sequence[Number]:
        """Returns the number for each of the objective's alphas, in their order."""

    def vector(self, gradients: Sequence[Tensor]) -> Vector:
        """Returns gradients by the weights as a vector."""

    def parts(self, vector: Vector) -> Sequence[Tensor]:
        """Returns a vector as tensors of the weights' shapes."""

    def saved(self) -> Vector:
        """Returns a copy of w."""

    def put(self, vector: Vector) -> None:
        """Sets w to exactly this vector."""

    def put_sum(self, vector: Vector, step: Vector, factor: Number) -> None:
        """Sets w to vector + factor * step."""

    def moving(self, vector: Vector) -> Vector:
        """Returns the vector with 0 for frozen weights."""

    def step_length(self, epsilon: Number, vector: Vector) -> Number | None:
        """Returns epsilon / norm(vector), with the L2 norm over all weights.

        Of one search it is None if the vector is 0. A lane whose vector is 0 gets 1: the step moves nothing either.
        """

    def clip(self, vector: Vector, largest: Number) -> Number:
        """Returns min(1, largest / (norm + 1e-6)), as `clip_grad_norm_` computes it, or 1 if `largest` is 0.

        The norm covers the weights that are trained.
        """

    def direction(self, vector: Vector, coefficient: Number) -> Vector:
        """Returns mu * momentum_buffer + coefficient * vector + wd * w: the direction of the SGD step.

        It is 0 for frozen weights.
        """


class SearchWeights:
    """The weights of one search, and their optimizer."""

    def __init__(self, leaves: Leaves, optimizer: torch.optim.Optimizer) -> None:
        self._leaves = leaves
        self._weights = list(leaves.weights)
        self._optimizer = optimizer

    @property
    def rates(self) -> list[float]:
        return [float(self._optimizer.param_groups[0]["lr"])]

    @property
    def decays(self) -> list[float]:
        return [float(self._optimizer.param_groups[0]["weight_decay"])]

    def number(self, values: Sequence[float]) -> Number:
        (value,) = values
        return value

    def of_alphas(self, number: Number) -> Sequence[Number]:
        return [number] * len(self._leaves.alphas)

    def vector(self, gradients: Sequence[Tensor]) -> Vector:
        return list(gradients)

    def parts(self, vector: Vector) -> Sequence[Tensor]:
        return vector

    def saved(self) -> Vector:
        return [weight.detach().clone() for weight in self._weights]

    @torch.no_grad()
    def put(self, vector: Vector) -> None:
        torch._foreach_copy_(self._weights, vector)

    @torch.no_grad()
    def put_sum(self, vector: Vector, step: Vector, factor: Number) -> None:
        torch._foreach_copy_(self._weights, vector)
        torch._foreach_add_(self._weights, step, alpha=float(factor))

    def moving(self, vector: Vector) -> Vector:
        frozen = self._leaves.frozen
        return [torch.zeros_like(part) if position in frozen else part for position, part in enumerate(vector)]

    def step_length(self, epsilon: Number, vector: Vector) -> Number | None:
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(vector)))
        return float(epsilon / norm) if bool(norm > 0) else None

    def clip(self, vector: Vector, largest: Number) -> Number:
        if largest == 0:
            return 1.0
        frozen = self._leaves.frozen
        learning = [part for position, part in enumerate(vector) if position not in frozen]
        return min(1.0, float(largest) / (float(nn.utils.get_total_norm(learning)) + 1e-6))

    def direction(self, vector: Vector, coefficient: Number) -> Vector:
        group, state = self._optimizer.param_groups[0], self._optimizer.state
        frozen = self._leaves.frozen
        directions = []
        for position, (weight, part) in enumerate(zip(self._weights, vector, strict=True)):
            if position in frozen:
                directions.append(torch.zeros_like(part))
                continue
            direction = coefficient * part + group["weight_decay"] * weight.detach()
            buffer = state[weight].get("momentum_buffer") if weight in state else None
            if buffer is not None:
                direction = direction + group["momentum"] * buffer
            directions.append(direction)
        return directions


class LaneWeights:
    """The weights of K searches in one supernet as `(K, P)`, and their SGD: rates, momentum and decay for each lane.

    Lane k's value of a packed tensor is chunk k of K along its first dimension. Weights that their module holds fixed
    are no part of it.
    """

    def __init__(self, weights: Sequence[Tensor], lanes: int, alphas_of_a_lane: Sequence[int]) -> None:
        self._weights = list(weights)
        self.lanes = lanes
        self._of_alpha = [lane for lane, count in enumerate(alphas_of_a_lane) for _ in range(count)]
        self._rows = [rows(weight.detach(), lanes) for weight in self._weights]  # views: writing here writes w
        self._sizes = [view.shape[1] for view in self._rows]
        self._w = torch.cat(self._rows, 1)
        self._numbers: dict[tuple[float, ...], Tensor] = {}
        self.lane_of_alpha = torch.tensor(self._of_alpha, device=self._w.device)
        self.momentum_buffer = torch.zeros_like(self._w)
        self._frozen: Tensor | None = None  # (K, P), where any weight is
        self._frozen_places: tuple[frozenset[int], ...] = (frozenset(),) * lanes
        self._unscaled = self.rates = self.decays = [0.0] * lanes
        self._lr = self._momentum = self._decay = self.number(self.rates)

    def begin(self, optimizers: Sequence[torch.optim.Optimizer], buffers: Sequence[Sequence[Tensor]]) -> None:
        """Takes up w as the weights hold it now, and the settings of the lanes' own optimizers."""
        groups = [optimizer.param_groups[0] for optimizer in optimizers]
        self._numbers.clear()
        self._unscaled = self.rates = [float(group["lr"]) for group in groups]
        self._lr = self.number(self.rates)
        self._momentum = self.number([group["momentum"] for group in groups])
        self.decays = [float(group["weight_decay"]) for group in groups]
        self._decay = self.number(self.decays)
        self._w = torch.cat(self._rows, 1)
        self.momentum_buffer = torch.stack([torch.cat([rows(each, 1)[0] for each in lane]) for lane in buffers])

    @torch.no_grad()
    def unpack_momentum(self, lane: int, buffers: Sequence[Tensor]) -> None:
        """Writes a lane's momentum into its own optimizer's buffers."""
        parts = torch.split(self.momentum_buffer[lane], self._sizes)
        torch._foreach_copy_(list(buffers), [shaped(part, buffer) for part, buffer in zip(parts, buffers, strict=True)])

    def number(self, values: Sequence[float]) -> Tensor:
        # Kept, because a step asks for the same numbers again, and each costs a transfer to the device.
        known = self._numbers.get(tuple(values))
        if known is None:
            like = self._w
            known = torch.tensor(list(values), dtype=like.dtype, device=like.device)[:, None]
            self._numbers[tuple(values)] = known
        return known

    def of_alphas(self, number: Number) -> Sequence[Number]:
        if isinstance(number, float):
            return [number] * len(self._of_alpha)
        each = number.flatten().unbind()
        return [each[lane] for lane in self._of_alpha]

    def vector(self, gradients: Sequence[Tensor]) -> Vector:
        return [torch.cat([rows(gradient, self.lanes) for gradient in gradients], 1)]

    def parts(self, vector: Vector) -> Sequence[Tensor]:
        (whole,) = vector
        split = torch.split(whole, self._sizes, 1)
        return [shaped(part, weight) for part, weight in zip(split, self._weights, strict=True)]

    def saved(self) -> Vector:
        return [self._w]  # until `step` changes it

    @torch.no_grad()
    def put(self, vector: Vector) -> None:
        # Not `split_with_sizes_copy`: on a GPU it reads from the host's memory where to write. A CUDA graph would read
        # there again when other things lie there.
        torch._foreach_copy_(self._rows, torch.split(vector[0], self._sizes, 1))

    def put_sum(self, vector: Vector, step: Vector, factor: Number) -> None:
        self.put([vector[0] + factor * step[0]])

    def freeze(self, places: tuple[frozenset[int], ...]) -> None:
        """Holds each lane's weights at these places still from now on. All others move."""
        if places == self._frozen_places:
            return
        self._frozen_places, self._frozen = places, None
        if any(places):
            self._frozen = torch.zeros_like(self._w, dtype=torch.bool)
            for row, held in zip(self._frozen, places, strict=True):
                for place, part in enumerate(torch.split(row, self._sizes)):
                    if place in held:
                        part.fill_(True)

    def row(self, parts: Sequence[Tensor]) -> Tensor:
        """Returns a lane's values of all weights as its row of a vector."""
        return torch.cat([rows(part, 1)[0] for part in parts])

    def moving(self, vector: Vector) -> Vector:
        return vector if self._frozen is None else [vector[0].masked_fill(self._frozen, 0)]

    def step_length(self, epsilon: Number, vector: Vector) -> Number | None:
        norm = self._norms(vector)
        return torch.where(norm > 0, epsilon / norm, 1.0)

    def clip(self, vector: Vector, largest: Number) -> Number:
        norm = self._norms(self.moving(vector))
        bound = torch.as_tensor(largest, dtype=norm.dtype, device=norm.device)
        return torch.where(bound > 0, (bound / (norm + 1e-6)).clamp(max=1.0), 1.0)

    @staticmethod
    def _norms(vector: Vector) -> Tensor:
        """Returns `(K, 1)`. Each row is summed by itself, so that a lane's place in the group changes no bit."""
        return torch.stack(torch._foreach_norm(list(vector[0].unbind())))[:, None]

    def direction(self, vector: Vector, coefficient: Number) -> Vector:
        return self.moving([coefficient * vector[0] + self._decay * self._w + self._momentum * self.momentum_buffer])

    def scale(self, scales: Sequence[float]) -> None:
        """Multiplies the learning rates, those of the virtual step too, from now on. It replaces earlier scales."""
        rates = [rate * scale for rate, scale in zip(self._unscaled, scales, strict=True)]
        if rates != self.rates:
            self.rates, self._lr = rates, self.number(rates)

    @torch.no_grad()
    def step(self, gradient: Vector) -> None:
        """Takes the SGD step of each lane, in place. Frozen weights neither move nor decay, and keep their momentum."""
        decayed = torch.addcmul(gradient[0], self._w, self._decay)
        momentum = torch.addcmul(decayed, self.momentum_buffer, self._momentum)
        w = torch.addcmul(self._w, momentum, self._lr, value=-1)
        if self._frozen is not None:
            momentum = torch.where(self._frozen, self.momentum_buffer, momentum)
            w = torch.where(self._frozen, self._w, w)
        self.momentum_buffer.copy_(momentum)
        self._w.copy_(w)
        self.put([self._w])


def rows(packed: Tensor, lanes: int) -> Tensor:
    """Returns a packed tensor as `(K, values of a lane)`, in the order in which its values lie in memory.

    It is a view of a weight. A convolution's weight in channels-last layout is a view too.
    """
    return _ordered(packed).reshape(lanes, -1)


def shaped(part: Tensor, like: Tensor) -> Tensor:
    """Returns `rows` of a tensor of `like`'s shape and layout as such a tensor."""
    if _is_channels_last(like):
        return part.reshape(_ordered(like).shape).permute(0, 3, 1, 2)
    return part.reshape(like.shape)


def _ordered(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 2, 3, 1) if _is_channels_last(tensor) else tensor


def _is_channels_last(tensor: Tensor) -> bool:
    # The shape alone decides, so that a gradient in another layout has the weight's order.
    return tensor.dim() == 4 and min(tensor.shape[1:]) > 1


def weights_of(leaves: Leaves, optimizer: torch.optim.Optimizer | LaneWeights) -> WeightVector:
    """Returns the objective's weights with what trains them."""
    return optimizer if isinstance(optimizer, LaneWeights) else SearchWeights(leaves, optimizer)
