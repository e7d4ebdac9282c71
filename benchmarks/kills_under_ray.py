"""Drivers killed under real Ray: whether a resumed sweep keeps each decision, and makes none of them again.

    python benchmarks/kills_under_ray.py [--scheduler asha ...] [--kills 3] [--seed N] [--json FILE]

For each scheduler that decides (asha, median, hyperband, pbt) it runs a sweep of 8 trials of 8 epochs on a local Ray
with two places. The trials train nothing: they are those of tests/fault/fakes.py, so the package `tests` must lie
beside this folder. The driver gets SIGKILL at random moments, and its Ray ends with it. Each time the run is resumed.
Two trials run at once, so the order in which they report differs from run to run, and so may the decisions. What must
hold of each run is checked:

- the last resume ends with exit code 0;
- what the log of events held before a kill is in the log afterwards, line by line;
- no report and no decision stands in the log twice;
- a trial that was to stop is stopped at that epoch, any other one has run all epochs, each once;
- where the scheduler pauses trials: two other trials ran at the same time while one was paused, so its place was free.

About a minute a scheduler on 2 CPU cores. The exit code is 1 where one of them does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from raydarts.cluster import gate  # noqa: E402
from raydarts.config.loader import LoadedSpec  # noqa: E402
from raydarts.runs.directory import RunDirectory, TrialDirectory  # noqa: E402
from raydarts.runs.whole import open_whole  # noqa: E402
from raydarts.study.history import Decided, Decision, Fork, decided_in, name_of, others_of  # noqa: E402
from raydarts.sweeping.runner import run_sweep, start_sweep  # noqa: E402
from tests.fault import fakes, small_sweeps  # noqa: E402

SCHEDULERS = ("asha", "median", "hyperband", "pbt")
PAUSING = ("hyperband", "pbt")
TRIALS, EPOCHS, PLACES, SECONDS = 8, 8, 2, 0.25
_MOST_BETWEEN = 14
"""Events between two kills: three kills leave some of the 50 to 70 events of a sweep to the last driver."""
Span = tuple[float, float]


def spec(name: str) -> LoadedSpec:
    """The sweep that is killed."""
    searcher = {"name": "random", "trials": TRIALS}
    base = {"epochs": EPOCHS, "sleep": SECONDS}
    return fakes.loaded(searcher, base=base, max_concurrent=PLACES, **small_sweeps.SCHEDULERS[name])


def drive(storage: Path, name: str) -> int:
    """Begin the run, or go on with it."""
    gate.prepare(None)  # before the scheduler of the spec imports Ray
    path = storage / "fake"
    if (path / "run.json").exists():
        return run_sweep(RunDirectory.open(path), spec(name), display=False)
    return start_sweep(spec(name), storage, builder=fakes.BUILDER, display=False, command=["kills"])


def _driver(storage: Path, name: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--drive", str(storage), "--scheduler", name]
    return subprocess.Popen(command, cwd=ROOT, env=environment)


def _lines(storage: Path) -> list[str]:
    file = storage / "fake" / "events.jsonl"
    return file.read_text().splitlines() if file.exists() else []


def killed_and_resumed(storage: Path, name: str, kills: int, draw: random.Random) -> tuple[list[list[str]], int]:
    """Returns the log of events before each kill, and the exit code of the last driver."""
    before: list[list[str]] = []
    while len(before) < kills:
        process, known = _driver(storage, name), len(before[-1]) if before else 0
        until = known + draw.randint(1, _MOST_BETWEEN)
        while len(_lines(storage)) < until and process.poll() is None:
            time.sleep(0.02)
        time.sleep(draw.uniform(0.0, 2 * SECONDS))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            raise RuntimeError(f"{name}: it was done before it was killed {kills} times; raise SECONDS")
        before.append(_lines(storage))
        print(f"  {name}: killed with {len(before[-1])} events in the log", flush=True)
    return before, _driver(storage, name).wait(timeout=300)


def _decided(events: Sequence[dict[str, Any]]) -> dict[str, list[Decided]]:
    """All that was decided on each trial, in the order of the log."""
    decided: dict[str, list[Decided]] = {}
    for event in events:
        if event["event"] == "decide":
            decided.setdefault(name_of(int(event["index"])), []).append(decided_in(event))
        for trial, decision in others_of(event).items():
            decided.setdefault(trial, []).append(decision)
    return decided


def _twice(events: Sequence[dict[str, Any]]) -> list[str]:
    """What stands in the log twice: a decision after an epoch, an end, a decision on a trial that did not wait."""
    asked = Counter(
        (event["event"], event["index"], event.get("epoch"))
        for event in events
        if event["event"] in ("ask", "tell") or (event["event"] == "decide" and "value" in event)
    )
    twice = [f"{kind} of trial {index}, epoch {epoch}" for (kind, index, epoch), many in asked.items() if many > 1]
    last: dict[str, Decided] = {}
    for event in events:
        if event["event"] == "decide":
            name = name_of(int(event["index"]))
            if "value" not in event and last.get(name) is not Decision.PAUSE:
                twice.append(f"trial {name} was let go on at epoch {event['epoch']}, and did not wait")
            last[name] = decided_in(event)
        for name, decision in others_of(event).items():
            if last.get(name) is not Decision.PAUSE:
                twice.append(f"{decision} was decided on trial {name}, which did not wait")
            last[name] = decision
    return twice


def _wrong_end(trial: TrialDirectory, decided: Sequence[Decided]) -> str | None:
    """Why the end of a trial is not what was decided on it; None: it is."""
    status, epochs = (trial.result() or {}).get("status"), [row["epoch"] for row in trial.rows()]
    if epochs != list(range(1, len(epochs) + 1)):
        return f"trial {trial.id} has the epochs {epochs}"
    to_stop = bool(decided) and decided[-1] is Decision.STOP
    if to_stop and status != "stopped":
        return f"trial {trial.id} was to stop, and is {status} after epoch {len(epochs)}"
    if not to_stop and (status != "completed" or len(epochs) != EPOCHS):
        return f"trial {trial.id} was not to stop, and is {status} after epoch {len(epochs)}"
    return None


def _spans(trial: TrialDirectory) -> list[Span]:
    return sorted((float(entry["start"]), float(entry["end"])) for entry in trial.times())


def _gaps(trial: TrialDirectory, events: Sequence[dict[str, Any]]) -> Iterator[Span]:
    """The times in which a trial was paused: from the end of that epoch to the start of the next, or to its result."""
    paused = {
        event["epoch"]
        for event in events
        if event["event"] == "decide"
        and name_of(int(event["index"])) == trial.id
        and decided_in(event) is Decision.PAUSE
    }
    entries = sorted(trial.times(), key=lambda entry: float(entry["start"]))
    for earlier, later in pairwise(entries):
        if earlier["epoch"] in paused and later["epoch"] == earlier["epoch"] + 1:
            yield float(earlier["end"]), float(later["start"])
    if entries and entries[-1]["epoch"] in paused:
        yield float(entries[-1]["end"]), Path(str(trial.path / "result.json")).stat().st_mtime


def _two_at_once(gap: Span, others: Sequence[TrialDirectory]) -> bool:
    """Whether epochs of two different trials overlap inside `gap`."""
    inside = [
        (number, max(start, gap[0]), min(end, gap[1]))
        for number, trial in enumerate(others)
        for start, end in _spans(trial)
        if start < gap[1] and end > gap[0]
    ]
    return any(one[0] != other[0] and one[1] < other[2] and other[1] < one[2] for one in inside for other in inside)


def examined(run: RunDirectory, name: str, before: Sequence[Sequence[str]], code: int) -> dict[str, Any]:
    """The figures of a run that was killed and resumed, and what does not hold of it (`problems`)."""
    events, trials = run.events(), run.trials()
    decided = _decided(events)
    after = (run.path / "events.jsonl").read_text().splitlines()  # type: ignore[union-attr]
    problems = [] if code == 0 else [f"the last driver ended with {code}"]
    for number, log in enumerate(before, 1):
        if after[: len(log) - 1] != list(log[:-1]):  # the last line may have been half written
            problems.append(f"the log before kill {number} is not the beginning of the log")
    problems += [f"twice: {each}" for each in _twice(events)]
    problems += [problem for trial in trials if (problem := _wrong_end(trial, decided.get(trial.id, ()))) is not None]
    if len(trials) != TRIALS:
        problems.append(f"{len(trials)} trials instead of {TRIALS}")
    gaps = [(gap, trial) for trial in trials for gap in _gaps(trial, events)]
    free = sum(_two_at_once(gap, [other for other in trials if other is not trial]) for gap, trial in gaps)
    if name in PAUSING and not free:
        problems.append(f"no place of a paused trial was seen to be used by another ({len(gaps)} pauses)")
    kinds = Counter(
        "fork" if isinstance(each, Fork) else str(each) for decisions in decided.values() for each in decisions
    )
    ends = Counter(str((trial.result() or {}).get("status")) for trial in trials)
    return {
        "events": len(events),
        "events before each kill": [len(log) for log in before],
        "decisions": dict(kinds),
        "trials": dict(ends),
        "pauses": len(gaps),
        "of them with two other trials at once": free,
        "problems": problems,
    }


def main() -> int:
    """Kill, resume, examine and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scheduler", nargs="*", default=list(SCHEDULERS), choices=SCHEDULERS)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; default: the time")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.drive is not None:
        return drive(chosen.drive, chosen.scheduler[0])
    draw = random.Random(time.time_ns() if chosen.seed is None else chosen.seed)
    seen: dict[str, dict[str, Any]] = {}
    for name in chosen.scheduler:
        with tempfile.TemporaryDirectory() as folder:
            storage = Path(folder)
            before, code = killed_and_resumed(storage, name, chosen.kills, draw)
            seen[name] = examined(open_whole(storage / "fake"), name, before, code)
        print(f"{name}: {json.dumps(seen[name])}", flush=True)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(seen, indent=1) + "\n")
    return 1 if any(each["problems"] for each in seen.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
