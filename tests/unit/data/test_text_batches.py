"""Batches of text: every token in its column, lengths from their own generator, the hidden state carried."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from raydarts.data.settings import TextSettings
from raydarts.data.text_batches import TextBatches
from raydarts.errors import DataError
from raydarts.tasks import Batch


def batches_of(count: int, **settings: Any) -> TextBatches:
    return TextBatches("numbers", np.arange(count), "cpu", TextSettings(**settings))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def epoch(batches: TextBatches, columns: int, seed: int = 0) -> list[Batch]:
    return list(batches.epoch(columns, generator(seed), generator()))


def test_each_column_is_a_stretch_of_the_text_and_each_token_is_predicted_once() -> None:
    found = epoch(batches_of(103, bptt=6, short_probability=0.5), 4)  # 25 rows, three tokens left over
    inputs, targets = (torch.cat([batch[side] for batch in found]) for side in (0, 1))
    whole = torch.arange(100).view(4, 25).T
    assert torch.equal(inputs, whole[:-1])
    assert torch.equal(targets, whole[1:])
    assert {len(batch.inputs) for batch in found[:-1]} == {3, 6}


def test_the_learning_rate_is_scaled_by_the_batchs_own_length() -> None:
    found = epoch(batches_of(2 * 32, bptt=10, short_probability=0.0), 2)  # 31 predictions a column
    assert [len(batch.inputs) for batch in found] == [10, 10, 10, 1]
    assert [batch.lr_scale for batch in found] == [1.0, 1.0, 1.0, 0.1]


def test_lengths_are_the_authors() -> None:
    """rnn/train.py: max(5, int(N(35 or 17.5, 5))), at most 55; a twentieth of the batches is short."""
    batches, draws = batches_of(100, bptt_deviation=5.0), generator(1)
    lengths = np.array([batches.length(draws) for _ in range(20_000)])
    assert lengths.min() >= 5
    assert lengths.max() <= 55
    assert (lengths < 20).mean() == pytest.approx(0.05 * 0.64 + 0.95 * 0.001, abs=0.01)
    assert lengths.mean() == pytest.approx(0.95 * 34.5 + 0.05 * 17, abs=0.2)  # int() takes half a token on average
    assert lengths[lengths > 25].std() == pytest.approx(4.7, abs=0.3)
    fixed = batches_of(100)
    assert {fixed.length(draws) for _ in range(300)} == {17, 35}
    capped = batches_of(100, bptt=6, bptt_deviation=50.0)
    assert {capped.length(draws) for _ in range(200)} >= {5, 26}
    assert max(capped.length(draws) for _ in range(200)) == 26


def test_equal_generators_give_equal_batches_and_others_others() -> None:
    batches = batches_of(400, bptt=6, short_probability=0.5, bptt_deviation=2.0)
    lengths = [[len(batch.inputs) for batch in epoch(batches, 2, seed)] for seed in (0, 0, 1)]
    assert lengths[0] == lengths[1] != lengths[2]


def test_the_hidden_state_is_carried_and_a_pass_begins_without() -> None:
    batches, state = batches_of(60, bptt=4, short_probability=0.0), torch.ones(3, 2)
    for _ in range(2):
        seen = []
        for batch in batches.epoch(3, generator(), generator()):
            seen.append(batch.memory)
            batches.carry(state * len(seen))
        assert seen[0] is None
        assert [float(memory[0, 0]) for memory in seen[1:]] == [float(n) for n in range(1, len(seen))]
    assert next(iter(batches.sequential(3))).memory is None


def test_a_measured_pass_is_of_equal_batches_in_order() -> None:
    batches = batches_of(64, bptt=10, short_probability=1.0, bptt_deviation=3.0, measured_columns=4)
    assert batches.measured_size(64) == 4
    assert [len(batch.inputs) for batch in batches.sequential(4)] == [10, 5]


def test_more_columns_than_the_text_has_pairs_are_refused() -> None:
    batches = batches_of(19)
    batches.require(9)
    with pytest.raises(DataError, match=r"numbers has 19 tokens, too few for 10 columns .* 9 columns can be had"):
        batches.require(10)
    with pytest.raises(DataError, match="too few"):
        epoch(batches, 10)
