"""Mixed precision, layout and compilation each change what they say, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from raydarts.config.loader import load_spec
from raydarts.errors import SpecError
from raydarts.evaluation.evaluation import Evaluation
from raydarts.genotypes.genotype import CellGenotype, Genotype
from raydarts.runs.identity import differences
from raydarts.spaces.primitives import STRIDED
from tests.unit.evaluation.test_parallel import GENOTYPE, NOISY, made

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def types_seen(job: Evaluation) -> set[torch.dtype]:
    seen: set[torch.dtype] = set()
    for module in job.network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    job.run_epoch()
    return seen


@pytest.mark.parametrize(("amp", "expected"), [("bfloat16", torch.bfloat16), ("float16", torch.float16)])
def test_mixed_precision_computes_in_its_type_and_keeps_the_weights(amp: str, expected: torch.dtype) -> None:
    plain, mixed = made(precision="float32"), made(precision="float32", amp=amp)
    assert types_seen(plain) == {torch.float32}
    assert expected in types_seen(mixed)
    assert {parameter.dtype for parameter in mixed.network.parameters()} == {torch.float32}
    assert mixed.metrics["train_loss"] == pytest.approx(plain.metrics["train_loss"], rel=0.05)
    assert mixed.metrics["train_loss"] != plain.metrics["train_loss"]


def test_a_scaled_loss_is_resumed_with_its_scale_to_the_bit() -> None:
    whole, first = (made(precision="float32", amp="float16", grad_clip=5) for _ in range(2))
    for job in (whole, first):
        job.acceleration.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)  # overflows, and is halved
    first.run_epoch()
    resumed = made(precision="float32", amp="float16", grad_clip=5)
    resumed.load_state_dict(first.state_dict())
    assert resumed.acceleration.scaler.get_scale() == first.acceleration.scaler.get_scale() < 2.0**40
    while not whole.finished:
        whole.run_epoch()
    while not resumed.finished:
        resumed.run_epoch()
    assert resumed.metrics["train_loss"] == whole.metrics["train_loss"]


def test_channels_last_is_a_layout_and_no_other_computation() -> None:
    losses = []
    for channels_last in (True, False):
        job, seen = made(channels_last=channels_last), []
        job.network.cells[0].register_forward_pre_hook(  # type: ignore[index, union-attr]
            lambda _module, inputs, seen=seen: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
        )
        job.run_epoch()
        assert set(seen) == {channels_last}
        losses.append(job.metrics["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that torch.compile makes. Tracing is torch's own; a compiler would take a minute on a CPU."""
    found: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        found.append(graph)
        return graph.forward

    compiler = torch.compile
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", lambda network, **options: compiler(network, backend=backend, **options))
    return found


def cell_of(primitives: list[str]) -> list[list[Any]]:
    """A node of two edges for each two of the primitives, all from the cell's inputs."""
    pairs = [*primitives, *primitives[: len(primitives) % 2]]
    return [[primitive, number % 2] for number, primitive in enumerate(pairs)]


