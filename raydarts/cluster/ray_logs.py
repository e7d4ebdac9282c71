"""What Ray's processes wrote into the logs of a session: why something did not start, and what is worth keeping."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from raydarts.storage.place import Place, exists, make_folder, write_bytes

_STARTED = re.compile(r"Started worker process with pid (\d+)")
_ERROR = re.compile(r"^\[[^\]]* [ECF] \d+ \d+\] (?:\(\w+\) )?(.*)")
_MARK = re.compile(r"^(:job_id:|:actor_name:|:task_name:)")
_FRAME = re.compile(
    r"^(\[[^\]]*\] (\(\w+\) )?\S+:\d+: +)?"
    r"(\S*\(.*\+0x[0-9a-f]+\) \[0x[0-9a-f]+\]|\s*@ +0x|PC: @|\*\*\* \w+ (received|Information))"
)
"""A line of a stack of C++, which tells people nothing and fills the last lines."""
_SERVERS = ("gcs_server", "raylet")
_LINES, _READ = 12, 1 << 16
_MOST_FILES = 50


def _tail(path: Path, limit: int = _READ) -> list[str]:
    """The last lines of a log that are not empty; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - limit))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip() and not _MARK.match(line) and not _FRAME.match(line)]


def workers(session: Path) -> list[int]:
    """The process ids of the workers that the raylet started, in order."""
    try:
        text = (session / "logs" / "raylet.out").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [int(pid) for pid in _STARTED.findall(text)]


def of_servers(session: Path) -> list[str]:
    """The last lines in which Ray's own servers tell of an error."""
    logs = session / "logs"
    errors = [
        match[1]
        for name in _SERVERS
        for line in _tail(logs / f"{name}.out")
        if (match := _ERROR.match(line)) is not None
    ]
    written = [line for name in _SERVERS for line in _tail(logs / f"{name}.err")]
    return (errors + written)[-_LINES:]


def of_workers(session: Path, pids: list[int]) -> list[str]:
    """The last lines in which workers tell why they ended.

    Until a worker has its own file, which is made late in its start, it writes into the raylet's.
    """
    logs = session / "logs"
    lines = [line for pid in pids for path in sorted(logs.glob(f"worker-*-{pid}.err")) for line in _tail(path)]
    lines = lines or _tail(logs / "raylet.err")
    for pid in pids:
        for path in sorted(logs.glob(f"python-core-worker-*_{pid}.log")):
            lines += [match[1] for line in _tail(path) if (match := _ERROR.match(line)) is not None]
    return lines[-_LINES:]


def of_start(session: Path) -> list[str]:
    """The last lines that tell why Ray does not start: those of its servers, and those of its workers."""
    servers, started = of_servers(session), of_workers(session, workers(session))
    return [*servers, *(line for line in started if line not in servers)][-2 * _LINES :]


def keep(session: Path, run: Place) -> None:
    """Copy what the workers wrote to their error output into the run: the session's folder ends with the sweep.

    That the copy fails changes nothing about the sweep.
    """
    files = {path: _tail(path) for path in sorted((session / "logs").glob("worker-*.err"))}
    written = {path: lines for path, lines in files.items() if lines}
    with suppress(OSError):
        if not written or not exists(run / "run.json"):
            return
        place = run / "ray" / "logs" / session.resolve().name
        make_folder(place)
        for path, lines in list(written.items())[-_MOST_FILES:]:
            write_bytes(place / path.name, ("\n".join(lines) + "\n").encode())
