"""The data sets of a rehearsal: made up, or a little of another one, which is looked at only where it lies here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raydarts.data.base import Dataset
from raydarts.registry import resolve


def dataset(name: str, **settings: Any) -> Dataset:
    member = resolve("dataset", name)
    built: Dataset = member(member.Settings(**settings))
    return built


@pytest.mark.parametrize("name", ["rehearsal_images", "rehearsal_text"])
def test_made_up_data_are_previewed_whole(name: str) -> None:
    seen = dataset(name, train=10, test=4).preview()
    assert seen is not None
    assert seen.name.startswith("made-up")


@pytest.mark.parametrize(("name", "of"), [("rehearsal_images", "cifar10"), ("rehearsal_text", "ptb")])
def test_a_data_set_that_needs_a_download_is_not_previewed(name: str, of: str, tmp_path: Path) -> None:
    assert dataset(name, of={"name": of, "root": str(tmp_path)}).preview() is None
    assert dataset("rehearsal_images", of="digits", train=8).preview() is not None
