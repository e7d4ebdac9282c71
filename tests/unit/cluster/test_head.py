"""The watch over Ray's parts, and the process that ends what is left, without Ray."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from raydarts.cluster import deadline, head
from raydarts.cluster.head import HEAD_LOST, Part, Watch
from raydarts.errors import ClusterError
from raydarts.execution import failures
from raydarts.execution.executor import Loss
from raydarts.runs import faults
from raydarts.runs.directory import TrialDirectory

ROOT = Path(__file__).parent.parent.parent.parent


class EndedError(Exception):
    """In place of the end of this process."""


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def watch(listener: socket.socket, **more: Any) -> Watch:
    part = Part("the raylet", *listener.getsockname())
    return Watch((part,), **({"every": 0.02, "patience": 0.2, "hint": "go on"} | more))


def test_a_part_that_stays_away_ends_the_process_with_words(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        raise EndedError

    monkeypatch.setattr(os, "_exit", end)
    watching = watch(listener)
    threading.Timer(0.3, listener.close).start()
    began = time.monotonic()
    with pytest.raises(EndedError):
        watching.run()
    assert 0.4 < time.monotonic() - began < 30
    assert codes == [HEAD_LOST]
    said = capsys.readouterr().err
    assert said.startswith("the raylet at 127.0.0.1:")
    assert said.endswith("has not answered for 0.2 s and counts as lost; go on\n")


def test_a_part_that_comes_back_is_not_lost(listener: socket.socket) -> None:
    watching = watch(listener, patience=5.0)
    port = listener.getsockname()[1]
    thread = threading.Thread(target=watching.run)
    thread.start()
    listener.close()
    threading.Timer(0.3, lambda: again.append(socket.create_server(("127.0.0.1", port)))).start()
    again: list[socket.socket] = []
    began = time.monotonic()
    watching.settle()
    assert time.monotonic() - began > 0.1
    watching.done.set()
    thread.join(5)
    assert not thread.is_alive()
    again[0].close()


@pytest.mark.parametrize(("steps", "lost"), [([1.0, 3600.0, 1.0], False), ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], True)])
def test_a_driver_that_was_stopped_itself_blames_nobody(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, steps: list[float], lost: bool
) -> None:
    """It was stopped for an hour (Ctrl-Z) together with Ray, which does not answer yet when the driver goes on."""
    now = [0.0]

    def wait(seconds: float) -> bool:
        now[0] += steps.pop(0) if steps else 0.0
        return not steps

    watching = watch(listener, every=1.0, patience=3.5)
    ended: list[Part] = []
    monkeypatch.setattr(watching.done, "wait", wait)
    monkeypatch.setattr(watching, "_end", ended.append)
    monkeypatch.setattr(Part, "answers", lambda part: False)
    monkeypatch.setattr(head.time, "monotonic", lambda: now[0])
    watching.run()
    monkeypatch.undo()
    assert bool(ended) is lost


def test_a_process_lost_with_ray_is_no_fault_of_its_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    """While Ray does not answer nothing is noted: `watched` ends the driver meanwhile."""
    noted: list[str] = []
    monkeypatch.setattr(faults, "note", lambda directory, what, message: noted.append(what))
    watching = watch(listener)
    monkeypatch.setattr(head, "_watches", [watching])
    loss = Loss(faults.LOST, "The actor died unexpectedly before finishing this task.")
    listener.close()
    thread = threading.Thread(target=failures.note, args=(TrialDirectory(tmp_path), loss, 1))
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    assert noted == []
    watching.done.set()
    thread.join(5)
    assert noted == [faults.LOST]


DRIVER = """
import os, pathlib, subprocess, sys, time
from raydarts.cluster.leftovers import Leftovers
sleep = [sys.executable, "-c", "import time; time.sleep(300)"]
pathlib.Path("session").mkdir()
early = subprocess.Popen(sleep, start_new_session=True)
leftovers = Leftovers(pathlib.Path("session"), 60.0)
marked = subprocess.Popen(sleep, start_new_session=True)
clean = {name: value for name, value in os.environ.items() if not name.startswith("RAYDARTS_")}
named = subprocess.Popen(sleep, env=clean, start_new_session=True)
leftovers.started()
mine = subprocess.Popen(sleep, start_new_session=True)
print(marked.pid, named.pid, early.pid, mine.pid, leftovers._process.pid, flush=True)
if sys.argv[1] == "wait":
    time.sleep(300)
