"""Data that each node of a cluster loads once: who loads them, and what is said if they cannot be shared."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raydarts import outside
from raydarts.data import splits as loading
from raydarts.data.settings import DataSettings
from raydarts.data.splits import Splits
from raydarts.errors import DataError
from raydarts.execution import shared_data
from raydarts.execution.shared_data import NodesData, give, splits_for
from tests.fault.marked_digits import parts

MARKED = "tests.fault.marked_digits:MarkedDigits"
pytestmark = [pytest.mark.usefixtures("ray_session")]


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loading, "_loaded", {})
    monkeypatch.setattr(outside, "_allowed", None)  # what a node's process restricts in itself
    yield
    give({})


def marked(marks: Path, **more: Any) -> DataSettings:
    return DataSettings.model_validate({"dataset": {"name": MARKED, "marks": str(marks)}, **more})


def shared(settings: DataSettings) -> tuple[shared_data.Copies, list[str]]:
    told: list[str] = []
    return NodesData(told.append, [MARKED]).of(settings), told


def test_all_processes_of_a_node_take_what_one_of_them_loaded(tmp_path: Path) -> None:
    import ray

    settings = marked(tmp_path / "marks", limit=300)
    copies, told = shared(settings)
    assert told == [f"data {MARKED}: one copy on each node for all trials, loaded when a trial needs it"]
    assert not (tmp_path / "marks").exists(), "nobody needed them yet"
    others = ray.get([ray.remote(parts).remote(copies, settings.model_dump_json()) for _ in range(2)])
    here = parts(copies, settings.model_dump_json())
    loaders = [int(line) for line in (tmp_path / "marks").read_text().split()]
    assert len(loaders) == 1
    assert os.getpid() not in loaders
    assert [writeable for _, writeable, _ in (*others, here)] == [False] * 3
    alone = loading.split_of(settings.dataset.build().load(), settings)
    assert isinstance(alone, Splits)
    expected = int(alone.arrays.train_images[alone.weight].sum())
    assert {total for _, _, total in (*others, here)} == {expected}


def test_two_data_sets_are_two_copies(tmp_path: Path) -> None:
    sweep = NodesData(lambda _: None, [MARKED])
    for limit in (300, 200, 300):
        settings = marked(tmp_path / "marks", limit=limit)
        give(sweep.of(settings))
        splits = splits_for(settings)
        assert isinstance(splits, Splits)
        assert not splits.arrays.train_images.flags.writeable
    assert len((tmp_path / "marks").read_text().split()) == 2


def test_an_error_of_the_data_is_the_trials_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = DataSettings.model_validate({"dataset": {"name": "npz", "file": str(tmp_path / "none.npz")}})
    give(shared(settings)[0])
    with caplog.at_level(logging.WARNING, "raydarts"), pytest.raises(DataError, match=r"none\.npz"):
        splits_for(settings)
    (line,) = caplog.messages
    assert line.startswith("data npz: this process loads them for itself: ")
    assert "none.npz" in line


def test_code_that_the_sweep_may_not_load_is_not_loaded_on_a_node(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = marked(tmp_path / "marks")
    give(NodesData(lambda _: None, []).of(settings))
    with caplog.at_level(logging.WARNING, "raydarts"):
        splits_for(settings)
    assert "that nobody allowed here" in caplog.text
    assert (tmp_path / "marks").read_text().split() == [str(os.getpid())]


def test_a_lost_keeper_costs_no_trial(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import ray

    settings = marked(tmp_path / "marks")
    copies, _ = shared(settings)
    (copy,) = copies.values()
    assert isinstance(copy, shared_data.NodesCopy)
    ray.kill(copy.keeper)
    give(copies)
    with caplog.at_level(logging.WARNING, "raydarts"):
        splits_for(settings)
    assert "they are lost from Ray's object store" in caplog.text
    assert (tmp_path / "marks").read_text().split() == [str(os.getpid())]


def test_data_that_need_too_much_of_a_node_stay_with_each_process(tmp_path: Path) -> None:
    size, data = shared_data._load_on_node(marked(tmp_path / "marks").model_dump_json(), [MARKED], 10**15)
    assert size == 0
    assert data == "they take 0.123 MiB, and 30% of Ray's object store have 0 MiB left"


def test_listed_files_stay_where_they_are(tmp_path: Path) -> None:
    files = {"name": "image_folder", "root": str(tmp_path), "size": 8, "stream": True}
    settings = DataSettings.model_validate({"dataset": files})
    assert shared(settings) == ({}, [])
