"""What goes on to the next stage, and in which order a stage works, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raydarts.config.loader import LoadedSpec
from raydarts.execution import drive
from raydarts.genotypes.genotype import describe_genotype
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import read_promotion
from raydarts.runs.results import read_trial
from raydarts.study.objectives import ACCURACY
from raydarts.study.promotion import narrowing
from raydarts.study.stages import chain
from raydarts.sweeping.retraining import RetrainingStage, promote
from raydarts.sweeping.searching import SearchStage
from tests.fault import fakes, staged

SHORT: dict[str, Any] = {"training": {"epochs": 2}}
ANY: dict[str, Any] = {"max_skips": None, **SHORT}  # else a rung has the limit of evaluate


def new_run(folder: Path, loaded: LoadedSpec) -> RunDirectory:
    return RunDirectory.create(folder / "run", kind="sweep", spec=loaded.to_plain(), question=loaded.question)


def drain(run: RunDirectory, source: Any) -> None:
    """Run a source's trials one after the other."""
    while (trial := source.next_trial()) is not None:
        job = staged.build(trial.description(), run.description(), "cpu")
        while not job.finished:
            drive.keep(job, trial, drive.ran(job))
        drive.finish(job, trial, describe_genotype)
        source.ended(read_trial(trial))


def skips(decision: dict[str, Any]) -> int:
    return int(decision["skips"]["normal"])


def test_each_stage_narrows_by_what_the_one_before_measured(tmp_path: Path) -> None:
    loaded = staged.staged(
        rungs=[{"top_k": 4, **ANY}, {"top_k": 3, "seeds": [0, 1], **ANY}],
        evaluate={"top_k": 2, "seeds": [0, 1], "max_skips": 4, "training": {"epochs": 3}},
        transfer=[{"name": "other", "data": {"limit": 100}, "seeds": [7], **SHORT}],
    )
    run = new_run(tmp_path, loaded)
    drain(run, SearchStage(run, loaded))
    for stage in loaded.stages.chain():
        drain(run, RetrainingStage(run, stage, promote(run, loaded, stage)))
    entered = {}
    for stage in ("rung-1", "rung-2", "evaluate", "transfer-other"):
        decisions = read_promotion(run, stage) or []
        assert all(decision["reason"] for decision in decisions)
        entered[stage] = [skips(decision) for decision in decisions if decision["promoted"]]
    found = sorted({trial["skips"]["normal"] for trial in results.report_json(run)["trials"]}, reverse=True)
    assert entered["rung-1"] == found[:4]  # the supernet prefers skips
    assert entered["rung-2"] == sorted(found[:4])[:3]  # retraining prefers none
    assert entered["evaluate"] == [each for each in entered["rung-2"] if each <= 4][:2]
    assert entered["transfer-other"] == entered["evaluate"][:1]
    report = results.report_json(run)
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert [row["n"] for row in stages["rung-2"]["ranking"]] == [2, 2, 2]
    assert [row["n"] for row in report["ranking"]] == [2, 2]  # of evaluate's seeds alone
    assert {row["seed"] for row in stages["transfer-other"]["evaluations"]} == {7}
    assert all(row["epochs"] == 3 for row in report["evaluations"])
    assert all(row["epochs"] == 2 for row in stages["rung-1"]["evaluations"])
    reasons = [decision["reason"] for decision in read_promotion(run, "rung-2") or []]
    assert reasons == [f"number {n} of top_k 3 in rung-1" for n in (1, 2, 3)] + ["below the best 3 (top_k) in rung-1"]


def decisions(*names: str) -> list[dict[str, Any]]:
    """Promoted genotypes, best first."""
    return [
        {"id": name, "genotype": fakes.genotype(number), "trials": ["0000"], "promoted": True, "skips": {}}
        for number, name in enumerate(names)
    ]


def stage_of_three(folder: Path, **more: Any) -> tuple[RunDirectory, Any]:
    loaded = fakes.loaded(evaluate={"top_k": 3, "seeds": [4, 0, 2], **more})
    return new_run(folder, loaded), loaded.stages.chain()[0]


def end(source: RetrainingStage, trial: Any, accuracy: float) -> None:
    trial.claim()
    trial.append_row({"epoch": 1, "validation_accuracy": accuracy})
    trial.write_result({"status": "completed", "epochs": 1})
    source.ended(read_trial(trial))


