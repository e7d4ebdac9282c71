"""Certificates of finished runs, as a user makes and checks them: what is told, and what is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import jobs
from raydarts.storage.place import place_of, read_appended, read_bytes, replace_appended, write_bytes
from tests.commands import Outcome, run_here
from tests.fuzz.runs import finished, of_one_stage, single
from tests.objects import S3

DIFFERS = 6
EVALUATION = "evaluations/c6830f5936-seed3"


def certify(run: Path, out: Path) -> dict[str, Any]:
    made = run_here("report", run, "--certificate", "--out", out)
    assert made.code == 0, made.err
    body: dict[str, Any] = json.loads(out.read_text())
    return body


def check(run: Path, certificate: Path) -> Outcome:
    return run_here("report", run, "--certificate", "--check", certificate)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, with its certificate beside it."""
    run = finished(tmp_path_factory.mktemp("whole") / "run")
    certify(run, run.parent / "c.json")
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    copy = tmp_path / "moved"
    shutil.copytree(whole, copy)
    return copy


def test_the_same_files_give_the_same_bytes_wherever_they_lie(whole: Path, run: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.json"
    certify(run, again)
    assert again.read_bytes() == (whole.parent / "c.json").read_bytes()
    assert (tmp_path / "again.html").read_bytes() == (whole.parent / "c.html").read_bytes()
    done = check(run, again)
    assert (done.code, done.err) == (0, "")
    assert "every figure and file is the same" in done.out


def test_a_run_in_an_object_store_has_the_certificate_of_the_same_run_on_a_disk(
    whole: Path, tmp_path: Path, s3: S3
) -> None:
    place = place_of("s3://bucket/certified/run")
    for path in whole.rglob("*"):
        if path.is_file():
            there = place / path.relative_to(whole).as_posix()
            of_lines = path.suffix == ".jsonl" or path.name == "log.txt"
            (replace_appended if of_lines else write_bytes)(there, path.read_bytes())
    made = run_here("report", place, "--certificate")
    assert made.code == 0, made.err
    for name in ("json", "html"):
        assert read_bytes(place / f"certificate.{name}") == (whole.parent / f"c.{name}").read_bytes()
    done = run_here("report", place, "--certificate", "--check", whole.parent / "c.json")
    assert (done.code, done.err) == (0, "")
    rows = place / EVALUATION / "metrics.jsonl"
    replace_appended(rows, read_appended(rows).replace(b"0.", b"0.1", 1))
    done = run_here("report", place, "--certificate", "--check", whole.parent / "c.json")
    assert done.code == DIFFERS
    assert f"{EVALUATION}/metrics.jsonl" in done.err


def test_a_certificate_holds_for_copies_of_the_run_on_a_disk_and_in_a_store(run: Path, tmp_path: Path, s3: S3) -> None:
    (run / EVALUATION / "log.txt").write_text("one\ntwo\n")
    certify(run, tmp_path / "c.json")
    store, parts = place_of("s3://bucket/copied/run"), tmp_path / "of-parts"
    for path in (path for path in run.rglob("*") if path.is_file()):
        way = path.relative_to(run).as_posix()
        write_bytes(store / way, path.read_bytes())
        of_lines = path.suffix == ".jsonl" or path.name == "log.txt"
        there = parts / way / "000001-000001-0123abcd" if of_lines else parts / way
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(path.read_bytes())
    original = json.loads(run_here("report", run, "--json").out)
    for copy in (store, parts):
        done = run_here("report", copy, "--certificate", "--check", tmp_path / "c.json")
        assert (done.code, done.err) == (0, "")
        shown = json.loads(run_here("report", copy, "--json").out)
        assert shown["ranking"] == original["ranking"]
        assert shown["trials"] == original["trials"]


def test_what_readers_and_trackers_write_is_not_of_the_run(whole: Path, run: Path) -> None:
    assert run_here("report", run, "--certificate").code == 0
    assert run_here("report", run, "--html").code == 0
    (run / "wandb").mkdir()
    (run / "wandb" / "x").write_text("x")
    assert check(run, whole.parent / "c.json").code == 0
    assert check(run, run / "certificate.json").code == 0


def test_it_holds_everything_that_was_promised(whole: Path) -> None:
    body = json.loads((whole.parent / "c.json").read_text())
    description = json.loads((whole / "run.json").read_text())
    assert body["spec"] == description["spec"]
    assert body["run"]["versions"] == description["versions"]
    assert body["run"]["git_commit"] == description["git_commit"]
    assert set(body["seeds"]["evaluation"]) == {"rung-1", "evaluate"}
    report = json.loads(run_here("report", whole, "--json").out)
    ranked = {each["stage"]: each["ranking"] for each in body["rankings"]}
    assert ranked["evaluate"] == report["ranking"]
    assert [each["decisions"] for each in body["decisions"]["stages"]] == [
        stage["promotion"] for stage in report["stages"]
    ]
    timed = [trial.times() for trial in jobs(RunDirectory.open(whole))]
    seconds = sum((each["end"] - each["start"]) / each.get("lanes", 1) for times in timed for each in times)
    assert body["cost"]["process_hours"] == pytest.approx(seconds / 3600)
    assert sum(stage["epochs_run"] for stage in body["cost"]["stages"]) == sum(map(len, timed))
    assert {len(each["items"]) for each in body["checklists"]} == {14, 7}
    assert all(
        item["fact"] and item["answer"] in ("yes", "no", "not known")
        for each in body["checklists"]
        for item in each["items"]
    )
    assert "--certificate --check" in body["check"]
    assert body["files"]["run.json"]["size"] == (whole / "run.json").stat().st_size


def _edit(name: str, before: str, after: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        text = (run / name).read_text()
        assert before in text
        (run / name).write_text(text.replace(before, after, 1))

    return change


def _link(run: Path) -> None:
    (run / "events.jsonl").unlink()
    (run / "events.jsonl").symlink_to("/etc/hostname")


def _checkpoint(run: Path) -> None:
    next((run / "trials" / "0001" / "checkpoints").iterdir()).write_bytes(b"x")


def _last_row(run: Path) -> None:
    file = run / "trials" / "0002" / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1]))


