"""Steps that are repeated as a graph. What a CUDA graph does is played on the CPU: it repeats what was dispatched, on
the same memory and with the same numbers, and runs no line of Python.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from raydarts.data.settings import DataSettings
from raydarts.execution.build import build_search
from raydarts.search import fused
from raydarts.search.fused import FusedSearch, GraphedSearch, ungraphable
from raydarts.search.graphs import Repeated, Trace, differing
from raydarts.search.lanes import GroupStep
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from tests.unit.search.lanes import require_equal
from tests.unit.search.test_fused import SPACE, different, settings, splits, text_splits

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


class Tape(TorchDispatchMode):
    """Records what is dispatched. `replay` does it again, and puts each result where the first one was."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self._before: dict[int, tuple[Any, Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for each in written(func, args, kwargs or {}):
            storage = each.untyped_storage()
            self._before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def undo(self) -> None:
        for storage, before in self._before.values():
            storage.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, before in self.calls:
            given = {place(each) for each in tensors((args, kwargs))}
            now = func(*args, **kwargs)
            for old, new in zip(tensors(before), tensors(now), strict=True):
                if place(old) not in given:
                    old.copy_(new)


def tensors(tree: Any) -> list[Tensor]:
    return [each for each in tree_leaves(tree) if isinstance(each, Tensor)]


def place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """What an operation changes in place."""
    if func is torch.ops.aten.native_batch_norm.default:  # its schema does not say so
        return tensors(args[3:5])
    names = [each.name for each in func._schema.arguments if each.alias_info is not None and each.alias_info.is_write]
    values = dict(zip((each.name for each in func._schema.arguments), args, strict=False)) | kwargs
    return tensors([values.get(name) for name in names])


