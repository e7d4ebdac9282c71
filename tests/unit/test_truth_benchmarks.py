"""benchmarks/truth.py and truth_s1.py: what they pick from records whose truth is known, and what they say of it."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from raydarts.config.ranking import default_checks
from raydarts.genotypes.facts import cell_facts
from raydarts.genotypes.genotype import Genotype
from raydarts.runs.directory import RunDirectory
from raydarts.study.objectives import SearchScore
from tests.scripts import script

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


GOOD = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
FAIR = "|nor_conv_1x1~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
DEAD = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|nor_conv_3x3~2|"
TRUTH = {GOOD: 0.94, FAIR: 0.90, DEAD: 0.60}
SCORE = SearchScore(
    "validation_accuracy",
    "max",
    True,
    name="healthy_accuracy",
    healthy=True,
    health=tuple(component.build().bar() for component in default_checks().values()),
)


def row(epoch: int, cell: str, accuracy: float) -> dict[str, Any]:
    facts = cell_facts(Genotype.from_json(cell))
    return {"epoch": epoch, "validation_accuracy": accuracy, **facts, "cell": cell, "truth": TRUTH[cell]}


def search(lr: float, seed: int, cell: str, accuracy: float) -> dict[str, Any]:
    return {
        "choices": {"search.lr": lr},
        "seed": seed,
        "rows": [row(epoch, cell, accuracy + epoch / 1000) for epoch in range(1, 11)],
    }


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Collapsed cells have the highest accuracy. The fair cell has one lucky seed."""
    searches = [search(0.1, seed, DEAD, 0.5 + seed / 100) for seed in range(3)]
    searches += [search(0.2, seed, GOOD, 0.40 + seed / 100) for seed in range(3)]
    searches += [search(0.3, seed, FAIR, 0.45 if seed == 0 else 0.3) for seed in range(3)]
    cells = {"n": 3, "mean": 0.8, "sd": 0.1, "quantiles": []}
    whole = {
        "score": SCORE.to_json(),
        "table": {"test": "c10", "all": cells, "healthy": cells},
        "searches": searches,
    }
    file = tmp_path / "truth.json.gz"
    with gzip.open(file, "wt") as stream:
        json.dump(whole, stream)
    return file


def test_each_way_of_choosing_picks_what_the_project_would_promote(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = script("benchmarks/truth.py")
    out = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["truth.py", "analyse", str(records), "--sweeps", "40", "--json", str(out)])
    truth.main()
    figures = json.loads(out.read_text())
    as_run = {way: known["as run"] for way, known in figures["ways"].items()}
    assert as_run == {"accuracy alone": 0.60, "healthy": 0.90, "default": 0.94}
    assert figures["searches"]["halted"] == 3
    assert figures["searches"]["healthy"] == 6
    assert figures["searches"]["halted_epochs_share"] == pytest.approx(3 * 4 / 90), "halted after epoch 6 of 10"
    difference = figures["differences"]["default - accuracy alone"]
    assert difference["mean"] > 0.15
    assert difference["better"] > 0.5
    assert figures["tau"]["healthy_accuracy"]["tau"] > 0.5 > figures["tau"]["validation_accuracy"]["tau"]
    text = capsys.readouterr().out
    assert "9 searches of 3 configurations, 10 epochs: 6 end healthy, 3 are halted, 0 of which would" in text
    assert "| a random healthy cell | 80.00 +- 10.00, n = 3 | |" in text


def test_a_run_and_a_table_are_recorded_so_that_neither_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = script("benchmarks/truth.py")
    table = tmp_path / "table.csv.gz"
    with gzip.open(table, "wt") as stream:
        stream.write("cellstr,c10_test_200ep\n")
        stream.writelines(f"{cell},{100 * value:.2f}\n" for cell, value in TRUTH.items())
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec={"ranked": SCORE.to_json()})
    for index, (cell, status) in enumerate([(GOOD, "completed"), (DEAD, "completed"), (FAIR, "failed")]):
        trial = run.trial(index)
        choices = {"search.lr": 0.1, "search.seed": index}
        trial.create({"kind": "search", "index": index, "config": {"seed": index}, "choices": choices})
        written = row(1, cell, 0.5)
        genotype = Genotype.from_json(written.pop("cell")).to_json()
        trial.append_row({**written, "truth": None, "genotype": genotype})
        trial.write_result({"status": status})
    out = tmp_path / "data" / "truth.json.gz"
    arguments = ["truth.py", "record", str(out), str(table), str(run.path), str(run.path)]
    monkeypatch.setattr(sys, "argv", arguments)
    truth.main()
    first = out.read_bytes()
    truth.main()
    assert out.read_bytes() == first
    known = truth.read(out)
    assert [each.last["truth"] for each in known.searches] == [0.94, 0.60]
    assert [each.last["cell"] for each in known.searches] == [GOOD, DEAD]
    assert len(known.configurations) == 1, "search seeds are no configurations"
    assert known.table["all"]["mean"] == pytest.approx(sum(TRUTH.values()) / 3)
    assert known.table["healthy"]["n"] == 2