leftovers.close()
os._exit(5)
"""


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)  # nobody may care for one without parent
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("how", ["killed", "closed"])
def test_only_processes_of_a_dead_driver_are_ended(tmp_path: Path, how: str) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('not this one')")  # of the user's working folder
    program = f"import sys; sys.path[0] = {str(ROOT)!r}\n{DRIVER}"
    command = [sys.executable, "-c", program, "wait" if how == "killed" else "close"]
    driver = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    *ended, early, mine, watcher = map(int, driver.stdout.readline().split())
    try:
        if how == "killed":
            driver.send_signal(signal.SIGKILL)
        assert driver.wait(20) == (-signal.SIGKILL if how == "killed" else 5)
        limit = time.monotonic() + 6
        while any(lives(pid) for pid in (*ended, watcher)):
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert lives(early)  # started by the user's own code, before Ray
        assert lives(mine)  # and after it
        assert not (tmp_path / "session").exists()
    finally:
        os.kill(early, signal.SIGKILL)
        os.kill(mine, signal.SIGKILL)


WAITING = """
import ctypes, os, pathlib, subprocess, sys, time
from raydarts.cluster.deadline import ExitTimer
from raydarts.cluster.leftovers import LATER, Leftovers
logs = pathlib.Path("session/session_latest/logs")
logs.mkdir(parents=True)
(logs / "raylet.err").write_text("the plasma store cannot be made\\n")
leftovers = Leftovers(pathlib.Path("session"), float(os.environ["RAYDARTS_START_SECONDS"]))
timer = ExitTimer(float(sys.argv[2]))
raylet = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
print(raylet.pid, leftovers._process.pid, flush=True)
if sys.argv[1] == "exit":
    os._exit(1)
ctypes.PyDLL(None).sleep(60)  # as Ray waits in C++: Python's lock is held, no thread of Python runs
"""


@pytest.mark.parametrize(
    ("how", "timer", "code", "words"),
    [
        ("wait", "4.5", 2, "a local Ray did not start in time"),
        ("exit", "60", 1, "raydarts ended while a local Ray started"),
    ],
)
def test_a_ray_that_waits_in_its_own_code_is_ended_with_its_reason(
    tmp_path: Path, how: str, timer: str, code: int, words: str
) -> None:
    program = f"import sys; sys.path[0] = {str(ROOT)!r}\n{WAITING}"
    command = [sys.executable, "-c", program, how, timer]
    environment = {**os.environ, "RAYDARTS_START_SECONDS": "0.5"}
    pipe = subprocess.PIPE
    driver = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True)
    out, said = driver.communicate(timeout=20)
    assert driver.returncode == code
    assert said.splitlines() == [
        words,
        "  the plasma store cannot be made",
        "  a slower machine may need more time: set RAYDARTS_START_SECONDS (now 0.5)",
    ]
    limit = time.monotonic() + 6
    while any(lives(pid) for pid in map(int, out.split())):
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert not (tmp_path / "session").exists()


def test_the_timer_ends_the_process_with_code_2_unless_it_is_cancelled() -> None:
    program = f"""
import sys, time
sys.path[0] = {str(ROOT)!r}
from raydarts.cluster.deadline import ExitTimer
timer = ExitTimer(0.2)
if sys.argv[1] == "cancel":
    timer.cancel()
time.sleep(0.6)
"""
    for how, code in (("wait", 2), ("cancel", 0)):
        assert subprocess.run([sys.executable, "-c", program, how], timeout=20, check=False).returncode == code


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf", "1e400"])
def test_a_time_limit_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(deadline.SECONDS, value)
    with pytest.raises(ClusterError, match=f"RAYDARTS_START_SECONDS={value}: must be a number of seconds"):
        deadline.Deadline.begin()


def test_a_part_that_is_stopped_does_not_answer(listener: socket.socket) -> None:
    """The kernel takes a connection for a process that is stopped (SIGSTOP)."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    part = Part("the raylet", *listener.getsockname(), process.pid)
    try:
        for number, answers in ((signal.SIGSTOP, False), (signal.SIGCONT, True), (signal.SIGKILL, False)):
            process.send_signal(number)
            if number == signal.SIGKILL:
                process.wait()
            limit = time.monotonic() + 5
            while part.answers() is not answers:
                assert time.monotonic() < limit
                time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
