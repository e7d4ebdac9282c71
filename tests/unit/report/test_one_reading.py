"""The end of a sweep and each report read every file of a run once: in an object store each reading is a request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from raydarts import api
from raydarts.report.status import status_json, status_table
from raydarts.report.tables import answered, full, report_of
from raydarts.runs.directory import RunDirectory
from raydarts.runs.reading import Damage
from raydarts.runs.snapshot import RunSnapshot
from raydarts.runs.winner import genotypes, winner, write_genotypes
from raydarts.storage.place import Place
from raydarts.study.objectives import ACCURACY
from raydarts.sweeping import runner
from raydarts.sweeping.display import Display
from tests.counted_store import CountedStore, counted_store
from tests.synthetic_run import write_run

SEARCHES, RETRAININGS = 4, 6
OF_A_TRIAL, OF_THE_RUN = 9, 20
"""The most requests: a trial's folder and its three files of lines are listed, and at most five files are opened."""
READERS: dict[str, Callable[[Place], object]] = {
    "the report of a sweep's end": lambda place: api.conclude(0, place),
    "the driver's end": lambda place: runner._conclude(RunDirectory.open(place), Display(ACCURACY, False)),
    "report": full,
    "report --json": answered,
    "status": status_table,
    "status --json": status_json,
}


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Place, CountedStore]:
    place, store = counted_store(tmp_path, monkeypatch)
    run = write_run(place / "one", trials=SEARCHES, top_k=2, epochs=2)  # type: ignore[arg-type]
    store.forget()
    return run, store


@pytest.mark.parametrize("reader", READERS)
def test_every_file_is_opened_once(reader: str, stored: tuple[Place, CountedStore]) -> None:
    run, store = stored
    READERS[reader](run)
    of_trials = {key: count for key, count in store.opened.items() if key.rpartition("/runs/one/")[2].count("/")}
    assert len(of_trials) >= 3 * (SEARCHES + RETRAININGS)  # trial.json, result.json and metrics.jsonl of each, at least
    assert set(of_trials.values()) == {1}
    assert store.requests() <= OF_A_TRIAL * (SEARCHES + RETRAININGS) + OF_THE_RUN


def test_the_genotypes_that_are_there_are_not_written_again(stored: tuple[Place, CountedStore]) -> None:
    run, _ = stored
    write_genotypes(RunSnapshot.open(run))
    written = {entry.name: entry.read_bytes() for entry in (run / "genotypes").iterdir()}
    assert {name.removesuffix(".txt") for name in written} == set(genotypes(RunDirectory.open(run)))
    kept, lost = sorted(written)[:2]
    (run / "genotypes" / kept).write_text("kept")
    (run / "genotypes" / lost).unlink()
    write_genotypes(RunSnapshot.open(run))
    assert {entry.name: entry.read_bytes() for entry in (run / "genotypes").iterdir()} == {**written, kept: b"kept"}


def test_a_snapshot_shows_what_the_run_shows_and_no_later_change(tmp_path: Path) -> None:
    path = write_run(tmp_path / "one", trials=4, top_k=2, epochs=2)
    seen, live = RunSnapshot.open(path), RunDirectory.open(path)
    assert winner(seen) == winner(live) is not None
    assert seen.read("status.json") == {"status": "completed"}
    assert [trial.rows() for trial in seen.trials()] == [trial.rows() for trial in live.trials()]
    live.trial(0).append_row({"epoch": 7})
    live.write("status.json", {"status": "halted"})
    assert len(seen.trial(0).rows()) == len(live.trial(0).rows()) - 1
    assert seen.read("status.json") == {"status": "completed"}
    assert report_of(path)["status"] == "halted"  # every report looks anew


def test_a_snapshot_names_damage_each_time_it_is_asked(tmp_path: Path) -> None:
    path = write_run(tmp_path / "one", trials=4, top_k=2, epochs=2)
    (path / "trials" / "0000" / "result.json").write_text("{")
    damage = Damage()
    seen = RunSnapshot.open(path, damage)
    assert [seen.trial(0).result() for _ in range(2)] == [None, None]
    assert len(damage.problems) == 1
    strict = RunSnapshot.open(path)
    for _ in range(2):
        with pytest.raises(Exception, match="damaged"):
            strict.trial(0).result()


def test_a_snapshot_is_not_written_through(tmp_path: Path) -> None:
    seen = RunSnapshot.open(write_run(tmp_path / "one", trials=2, top_k=1, epochs=2))
    for write in (
        lambda: seen.write("status.json", {}),
        lambda: seen.append_event({}),
        lambda: seen.trial(0).append_row({"epoch": 1}),
        lambda: seen.trial(0).write_result({}),
    ):
        with pytest.raises(RuntimeError, match="is for reading"):
            write()
