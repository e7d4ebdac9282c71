"""The dominant eigenvalue of the alpha Hessian: equal to the dense one's, and without a trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.errors import NonFiniteError
from raydarts.search import measuring
from raydarts.search import search as search_module
from raydarts.search.hessian import dominant_eigenvalue, lanczos
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.tasks import Loss

pytestmark = pytest.mark.usefixtures("one_thread")

ES = {"name": "darts_es", "every": 1, "window": 1, "lag": 1, "min_epochs": 1, "ratio": 1e9}


def search(**changes: Any) -> Search:
    plain = {
        "epochs": 3,
        "batch_size": 16,
        "arch_lr": 0.05,
        "alpha_init": 1.0,
        "precision": "float64",
        "space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1},
        "estimator": "first_order",
        **changes,
    }
    return Search(SearchSettings.model_validate(plain), load_splits(DataSettings(limit=64)))


def dense_hessian(job: Search, batch: Any) -> Tensor:
    """Row by row, of the cross entropy of the supernet's own output under softmax(alpha)."""
    alphas = list(job.alphas.values())
    arch_weights = {name: alpha.softmax(-1) for name, alpha in job.alphas.items()}
    loss = torch.nn.functional.cross_entropy(job.supernet(batch.inputs, arch_weights), batch.targets)
    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, alphas, create_graph=True)])
    rows = [torch.autograd.grad(entry, alphas, retain_graph=True) for entry in gradient]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def test_matches_the_dense_hessians_largest_eigenvalue() -> None:
    job = search()
    job.run_epoch()
    batch = next(iter(job.data["alpha"].sequential(16)))
    found = dominant_eigenvalue(job.objective, batch, tolerance=1e-10)
    job.supernet.train()
    hessian = dense_hessian(job, batch)
    assert hessian.shape == (32, 32)
    torch.testing.assert_close(hessian, hessian.T, rtol=1e-8, atol=1e-12)
    eigenvalues = torch.linalg.eigvalsh(hessian)
    assert float(eigenvalues[-1]) > 1e-4  # else rounding would say little
    assert found == pytest.approx(float(eigenvalues[-1]), rel=1e-8)
    assert job.measuring.eigenvalue(job.model) == pytest.approx(
        found, rel=1e-3
    )  # the epoch report's, at the default tolerance


class Quadratic:
    """An objective whose data loss is x A x / 2, x being alpha."""

    def __init__(self, matrix: list[list[float]]) -> None:
        self.matrix = torch.tensor(matrix, dtype=torch.float64)
        self.alpha_by_type = {"cell": torch.ones(1, len(matrix), dtype=torch.float64, requires_grad=True)}
        self.weights: list[Tensor] = []

    @contextmanager
    def virtual(self) -> Iterator[None]:
        yield

    def arch_weights(self, *, expected: bool = False) -> Mapping[str, Tensor]:
        return self.alpha_by_type

    def data_loss(self, batch: Any, arch_weights: Mapping[str, Tensor]) -> Loss:
        x = arch_weights["cell"][0]
        value = x @ self.matrix @ x / 2 + 0 * x.pow(3).sum()
        return Loss(value, value.detach(), torch.zeros(()), 1)


@pytest.mark.parametrize(
    ("matrix", "largest"),
    [
        ([[7.0]], 7.0),
        ([[2.0, 1.0], [1.0, 2.0]], 3.0),
        ([[-5.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, -2.0, 0], [0, 0, 0, -9.0]], -1.0),
        ([[1.0, 0, 0], [0, -8.0, 0], [0, 0, 0.5]], 1.0),
    ],
    ids=["one alpha", "two alphas", "all negative", "the most negative is larger in size"],
)
def test_largest_eigenvalue_is_not_the_largest_in_magnitude(matrix: list[list[float]], largest: float) -> None:
    assert dominant_eigenvalue(Quadratic(matrix), None) == pytest.approx(largest, rel=1e-3)  # type: ignore[arg-type]


def largest_of(matrix: np.ndarray, tolerance: float) -> tuple[float, int]:
    """What `lanczos` finds, and how many products it asks for."""
    asking = lanczos(len(matrix), tolerance)
    vector = next(asking)
    for number in range(1, len(matrix) + 2):
        try:
            vector = asking.send(matrix @ vector)
        except StopIteration as end:
            return end.value, number
    raise AssertionError("more products than rows")


