"""Progressive stages: P-DARTS' and DrNAS' as settings, whole epochs, and what is refused when a spec is read."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from raydarts.config.loader import load_spec
from raydarts.errors import InputError
from raydarts.registry import Choose
from raydarts.search.moments import SearchStage
from raydarts.search.regularizers.progressive import epochs_of


def remedy(**settings: Any) -> Any:
    return Choose("regularizer").parse({"name": "progressive", **settings}).build()


def space(name: str = "darts-cnn") -> Any:
    return Choose("space").parse(name).build()


@pytest.mark.parametrize(
    ("shares", "epochs", "found"),
    [
        ([1, 1, 1], 75, [25, 25, 25]),
        ([1, 1], 50, [25, 25]),
        ([1, 1, 1], 10, [4, 3, 3]),
        ([0.5, 0.25, 0.25], 10, [5, 3, 2]),
        ([100, 1, 1], 3, [1, 1, 1]),
        ([100, 1, 1], 10, [8, 1, 1]),
        ([1, 2], 3, [1, 2]),
        ([3.0], 7, [7]),
    ],
)
def test_epochs_in_proportion(shares: list[float], epochs: int, found: list[int]) -> None:
    assert epochs_of(shares, epochs) == found


def test_epochs_always_add_up_and_no_stage_is_empty() -> None:
    draw = random.Random(0)
    for _ in range(300):
        shares = [draw.uniform(0.01, 5) for _ in range(draw.randint(1, 5))]
        epochs = draw.randint(len(shares), 60)
        found = epochs_of(shares, epochs)
        assert sum(found) == epochs
        assert min(found) >= 1
        exact = [epochs * share / sum(shares) for share in shares]
        if min(exact) >= 1:
            assert all(abs(whole - share) < 1 for whole, share in zip(found, exact, strict=True))


def test_the_defaults_are_pdarts() -> None:
    assert remedy().stages(75) == (SearchStage(25, 5), SearchStage(25, 11, 5), SearchStage(25, 17, 3))


def test_drnas_stages_are_a_setting() -> None:
    drnas = remedy(shares=[1, 1], layers=None, candidates=[None, 4], keep_alpha=True)
    assert drnas.stages(50) == (SearchStage(25), SearchStage(25, None, 4, True))


def test_single_stage_of_the_whole_space_equals_no_stages() -> None:
    assert remedy(shares=[2.0], layers=None, candidates=None).stages(7) == ()
    assert remedy(shares=[2.0], layers=[5], candidates=None).stages(7) == (SearchStage(7, 5),)


def test_the_first_stage_may_name_the_spaces_number() -> None:
    named = remedy(candidates=[8, 5, 3])
    named.check(space(), 75)
    assert named.stages(75) == remedy().stages(75)


@pytest.mark.parametrize(
    ("settings", "name", "epochs", "message"),
    [
        ({}, "darts-cnn", 2, "2 epochs are too few for 3 stages"),
        ({}, "nasbench201", 9, "nasbench201 has no number of layers to change; set layers: null"),
        ({}, "robust_s2", 9, "stage 2 keeps 5, but no more than 2 are left"),
        ({"candidates": [None, 3, 5]}, "darts-cnn", 9, "stage 3 keeps 5, but no more than 3 are left"),
        ({"candidates": [5, 3, 2]}, "darts-cnn", 9, "the first stage has all 8"),
    ],
)
def test_stages_that_the_space_does_not_allow_are_refused(
    settings: dict[str, Any], name: str, epochs: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        remedy(**settings).check(space(name), epochs)
    remedy(shares=[1, 1], layers=None, candidates=[None, 2]).check(space(name), epochs)


@pytest.mark.parametrize("name", ["layers", "candidates"])
def test_lists_have_an_entry_for_each_stage(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has 2 entries and shares 3"):
        remedy(**{name: [None, 5]})


def test_a_spec_is_refused_where_it_is_wrong(tmp_path: Path) -> None:
    text = """name: x
question: x
search:
  epochs: 9
  space: nasbench201
  regularizers:
    - {name: partial_channels, k: [4, 2, 2]}
    - name: progressive
      shares: [1, 1]
      layers: LAYERS
      candidates: [null, 3]
"""
    path = tmp_path / "spec.yaml"
    path.write_text(text.replace("LAYERS", "[5, 8]"))
    with pytest.raises(InputError, match=r"spec.yaml:8: search\.regularizers\.1: .*set layers: null"):
        load_spec(path)
    path.write_text(text.replace("LAYERS", "null"))
    with pytest.raises(InputError, match=r"spec.yaml:6: search\.regularizers: partial_channels: k has 3 values"):
        load_spec(path)
    path.write_text(text.replace("LAYERS", "null").replace("[4, 2, 2]", "[4, 2]"))
    assert load_spec(path)
