"""What every place of a run must do, whether it is a folder or a prefix in an object store."""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.errors import DamagedError, InputError, RunError, StorageError
from raydarts.report.certificate.files import differences_of, files_of
from raydarts.runs.checkpoints import CheckpointStore
from raydarts.runs.directory import RunDirectory, SupersededError, TrialDirectory
from raydarts.runs.log import TrialLog, read_log
from raydarts.storage import lock, objects
from raydarts.storage import place as places
from raydarts.storage.files import append_line, read_lines, write_lines
from raydarts.storage.place import Place, place_of
from tests.objects import S3, SECRET


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return tmp_path / "runs"
    request.getfixturevalue("s3")
    return place_of(f"s3://bucket/{uuid.uuid4().hex}")


@pytest.fixture
def remote(s3: S3) -> Place:
    return place_of(f"s3://bucket/{uuid.uuid4().hex}")


def as_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on this process knows nothing of what it wrote, like one on another machine."""
    monkeypatch.setattr(objects, "_WRITER", uuid.uuid4().hex[:8])
    monkeypatch.setattr(objects, "_tails", {})


def test_a_file_is_written_read_renamed_listed_and_deleted(folder: Place) -> None:
    places.make_folder(folder / "a")
    places.write_bytes(folder / "a" / "one", b"1")
    places.write_bytes(folder / "a" / "one", b"11")
    places.write_bytes(folder / "a" / "two", bytes(range(256)) * 1000)
    places.rename(folder / "a" / "one", "three")
    listed = places.entries(folder / "a")
    assert [entry.place.name for entry in listed] == ["three", "two"]
    assert all(entry.modified_ns > 10**18 and not entry.is_folder for entry in listed)
    assert [(entry.place.name, entry.is_folder) for entry in places.entries(folder)] == [("a", True)]
    assert places.read_bytes(folder / "a" / "three") == b"11"
    assert len(places.read_bytes(folder / "a" / "two")) == 256_000
    places.delete(folder / "a" / "two")
    places.delete(folder / "a" / "two")
    assert not places.exists(folder / "a" / "two")
    assert places.entries(folder / "none") == []
    with pytest.raises(FileNotFoundError):
        places.read_bytes(folder / "a" / "two")


def test_files_are_known_by_their_sha_256(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * 9000
    places.make_folder(folder / "trials" / "0000")
    places.write_bytes(folder / "trials" / "0000" / "epoch-0001.pt", content)
    places.write_bytes(folder / "report.html", b"x")
    for number in range(3):
        append_line(folder / "trials" / "0000" / "metrics.jsonl", {"epoch": number})
    known = files_of(folder)
    lines = "".join(f'{{"epoch": {number}}}\n' for number in range(3)).encode()
    assert list(known) == ["trials/0000/epoch-0001.pt", "trials/0000/metrics.jsonl"]
    assert known["trials/0000/epoch-0001.pt"] == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    assert known["trials/0000/metrics.jsonl"]["sha256"] == hashlib.sha256(lines).hexdigest()
    as_another_process(monkeypatch)  # in an object store a file of lines is then of several parts
    append_line(folder / "trials" / "0000" / "metrics.jsonl", {"epoch": 3})
    places.delete(folder / "trials" / "0000" / "epoch-0001.pt")
    assert differences_of(known, files_of(folder)) == [
        "trials/0000/epoch-0001.pt: was removed",
        "trials/0000/metrics.jsonl: was changed (4 lines, certificate: 3)",
    ]


def test_lines_keep_their_order_over_processes_and_a_replacement(
    folder: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PART_BYTES", 50)
    places.make_folder(folder)
    file = folder / "metrics.jsonl"
    assert read_lines(file) == []
    for number in range(20):
        if number in (7, 13):
            as_another_process(monkeypatch)
        append_line(file, {"number": number})
    assert [row["number"] for row in read_lines(file)] == list(range(20))
    write_lines(file, [{"number": -1}])
    append_line(file, {"number": -2})
    as_another_process(monkeypatch)
    append_line(file, {"number": -3})
    assert [row["number"] for row in read_lines(file)] == [-1, -2, -3]


def copy(source: Place, target: Place) -> None:
    """Copies each file, as `aws s3 cp --recursive` does: it knows nothing of runs."""
    for entry in places.entries(source):
        if entry.is_folder:
            copy(entry.place, target / entry.place.name)
        else:
            places.make_folder(target)
            (target / entry.place.name).write_bytes(entry.place.read_bytes())


def of_three_processes(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = run.trial(0)
    trial.create({"index": 0})
    for number in (1, 2, 3):
        as_another_process(monkeypatch)
        with run.locked():
            trial.claim()
            trial.append_row({"epoch": number})
            run.append_event({"event": "report", "index": 0, "epoch": number})
            TrialLog(trial).write(f"epoch {number}")


@pytest.mark.parametrize("to", ["disk", "store"])
def test_a_run_that_other_tools_copy_between_disk_and_store_is_whole_and_goes_on(
    remote: Place, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places_of = {"disk": tmp_path / "run", "store": remote / "run"}
    source, target = places_of["store" if to == "disk" else "disk"], places_of[to]
    of_three_processes(RunDirectory.create(source, kind="sweep", spec={}), monkeypatch)
    copy(source, target)
    assert files_of(target) == files_of(source)

    as_another_process(monkeypatch)
    run = RunDirectory.open(target)
    assert not run.in_use()
    with run.locked():
        trial = run.trial(0)
        assert [row["epoch"] for row in trial.rows()] == [1, 2, 3]
        trial.claim()
        trial.append_row({"epoch": 4})
        trial.append_row({"epoch": 5})
        run.append_event({"event": "report", "index": 0, "epoch": 4})
        TrialLog(trial).write("epoch 4")
    assert [row["epoch"] for row in trial.rows()] == [1, 2, 3, 4, 5]
    assert [event["epoch"] for event in run.events()] == [1, 2, 3, 4]
    assert read_log(trial) == "epoch 1\nepoch 2\nepoch 3\nepoch 4\n"

    as_another_process(monkeypatch)
    trial.keep_rows(2)
    assert [row["epoch"] for row in trial.rows()] == [1, 2]
    trial.append_row({"epoch": 3, "again": True})
    assert [row["epoch"] for row in trial.rows()] == [1, 2, 3]
    back = RunDirectory(source.parent / "back")
    copy(target, back.path)
    assert back.trial(0).rows() == trial.rows()
    assert [event["epoch"] for event in back.events()] == [1, 2, 3, 4]


def test_a_line_that_was_torn_before_the_copy_is_ended_by_the_next(
    remote: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.write_bytes(remote / "events.jsonl", b'{"epoch": 1}\n{"epo')
    assert read_lines(remote / "events.jsonl") == [{"epoch": 1}]
    append_line(remote / "events.jsonl", {"epoch": 2})
    assert read_lines(remote / "events.jsonl") == [{"epoch": 1}, {"epoch": 2}]
    assert [entry.is_folder for entry in places.entries(remote)] == [True]


def test_a_part_on_a_disk_that_was_torn_or_is_a_link_harms_no_other_line(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.mkdir()
    (file / "000001-000001-aaaaaaaa").write_bytes(b'{"epoch": 1}\n{"epo')
    (file / "000001-000002-bbbbbbbb").write_bytes(b'{"epoch": 2}\n{"epo')
    append_line(file, {"epoch": 3})
    assert read_lines(file) == [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}]
    (tmp_path / "elsewhere").write_bytes(b'{"epoch": 9}\n')
    (file / "000001-000003-cccccccc").symlink_to(tmp_path / "elsewhere")
    for work in (lambda: read_lines(file), lambda: append_line(file, {"epoch": 4})):
        with pytest.raises(DamagedError, match="000001-000003-cccccccc: is a link"):
            work()
    assert (tmp_path / "elsewhere").read_bytes() == b'{"epoch": 9}\n'


def test_a_lease_that_was_copied_to_a_disk_holds_nobody_and_is_named_to_who_goes_on(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec={})
    (run.path / "lock").mkdir()
    (run.path / "lock" / "0123").write_text("{}")
    assert not run.in_use()
    with (
        pytest.raises(DamagedError, match="lock: is a folder, where raydarts keeps a file; move it away"),
        run.locked(),
    ):
        pass


def test_a_run_keeps_its_trials_rows_results_events_and_checkpoints(folder: Place) -> None:
    run = RunDirectory.create(folder / "run", kind="sweep", spec={"a": 1}, text="a: 1\n")
    with pytest.raises(RunError, match=r"already exists; 'raydarts resume .*/run'"):
        RunDirectory.create(folder / "run", kind="sweep", spec={})
    trial = run.trial(3)
    trial.create({"index": 3})
    trial.claim()
    for epoch in (1, 2, 3):
        trial.append_row({"epoch": epoch})
        trial.append_time({"epoch": epoch})
    trial.keep_rows(2)
    trial.append_row({"epoch": 3, "again": True})
    run.append_event({"event": "report", "index": 3, "epoch": 1})
    run.append_event({"event": "report", "index": 3, "epoch": 2})
    store = CheckpointStore(trial.checkpoints, {"who": "I"}, guard=trial.check)
    for epoch in (1, 2, 3):
        store.save(epoch, {"epoch": epoch, "weights": torch.arange(5)})
    store.set_aside(store.files()[0])
    trial.write_result({"status": "completed"})

    again = RunDirectory.open(str(run.path))
    assert again.description()["spec"] == {"a": 1}
    assert [found.id for found in again.trials()] == ["0003"]
    assert again.trials()[0].rows() == [{"epoch": 1}, {"epoch": 2}, {"epoch": 3, "again": True}]
    assert again.trial(3).result() == {"status": "completed"}
    assert [event["epoch"] for event in again.events()] == [1, 2]
    assert [store.epoch(path) for path in store.files()] == [2]
    assert torch.equal(store.read(store.files()[0])["weights"], torch.arange(5))
    with pytest.raises(RunError, match="there is no such run"):
        RunDirectory.open(folder / "none")


def test_replaced_attempt_cannot_write(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    old = RunDirectory.create(folder / "run", kind="sweep", spec={}).trial(0)
    old.create({})
    old.claim()
    old.append_row({"epoch": 1})
    as_another_process(monkeypatch)
    new = TrialDirectory(old.path)
    new.claim()
    for write in (lambda: old.append_row({"epoch": 9}), lambda: old.write_result({}), lambda: old.keep_rows(0)):
        with pytest.raises(SupersededError):
            write()
    new.append_row({"epoch": 2})
    assert [row["epoch"] for row in new.rows()] == [1, 2]


def test_second_driver_is_refused_with_the_first_one_named(folder: Place) -> None:
    run = RunDirectory.create(folder / "run", kind="sweep", spec={})
    assert not run.in_use()
    with run.locked():
        assert run.in_use()
        with (
            pytest.raises(RunError, match=r"in use by another raydarts \(pid \d+ on "),
            RunDirectory(run.path).locked(),
        ):
            pass
    assert not run.in_use()
    with run.locked():
        assert run.in_use()


def test_a_row_of_a_late_writer_is_not_read_after_a_replacement(remote: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its look at owner.json and its write an old attempt may be overtaken; it must harm nothing."""
    file = remote / "metrics.jsonl"
    append_line(file, {"epoch": 1})
    tails, writer = objects._tails, objects._WRITER
    as_another_process(monkeypatch)
    write_lines(file, [{"epoch": 1}])
    append_line(file, {"epoch": 2, "by": "new"})
    monkeypatch.setattr(objects, "_tails", tails)
    monkeypatch.setattr(objects, "_WRITER", writer)
    append_line(file, {"epoch": 2, "by": "old"})
    assert read_lines(file) == [{"epoch": 1}, {"epoch": 2, "by": "new"}]