@pytest.mark.parametrize("size", [1, 2, 5, 30, 224])
def test_lanczos_finds_the_largest_eigenvalue_with_few_products(size: int) -> None:
    draws = np.random.default_rng(size)
    rotation, _ = np.linalg.qr(draws.standard_normal((size, size)))
    decaying = draws.choice([-1.0, 1.0], size) * 0.7 ** np.arange(size)  # as those of a Hessian
    decaying[0] = -2.0  # the largest in magnitude
    matrix = rotation @ np.diag(decaying) @ rotation.T
    exact, products = largest_of(matrix, 1e-13)
    assert exact == pytest.approx(decaying.max(), rel=1e-10)
    rough, fewer = largest_of(matrix, 1e-3)
    assert rough == pytest.approx(decaying.max(), rel=1e-4)
    assert fewer <= min(size, 20)
    assert products <= size


def negative(size: int) -> np.ndarray:
    """Eigenvalues -1 and 0, as of a Hessian in which a softmax has a direction that changes nothing."""
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((size, size)))
    return rotation @ np.diag([0.0] * (size // 3) + [-1.0] * (size - size // 3)) @ rotation.T  # type: ignore[no-any-return]


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), np.eye(4), np.outer([1.0, 2, 3], [1.0, 2, 3]), negative(30)])
def test_lanczos_ends_where_products_span_less_than_the_matrix(matrix: np.ndarray) -> None:
    largest, products = largest_of(matrix, 1e-3)
    assert largest == pytest.approx(np.linalg.eigvalsh(matrix).max(), rel=1e-6, abs=1e-12)
    assert products <= 2


def test_a_hessian_that_is_not_finite_has_no_eigenvalue() -> None:
    with pytest.raises(NonFiniteError, match=r"not finite, so its dominant eigenvalue is unknown; look at search\.lr"):
        dominant_eigenvalue(Quadratic([[1.0, float("nan")], [0.0, 1.0]]), None)  # type: ignore[arg-type]


def test_changes_nothing_and_is_deterministic() -> None:
    job = search(regularizers=[{"name": "drop_path", "probability": 0.5}], epochs=2)
    job.run_epoch()
    job.regularizers[0].on_epoch_start(search_module.moment(job.stages, 1))
    weights = {name: value.clone() for name, value in job.supernet.state_dict().items()}
    alphas = {name: alpha.detach().clone() for name, alpha in job.alphas.items()}
    gradients = {name: alpha.grad.clone() for name, alpha in job.alphas.items()}
    streams = {name: state.clone() for name, state in job.streams.state_dict().items()}
    first = job.measuring.eigenvalue(job.model)
    assert job.measuring.eigenvalue(job.model) == first
    assert job.supernet.training
    assert all(torch.equal(value, weights[name]) for name, value in job.supernet.state_dict().items())
    assert all(torch.equal(alpha, alphas[name]) for name, alpha in job.alphas.items())
    assert all(torch.equal(alpha.grad, gradients[name]) for name, alpha in job.alphas.items())
    assert all(torch.equal(state, streams[name]) for name, state in job.streams.state_dict().items())
    assert all(parameter.requires_grad for parameter in [*job.supernet.parameters(), *job.alphas.values()])
    assert all(norm.track_running_stats for norm in job.objective._norms)


def test_probe_and_remedy_see_one_value_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(objective: Any, batch: Any) -> float:
        asked.append(dominant_eigenvalue(objective, batch))
        return asked[-1]

    monkeypatch.setattr(measuring, "dominant_eigenvalue", counted)
    both = search(probes=[{"name": "eigenvalue", "every": 2}], regularizers=[ES])
    remedy = search(probes=[], regularizers=[ES])
    probed = [both.run_epoch()["eigenvalue"] for _ in range(2)]
    assert len(asked) == 2
    assert probed == [None, asked[1]]
    for _ in range(2):
        assert "eigenvalue" not in remedy.run_epoch()
    assert asked[2:] == asked[:2]
    assert both.regularizers[0].state_dict() == remedy.regularizers[0].state_dict()
    assert [value for _, value in both.regularizers[0].state_dict()["found"]] == asked[:2]