def test_the_page_says_what_the_recorded_searches_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = BENCHMARKS / "data" / "truth-nasbench201.json.gz"
    assert file.stat().st_size < 500_000
    truth = script("benchmarks/truth.py")
    monkeypatch.setattr(truth, "drawn", lambda records, draws, size: list(records.configurations.items()))
    monkeypatch.setattr(truth, "ranks", lambda records, samples: {})
    monkeypatch.setattr(sys, "argv", ["truth.py", "analyse", str(file), "--sweeps", "2"])
    truth.main()
    first, *lines = capsys.readouterr().out.splitlines()
    page = (BENCHMARKS.parent / "docs" / "truth.md").read_text()
    assert first in page.replace("\n", " ")
    picks = {line.split("|")[1]: line.split("|")[3] for line in lines if line.count("|") == 4 and "+-" not in line}
    for way in (" accuracy alone ", " healthy ", " default "):
        told = [line for line in page.splitlines() if line.startswith(f"|{way}|") and line.count("|") == 4]
        assert told[0].split("|")[3] == picks[way], "what is picked in the sweep as it was run"


GENOTYPE = "Genotype(normal=[{normal}], normal_concat=range(2, 6), reduce=[{reduce}], reduce_concat=range(2, 6))".format


def s1(skips: int, pools: int) -> str:
    kinds = ["skip_connect"] * skips + ["max_pool_3x3"] * pools + ["sep_conv_3x3"] * (8 - skips - pools)
    normal = ", ".join(f"('{kind}', {edge % 2})" for edge, kind in enumerate(kinds))
    return GENOTYPE(normal=normal, reduce=", ".join("('max_pool_3x3', 0), ('max_pool_3x3', 1)" for _ in range(4)))


def test_the_picks_of_recorded_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = script("benchmarks/truth_s1.py")
    searches = [
        {"genotype": s1(skips, pools), "epoch_valid_acc": [99.0, accuracy], "seed": number}
        for number, (skips, pools, accuracy) in enumerate(
            [(8, 0, 90.0), (5, 0, 89.0), (2, 5, 88.0), (4, 2, 87.0), (2, 2, 86.0), (0, 0, 10.0), (0, 1, 10.0)]
        )
    ]
    records, picks = tmp_path / "s1.json.gz", tmp_path / "picks.txt"
    with gzip.open(records, "wt") as stream:
        json.dump(searches, stream)
    monkeypatch.setattr(sys, "argv", ["truth_s1.py", "choose", str(records), str(picks)])
    benchmark.main()
    chosen = dict(line.split(" = ", 1) for line in picks.read_text().splitlines())
    assert chosen["accuracy_alone"] == s1(8, 0)
    assert chosen["healthy_first"] == s1(4, 2)
    assert chosen["healthy_at_random"] in {s1(2, 2), s1(0, 0), s1(0, 1)}
    assert chosen["worst"] == s1(0, 0)
    assert (
        "accuracy_alone: seed 0; validation accuracy 90.00; 8 skips, 8 parameter-free of 8" in capsys.readouterr().out
    )


def test_the_table_of_retrainings_has_intervals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = script("benchmarks/truth_s1.py")
    monkeypatch.setattr(sys, "argv", ["truth_s1.py", "analyse", str(BENCHMARKS / "data" / "truth-s1.csv")])
    benchmark.main()
    printed = capsys.readouterr().out
    page = (BENCHMARKS.parent / "docs" / "truth.md").read_text()
    for line in printed.splitlines():
        assert line in page, "docs/truth.md says what the recorded figures say"