def test_appending_costs_a_bounded_number_of_bytes(remote: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PART_BYTES", 1000)
    written: list[int] = []
    put = objects.ObjectPlace.write_bytes
    monkeypatch.setattr(
        objects.ObjectPlace, "write_bytes", lambda self, content: (written.append(len(content)), put(self, content))[1]
    )
    for number in range(100):
        remote.append(b"x" * 98 + b"%d\n" % (number % 10))
    assert len(written) == 100
    assert max(written) <= 1000
    assert len(remote.entries()) == 10


def leave_a_lease(monkeypatch: pytest.MonkeyPatch, remote: Any, **machine: Any) -> Any:
    """The object of a driver elsewhere."""
    holder = {"pid": 1, "started": 0.0, **lock._machine(), **machine}
    place = remote / "lock" / "other"
    place.write_bytes(json.dumps(holder).encode())
    return place


def test_a_lease_that_is_not_renewed_runs_out_and_one_that_is_does_not(
    remote: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LEASE", 3.0)
    monkeypatch.setattr(lock, "MARGIN", 1.0)
    monkeypatch.setattr(lock, "BEAT", 0.4)
    other = leave_a_lease(monkeypatch, remote, host="elsewhere")
    assert lock.held(remote)
    with lock.hold(remote) as check:
        check()
        assert not other.exists()

    end = threading.Event()

    def renew() -> None:
        while not end.wait(0.3):
            leave_a_lease(monkeypatch, remote, host="elsewhere")

    thread = threading.Thread(target=renew)
    leave_a_lease(monkeypatch, remote, host="elsewhere")
    thread.start()
    try:
        with pytest.raises(RunError, match="pid 1 on elsewhere"), lock.hold(remote):
            pass
    finally:
        end.set()
        thread.join()


def test_a_dead_driver_of_this_machine_is_known_at_once(remote: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_a_lease(monkeypatch, remote, started=1.0)  # its pid is another process' by now
    assert not lock.held(remote)
    with lock.hold(remote):
        pass


def test_a_driver_that_cannot_show_that_it_lives_stops(remote: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory.create(remote / "run", kind="sweep", spec={})
    with run.locked():
        run.append_event({"event": "report", "index": 0, "epoch": 1})
        monkeypatch.setattr(lock, "LEASE", 0.0)
        with pytest.raises(StorageError, match="this one stops"):
            run.append_event({"event": "report", "index": 0, "epoch": 2})
    assert [event["epoch"] for event in run.events()] == [1]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (f"s3://key:{SECRET}@bucket/runs", "no user and no password"),
        (f"gs://{SECRET}@bucket/runs", "no user and no password"),
        (f"s3://bucket/runs?secret_key={SECRET}", "endpoint_override, scheme, region"),
        (f"s3://bucket/runs?endpoint_override=me:{SECRET}@host", "without user or password"),
        ("s3:/bucket/runs", "two slashes"),
        ("s3://", "s3://BUCKET/PREFIX"),
        ("s3://bucket/../other", "without '.', '..'"),
        ("hdfs://host/runs", "s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"),
    ],
)
def test_invalid_places_are_refused_without_repeating_a_secret(uri: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        place_of(uri)
    assert said in str(error.value)
    assert SECRET not in str(error.value)


def test_a_query_names_the_server(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    place = place_of(f"s3://bucket/q/{uuid.uuid4().hex}?endpoint_override=127.0.0.1:{s3.port}&scheme=http")
    places.write_bytes(place / "x", b"1")
    assert places.read_bytes(place_of(str(place / "x"))) == b"1"
