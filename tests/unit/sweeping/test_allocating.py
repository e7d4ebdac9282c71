"""`evaluate` with a confidence as a source of trials, without Ray: its rounds, kills between any two steps, limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from raydarts.config.loader import LoadedSpec
from raydarts.runs.allocations import follows_from_results
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import read_allocation, read_promotion, write_promotion
from raydarts.runs.results import read_trial
from raydarts.runs.whole import damage_of
from raydarts.study.objectives import ACCURACY, Score
from raydarts.study.promotion import narrowing
from raydarts.sweeping.allocating import AllocatingStage, stage_of
from tests.fault import fakes
from tests.unit.sweeping.test_retraining_stage import decisions

SCORES = {"a": [0.950, 0.952, 0.948], "b": [0.949, 0.951, 0.953], "c": [0.90, 0.91, 0.92], "d": [0.89, 0.90, 0.91]}
"""Of each genotype with seed 0, 1 and so on; then from the beginning again."""


class Killed(BaseException):
    """As sudden as a kill."""


def spec(**more: Any) -> LoadedSpec:
    evaluate = {"confidence": 0.9, "max_seeds": 4, "training": {"epochs": 48}, **more}
    return fakes.loaded(evaluate=evaluate)


def entered(names: str) -> list[dict[str, Any]]:
    return [{**each, "reason": "for a test"} for each in decisions(*names)]


def new_run(folder: Path, loaded: LoadedSpec) -> RunDirectory:
    run = RunDirectory.create(folder, kind="sweep", spec=loaded.to_plain())
    write_promotion(run, "rung-1", entered("abcdefghi"))
    write_promotion(run, "evaluate", entered("abcd"))
    return run


def source_of(run: RunDirectory, loaded: LoadedSpec) -> AllocatingStage:
    stage = next(each for each in loaded.stages.chain() if each.name == "evaluate")
    source = stage_of(RunDirectory.open(run.path), loaded, stage)
    assert isinstance(source, AllocatingStage)
    return source


def finish(trial: TrialDirectory, scores: Mapping[str, list[float]] = SCORES) -> None:
    known = trial.description()
    accuracy = scores[known["genotype_id"]][known["seed"] % len(scores[known["genotype_id"]])]
    trial.claim()
    trial.append_row({"epoch": 1, "validation_accuracy": accuracy, "validation_perplexity": 1 / accuracy})
    trial.write_result({"status": "completed", "epochs": 1})


def drain(source: AllocatingStage, scores: Mapping[str, list[float]] = SCORES) -> list[str]:
    """Run the trials one after the other. Returns their names."""
    given = []
    while (trial := source.next_trial()) is not None:
        given.append(trial.id)
        finish(trial, scores)
        source.ended(read_trial(trial))
    return given


def log(run: RunDirectory) -> bytes:
    return (Path(str(run.path)) / "allocation.jsonl").read_bytes()


def test_rounds_add_seeds_to_the_first_two_until_no_more_are_allowed(tmp_path: Path) -> None:
    loaded = spec(max_share=None)
    run = new_run(tmp_path / "run", loaded)
    source = source_of(run, loaded)
    assert (source.total(), source.remaining(), read_allocation(run)) == (4, 4, [])
    given = drain(source)
    assert given[:4] == ["a-seed0", "b-seed0", "c-seed0", "d-seed0"]
    assert {name[0] for name in given[4:]} == {"a", "b"}
    entries = read_allocation(run)
    assert [entry["round"] for entry in entries] == list(range(1, len(entries) + 1))
    assert entries[0]["noise"] is None
    assert entries[0]["scores"] == dict.fromkeys(SCORES, 1)
    assert entries[0]["epochs"] == 9 * 2 + 4 * 48
    assert entries[0]["add"] == [{"genotype": "a", "seed": 1}, {"genotype": "b", "seed": 1}]
    assert entries[-1]["stop"] == "the first two have max_seeds (4) evaluation seeds"
    assert all((entry["stop"] is None) == bool(entry["add"]) for entry in entries)
    assert (source.total(), source.remaining(), source.next_trial()) == (10, 0, None)
    assert any("added: seed 1 of a and seed 1 of b" in sentence for sentence in source.news())
    assert source.news() == []


@pytest.mark.parametrize(("share", "added"), [(0.5, 0), (0.6, 1), (0.8, 2)])
def test_the_limit_of_epochs_counts_short_trainings_and_the_candidates(
    tmp_path: Path, share: float, added: int
) -> None:
    """Nine candidates: half of nine full trainings less nine 24ths is four, which go to the first seeds."""
    loaded = spec(max_share=share)
    run = new_run(tmp_path / "run", loaded)
    given = drain(source_of(run, loaded))
    assert len(given) == 4 + added
    assert read_allocation(run)[-1]["stop"] == "max_share is spent"


def test_a_first_place_that_stands_apart_ends_it(tmp_path: Path) -> None:
    loaded = spec(max_share=None)
    run = new_run(tmp_path / "run", loaded)
    drain(source_of(run, loaded), {**SCORES, "a": [0.990, 0.991, 0.989]})
    last = read_allocation(run)[-1]
    assert (last["first"], last["stop"]) == ("a", "the asked confidence of 0.9 is reached")
    assert last["probability"] >= 0.9


def test_a_driver_at_each_trial_and_another_order_end_with_the_same_decisions(tmp_path: Path) -> None:
    loaded = spec(max_share=None)
    whole = new_run(tmp_path / "whole", loaded)
    drain(source_of(whole, loaded))
    cut = new_run(tmp_path / "cut", loaded)
    for _ in range(100):
        source = source_of(cut, loaded)  # a new driver
        waiting = [source.next_trial() for _ in range(source.remaining())]
        if not waiting:
            break
        trial = waiting[-1]  # not the first one, as where others are faster
        assert trial is not None
        finish(trial)  # its result is on disk, and the driver is gone before it hears of it
    assert log(cut) == log(whole)
    assert sorted(each.id for each in cut.evaluations()) == sorted(each.id for each in whole.evaluations())


def test_a_kill_right_after_a_decision_and_in_the_middle_of_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = spec(max_share=None)
    whole = new_run(tmp_path / "whole", loaded)
    drain(source_of(whole, loaded))
    run = new_run(tmp_path / "killed", loaded)
    create = TrialDirectory.create

    def dying(trial: TrialDirectory, description: Mapping[str, object]) -> None:
        if trial.id == "b-seed1":
            raise Killed
        create(trial, description)

    with monkeypatch.context() as patch:
        patch.setattr(TrialDirectory, "create", dying)
        with pytest.raises(Killed):
            drain(source_of(run, loaded))
    assert len(read_allocation(run)) == 1
    assert not run.evaluation("b", 1).exists
    with (tmp_path / "killed" / "allocation.jsonl").open("ab") as file:
        file.write(log(whole).splitlines()[1][:50])  # as far as a kill let it come
    drain(source_of(run, loaded))
    assert read_allocation(run) == read_allocation(whole)  # the torn line stays, and is read by nobody


def test_a_log_that_lost_a_round_or_names_a_stranger_is_damage(tmp_path: Path) -> None:
    loaded = spec(max_share=None)
    run = new_run(tmp_path / "run", loaded)
    drain(source_of(run, loaded))
    file = tmp_path / "run" / "allocation.jsonl"
    lines = log(run).splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:1] + lines[2:]))
    assert any("allocation.jsonl: damaged: round 2 is missing" in each for each in damage_of(run.path).problems)
    file.write_bytes(lines[0].replace(b'"genotype": "b"', b'"genotype": "z"'))
    assert any("adds a seed of z" in each for each in damage_of(run.path).problems)
    file.write_bytes(b"".join(lines))
    assert not any("allocation" in each for each in damage_of(run.path).problems)


def test_a_reader_makes_the_decisions_again_and_sees_what_was_changed(tmp_path: Path) -> None:
    loaded = spec(max_share=None)
    run = new_run(tmp_path / "run", loaded)
    assert follows_from_results(run) is None
    drain(source_of(run, loaded))
    assert follows_from_results(run) is True
    whole = log(run)
    file = tmp_path / "run" / "allocation.jsonl"
    file.write_bytes(whole.replace(b'"first": "a"', b'"first": "c"', 1))
    assert follows_from_results(run) is False
    file.write_bytes(whole)
    result = tmp_path / "run" / "evaluations" / "a-seed1" / "metrics.jsonl"
    result.write_text(result.read_text().replace("0.952", "0.999"))
    assert follows_from_results(run) is False


def test_nothing_is_decided_while_a_retraining_runs_or_has_no_result(tmp_path: Path) -> None:
    loaded = spec(max_share=None)
    run = new_run(tmp_path / "run", loaded)
    source = source_of(run, loaded)
    first = [source.next_trial() for _ in range(4)]
    for trial in first[:3]:
        assert trial is not None
        finish(trial)
        source.ended(read_trial(trial))
    assert source.next_trial() is None
    assert read_allocation(run) == []
    again = source_of(run, loaded)  # after a budget halted the fourth
    assert again.remaining() == 1
    assert read_allocation(run) == []


def test_seeds_that_fail_are_not_tried_for_ever(tmp_path: Path) -> None:
    loaded = spec(max_share=None)
    run = new_run(tmp_path / "run", loaded)
    source = source_of(run, loaded)
    while (trial := source.next_trial()) is not None:
        if trial.description()["seed"] == 0:
            finish(trial)
        else:
            trial.claim()
            trial.write_result({"status": "failed", "epochs": 0, "error": "it diverged"})
        source.ended(read_trial(trial))
    entries = read_allocation(run)
    assert "max_seeds" in (entries[-1]["stop"] or "")
    assert len(run.evaluations()) == 10


def test_of_perplexity_less_is_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    perplexity = Score("validation_perplexity", "min", share=False)
    monkeypatch.setattr("raydarts.sweeping.retraining.score_of", lambda description: perplexity)
    loaded = spec(max_share=None)
    run = new_run(tmp_path / "run", loaded)
    drain(source_of(run, loaded), {**SCORES, "a": [0.990, 0.991, 0.989]})
    assert read_allocation(run)[-1]["first"] == "a"


def test_promotion_corrects_a_short_training_for_the_size_of_the_network() -> None:
    """The measured order is that of the sizes, but for `d`, which is large and nearly as good as small ones."""
    sizes = {"a": 1e6, "b": 2e6, "c": 4e6, "d": 4e6}
    measured = {"a": 0.92, "b": 0.91, "c": 0.90, "d": 0.912}
    rows = [
        {"genotype": name, "seed": 0, "status": "completed", "validation_accuracy": each, "test_accuracy": None}
        for name, each in measured.items()
    ]
    plain = narrowing(decisions(*measured), rows, "rung-1", ACCURACY, 1, None)
    assert [each["id"] for each in plain] == ["a", "d", "b", "c"]
    equal = narrowing(decisions(*measured), rows, "rung-1", ACCURACY, 1, None, sizes)
    assert (equal[0]["id"], equal[0]["promoted"], equal[0]["parameters"]) == ("d", True, 4e6)
    assert equal[0]["validation_mean"] == 0.912
    assert equal[0]["reason"].startswith("number 1 of top_k 1 in rung-1, by 0.91")
    assert "at equal size (0.9120 measured)" in equal[0]["reason"]


def test_the_promotion_of_a_run_is_read_from_the_rung(tmp_path: Path) -> None:
    """`third` of nine is four, and the rung's `all` leaves out collapsed cells where healthy ones are there."""
    loaded = spec()
    assert json.dumps(loaded.to_plain()["rungs"][0]["top_k"]) == '"all"'  # type: ignore[index, call-overload]
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec=loaded.to_plain())
    write_promotion(run, "rung-1", entered("abcdefghi"))
    for number, genotype in enumerate("abcdefghi"):
        trial = TrialDirectory(run.path / "stages" / "rung-1" / f"{genotype}-seed0")
        trial.create({"genotype_id": genotype, "genotype": fakes.genotype(0), "seed": 0, "stage": "rung-1"})
        trial.append_row({"epoch": 1, "validation_accuracy": 0.5 + 0.01 * number})
        trial.write_result({"status": "completed", "epochs": 1})
    source_of(run, loaded)
    promoted = [each for each in read_promotion(run, "evaluate") or [] if each["promoted"]]
    assert [each["id"] for each in promoted] == ["i", "h", "g", "f"]
    assert promoted[0]["reason"] == "number 1 of top_k third (4) in rung-1"
