"""A trial's log: what is captured, how long it becomes, and how it is shown."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from raydarts.errors import InputError
from raydarts.execution.capture import Capture
from raydarts.report.logs import job_named, log_lines
from raydarts.runs import log
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.log import TrialLog, read_log
from raydarts.study.objectives import ACCURACY
from tests.commands import run_here


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    spec = {"sweep": {"metric": "validation_accuracy"}, "evaluate": {"seeds": [0]}, "score": ACCURACY.to_json()}
    made = RunDirectory.create(tmp_path / "r", kind="sweep", spec=spec)
    for index in (0, 7):
        made.trial(index).create({"index": index, "config": {}, "choices": {}})
    return made


@pytest.fixture
def trial(run: RunDirectory) -> TrialDirectory:
    return run.trial(7)


def test_what_is_printed_and_logged_is_kept_and_still_shown(
    trial: TrialDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    with Capture([TrialLog(trial)]):
        sys.stdout.write("printed\n")
        sys.stderr.write("to stderr\n")
        logging.getLogger("some.library").warning("logged %d", 3)
    sys.stdout.write("afterwards\n")
    text = read_log(trial)
    assert "printed\n" in text
    assert "to stderr\n" in text
    assert "WARNING some.library: logged 3\n" in text
    assert "afterwards" not in text
    shown = capsys.readouterr()
    assert "printed\n" in shown.out
    assert "to stderr\n" in shown.err


def test_lines_of_a_nested_capture_are_its_own(run: RunDirectory, trial: TrialDirectory) -> None:
    other = run.trial(0)
    with Capture([TrialLog(trial)]):
        sys.stdout.write("outer\n")
        with Capture([TrialLog(other), TrialLog(trial)]):
            sys.stdout.write("of both\n")
            logging.getLogger("x").warning("logged in both")
        sys.stdout.write("outer again\n")
    assert read_log(other).startswith("of both\n")
    assert read_log(other).count("\n") == 2
    assert read_log(trial).count("of both\n") == 1
    assert read_log(trial).count("logged in both") == 1
    assert read_log(trial).count("outer") == 2


def test_a_log_keeps_its_beginning_and_its_newest_lines(trial: TrialDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MOST", 4000)
    monkeypatch.setattr(log, "_HEAD", 1000)
    monkeypatch.setattr(log, "_TAIL", 2000)
    writing = TrialLog(trial)
    for number in range(500):
        writing.write(f"line {number:05d}")
    text = read_log(trial)
    assert len(text) <= 4000
    assert text.startswith("line 00000\n")
    assert text.endswith("line 00499\n")
    assert "bytes are left out here" in text
    again = TrialLog(trial)
    again.write("of the next attempt")
    assert read_log(trial).endswith("of the next attempt\n")


def test_what_a_terminal_obeys_is_not_kept(trial: TrialDirectory) -> None:
    TrialLog(trial).write("\x1b[31mred\x1b[0m \x1b]0;title\x07 \u202e\x9b2J\n 10%\r 50%\r100%\n")
    assert read_log(trial) == "red \\x1b]0;title\\x07 \\u202e\\x9b2J\n100%\n"
    (trial.path / "log.txt").write_text("\x1b]0;by hand\x07\n")  # type: ignore[union-attr]
    shown = run_here("logs", trial.path.parent.parent, "7")
    assert shown.out == "\\x1b]0;by hand\\x07\n"


def test_a_log_that_cannot_be_written_harms_no_trial(trial: TrialDirectory, caplog: pytest.LogCaptureFixture) -> None:
    (trial.path / "log.txt").mkdir()  # type: ignore[union-attr]
    writing = TrialLog(trial)
    writing.write("one")
    writing.write("two")
    assert caplog.text.count("log.txt cannot be written") == 1


def test_a_log_is_followed_until_the_trial_has_ended(run: RunDirectory, trial: TrialDirectory) -> None:
    writing = TrialLog(trial)
    writing.write("one")

    def sleep(_: float) -> None:
        writing.write("two")
        trial.claim()
        trial.write_result({"status": "completed", "epochs": 1})

    with run.locked():
        assert list(log_lines(run.path, "7", True, sleep)) == ["one", "two"]
    assert list(log_lines(run.path, "0007")) == ["one", "two"]


def test_a_trial_without_a_log_says_what_is_known_of_it(run: RunDirectory, trial: TrialDirectory) -> None:
    assert list(log_lines(run.path, "7")) == ["0007: has not begun"]
    trial.write_result({"status": "failed", "epochs": 0, "error": "no such cell", "traceback": "Traceback\n  here"})
    assert list(log_lines(run.path, "7")) == ["0007 wrote no log; it failed: no such cell", "Traceback", "  here"]


def test_jobs_are_named_by_id_and_by_stage(run: RunDirectory) -> None:
    what = {"genotype_id": "abc", "genotype": {}, "seed": 0, "trials": []}
    run.evaluation("abc", 0).create(what)
    assert job_named(run, "abc-seed0").path == run.evaluation("abc", 0).path
    assert job_named(run, "evaluate/abc-seed0").id == "abc-seed0"
    assert job_named(run, "search/0000").id == "0000"
    with pytest.raises(InputError, match="has no trial abd-seed0"):
        job_named(run, "abd-seed0")
    refused = run_here("logs", run.path, "99")
    assert refused.code == 2
    assert "has no trial 99" in refused.err
