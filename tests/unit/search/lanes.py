"""Compares a lane with the same search alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

MEASURED = ("seconds", "memory_mb")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in MEASURED:
                yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}.{index}")
    else:
        yield path, value


def require_equal(fused: Any, alone: Any, what: str = "", tolerance: float = 1e-12) -> None:
    """Every tensor and number is equal up to rounding; everything else is equal."""
    assert not isinstance(fused, Exception), fused
    ours, theirs = dict(leaves(fused)), dict(leaves(alone))
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        expected = theirs[path]
        if isinstance(value, Tensor) and value.is_floating_point():
            torch.testing.assert_close(
                value, expected, rtol=tolerance, atol=tolerance, msg=lambda m, p=path: f"{what}{p}: {m}"
            )
        elif isinstance(value, Tensor):
            assert torch.equal(value, expected), f"{what}{path}"
        elif isinstance(value, float):
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-9), f"{what}{path}"
        else:
            assert value == expected, f"{what}{path}"
