"""A step as one CUDA graph: a GPU then waits for one launch in place of thousands.

A CUDA graph repeats the operations that were captured: on the same memory, and with the same numbers. So a step may be
captured only if every step does the same. `Repeated` does not assume that. `Trace` lists what a step dispatches to
torch, and in each epoch a step is captured after two steps in a row have listed the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

logger = logging.getLogger("raydarts")
Result = TypeVar("Result")
Work = Callable[[Sequence[Tensor | None]], Result]
"""Computes with tensors that lie at the same place in memory each time. What changes besides, it changes in place."""
Captured = Callable[[Callable[[], Result]], tuple[Callable[[], None], Result]]
"""Captures work. Returns what repeats it, and the work's result, which each repetition overwrites."""


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lists what is dispatched inside: operations, numbers, and tensors by where they come from.

    A tensor was made inside, and is known by its number, or outside, and is known by its place in memory. `refused`
    says why no graph can repeat what was seen: a draw, a value that the host has read, or one that it has sent.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[object, ...]] = []
        self.refused: str | None = None
        self._made: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = tree_leaves((args, kwargs or {}))
        tensors = [each for each in given if isinstance(each, Tensor)]
        self.seen.append((func.name(), *map(self._described, given)))
        result = func(*args, **(kwargs or {}))
        made = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
        self.refused = self.refused or _why_not(func, given, tensors, made)
        before = {_place(each) for each in tensors}
        for each in made:
            if _place(each) not in before:
                self._made[_place(each)] = len(self.seen)
        return result

    def _described(self, value: object) -> object:
        if not isinstance(value, Tensor):
            return repr(value)
        place = _place(value)
        where = ("made", self._made[place]) if place in self._made else ("outside", place)
        return (*where, value.storage_offset(), tuple(value.shape), value.stride(), value.dtype, value.device.type)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _why_not(func: Any, given: Sequence[object], tensors: Sequence[Tensor], made: Sequence[Tensor]) -> str | None:
    name = func.name().removeprefix("aten::").partition(".")[0]
    if torch.Tag.nondeterministic_seeded in func.tags or any(isinstance(each, torch.Generator) for each in given):
        return f"it draws at random ({name})"
    if torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags:
        return f"the host reads a value ({name})"
    if name == "lift_fresh" or len({each.device.type for each in (*tensors, *made)}) > 1:
        return f"the host sends a value ({name})"
    return None


def differing(one: Trace, other: Trace) -> str | None:
    """Returns in what two traces differ, in words. None: in nothing."""
    for left, right in zip(one.seen, other.seen, strict=False):
        if left != right:
            return f"two steps differ ({left[0]}, {right[0]})" if left[0] != right[0] else f"two {left[0]} differ"
    return None if len(one.seen) == len(other.seen) else "two steps differ in length"


def cuda_graph(work: Callable[[], Result]) -> tuple[Callable[[], None], Result]:
    """Captures `work` on the current CUDA device. See `Captured`."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    return graph.replay, result


@dataclass
class _Form(Generic[Result]):
    """Inputs of some shapes at their place in memory, the traces of two calls, and what repeats the work."""

    inputs: list[Tensor | None]
    traces: list[Trace] = field(default_factory=list)
    replay: Callable[[], None] | None = None
    result: Result | None = None


class Repeated(Generic[Result]):
    """Calls the work of `begin`, and then repeats it as a graph. Inputs of other shapes have a graph of their own.

    The first call of an epoch warms up: it makes what later ones use again. The next two are traced. If they list the
    same, the fourth captures the work, and all others repeat it. If not, a warning says why, and all calls from then on
    are ordinary ones.

    `capture` is `cuda_graph`, where it is not a test's.
    """

    def __init__(self, what: str, capture: Captured[Result]) -> None:
        self.what, self._capture = what, capture
        self.refused: str | None = None
        self.replays = 0

    def refuse(self, why: str) -> None:
        """Makes all further calls ordinary ones, and says why."""
        self.refused = why
        logger.warning("%s runs without a CUDA graph: %s", self.what, why)

    def begin(self, work: Work[Result], capturing: Callable[[], AbstractContextManager[object]]) -> None:
        """Starts an epoch. Its work computes with other memory and other numbers than the last one's.

        It is captured inside the context `capturing`.
        """
        self._work, self._capturing = work, capturing
        self._forms: dict[object, _Form[Result]] = {}

    def end(self) -> None:
        """Ends the epoch. The memory of its graphs is free for what comes after."""
        self._forms = {}

    def __call__(self, inputs: Sequence[Tensor | None]) -> Result:
        """Returns the work's result. The next call may overwrite it."""
        if self.refused is not None:
            return self._work(inputs)
        key = tuple(None if each is None else (each.shape, each.dtype) for each in inputs)
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = _Form([None if each is None else each.clone() for each in inputs])
            return self._work(form.inputs)
        for place, each in zip(form.inputs, inputs, strict=True):
            if place is not None and each is not None:
                place.copy_(each)
        if form.replay is None:
            if len(form.traces) < 2:
                return self._traced(form)
            with self._capturing():
                form.replay, form.result = self._capture(lambda: self._work(form.inputs))
        form.replay()
        self.replays += 1
        return form.result  # type: ignore[return-value]

    def _traced(self, form: _Form[Result]) -> Result:
        with Trace() as trace:
            result = self._work(form.inputs)
        form.traces.append(trace)
        why = trace.refused or (differing(*form.traces) if len(form.traces) == 2 else None)
        if why is not None:
            self.refuse(why)
        return result
