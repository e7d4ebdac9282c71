"""benchmarks/gpu.py says what it measured, checks itself, and does not pretend to a GPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.scripts import script

pytestmark = pytest.mark.usefixtures("one_thread")

FEW = {"name": "robust_s3", "channels": 4, "layers": 3, "nodes": 1}
"""Three candidates an edge. The script's own sizes take twice the time; what it says of them is checked alike."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = script("benchmarks/gpu.py")
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, **options: compiler(network, backend="eager", **options))
    small = module.SIZES["small"]
    monkeypatch.setitem(small, "network", {"channels": 2, "layers": 1, "auxiliary_weight": 0})
    monkeypatch.setitem(small, "space", FEW)
    lanes = sys.modules["gpu_lanes"]
    monkeypatch.setitem(lanes.TINY, "darts-cnn", FEW)
    monkeypatch.setitem(lanes.SIZES["try"], "space", FEW)
    return module


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_exits_2(gpu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    said = capsys.readouterr()
    assert "no CUDA device" in said.err
    assert not said.out


RAY = ["sweeps"]
LANES = ["lanes_exact", "lanes_bits", "lanes_speed", "lanes_processes"]


def tried(gpu: Any, parts: list[str], file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    """Runs parts of the script on the CPU. Returns its exit code and what it says."""
    arguments = ["--device", "cpu", "--size", "small", "--rounds", "1", "--json", str(file), "--parts", *parts]
    code = gpu.main(arguments)
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(file.read_text())
    assert set(found["part_seconds"]) == set(parts)
    assert all("error" not in found[part] for part in parts), found
    return code, found


def test_every_part_runs_and_its_checks_hold(gpu: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, found = tried(gpu, [part for part in gpu.PARTS if part not in LANES + RAY], tmp_path / "gpu.json", capsys)
    checked = {check["name"]: check["ok"] for check in found["checks"]}
    checked.pop("a second-order step costs more than a first-order step")  # a matter of time, on a busy machine
    assert all(checked.values()), found["checks"]
    assert len(checked) == 7
    assert found["plain"]["second"]["times_faster"] > 0
    assert found["roofline"]["second"]["gflop"] > 2 * found["roofline"]["first"]["gflop"]
    assert 0 < found["roofline"]["first"]["share"] < 1
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


@pytest.mark.slow
def test_lanes_are_checked_and_then_measured(gpu: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, found = tried(gpu, LANES, tmp_path / "gpu.json", capsys)
    assert [check["ok"] for check in found["checks"]] == [True] * 8, found["checks"]
    assert code == 0
    assert 0 < max(found["lanes_exact"].values()) < 1e-9, "both were computed"
    for order in ("first", "second", "first (bfloat16)"):
        alone, group = (found["lanes_speed"][f"try, {order} order"][f"K = {lanes}"] for lanes in (1, 2))
        assert 0 < group["operations"] < 1.2 * alone["operations"]
        assert group["times_more_searches"] == pytest.approx(2 * alone["milliseconds"] / group["milliseconds"])
        assert group["reads"] == 0
    assert found["lanes_processes"]["try"]["searches"] == 2
    assert found["lanes_processes"]["try"]["processes_milliseconds"] > 0


def test_what_fails_or_comes_too_late_is_told_and_the_rest_is_measured(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lanes = sys.modules["gpu_lanes"]
    figures = {"milliseconds": 2.0}
    errors = iter([torch.OutOfMemoryError("full"), RuntimeError("a kernel failed"), *[None] * 4])

    def measured(*_arguments: Any) -> dict[str, float]:
        if (error := next(errors)) is not None:
            raise error
        return dict(figures)

    monkeypatch.setattr(lanes, "measured", measured)
    arguments = ["--device", "cpu", "--size", "small", "--parts", "lanes_speed"]
    assert gpu.main(arguments) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["checks"][0]["figure"] == ["try, first order, K = 2"], "what does not fit is no failure"
    assert "full" in found["lanes_speed"]["try, first order"]["K = 1"]["error"]
    assert found["lanes_speed"]["try, second order"]["K = 2"] == {"milliseconds": 2.0, "times_more_searches": 2.0}
    assert gpu.main([*arguments, "--seconds", "0"]) == 0
    rows = json.loads(capsys.readouterr().out)["lanes_speed"]["try, first order"]
    assert rows == {f"K = {lanes}": {"left_out": "no time was left"} for lanes in (1, 2)}


@pytest.mark.slow
@pytest.mark.ray
def test_sweeps_run_through_the_command(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sweeps = sys.modules["gpu_sweeps"]
    every = sweeps.ways

    def lanes_alone(searches: int, on_gpu: bool) -> dict[str, Any]:
        assert every(searches, True)["a process for each search"]["resources"] == {"cpus": 1, "gpus": 0.5}
        return {"lanes": every(searches, on_gpu)["lanes of one process"]}

    monkeypatch.setattr(sweeps, "ways", lanes_alone)
    code, found = tried(gpu, RAY, tmp_path / "gpu.json", capsys)
    row = found["sweeps"]["try"]["lanes"]
    assert code == 0
    assert row["in_a_process"] == 2
    assert row["searches_an_hour"] == pytest.approx(2 * 3600 / row["seconds"], rel=0.1)
    assert row["command_seconds"] > row["seconds"]


def test_a_sweep_that_fails_is_said(gpu: Any, tmp_path: Path) -> None:
    sweeps = sys.modules["gpu_sweeps"]
    wrong = {"search": {"seed": {"grid": [0]}, "epochs": 0}}
    with pytest.raises(RuntimeError, match=r"exit code 2, 0 of 1 searches completed[\s\S]*epochs"):
        sweeps.swept(wrong, tmp_path, 60)
