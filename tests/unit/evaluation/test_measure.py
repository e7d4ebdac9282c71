"""Running means weigh images, not batches; the finite guard says where."""

from __future__ import annotations

import pytest
import torch

from raydarts.errors import NonFiniteError
from raydarts.measure import Meter, peak_memory_mb, require_finite, reset_peak_memory


def test_the_mean_is_over_images() -> None:
    meter = Meter()
    meter.add(torch.tensor(1.0, requires_grad=True), torch.tensor(3), 4)
    meter.add(torch.tensor(4.0), torch.tensor(0), 2)
    assert (meter.loss, meter.accuracy, meter.count) == (2.0, 0.5, 6)


def test_empty_meter_has_no_metrics() -> None:
    assert (Meter().loss, Meter().accuracy) == (None, None)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_named(value: float) -> None:
    with pytest.raises(NonFiniteError, match=r"loss is not finite in epoch 3, batch 7; .*Look at x\.lr"):
        require_finite(torch.tensor([1.0, value]), "loss", 3, 7, lambda: "x.lr")


def test_finite_values_pass() -> None:
    require_finite(torch.tensor([1.0, -1e30]), "loss", 1, 0, lambda: "x.lr")


def test_memory_is_in_mebibytes() -> None:
    device = torch.device("cpu")
    reset_peak_memory(device)
    assert 50 < peak_memory_mb(device) < 100_000