TAMPERINGS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "a metrics row": (
        _edit(f"{EVALUATION}/metrics.jsonl", '"validation_accuracy": 0.', '"validation_accuracy": 0.0'),
        [f"{EVALUATION}/metrics.jsonl: was changed (line 1 differs)"],
    ),
    "a lost row": (
        _last_row,
        ["trials/0002/metrics.jsonl: was changed", "cost.stages.0.epochs: 8 in the certificate, 7 from"],
    ),
    "a result": (_edit(f"{EVALUATION}/result.json", "0.", "0.1"), [f"{EVALUATION}/result.json: was changed"]),
    "a promotion": (
        _edit("promotion.json", '"promoted": true', '"promoted": false'),
        ["promotion.json: was changed", "decisions.stages.1.decisions.0.promoted: True in the certificate, False from"],
    ),
    "a spec": (_edit("run.json", '"top_k": ', '"top_k": 1'), ["run.json: was changed", "spec."]),
    "an event": (_edit("events.jsonl", '"event": "tell"', '"event":  "tell"'), ["events.jsonl: was changed (line "]),
    "a time": (_edit("trials/0000/times.jsonl", '"start": 1', '"start": 0'), ["times.jsonl: was changed", "cost."]),
    "a checkpoint": (_checkpoint, ["trials/0001/checkpoints/epoch-", "was changed (1 bytes, certificate: "]),
    "a file removed": (
        lambda run: (run / "trials" / "0001" / "result.json").unlink(),
        ["trials/0001/result.json: was removed", "searches.1.status: "],
    ),
    "a file added": (lambda run: (run / "notes.txt").write_text("x") and None, ["notes.txt: was added"]),
    "a trial added": (
        lambda run: shutil.copytree(run / "evaluations" / "c6830f5936-seed3", run / "evaluations" / "x") and None,
        ["evaluations/x/metrics.jsonl: was added"],
    ),
    "a link": (_link, ["events.jsonl: was changed (it is a link)"]),
    "no run.json that can be read": (
        lambda run: (run / "run.json").write_text("{") and None,
        ["run.json: was changed", "the run cannot be read", "is not JSON"],
    ),
}


@pytest.mark.parametrize("case", TAMPERINGS)
def test_a_changed_run_is_told_by_file_and_by_figure(case: str, whole: Path, run: Path) -> None:
    change, words = TAMPERINGS[case]
    change(run)
    done = check(run, whole.parent / "c.json")
    assert done.code == DIFFERS
    for each in words:
        assert each in done.err
    assert "/etc/hostname" not in done.err


