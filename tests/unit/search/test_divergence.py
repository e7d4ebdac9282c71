"""A search that leaves the range of its numbers names the setting that let it, wherever the number showed up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from raydarts import cli

SPEC = """
data: {limit: 96}
search:
  epochs: 2
  batch_size: 16
  space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}
  estimator: first_order
"""
SECOND = ("search.estimator=finite_difference",)
CASES: dict[str, tuple[tuple[str, ...], str]] = {
    "weights, seen first in alpha's loss": (("search.lr=1e30",), "search.lr (1e+30)"),
    "alpha, seen first in the weights' loss": (("search.arch_lr=1e30",), "search.arch_lr (1e+30)"),
    "weights, under second order": (("search.lr=1e30", *SECOND), "search.lr (1e+30)"),
    "alpha, under second order": (("search.arch_lr=1e30", *SECOND), "search.arch_lr (1e+30)"),
    "weights that decay past 0": (("search.weight_decay=1e8", "search.epochs=8"), "search.weight_decay (1e+08)"),
    "the same by a remedy": (
        ("search.regularizers=[{name: weight_l2, factor: 1e12}]", "search.epochs=8"),
        "search.regularizers.0 (weight_l2)",
    ),
    "weights whose rate rises": (("search.lr_min=1e30", "search.epochs=3"), "search.lr_min (1e+30)"),
    "alpha from the start": (("search.alpha_init=1e39",), "search.alpha_init (1e+39)"),
    "a virtual step": (("search.estimator={name: finite_difference, xi: 1e30}",), "search.estimator.xi (1e+30)"),
    "a finite difference": (
        ("search.estimator={name: finite_difference, epsilon: 1e30}",),
        "search.estimator.epsilon (1e+30)",
    ),
    "a Neumann series": (
        ("search.estimator={name: neumann, eta: 1e30}",),
        "search.estimator.eta (1e+30) or search.estimator.terms (3)",
    ),
    "a penalty": (
        ("search.regularizers=[{name: drop_path}, {name: arch_l1, strength: 1e39}]",),
        "search.regularizers.1 (arch_l1)",
    ),
    "alpha, unlike relaxation": (("search.arch_lr=1e30", "search.relaxation=dirichlet"), "search.arch_lr (1e+30)"),
    "no clipping": (("search.lr=1e30", "search.grad_clip=0"), "search.lr (1e+30) or search.grad_clip (0: no clipping)"),
}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("case", CASES)
def test_the_setting_that_let_it_diverge_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    sets, named = CASES[case]
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    words: list[Any] = ["search", str(spec), "--storage", str(tmp_path), "--name", "one"]
    monkeypatch.setattr(sys, "argv", ["raydarts", *words, *(word for each in sets for word in ("--set", each))])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    error = capsys.readouterr().err
    assert ended.value.code == 1, error
    assert error.rstrip().split("; search.estimator.xi follows")[0].endswith(f"Look at {named}")
