"""A short run of the fuzzer of run directories, and single inputs whose outcome is known."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raydarts.sweeping import runner
from tests.commands import run_here
from tests.fuzz.runs import SECRET, Box, commands, fuzz, no_ray


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Box:
    box = Box(tmp_path_factory.mktemp("box"))
    box.fill()
    return box


@pytest.fixture
def box(filled: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    """A whole run to be spoilt. What is left of it is not trained."""
    monkeypatch.setattr(runner, "connected", no_ray)
    filled.renew()
    return filled


def test_a_whole_run_is_reported_and_resumed_without_ray(box: Box) -> None:
    before = {path: path.read_bytes() for path in box.run.rglob("*") if path.is_file()}
    for words in commands(box):
        (box.folder / "out").mkdir(exist_ok=True)
        assert run_here(*words).code == 0, words
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed <= {"drivers.json", "lock", "plan.json"}  # plan.json says how many trials run at a time here


@pytest.mark.parametrize("number", range(6))
def test_no_spoilt_run_ends_in_a_traceback_or_touches_anything_outside(number: int, box: Box) -> None:
    fuzz(box, seed=1, number=number, longest=60)  # of a machine that tests other things too


def hostile(run: Path, box: Box) -> None:
    """All ways out of a run that were ever used: links in the place of files, and an id that leads upwards."""
    for name, target in {
        "lock": box.outside / "secret.txt",
        "spec.yaml": box.outside / "secret.txt",
        "report.html": box.outside / "secret.txt",
        "trials/0000/metrics.jsonl": box.outside / "empty",
        "trials/0001/result.json": box.outside / "empty",
        "trials/0002/checkpoints": box.outside / "0001",
        "trials/0003": box.outside / "0001",
        "ray": box.outside,
        "wandb-outage.json": box.outside / "secret.txt",
    }.items():
        path = run / name
        if path.is_dir():
            path.rename(box.folder / "runs" / path.name)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    decisions = json.loads((run / "promotion.json").read_text())
    decisions[0]["id"] = "../../../outside/x"
    (run / "promotion.json").write_text(json.dumps(decisions))
    (run / "trials" / "0000" / "owner.json").unlink()
    os.mkfifo(run / "trials" / "0000" / "owner.json")


def test_a_hostile_run_is_refused_by_resume_and_reported_without_what_leads_out_of_it(box: Box) -> None:
    hostile(box.run, box)
    before = box.state()
    for words in commands(box):
        (box.folder / "out").mkdir()
        outcome = run_here(*words)
        told = outcome.out + outcome.err
        for path in (box.folder / "out").iterdir():
            told += path.read_text(encoding="utf-8", errors="replace")
            path.unlink()
        (box.folder / "out").rmdir()
        assert SECRET not in told, words
        assert box.state() == before, words
        known = 6 if "--check" in words else 2 if words[0] == "resume" or "--html" in words else 1
        assert outcome.code == known, (words, told)
        if "--html" in words:
            assert "report.html: is a link" in outcome.err
            continue
        if "--check" in words:  # it names the files that are not those of the certificate
            continue
        for name in ("lock: is a link", "trials/0000/metrics.jsonl: is a link", "trials/0003: is a link"):
            assert name in outcome.err, words
    assert "trials/0002/checkpoints: is a link" in outcome.err
    assert "ray: is a link" in outcome.err
    assert "trials/0000/owner.json: is a pipe" in outcome.err
    assert "promotion.json: damaged: 0.id: is no name" in outcome.err
    assert "nothing was started and nothing changed" in outcome.err


def test_links_above_the_run_are_the_users_own(box: Box) -> None:
    (box.folder / "linked").symlink_to(box.run.parent)
    (box.folder / "run").symlink_to(box.folder / "linked" / "finished")
    try:
        assert run_here("status", box.folder / "run").code == 0
        assert run_here("resume", box.folder / "run").code == 0
    finally:
        (box.folder / "run").unlink()
        (box.folder / "linked").unlink()


def change(name: str, edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    def act(run: Path) -> None:
        (run / name).write_text(json.dumps(edit(json.loads((run / name).read_text()))))

    return act


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def act(run: Path) -> None:
        (run / name).write_bytes(content)

    return act


def lose(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def append(name: str, text: str) -> Callable[[Path], None]:
    return lambda run: (run / name).write_text((run / name).read_text() + text) and None


DAMAGE = {
    "an empty result": (write("trials/0001/result.json", b""), "trials/0001/result.json: damaged: is empty"),
    "a result cut off": (write("trials/0001/result.json", b'{"status": "comp'), "result.json: damaged: is not JSON"),
    "a null": (write("trials/0001/result.json", b"null"), "trials/0001/result.json: damaged: "),
    "a deep file": (write("trials/0001/result.json", b"[" * 99_999), "is nested more than 64 deep"),
    "not text": (write("trials/0001/result.json", b"\xff\xfe{\x00"), "is not UTF-8 text"),
    "a key twice": (write("trials/0001/result.json", b'{"status": "failed", "status": "completed"}'), "there twice"),
    "no number": (write("trials/0001/result.json", b'{"status": "completed", "x": NaN}'), "NaN is no number"),
    "a number too large": (write("trials/0001/result.json", b'{"status": "completed", "x": 1e999}'), "beyond 1e+305"),
    "a lost trial.json": (lose("trials/0001/trial.json"), "trials/0001: holds no trial.json"),
    "another's trial.json": (
        change("trials/0001/trial.json", lambda found: found | {"index": 2}),
        "is the one of 0002",
    ),
    "a text for a number": (
        change("evaluations/c6830f5936-seed3/trial.json", lambda found: found | {"seed": "3"}),
        "trial.json: damaged: seed: input should be a valid integer, not '3'",
    ),
    "a null line": (append("trials/0001/metrics.jsonl", "null\n"), "trials/0001/metrics.jsonl:3: damaged: "),
    "lost rows": (write("trials/0001/metrics.jsonl", b""), "trials/0001/metrics.jsonl: lacks 2 of the 2 epochs"),
    "an unknown status": (write("status.json", b'{"status": "splendid"}'), "status.json: damaged: status: "),
    "a plan of no stage": (change("plan.json", lambda found: [found[0] | {"name": "../x"}]), "is no stage"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_and_what_is_whole_is_reported(kind: str, box: Box) -> None:
    spoilt, words = DAMAGE[kind]
    spoilt(box.run)
    outcome = run_here("status", box.run, "--json")
    assert outcome.code == 1
    assert words in outcome.err
    assert "all else is whole, and is shown" in outcome.err
    found = json.loads(outcome.out)
    assert any(words in problem for problem in found["damaged"])
    assert sum(found["trials"].values()) == 4
    if kind != "a lost trial.json":  # which is written again
        before = {path: path.read_bytes() for path in box.run.rglob("*") if path.is_file()}
        resumed = run_here("resume", box.run)
        assert resumed.code == 2
        assert "nothing was started and nothing changed" in resumed.err
        assert {path: path.read_bytes() for path in box.run.rglob("*") if path.is_file()} == before


def test_a_lost_trial_json_is_written_again_from_what_was_asked(box: Box) -> None:
    files = [box.run / "trials/0001/trial.json", box.run / "evaluations/c6830f5936-seed3/trial.json"]
    whole = [json.loads(file.read_text()) for file in files]
    for file in files:
        file.unlink()
    assert run_here("report", box.run).code == 1
    assert run_here("resume", box.run).code == 0
    assert [json.loads(file.read_text()) for file in files] == whole
    assert run_here("report", box.run).code == 0


def test_a_damaged_trial_is_in_no_figure_and_its_neighbours_are(box: Box) -> None:
    whole = json.loads(run_here("report", box.run, "--json").out)
    (box.run / "evaluations/c6830f5936-seed5/result.json").write_text("{")
    found = json.loads(run_here("report", box.run, "--json").out)
    assert [row["status"] for row in found["evaluations"]] == ["completed", "damaged"]
    assert found["ranking"][0]["n"] == whole["ranking"][0]["n"] - 1 == 1
    assert found["ranking"][0]["validation_mean"] == whole["evaluations"][0]["validation_accuracy"]
    assert found["trials"] == whole["trials"]


def test_a_trial_that_ended_keeps_its_result_where_a_row_is_damaged(box: Box) -> None:
    whole = json.loads(run_here("report", box.run, "--json").out)["trials"][1]
    rows = box.run / "trials" / "0001" / "metrics.jsonl"
    rows.write_text(rows.read_text().splitlines()[0] + '\n{"epoch": 2, "validation_accuracy": 1,,}\n')
    found = json.loads(run_here("report", box.run, "--json").out)["trials"][1]
    assert found == whole


@pytest.mark.parametrize("torn", ['{"epoch": 3, "validation_acc', '{"epoch": 3, "x": tr', "{"])
def test_a_line_that_a_kill_cut_off_is_no_damage(torn: str, box: Box) -> None:
    for name in ("metrics.jsonl", "times.jsonl"):
        append(f"trials/0001/{name}", torn)(box.run)
    assert run_here("report", box.run).code == 0
    assert run_here("resume", box.run).code == 0


def test_a_lost_trial_is_named(box: Box) -> None:
    (box.run / "trials" / "0001").rename(box.run / "moved")
    outcome = run_here("report", box.run)
    assert outcome.code == 1
    assert "trials/0001: is missing" in outcome.err


@pytest.mark.parametrize("name", ["run.json", "events.jsonl"])
def test_without_what_all_else_hangs_on_nothing_is_done(name: str, box: Box) -> None:
    (box.run / name).write_text("{}\n")
    outcome = run_here("resume", box.run)
    assert outcome.code == 2
    assert f"{name}:" in outcome.err