SMALL: dict[str, Any] = {
    "genotype": NOISY | {"reduce": NOISY["normal"]},
    "network": {"channels": 2, "layers": 1, "auxiliary_weight": 0},
}
HALVING = ["none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5", "noise"]
EVERY = {"normal": cell_of([*STRIDED]), "reduce": cell_of(HALVING)}
EVERY_PRIMITIVE = EVERY | {f"{name}_concat": list(range(2, 2 + len(cell) // 2)) for name, cell in EVERY.items()}
BENCHMARK = Genotype(
    (("cell", CellGenotype(((("nor_conv_3x3", 0),), (("none", 0), ("skip_connect", 1)),
                            (("avg_pool_3x3", 0), ("nor_conv_1x1", 1), ("nor_conv_3x3", 2))), (3,))),)
)  # fmt: skip
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "every primitive": (EVERY_PRIMITIVE, {}),
    "noise in half precision": (NOISY, {"precision": "float32", "amp": "bfloat16"}),
    "channels first": (NOISY, {"channels_last": False}),
    "the stem for ImageNet": (GENOTYPE, {"network": {"channels": 2, "layers": 3, "stem": "imagenet"}}),
    "NAS-Bench-201": (BENCHMARK.to_json(), {"network": {"channels": 2, "layers": 3, "auxiliary_weight": 0}}),
}


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "raydarts"]


@pytest.mark.parametrize(("genotype", "changes"), NETWORKS.values(), ids=NETWORKS)
def test_compile_makes_one_graph_that_computes_and_draws_the_same(
    graphs: list[Any], genotype: dict[str, Any], changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    found = []
    for compile in (False, True):
        job = made(genotype, compile=compile, **changes)
        job.network.drop_path.probability = 0.4  # type: ignore[union-attr]
        batch = next(job.parts["search"].epoch(4, job.streams["order"], job.streams["augment"]))
        with job.acceleration.autocast():
            outputs = [job.runner(job.acceleration.inputs(batch.inputs)) for _ in range(2)]
        found.append({"outputs": outputs, "streams": job.streams.state_dict(), "state": job.network.state_dict()})
    assert len(graphs) == 1
    assert not warnings_of(caplog)
    assert not list(differences(*found))


def test_compile_trains_to_the_same_figures_and_weights(graphs: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    plain, compiled = (made(**SMALL, compile=compile) for compile in (False, True))
    for job in (plain, compiled):
        while not job.finished:
            job.run_epoch()
    # The first epoch has no drop-path: its graph is another one.
    assert len(graphs) == 2
    assert not warnings_of(caplog)
    assert compiled.metrics["train_loss"] == plain.metrics["train_loss"]
    assert compiled.result()["test_loss"] == plain.result()["test_loss"]
    assert not list(differences(plain.state_dict()["network"], compiled.state_dict()["network"]))
    assert not list(differences(plain.state_dict()["streams"], compiled.state_dict()["streams"]))


def test_a_rising_drop_path_is_not_compiled_anew_in_each_epoch(graphs: list[Any]) -> None:
    job = made(**SMALL, epochs=12, compile=True)
    while not job.finished:
        job.run_epoch()
    assert len(graphs) == 2


def test_compiled_and_resumed_it_ends_bit_identical(graphs: list[Any]) -> None:
    """From a checkpoint of a run that was not compiled, too: both draw the same."""
    whole, first, plain = made(**SMALL, compile=True), made(**SMALL, compile=True), made(**SMALL)
    while not whole.finished:
        whole.run_epoch()
    for started in (first, plain):
        started.run_epoch()
        resumed = made(**SMALL, compile=True)
        resumed.load_state_dict(started.state_dict())
        while not resumed.finished:
            resumed.run_epoch()
        assert not list(differences(whole.state_dict()["network"], resumed.state_dict()["network"]))
        assert not list(differences(whole.state_dict()["streams"], resumed.state_dict()["streams"]))


def test_untraceable_network_is_compiled_in_pieces_with_a_warning(
    graphs: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Untraceable(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch._dynamo.graph_break()
            return x

    plain, job = made(**SMALL, epochs=1), made(**SMALL, epochs=1, compile=True)
    job.network.pool = nn.Sequential(job.network.pool, Untraceable())  # type: ignore[union-attr, arg-type]
    plain.run_epoch()
    job.run_epoch()
    assert len(graphs) > 1
    assert any("in pieces" in message for message in warnings_of(caplog))
    assert job.metrics["train_loss"] == plain.metrics["train_loss"]


def test_invalid_combinations_are_refused_when_the_spec_is_read(tmp_path: Any) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "search: {epochs: 1}\n"
        "evaluate:\n"
        "  resources: {workers: 2}\n"
        "  training:\n"
        "    batch_size: 33\n"
        "    precision: float64\n"
        "    amp: bfloat16\n"
    )
    with pytest.raises(SpecError, match="precision float32 alone") as found:
        load_spec(spec)
    assert f"{spec}:7" in str(found.value)
    spec.write_text("search: {epochs: 1}\nevaluate:\n  resources: {workers: 2}\n  training: {batch_size: 33}\n")
    with pytest.raises(SpecError, match="batch_size 33 cannot be divided evenly among 2 workers"):
        load_spec(spec)
    spec.write_text("search: {epochs: 1}\nevaluate:\n  resources: {workers: 2, gpus: 0.5}\n")
    with pytest.raises(SpecError, match=r"2 workers with 0\.5 GPU each may share one"):
        load_spec(spec)
    spec.write_text("search: {epochs: 1}\nevaluate:\n  resources: {workers: 2, gpus: 1}\n")
    assert load_spec(spec).stages.evaluate.resources.in_all == (2, 2)
