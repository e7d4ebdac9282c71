"""A sweep of recurrent cells on text: to the ranking by perplexity, and over the end of its driver in mid-training."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from raydarts.data.settings import DataSettings, TextSettings
from raydarts.data.splits import load_splits
from raydarts.data.text_batches import TextBatches
from raydarts.execution.attempt import Attempt
from raydarts.measure import Meter
from raydarts.runs.directory import RunDirectory
from tests import commands
from tests.alone import figures, run_here
from tests.commands import CrashError, Outcome
from tests.here import sweeps_run_here

SPEC = """
question: Which order reads best?
data: {dataset: {name: pydoc_topics, vocabulary_size: 40}, limit: 1200}
search:
  epochs: 2
  batch_size: 8
  lr: 2
  lr_min: 2
  momentum: 0
  grad_clip: 0.25
  arch_lr: 0.05
  text: {bptt: 10, measured_columns: 200}
  space: {name: darts-rnn, nodes: 2, units: 6}
  estimator:
    choice:
      - first_order
      - {name: finite_difference, xi: lr}
sweep: {resources: {cpus: 1}}
evaluate:
  top_k: 2
  seeds: [3, 5]
  random_cells: 1
  training:
    epochs: 4
    batch_size: 8
    lr: 4
    nonmonotone: 1
    test_columns: 200
    text: {bptt: 10, measured_columns: 200}
    network: {units: 12, cell_dropout: 0.1, hidden_dropout: 0.1, output_dropout: 0.1}
"""


class KilledError(BaseException):
    """As sudden as a kill: nothing in raydarts may catch it."""


def raydarts(*arguments: object, cwd: Path) -> Outcome:
    with sweeps_run_here():
        return commands.run_here(*arguments, cwd=cwd)


def report(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raydarts("report", run, "--json", cwd=run.parent).out)
    return found


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose driver ended while it retrained, and that was then resumed. Real kills: see test_sweep.py."""
    place = tmp_path_factory.mktemp("resumed")
    (place / "spec.yaml").write_text(SPEC)
    run = place / "run"
    advance = Attempt.advance

    def killed(self: Attempt) -> Any:
        row = advance(self)
        if self.trial.path.parent.name == "evaluations" and row["epoch"] == 2:
            raise KilledError
        return row

    with mock.patch.object(Attempt, "advance", killed), pytest.raises(CrashError, match="KilledError"):
        raydarts("sweep", "spec.yaml", "--storage", place, "--name", "run", cwd=place)
    done = raydarts("resume", run, cwd=place)
    assert done.code == 0, done.out + done.err
    words = " ".join(done.out.split())
    assert "ranked by validation perplexity" in words
    assert "baseline unigram: perplexity validation" in words
    return place / "run"


def test_genotypes_are_ranked_by_mean_perplexity_lower_first(resumed: Path) -> None:
    found = report(resumed)
    assert found["score"] == {"metric": "validation_perplexity", "mode": "min", "share": False}
    ranked = found["spec"]["ranked"]
    assert (ranked["name"], ranked["metric"], ranked["mode"]) == ("healthy_perplexity", "validation_perplexity", "min")
    assert [trial["status"] for trial in found["trials"]] == ["completed"] * 2
    assert all(trial["metrics"]["validation_perplexity"] > 1 for trial in found["trials"])
    assert all("test" not in key for trial in found["trials"] for key in trial["metrics"])
    means = [row["validation_mean"] for row in found["ranking"]]
    assert means == sorted(means)
    for row in found["ranking"]:
        own = [each for each in found["evaluations"] if each["genotype"] == row["genotype"]]
        assert {each["seed"] for each in own} == {3, 5}
        assert row["validation_mean"] == pytest.approx(sum(each["validation_perplexity"] for each in own) / 2)
        assert row["test_mean"] == pytest.approx(sum(each["test_perplexity"] for each in own) / 2)
        assert row["validation_std"] > 0


def test_the_best_cell_beats_both_baselines_and_the_report_says_by_how_much(resumed: Path) -> None:
    found = report(resumed)
    best, baselines = found["ranking"][0]["validation_mean"], found["baselines"]
    assert baselines["untrained"]["validation"] == pytest.approx(40, rel=0.05)  # as many as there are tokens
    assert best < baselines["unigram"]["validation"] < baselines["untrained"]["validation"]
    assert set(baselines["unigram"]) == {"validation", "test"}
    words = " ".join(raydarts("report", resumed, cwd=resumed.parent).out.split())
    factor = baselines["unigram"]["validation"] / best
    assert f"better, a factor of {factor:.2f}" in words


