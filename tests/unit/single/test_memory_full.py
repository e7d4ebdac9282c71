"""Memory that is full under `raydarts search` and `raydarts evaluate`: words, advice that fits, and an exit code."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.data import description
from raydarts.evaluation.evaluation import Evaluation
from raydarts.search.search import Search
from tests.commands import Outcome, run_here

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB"
CPU = (
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "68719476736 bytes. Error code 12 (Cannot allocate memory)"
)
OF_A_GPU = [
    torch.OutOfMemoryError(CUDA),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]
OF_THE_MACHINE = [MemoryError(), RuntimeError(CPU), OSError(errno.ENOMEM, "Cannot allocate memory")]
SPEC = """
data: {dataset: digits, limit: 80}
search: {epochs: 2, batch_size: 8, space: {name: darts-cnn, channels: 2, layers: 3, nodes: 2}}
evaluate: {training: {epochs: 1, network: {channels: 4, layers: 3}}}
"""
GENOTYPE = {
    "normal": [["skip_connect", 0], ["sep_conv_3x3", 1]],
    "normal_concat": [2],
    "reduce": [["max_pool_3x3", 0], ["skip_connect", 1]],
    "reduce_concat": [2],
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a spec and a genotype, and a machine whose GPU is a CPU."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "genotype.json").write_text(json.dumps(GENOTYPE))
    monkeypatch.setattr("raydarts.single.device", lambda gpu: "cpu")


def fill(monkeypatch: pytest.MonkeyPatch, job: Any, method: str, error: Exception) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(job, method, full)


def search(*more: str) -> Outcome:
    return run_here("search", "spec.yaml", "--storage", ".", "--name", "run", *more)


def evaluate(*more: str) -> Outcome:
    return run_here("evaluate", "genotype.json", "--spec", "spec.yaml", "--storage", ".", "--name", "run", *more)


@pytest.mark.parametrize(
    ("error", "method"),
    [*((error, "run_epoch") for error in OF_A_GPU), (OF_A_GPU[0], "__init__"), (OF_A_GPU[0], "result")],
    ids=lambda value: str(value)[:40],
)
def test_a_search_on_a_full_gpu(error: Exception, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch, Search, method, error)
    done = search("--gpu", "--set", "search.epochs=1")
    assert done.code == 1
    first = str(error).splitlines()[0]
    assert done.err.startswith(f"failed: {first.rstrip('.')}. The GPU's memory was full. Lower search.batch_size or ")
    assert "search.space.channels or search.space.layers, and begin a new run" in done.err
    assert "raydarts resume" in done.err
    assert "resources.gpus" not in done.err, "a single search has no share that could be raised"
    result = json.loads(Path("run/trials/0000/result.json").read_text())
    assert result["status"] == "failed"
    assert "MemoryFullError" in result["error"]


@pytest.mark.parametrize("method", ["__init__", "run_epoch", "result"])
def test_an_evaluation_on_a_full_gpu(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch, Evaluation, method, OF_A_GPU[0])
    done = evaluate("--gpu")
    assert done.code == 1
    for words in ("evaluate.training.batch_size", "evaluate.training.network.channels", "evaluate.training.amp to bf"):
        assert words in done.err


@pytest.mark.parametrize("error", OF_THE_MACHINE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("command", "job"), [(search, Search), (evaluate, Evaluation)])
def test_a_machine_without_memory(command: Any, job: Any, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch, job, "run_epoch", error)
    done = command()
    assert done.code == 1
    assert "failed: the machine's memory was full: lower " in done.err
    assert "batch_size, and begin a new run" in done.err
    assert "max_concurrent" not in done.err


def test_a_run_whose_memory_was_full_goes_on_once_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = Search.run_epoch
    fill(monkeypatch, Search, "run_epoch", OF_A_GPU[0])
    assert search().code == 1
    monkeypatch.setattr(Search, "run_epoch", epoch)
    done = run_here("resume", "run")
    assert done.code == 0, done.err
    assert json.loads(Path("run/trials/0000/result.json").read_text())["status"] == "completed"


@pytest.mark.parametrize("command", [search, evaluate, lambda: run_here("sweep", "spec.yaml", "--name", "run")])
def test_data_that_do_not_fit_are_said_before_anything_is_made(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch, description, "load_splits", MemoryError())
    done = command()
    assert done.code == 2
    assert "data.dataset: digits does not fit into this machine's memory" in done.err
    assert not Path("run").exists()


def test_an_error_about_something_else_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch, Search, "run_epoch", RuntimeError("a bug"))
    with pytest.raises(AssertionError, match="RuntimeError: a bug"):
        search()
