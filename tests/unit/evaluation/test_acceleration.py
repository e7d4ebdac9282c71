"""Mixed precision, layout and compilation each change what they say, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from raydarts.config.loader import load_spec
from raydarts.errors import SpecError
from raydarts.evaluation.evaluation import Evaluation
from tests.unit.evaluation.test_parallel import made

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_compile_runs_compiled_code_with_the_same_weights_and_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiler = torch.compile
    # Tracing is torch's own; what a compiler would make of the graphs takes a minute on a CPU.
    monkeypatch.setattr(torch, "compile", lambda network: compiler(network, backend=backend))
    plain, compiled = made(), made(compile=True)
    for job in (plain, compiled):
        job.run_epoch()
    assert graphs
    assert compiled.metrics["train_loss"] == pytest.approx(plain.metrics["train_loss"], rel=1e-9)
    assert list(compiled.state_dict()["network"]) == list(plain.state_dict()["network"])


def test_what_cannot_be_is_refused_when_the_spec_is_read(tmp_path: Any) -> None:
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