def test_a_random_recurrent_cell_is_the_baseline_and_the_certificate_holds(resumed: Path, tmp_path: Path) -> None:
    found = report(resumed)
    (cell,) = found["random_cells"]["ranking"]
    assert cell["n"] == 2
    assert cell["genotype"] not in {row["genotype"] for row in found["ranking"]}
    first = found["random_cells"]["improvement"][0]
    assert first["difference"] == pytest.approx(cell["validation_mean"] - found["ranking"][0]["validation_mean"])
    made = tmp_path / "c.json"
    assert raydarts("report", resumed, "--certificate", "--out", made, cwd=tmp_path).code == 0
    body = json.loads(made.read_text())
    assert body["contradictions"] == []  # a language model's figure is that of its best epoch
    assert body["rankings"][0]["ranking"] == found["ranking"]
    assert raydarts("report", resumed, "--certificate", "--check", made, cwd=tmp_path).code == 0


def test_every_reader_tells_perplexities_as_such(resumed: Path) -> None:
    status = raydarts("status", resumed, "--json", cwd=resumed.parent)
    trials = report(resumed)[
        "trials"
    ]  # the text is Python's own help: each release of Python may have another best one
    best = min(trials, key=lambda trial: (bool(trial["unhealthy"]), trial["metrics"]["validation_perplexity"]))
    assert json.loads(status.out)["best_trial"]["id"] == best["id"]
    assert raydarts("report", resumed, "--html", cwd=resumed.parent).code == 0
    page = (resumed / "report.html").read_text()
    assert "by mean validation perplexity over" in page
    assert "lower is better" in page
    assert "accuracy" not in page.split('id="reproduce"')[0]
    exported = raydarts("export", resumed, "--to", resumed.parent / "all.csv", cwd=resumed.parent)
    assert exported.code == 0, exported.err
    with (resumed.parent / "all.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == "evaluation"]
    assert all(float(row["metric.test_perplexity"]) > 1 for row in rows)
    assert all(float(row["metric.baseline.unigram.validation"]) > 1 for row in rows)
    compared = raydarts("compare", resumed, resumed, cwd=resumed.parent)
    assert compared.code == 0, compared.err
    assert "validation_perplexity" in compared.out
    genotype = next(resumed.glob("evaluations/*/trial.json"))
    shown = raydarts("show", genotype, cwd=resumed.parent)
    assert shown.code == 0, shown.err
    assert "darts-rnn" in shown.out


@pytest.mark.usefixtures("one_thread")
def test_it_ended_as_if_its_driver_had_not_ended(resumed: Path) -> None:
    run = RunDirectory.open(resumed)
    assert len(json.loads((resumed / "drivers.json").read_text())) == 2
    for trial in (*run.trials(), *run.evaluations()):
        rows, result = run_here(trial, run)
        assert figures(trial.rows()) == rows
        assert figures([(trial.result() or {})["result"]]) == [result]


@pytest.mark.parametrize("name", ["rnn", "rnn-quick"])
def test_the_shipped_sweeps_of_recurrent_cells_are_sound(name: str) -> None:
    root = Path(__file__).parents[2]
    done = raydarts("validate", f"sweeps/{name}.yaml", cwd=root)
    assert done.code == 0, done.out + done.err
    assert "healthy_perplexity" in " ".join(done.out.split())
    text = (root / "sweeps" / f"{name}.yaml").read_text()
    assert text.splitlines()[1].startswith("# Question: ")
    assert f"# Launch:   raydarts sweep sweeps/{name}.yaml" in text
    assert "# Cost:     " in text


def test_a_loaded_language_model_has_the_reported_perplexity_to_the_last_digit(resumed: Path, tmp_path: Path) -> None:
    from raydarts import Run, load_network
    from raydarts.execution.trained import LanguageNetwork, write_weights
    from raydarts.tasks import perplexity

    run = Run.open(resumed)
    loaded = run.load_network(seed=5)
    write_weights(loaded, tmp_path / "w.safetensors")
    splits = load_splits(DataSettings.model_validate(run.spec["data"]))
    for network in (loaded, load_network(tmp_path / "w.safetensors")):
        assert isinstance(network, LanguageNetwork)
        assert network.vocabulary == splits.source.vocabulary
        for part in ("validation", "test"):
            data = TextBatches(part, getattr(splits, part), "cpu", TextSettings(bptt=10, measured_columns=200))
            meter, memory = Meter(), None
            for batch in data.sequential(200):
                with torch.no_grad():
                    logits, memory = network(batch.inputs, memory)
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
                meter.add(loss, None, batch.targets.numel())
                data.carry(memory)
            assert perplexity(float(meter.loss or 0)) == network.about.figures[f"{part}_perplexity"]