def test_further_seeds_of_the_better_genotypes_come_first(tmp_path: Path) -> None:
    """First seeds by rank; then by what the first seeds said, which here is the opposite of the rank."""
    run, stage = stage_of_three(tmp_path)
    source = RetrainingStage(run, stage, decisions("a", "b", "c"))
    first = [source.next_trial() for _ in range(3)]
    assert [trial.id for trial in first if trial] == ["a-seed4", "b-seed4", "c-seed4"]
    for trial, accuracy in zip(first, (0.5, 0.6, 0.7), strict=True):
        end(source, trial, accuracy)
    worse = source.next_trial()
    assert worse is not None
    assert worse.id == "c-seed0"
    end(source, worse, 0.1)  # c's mean falls to 0.4, below a's and b's
    assert [source.next_trial().id for _ in range(5)] == ["b-seed0", "b-seed2", "a-seed0", "a-seed2", "c-seed2"]  # type: ignore[union-attr]
    assert source.next_trial() is None


def test_started_retrainings_come_first_and_known_results_count_after_a_restart(tmp_path: Path) -> None:
    run, stage = stage_of_three(tmp_path)
    source = RetrainingStage(run, stage, decisions("a", "b", "c"))
    for accuracy in (0.5, 0.7, 0.6):
        end(source, source.next_trial(), accuracy)
    begun = RunDirectory(run.path).evaluation("a", 2)
    begun.claim()
    again = RetrainingStage(run, stage, decisions("a", "b", "c"))
    assert (again.total(), again.remaining()) == (9, 6)
    order = [again.next_trial().id for _ in range(6)]  # type: ignore[union-attr]
    assert order == ["a-seed2", "b-seed0", "b-seed2", "c-seed0", "c-seed2", "a-seed0"]


def test_genotype_without_a_completed_retraining_does_not_enter_the_next_stage() -> None:
    before = decisions("a", "b", "c")
    rows = [
        {"genotype": "a", "seed": 0, "status": "failed", "validation_accuracy": None, "test_accuracy": None},
        {"genotype": "b", "seed": 0, "status": "completed", "validation_accuracy": 0.2, "test_accuracy": 0.9},
        {"genotype": "c", "seed": 0, "status": "completed", "validation_accuracy": 0.3, "test_accuracy": 0.1},
    ]
    before[2]["skips"] = {"normal": 7}
    found = narrowing(before, rows, "rung-1", ACCURACY, 3, max_skips=6)
    assert [(each["id"], each["promoted"]) for each in found] == [("c", False), ("b", True), ("a", False)]
    assert [each["reason"] for each in found] == [
        "skip connections: 7 in normal; max_skips is 6",
        "number 1 of top_k 3 in rung-1",
        "no retraining of rung-1 was completed",
    ]


@pytest.mark.parametrize("rungs", [0, 2])
def test_a_chain_names_its_stages_and_their_sources(rungs: int) -> None:
    found = chain([{}] * rungs, {}, [{"name": "x"}, {"name": "y"}], lambda section: section["name"])
    told = [(stage.name, stage.section, stage.source) for stage in found]
    narrowing = [("rung-1", "rungs.0", "search"), ("rung-2", "rungs.1", "rung-1")][:rungs]
    assert told == [
        *narrowing,
        ("evaluate", "evaluate", "rung-2" if rungs else "search"),
        ("transfer-x", "transfer.0", "evaluate"),
        ("transfer-y", "transfer.1", "evaluate"),
    ]


def test_the_order_of_many_retrainings_reads_no_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = staged.staged(evaluate={"top_k": 3, "seeds": [0, 1, 2], "training": {"epochs": 2}})
    run = new_run(tmp_path, loaded)
    drain(run, SearchStage(run, loaded))
    stage = loaded.stages.chain()[0]
    decisions = promote(run, loaded, stage)
    begun = RetrainingStage(run, stage, decisions)._waiting[4][2]
    begun.claim()
    source = RetrainingStage(run, stage, decisions)
    monkeypatch.setattr(TrialDirectory, "owner", lambda self: pytest.fail("read for each trial that waits"))
    first = source.next_trial()
    assert first is not None
    assert first.id == begun.id  # begun by an earlier driver
    assert source.next_trial() is not None