def on_tape(work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """Does what `graphs.cuda_graph` does: a capture computes nothing."""
    with Tape() as tape:
        result = work()
    tape.undo()
    return tape.replay, result


def replays(group: FusedSearch) -> int:
    repeated = group._repeated
    assert repeated is not None
    assert repeated.refused is None
    return repeated.replays


FEW = {"name": "robust_s3", "channels": 2, "layers": 3, "nodes": 1}
"""Three candidates an edge, where not all eight need be in a graph: those are in the first two tests."""


def graphed(**changed: Any) -> SearchSettings:
    """Five steps an epoch: two are repetitions."""
    return settings(**{"cuda_graph": True, "batch_size": 8, "estimator": "first_order", "space": FEW} | changed)


def test_a_search_whose_steps_are_repeated_equals_the_search() -> None:
    chosen = graphed(estimator="finite_difference", space=SPACE)
    search, alone = GraphedSearch(chosen, splits(), capture=on_tape), Search(chosen, splits())
    for _ in range(2):
        require_equal(search.run_epoch(), alone.run_epoch())
    require_equal(search.state_dict(), alone.state_dict())
    assert replays(search._group) == 4


def test_lanes_whose_steps_are_repeated_have_the_bits_of_lanes_without() -> None:
    chosen = [each.model_copy(update={"batch_size": 8, "cuda_graph": True}) for each in different("first_order")]
    group, plain = FusedSearch(on_tape), FusedSearch()
    repeated, without = ([Search(each, splits()) for each in chosen] for _ in range(2))
    group.run_epoch(repeated)
    plain.run_epoch(without)
    for one, other in zip(repeated, without, strict=True):
        require_equal(one.state_dict(), other.state_dict(), tolerance=0)
    assert replays(group) == 2


def test_a_graph_is_let_go_of_before_the_epochs_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is as much as a step's, and eigenvalues need as much again."""
    tapes: list[weakref.ref[Tape]] = []
    alive: list[int] = []

    def capture(work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        replay, result = on_tape(work)
        tapes.append(weakref.ref(replay.__self__))  # type: ignore[attr-defined]
        return replay, result

    usual = fused.validation

    def validation(*arguments: Any) -> Any:
        gc.collect()
        alive.append(sum(tape() is not None for tape in tapes))
        return usual(*arguments)

    monkeypatch.setattr(fused, "validation", validation)
    search = GraphedSearch(graphed(), splits(), capture=capture)
    search.run_epoch()
    search.run_epoch()
    assert (len(tapes), alive) == (2, [0, 0])


DROPOUTS = ("embedding_dropout", "input_dropout", "cell_dropout", "hidden_dropout", "output_dropout")
REMEDIES = {
    "penalties": [{"name": "beta_decay", "strength": 3}, "zero_one", "entropy_penalty"],
    "alpha rests first": [{"name": "alpha_warmup", "epochs": 1}],
    "channels": [{"name": "partial_channels"}, "edge_normalization"],
    "an auxiliary skip": ["auxiliary_skip"],
}


@pytest.mark.parametrize("name", REMEDIES)
def test_remedies_act_in_repeated_steps(name: str) -> None:
    space = FEW | {"channels": 4}
    chosen = graphed(
        space=space, regularizers=REMEDIES[name], relaxation="sigmoid" if name == "penalties" else "softmax"
    )
    search, alone = GraphedSearch(chosen, splits(), capture=on_tape), Search(chosen, splits())
    for _ in range(2 if name == "alpha rests first" else 1):
        require_equal(search.run_epoch(), alone.run_epoch())
    require_equal(search.state_dict(), alone.state_dict())
    assert replays(search._group) > 0


def test_a_text_has_a_graph_for_batches_with_and_without_a_memory() -> None:
    text = {"bptt": 3, "measured_columns": 3, "short_probability": 0, "bptt_deviation": 0}
    space = {"name": "darts-rnn", "nodes": 2, "units": 3} | dict.fromkeys(DROPOUTS, 0)
    chosen = settings(cuda_graph=True, batch_size=3, lr=0.1, text=text, space=space)
    search, alone = GraphedSearch(chosen, text_splits(), capture=on_tape), Search(chosen, text_splits())
    for _ in range(2):
        require_equal(search.run_epoch(), alone.run_epoch())
    require_equal(search.state_dict(), alone.state_dict())
    assert replays(search._group) > 0


def test_steps_whose_lanes_have_other_lengths_run_beside_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    uneven: list[bool] = []
    usual = GroupStep.uneven

    def asked(step: GroupStep, trained: Any) -> bool:
        uneven.append(usual(step, trained))
        return uneven[-1]

    monkeypatch.setattr(GroupStep, "uneven", asked)
    text = {"bptt": 3, "measured_columns": 3, "short_probability": 0.2, "bptt_deviation": 0}
    space = {"name": "darts-rnn", "nodes": 2, "units": 3} | dict.fromkeys(DROPOUTS, 0)
    common = {"cuda_graph": True, "batch_size": 3, "lr": 0.1, "text": text, "space": space}
    chosen = [settings(seed=seed, **common) for seed in (1, 2)]
    group, searches = FusedSearch(on_tape), [Search(each, text_splits()) for each in chosen]
    alone = [Search(each, text_splits()) for each in chosen]
    for _ in range(2):
        for outcome, each in zip(group.run_epoch(searches), alone, strict=True):
            require_equal(outcome, each.run_epoch())
    for together, each in zip(searches, alone, strict=True):
        require_equal(together.state_dict(), each.state_dict())
    assert any(uneven)
    assert 0 < replays(group) < uneven.count(False)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"regularizers": ["drop_path"]}, "it draws at random (bernoulli_)"),
        ({"relaxation": "dirichlet"}, "the relaxation dirichlet draws at random"),
        ({"regularizers": ["sdarts_adv"]}, "the regularizer sdarts_adv looks at each step's batches"),
        ({"regularizers": ["oles"]}, "the regularizer oles looks at each step's batches"),
    ],
    ids=str,
)
def test_what_no_graph_can_repeat_runs_without_and_says_why(
    changes: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = graphed(**changes)
    search, alone = GraphedSearch(chosen, splits(), capture=on_tape), Search(chosen, splits())
    for _ in range(2 if "drop_path" in str(changes) else 1):  # it drops nothing in the first epoch
        require_equal(search.run_epoch(), alone.run_epoch())
    require_equal(search.state_dict(), alone.state_dict())
    assert [record.getMessage() for record in caplog.records] == [f"a search runs without a CUDA graph: {why}"]


def test_one_lane_that_looks_at_its_batches_leaves_the_group_without_a_graph(caplog: pytest.LogCaptureFixture) -> None:
    chosen = [graphed(), graphed(seed=1, regularizers=["sdarts_rs"])]
    group, searches = FusedSearch(on_tape), [Search(each, splits()) for each in chosen]
    for outcome, each in zip(group.run_epoch(searches), chosen, strict=True):
        require_equal(outcome, Search(each, splits()).run_epoch())
    assert "without a CUDA graph: the regularizer sdarts_rs looks at each step's batches" in caplog.text


def test_a_lane_that_diverges_in_a_repeated_step_fails_as_it_does_alone() -> None:
    bad = graphed(lr=1e160)
    with pytest.raises(Exception, match="not finite") as alone:
        Search(bad, splits()).run_epoch()
    with pytest.raises(type(alone.value)) as repeated:
        GraphedSearch(bad, splits(), capture=on_tape).run_epoch()
    assert str(repeated.value) == str(alone.value)


@pytest.mark.parametrize("asked", ["auto", True, False])
def test_auto_and_true_repeat_steps_and_say_where_they_cannot(
    asked: bool | str, caplog: pytest.LogCaptureFixture
) -> None:
    plain, drawing = graphed(cuda_graph=asked), graphed(cuda_graph=asked, regularizers=["drop_path"])
    searches = [GraphedSearch(each, splits(), capture=on_tape) for each in (plain, drawing)]
    for search in searches:
        search.run_epoch()
        search.run_epoch()  # drop_path draws from the second epoch on
    counted = [0 if each._group._repeated is None else each._group._repeated.replays for each in searches]
    assert counted == ([0, 0] if asked is False else [4, 2])
    assert ("runs without a CUDA graph: it draws at random" in caplog.text) == (asked is not False)


@pytest.mark.parametrize("asked", ["auto", True, False])
def test_on_a_cpu_a_search_has_no_graph(asked: bool | str) -> None:
    assert type(build_search(SearchSettings(cuda_graph=asked), DataSettings(limit=60), "cpu")) is Search  # type: ignore[arg-type]


def test_shipped_settings_may_have_a_graph() -> None:
    assert SearchSettings().cuda_graph == "auto"
    assert ungraphable(SearchSettings()) == []
    assert fused.structure(SearchSettings()) != fused.structure(SearchSettings(cuda_graph=True))


def traced(work: Callable[[], object]) -> Trace:
    with Trace() as trace:
        work()
    return trace


def test_a_trace_knows_draws_reads_numbers_and_places() -> None:
    x, rate = torch.ones(3), [0.5]
    assert traced(lambda: torch.rand(2)).refused == "it draws at random (rand)"
    assert traced(lambda: float(x.sum())).refused == "the host reads a value (_local_scalar_dense)"
    assert traced(lambda: x + torch.tensor([1.0])).refused == "the host sends a value (lift_fresh)"

    def step() -> Tensor:
        return x.mul(rate[0]).relu()

    first, same = traced(step), traced(step)
    assert first.refused is None
    assert differing(first, same) is None
    rate[0] = 0.25
    assert differing(first, traced(step)) == "two aten::mul.Tensor differ"
    rate[0] = 0.5
    kept, x = x, x.clone()  # equal values elsewhere
    assert differing(first, traced(step)) == "two aten::mul.Tensor differ"
    x = kept
    assert differing(first, traced(lambda: step().add(1))) == "two steps differ in length"


def test_a_step_whose_numbers_change_is_never_captured(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def work(inputs: Any) -> Tensor:
        calls.append(len(calls))
        return inputs[0] * float(len(calls))

    repeated: Repeated[Tensor] = Repeated("it", on_tape)
    repeated.begin(work, torch.no_grad)
    values = [float(repeated([torch.ones(())])) for _ in range(6)]
    assert values == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert repeated.replays == 0
    assert "it runs without a CUDA graph: two aten::mul.Tensor differ" in caplog.text


def test_inputs_of_another_shape_have_a_graph_of_their_own() -> None:
    total = torch.zeros(())

    def work(inputs: Any) -> Tensor:
        total.add_(inputs[0].sum())
        return inputs[0] * 2

    repeated: Repeated[Tensor] = Repeated("it", on_tape)
    repeated.begin(work, torch.no_grad)
    for number in range(1, 7):
        for size in (2, 3):
            assert torch.equal(repeated([torch.full((size,), float(number))]), torch.full((size,), 2.0 * number))
    assert float(total) == 5 * 21
    assert repeated.replays == 6
