"""Feeds a command many inputs, and says what went wrong with each: what all fuzzers of one file have in common."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.commands import CrashError, run_here
from tests.fuzz.guard import guarded

Make = Callable[[random.Random, Path], Sequence[str]]
"""Writes one input into a folder and says the command line that reads it."""
LONGEST = 5.0
"""Seconds that a command may take on an input that is small."""
_LONGEST_MESSAGE = 50_000


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a tree at which a value stands: a container and a key of it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: list[tuple[Any, Any]] = []
    for key, item in items:
        found += [(value, key), *places(item)]
    return found


def feed(make: Make, warm_up: Make, inputs: int, seed: int, first: int = 0) -> list[str]:
    """Run `inputs` commands, number `first` and those after it. A line for each fault; the input's number makes it
    again, whatever came before.

    Faults: a traceback, an exit code other than 0 and 2, a refusal without a word, more than `LONGEST` seconds of this
    process's time, escapes in the output, a file changed outside the temporary folder, a process or connection started.
    `warm_up`: one sound command, so that imports count for none.
    """
    faults: list[str] = []
    with guarded() as (folder, seen):
        run_here(*warm_up(random.Random(0), folder))
        seen.clear()
        for number in range(first, first + inputs):
            arguments = make(random.Random(f"{seed}-{number}"), folder)
            began = time.process_time()
            wrong = _fault(arguments)
            seconds = time.process_time() - began
            if seconds > LONGEST:
                wrong.append(f"took {seconds:.1f} s")
            wrong += [f"outside the folder: {each}" for each in seen]
            seen.clear()
            faults += [f"input {number} of seed {seed}: {each}" for each in wrong]
    return faults


def _fault(arguments: Sequence[str]) -> list[str]:
    try:
        outcome = run_here(*arguments)
    except CrashError as crash:
        told = str(crash)
        return [f"{told[:300]} ... {told[-1500:]}"]
    except UnicodeError as error:
        return [f"output that no terminal takes: {error}"]
    wrong = []
    if outcome.code not in (0, 2):
        wrong.append(f"exit code {outcome.code}: {outcome.err[-300:]}")
    if outcome.code == 2 and not outcome.err.strip():
        wrong.append("refused without a word")
    if len(outcome.err) > _LONGEST_MESSAGE:
        wrong.append(f"a message of {len(outcome.err):,} characters: {outcome.err[:300]}")
    if any(each in outcome.out + outcome.err for each in ("\x1b", "\x9b", "\u202e", "\x07")):
        wrong.append(f"escapes in the output: {outcome.err[:300]!r}")
    return wrong


def main(make: Make, warm_up: Make) -> None:
    """The long run: `python -m tests.fuzz.NAME --inputs 2000 --seed 0`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input, to make one again")
    parser.add_argument("--show", action="store_true", help="print the first input instead of running it")
    given = parser.parse_args()
    if given.show:
        with guarded() as (folder, _):
            arguments = make(random.Random(f"{given.seed}-{given.first}"), folder)
            files = [path.read_bytes() for path in sorted(folder.glob("*")) if path.is_file()]
        sys.stdout.write(f"{arguments}\n" + "\n".join(repr(each[:4000]) for each in files) + "\n")
        return
    began = time.monotonic()
    faults = feed(make, warm_up, given.inputs, given.seed, given.first)
    for fault in faults:
        sys.stdout.write(f"{fault}\n\n")
    sys.stdout.write(
        f"{given.inputs} inputs of seed {given.seed} in {time.monotonic() - began:.0f} s: {len(faults)} faults\n"
    )
    sys.exit(1 if faults else 0)
