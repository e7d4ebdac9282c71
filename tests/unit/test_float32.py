"""TF32 is on or off because a setting says so, while a job computes and no longer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from raydarts.config.loader import load_plain, load_spec
from raydarts.errors import SpecError
from raydarts.float32 import arithmetic, state
from tests.unit.evaluation import test_language, test_parallel
from tests.unit.search.regularizers.tiny_search import tiny_search

pytestmark = pytest.mark.usefixtures("one_thread")

ON, OFF = {"matmul": True, "conv": True}, {"matmul": False, "conv": False}
JOBS = {
    "search": lambda **changes: tiny_search(precision="float32", epochs=1, estimator="finite_difference", **changes),
    "image": lambda **changes: test_parallel.made(precision="float32", epochs=1, **changes),
    "language": lambda **changes: test_language.evaluation(epochs=1, **changes),
}


def flags() -> list[str]:
    backends: Any = torch.backends
    kept = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul]
    return [flag.fp32_precision for flag in kept] + [
        torch.get_float32_matmul_precision(),
        str(torch.backends.cudnn.deterministic),
    ]


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """torch warns where it is asked about TF32 in a way that it gives up."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("allowed", [True, False])
def test_the_flags_are_set_inside_and_put_back_outside(allowed: bool) -> None:
    before, expected = flags(), ON if allowed else OFF
    with arithmetic(tf32=allowed):
        assert state() == expected
        assert torch.backends.cudnn.deterministic
        # What torch's own compiler reads in older versions says the same, and does not raise.
        assert torch.backends.cuda.matmul.allow_tf32 == allowed
        with arithmetic(tf32=not allowed):
            assert state() != expected
        assert state() == expected
    assert flags() == before
    with pytest.raises(KeyError), arithmetic(tf32=allowed):
        raise KeyError
    assert flags() == before


def test_float32_settings_are_restored_on_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    before = flags()
    try:
        torch.set_float32_matmul_precision("high")
        with arithmetic(tf32=False):
            assert state() == OFF
        assert state() == ON
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.fp32_precision = before[0]
        torch.backends.mkldnn.matmul.fp32_precision = before[3]  # type: ignore[attr-defined]


def seen_by(job: Any) -> list[dict[str, bool]]:
    """The flags in every pass of the job's network."""
    seen: list[dict[str, bool]] = []
    network: nn.Module = getattr(job, "supernet", None) or job.network
    network.register_forward_pre_hook(lambda _module, _inputs: seen.append(state()))
    return seen


@pytest.mark.parametrize("kind", JOBS)
def test_a_job_computes_under_its_own_setting_and_leaves_none(kind: str) -> None:
    before = flags()
    for changes, expected in (({}, OFF), ({"tf32": True}, ON), ({"tf32": False}, OFF)):
        job = JOBS[kind](**changes)
        seen = seen_by(job)
        job.run_epoch()
        in_epoch = len(seen)
        job.result()
        assert in_epoch > 2
        assert kind == "search" or len(seen) > in_epoch  # the test part is measured at the end
        assert all(found == expected for found in seen)
        assert flags() == before


def test_a_job_that_fails_leaves_no_setting_either() -> None:
    before, job = flags(), JOBS["search"](tf32=True)

    def fail(_module: Any, _inputs: Any) -> None:
        raise RuntimeError("a primitive's own fault")

    job.supernet.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="own fault"):
        job.run_epoch()
    assert flags() == before


@pytest.mark.parametrize("section", ["search", "evaluate.training", "rungs.training"])
def test_tf32_is_refused_without_float32(section: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    both = "{precision: float64, tf32: true}"
    written = {
        "search": f"search: {both}\n",
        "evaluate.training": f"search: {{epochs: 1}}\nevaluate:\n  training: {both}\n",
        "rungs.training": f"search: {{epochs: 1}}\nrungs:\n  - {{top_k: 5, training: {both}}}\nevaluate: {{}}\n",
    }[section]
    spec.write_text(written)
    with pytest.raises(SpecError, match="has no effect in precision float64") as error:
        load_spec(spec)
    assert f"{spec}:{1 if section == 'search' else 3}" in str(error.value)
    spec.write_text(written.replace("float64", "float32"))
    load_spec(spec)
    spec.write_text(written.replace("true", "sometimes"))
    with pytest.raises(SpecError, match="tf32"):
        load_spec(spec)


def test_run_json_holds_it_for_every_stage_though_the_spec_is_silent(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "search: {epochs: 1}\nrungs:\n  - {top_k: 5, training: {tf32: false}}\nevaluate: {training: {tf32: true}}\n"
    )
    loaded = load_spec(spec)
    plain = loaded.to_plain()
    assert plain["search"]["tf32"] is False
    assert plain["rungs"][0]["training"]["tf32"] is False
    assert plain["evaluate"]["training"]["tf32"] is True
    assert load_plain(plain, "run.json").to_plain() == plain
    spec.write_text("search: {epochs: 1, tf32: {grid: [true, false]}}\n")
    plain = load_spec(spec).to_plain()
    assert plain["search"]["tf32"] == {"grid": [True, False]}
    assert load_plain(plain, "run.json").to_plain() == plain