@pytest.mark.parametrize("place", ["rankings.0.ranking.0.validation_mean", "cost.cpu_hours", "searches.0.figure"])
def test_an_edited_figure_is_told_to_the_last_digit(place: str, whole: Path, tmp_path: Path) -> None:
    body = json.loads((whole.parent / "c.json").read_text())
    *way, last = place.split(".")
    inner: Any = body
    for key in way:
        inner = inner[int(key)] if key.isdigit() else inner[key]
    inner[last] += 1e-12
    (tmp_path / "edited.json").write_text(json.dumps(body))
    done = check(whole, tmp_path / "edited.json")
    assert done.code == DIFFERS
    assert f"{place}: {inner[last]!r} in the certificate" in done.err
    assert "that was edited" in done.err


def test_figures_come_from_rows_and_a_result_that_says_otherwise_is_named(run: Path, tmp_path: Path) -> None:
    honest = certify(run, tmp_path / "before.json")["rankings"][1]["ranking"]
    file = run / EVALUATION / "result.json"
    result = json.loads(file.read_text())
    result["result"]["validation_accuracy"] = 0.999
    file.write_text(json.dumps(result))
    body = certify(run, tmp_path / "after.json")
    assert body["rankings"][1]["ranking"] == honest
    assert body["contradictions"] == [
        f"evaluate {file.parent.name}: validation_accuracy is 0.999 in result.json, and no row of metrics.jsonl has it"
    ]
    assert "no row of metrics.jsonl has it" in (tmp_path / "after.html").read_text()


def test_a_promotion_that_does_not_follow_is_named(run: Path, tmp_path: Path) -> None:
    decisions = json.loads((run / "stages" / "rung-1" / "promotion.json").read_text())
    decisions[0]["reason"] = "because"
    (run / "stages" / "rung-1" / "promotion.json").write_text(json.dumps(decisions))
    body = certify(run, tmp_path / "c.json")
    assert body["decisions"]["stages"][0]["follows_from_results"] is False
    assert "The same decisions follow from the results: NO." in (tmp_path / "c.html").read_text()


@pytest.mark.parametrize("other", [of_one_stage, single])
def test_runs_of_one_stage_and_of_one_search_have_certificates(
    other: Callable[[Path], None], run: Path, tmp_path: Path
) -> None:
    other(run)
    certify(run, tmp_path / "c.json")
    assert check(run, tmp_path / "c.json").code == 0


def test_a_damaged_and_halted_run_says_so(run: Path, tmp_path: Path) -> None:
    (run / "status.json").write_text('{"status": "halted", "reason": "the budget is spent"}')
    (run / "trials" / "0001" / "result.json").write_text("{")
    made = run_here("report", run, "--certificate", "--out", tmp_path / "c.json")
    assert made.code == 1
    body = json.loads((tmp_path / "c.json").read_text())
    assert (body["run"]["status"], body["run"]["reason"]) == ("halted", "the budget is spent")
    assert any(problem.startswith("trials/0001/result.json: ") for problem in body["damaged"])
    assert {"stage": "search", "trial": "0001", "status": "damaged"} in body["decisions"]["halted"]
    done = check(run, tmp_path / "c.json")
    assert done.code == 0
    assert "damaged parts of the run, as it says" in done.out


def test_hostile_texts_are_escaped_and_no_code_is_loaded(run: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    description = json.loads((run / "run.json").read_text())
    description |= {"question": evil, "outside": ["evil_module:Run"], "name": evil}
    (run / "run.json").write_text(json.dumps(description))
    body = certify(run, tmp_path / "c.json")
    page = (tmp_path / "c.html").read_text()
    assert evil not in page
    assert "&lt;script&gt;" in page
    assert body["checklists"][0]["items"][0]["answer"] == "no"  # the run does not hold the code that it names


@pytest.mark.parametrize(
    "content", ["[]", "{", "", '{"certificate": 1}', '{"certificate": 1, "files": {"x": 1}}', "[" * 5000, "\ud800"]
)
def test_what_is_no_certificate_is_refused(content: str, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(content, encoding="utf-8", errors="surrogatepass")
    done = check(whole, tmp_path / "c.json")
    assert done.code == 2
    assert "c.json" in done.err


def test_a_certificate_of_another_hand_cannot_break_the_check(whole: Path, tmp_path: Path) -> None:
    body = json.loads((whole.parent / "c.json").read_text())
    body["files"]["run.json"] = {"sha256": 7, "size": "\x1b[31m", "lines": [1]}
    body["files"]["../../etc/passwd"] = {"instead": ["x"]}
    body["rankings"] = "\x1b[31m"
    body["searches"] = {"a": None}
    (tmp_path / "c.json").write_text(json.dumps(body))
    done = check(whole, tmp_path / "c.json")
    assert done.code == DIFFERS
    assert "\x1b" not in done.err
