"""A retraining on text: goes on bit-identically before and after averaging began, learns, is told by held-out text."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from raydarts.data.settings import DataSettings
from raydarts.data.text import TextTokens
from raydarts.data.text_splits import TextSplits, split_text
from raydarts.errors import DataError, NonFiniteError
from raydarts.evaluation.averaging import averaged
from raydarts.evaluation.language import LanguageEvaluation, unigram_perplexity
from raydarts.evaluation.language_settings import LanguageSettings
from raydarts.runs.identity import differences
from raydarts.spaces import Genotype

pytestmark = pytest.mark.usefixtures("one_thread")

GENOTYPE = Genotype.from_json({"recurrent": [["tanh", 0], ["identity", 1], ["relu", 1]], "concat": [1, 2, 3]})
WORDS = 12
MEASURED = ("seconds", "memory_mb")
NETWORK = {"units": 8, "cell_dropout": 0.2, "hidden_dropout": 0.1, "output_dropout": 0.2}


def splits(train: int = 600, held_out: int = 120) -> TextSplits:
    """A text in which each token but for some noise follows from the one before."""
    draws = np.random.default_rng(0)
    tokens = [0]
    for _ in range(train + 2 * held_out - 1):
        tokens.append((tokens[-1] * 5 + 3) % WORDS if draws.random() < 0.9 else int(draws.integers(WORDS)))
    whole = np.array(tokens)
    parts = np.split(whole, [train, train + held_out])
    source = TextTokens("cycle", parts[0], parts[1], parts[2], tuple(f"w{word}" for word in range(WORDS)))
    return split_text(source, DataSettings.model_validate({"dataset": "pydoc_topics"}))


def evaluation(data: TextSplits | None = None, seed: int = 0, **values: Any) -> LanguageEvaluation:
    base = {"epochs": 5, "batch_size": 6, "lr": 2.0, "test_columns": 2, "nonmonotone": 1, "network": NETWORK}
    base |= {"text": {"bptt": 8, "measured_columns": 4}}
    return LanguageEvaluation(LanguageSettings.model_validate(base | values), GENOTYPE, data or splits(), seed)


def run(job: LanguageEvaluation, until: int | None = None) -> list[dict[str, Any]]:
    rows = []
    while not job.finished and (until is None or job.epoch < until):
        rows.append({key: value for key, value in job.run_epoch().items() if key not in MEASURED})
    return rows


def saved(job: LanguageEvaluation) -> dict[str, Any]:
    """Through a file, as a checkpoint goes."""
    buffer = io.BytesIO()
    torch.save(job.state_dict(), buffer)
    buffer.seek(0)
    found: dict[str, Any] = torch.load(buffer, weights_only=True)
    return found


def unmeasured(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: unmeasured(item) for key, item in value.items() if key not in MEASURED}
    return value


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_resumed_retraining_ends_to_the_last_bit_before_and_after_averaging_began(precision: str) -> None:
    told = [2.0, 3.0, 2.5]  # the third is above the best of all but the last one before it

    def forced(job: LanguageEvaluation) -> LanguageEvaluation:
        decide = job._maybe_average
        job._maybe_average = lambda loss: decide(told[job.epoch - 1])  # type: ignore[method-assign]
        return job

    whole = forced(evaluation(precision=precision, epochs=6, nonmonotone=1))
    rows = run(whole)
    assert [row["averaged"] for row in rows] == [False, False, False, True, True, True]
    for epoch in (2, 3, 4):
        first = evaluation(precision=precision, epochs=6, nonmonotone=1)
        before = run(forced(first), epoch)
        state = saved(first)
        resumed = evaluation(precision=precision, epochs=6, nonmonotone=1)
        resumed.load_state_dict(state)
        assert list(differences(state, resumed.state_dict())) == []
        assert before + run(forced(resumed)) == rows
        assert list(differences(unmeasured(whole.state_dict()), unmeasured(resumed.state_dict()))) == []
        assert unmeasured(whole.result()) == unmeasured(resumed.result())


def test_training_beats_a_unigram_model_and_starts_at_an_untrained_one() -> None:
    plain = dict.fromkeys(("input_dropout", "embedding_dropout"), 0) | NETWORK | {"units": 16}
    text = {"bptt": 5, "measured_columns": 4}
    job = evaluation(splits(1500), epochs=5, batch_size=3, lr=4.0, nonmonotone=None, text=text, network=plain)
    rows = run(job)
    result = job.result()
    baselines = result["baselines"]
    assert baselines["untrained"]["validation"] == pytest.approx(WORDS, rel=0.05)
    assert result["validation_perplexity"] < 0.7 * baselines["unigram"]["validation"]
    assert result["test_perplexity"] < 0.7 * baselines["unigram"]["test"]
    assert result["validation_perplexity"] == min(row["validation_perplexity"] for row in rows)
    assert result["best_epoch"] == min(rows, key=lambda row: row["validation_loss"])["epoch"]
    assert result["validation_perplexity"] == pytest.approx(math.exp(result["validation_loss"]))


def test_after_averaging_began_the_averages_are_measured_and_the_iterates_go_on() -> None:
    job = evaluation(epochs=6)
    job._maybe_average(1.0)
    job._maybe_average(1.0)
    job._maybe_average(2.0)
    assert job.averaging
    (row,) = run(job, 1)
    iterates = job._measure("validation")
    with averaged(job.optimizer):
        assert row["validation_loss"] == job._measure("validation") != iterates
    assert row["averaged"]


def test_test_text_decides_nothing_and_is_read_at_the_end_alone() -> None:
    data = splits()
    other = TextSplits(replace(data.source, test=data.source.test[::-1].copy()), data.search, data.weight, data.alpha)
    first, second = evaluation(data), evaluation(other)
    rows = run(first)
    assert rows == run(second)
    assert not any("test" in key for row in rows for key in row)
    results = [job.result() for job in (first, second)]
    assert results[0]["validation_perplexity"] == results[1]["validation_perplexity"]
    assert results[0]["test_perplexity"] != results[1]["test_perplexity"]


def test_result_does_not_change_the_training() -> None:
    job = evaluation(epochs=4)
    run(job, 3)
    before = saved(job)
    job.result()
    assert list(differences(before, job.state_dict())) == []


def test_different_seeds_differ_and_equal_seeds_agree() -> None:
    one, same, other = (run(evaluation(seed=seed), 1)[0]["validation_loss"] for seed in (3, 3, 4))
    assert one == same != other


def test_a_unigram_model_has_the_frequencies_of_the_training_text() -> None:
    source = TextTokens("t", np.array([0, 0, 1]), np.array([0, 1]), np.array([2, 2]), ("a", "b", "c"))
    data = TextSplits(source, source.train, source.train, source.train)
    # counts 2, 1, 0 with one added each: 3/6, 2/6, 1/6
    assert unigram_perplexity(data, source.validation) == pytest.approx(math.sqrt(2 * 3))
    assert unigram_perplexity(data, source.test) == pytest.approx(6)


def test_a_loss_that_is_not_finite_ends_it_with_epoch_batch_and_setting() -> None:
    job = evaluation(lr=1e30, grad_clip=0.0)
    with pytest.raises(NonFiniteError, match=r"epoch 1, batch \d+; .*evaluate\.training\.lr"):
        run(job)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch_size": 400}, r"training part has 600 tokens, too few for 400 columns"),
        ({"text": {"bptt": 8, "measured_columns": 61}}, r"validation part has 120 tokens, too few for 61 columns"),
        ({"test_columns": 61}, r"test part has 120 tokens, too few for 61 columns"),
    ],
)
def test_more_columns_than_a_text_has_room_for_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        evaluation(**values)
