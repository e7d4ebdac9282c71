"""benchmarks/gpu.py says what it measured, checks itself, and does not pretend to a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.scripts import script

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = script("benchmarks/gpu.py")
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, **options: compiler(network, backend="eager", **options))
    small = module.SIZES["small"]
    monkeypatch.setitem(small, "network", {"channels": 2, "layers": 1, "auxiliary_weight": 0})
    monkeypatch.setitem(small, "space", small["space"] | {"nodes": 1})
    return module


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_exits_2(gpu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    said = capsys.readouterr()
    assert "no CUDA device" in said.err
    assert not said.out


def test_every_part_runs_and_its_checks_hold(gpu: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    code = gpu.main(["--device", "cpu", "--size", "small", "--rounds", "1", "--json", str(file)])
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(file.read_text())
    assert set(gpu.PARTS) <= set(found)
    assert all("error" not in found[part] for part in gpu.PARTS), found
    checked = {check["name"]: check["ok"] for check in found["checks"]}
    checked.pop("a second-order step costs more than a first-order step")  # a matter of time, on a busy machine
    assert all(checked.values()), found["checks"]
    assert len(checked) == 5
    assert code == 1 - found["ok"]
    assert found["evaluation"]["compiled"]["graphs"] == 1
    assert found["alpha_error"]["float32"]["second_order_term"] < 1e-3


def test_a_part_that_raises_is_told_and_fails(gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def broken(_bench: Any) -> dict[str, Any]:
        raise RuntimeError("out of memory")

    monkeypatch.setitem(gpu.PARTS, "search", broken)
    assert gpu.main(["--device", "cpu", "--size", "small", "--parts", "search"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert "out of memory" in found["search"]["error"]
    assert found["checks"] == [{"name": "search runs", "ok": False, "figure": None}]
