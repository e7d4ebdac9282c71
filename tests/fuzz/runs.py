"""Fuzzes run directories: `python -m tests.fuzz.runs --inputs 300 --seed 0`.

Each input is a copy of `finished/` (a real sweep's run, its checkpoints made small) with one to three of its files or
folders spoilt. Every command that reads a run must end with words, within seconds, and touch nothing outside the run:
beside it lie a secret and a folder of somebody else's, to which links lead. An input is known by its seed and number,
so that one which fails can be made again: `--only 217`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.cli_results import DIFFERS
from raydarts.errors import ClusterError
from raydarts.execution import drive
from raydarts.runs import faults
from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import jobs
from raydarts.runs.hours import change_limits
from raydarts.sweeping import runner
from raydarts.trackers.wandb import state
from tests.commands import Outcome, run_here
from tests.fuzz.feeding import LONGEST

FINISHED = Path(__file__).parent / "finished"
SECRET = "the password of somebody else is 12345"
_NEIGHBOUR = {"trial.json": '{"kind": "search", "index": 1}', "metrics.jsonl": f'{{"epoch": 1, "x": "{SECRET}"}}\n'}
_ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    3.5,
    1e308,
    -1e160,
    10**30,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "x" * 5000,
    "../../outside",
    "/etc/passwd",
    "\ud800",
    "\x1b[31m\x00",
    "0001",
    "[bold]{x}</script>",
    "[/b] [red",
    [],
    [[]],
    {},
    {"a": {"b": []}},
    [None, 1, "two"],
)


@dataclass(frozen=True)
class Box:
    """What lies around the run that is spoilt."""

    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "finished"

    @property
    def other(self) -> Path:
        return self.folder / "other"

    @property
    def outside(self) -> Path:
        return self.folder / "outside"

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate-of-other.json"

    def fill(self) -> None:
        """Make the neighbours, the run to be compared with, and its certificate."""
        finished(self.other)
        made = run_here("report", self.other, "--certificate", "--out", self.certificate)
        assert made.code == 0, made.err
        (self.outside / "0001").mkdir(parents=True)
        (self.outside / "secret.txt").write_text(SECRET)
        (self.outside / "empty").write_text("")
        for name, text in _NEIGHBOUR.items():
            (self.outside / "0001" / name).write_text(text)

    def renew(self) -> None:
        for folder in (self.run.parent, self.folder / "out"):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.other, self.run)

    def state(self) -> Mapping[str, str]:
        """The bytes of all files outside the run, and what else is there."""
        found = {}
        for top, folders, files in os.walk(self.folder):
            if Path(top) == self.run.parent:
                folders.clear()
                found |= dict.fromkeys(files, "beside the run")
                continue
            for name in files:
                path = Path(top, name)
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            found |= {str(Path(top, name)): "folder" for name in folders}
        return found


def finished(path: Path) -> Path:
    """The finished run at `path`, with the small checkpoints that its trials would have."""
    shutil.copytree(FINISHED, path)
    run = RunDirectory.open(path)
    for trial in jobs(run):
        drive._store(trial).save(len(trial.rows()), {"weights": torch.zeros(3)})
    first = jobs(run)[0]
    faults.note(first, faults.LOST, "the process died")
    faults.note(first, faults.GPU_MEMORY, "out of memory", gpus=0.25, next_gpus=0.5)
    first.halt("budget spent")
    state.write_trial(first, state.Tracked(state="sent", reason=None, id="x", url="https://x/runs/x", epochs=2))
    state.write_sweep(run, "abc", created=True, project="p", entity=None)
    change_limits(run, {"cpu_hours": 20.0}, 1.7e9)
    (path / "lock").write_text("12345 on node-1\n")
    return path


def of_one_stage(path: Path) -> None:
    """Make it a run of `--stage evaluate` with genotypes of elsewhere."""
    promotion = json.loads((path / "promotion.json").read_text())
    description = json.loads((path / "run.json").read_text())
    candidates = [
        {key: decision[key] for key in ("id", "genotype", "skips")} | {"trials": [], "origin": "x: number 1 in search"}
        for decision in promotion
    ]
    description |= {"stage": "evaluate", "genotypes": {"from": [], "candidates": candidates}}
    description["spec"]["rungs"] = []
    (path / "run.json").write_text(json.dumps(description))
    for name in ("trials", "stages"):
        shutil.rmtree(path / name)
    (path / "events.jsonl").unlink()


def single(path: Path) -> None:
    """Make it a run of `raydarts search`."""
    description = json.loads((path / "run.json").read_text())
    whole = description["spec"]
    config = json.loads((path / "trials" / "0000" / "trial.json").read_text())["config"]
    spec = {"data": whole["data"], "search": config, "threads": 1, "gpu": False, "checkpoint_every": 1}
    description |= {"kind": "search", "spec": spec | {"track": None, "presets": {}, "score": whole["score"]}}
    (path / "run.json").write_text(json.dumps(description))
    for name in ("trials/0001", "trials/0002", "trials/0003", "evaluations", "stages"):
        shutil.rmtree(path / name)
    for name in ("events.jsonl", "promotion.json", "plan.json", "budget.json", "drivers.json"):
        (path / name).unlink()


# How a file may be spoilt.


def cut(path: Path, rng: random.Random, box: Box) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) + 1)])


def empty(path: Path, rng: random.Random, box: Box) -> None:
    path.write_bytes(b"")


def flip(path: Path, rng: random.Random, box: Box) -> None:
    content = bytearray(path.read_bytes() or b"x")
    for _ in range(rng.choice((1, 1, 3, 50))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))


def replace(path: Path, rng: random.Random, box: Box) -> None:
    text = path.read_bytes().decode("latin-1")
    path.write_bytes(
        rng.choice(
            (
                b"null\n",
                b"[]\n",
                b"{}\n",
                b'"text"\n',
                b"7\n",
                b"\x00" * 4096,
                b"[" * 100_000,
                b'{"a":' * 3000 + b"1" + b"}" * 3000,
                text.encode("utf-16"),
                b"\xef\xbb\xbf" + text.encode("latin-1"),
                text.encode("latin-1").replace(b"\n", b"\r\n"),
                b"NaN",
                rng.randbytes(500),
                text.encode("latin-1") * 2,
                b"1" * 10_000,
            )
        )
    )


def retype(path: Path, rng: random.Random, box: Box) -> None:
    """One value of the JSON, at any depth, becomes another, is lost, or is there twice."""
    lines = path.suffix == ".jsonl"
    try:
        text = path.read_text(encoding="utf-8")
        values = [json.loads(line) for line in text.splitlines()] if lines else [json.loads(text)]
    except ValueError:
        return flip(path, rng, box)  # spoilt before, or no JSON
    index = rng.randrange(len(values)) if values else 0
    if lines and rng.random() < 0.3:
        values = _reordered(values, index, rng)
    elif values:
        values[index] = _changed(values[index], rng)
    whole = "".join(json.dumps(value) + "\n" for value in values) if lines else json.dumps(values[0], indent=2)
    if rng.random() < 0.1:
        whole = whole.replace('{"', '{"status": 1, "status": 2, "', 1)
    path.write_text(whole, encoding="utf-8")
    return None


def _reordered(values: list[Any], index: int, rng: random.Random) -> list[Any]:
    return rng.choice((values[:index] + values[index + 1 :], values + values[index : index + 1], values[::-1]))


def _changed(value: Any, rng: random.Random) -> Any:
    containers = [each for each in _containers(value) if each]
    if not containers or rng.random() < 0.05:
        return rng.choice(_ODD)
    inner = rng.choice(containers)
    key = rng.choice(list(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
    if rng.random() < 0.25:
        del inner[key]
    elif isinstance(inner, dict) and rng.random() < 0.1:
        inner[rng.choice(("../x", "", "skips_normal", "x\x1b[0m"))] = inner.pop(key)
    else:
        inner[key] = rng.choice(_ODD)
    return value


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from _containers(item)


def _gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def lose(path: Path, rng: random.Random, box: Box) -> None:
    _gone(path)


def folder(path: Path, rng: random.Random, box: Box) -> None:
    _gone(path)
    path.mkdir()
    if rng.random() < 0.5:
        (path / "x").write_text("x")


def link(path: Path, rng: random.Random, box: Box) -> None:
    _gone(path)
    targets = (box.outside / "secret.txt", box.outside / "empty", box.outside / "0001", box.outside / "nothing")
    targets += (box.outside, box.run / "spec.yaml", box.run / "trials" / "0000", path, Path("/dev/zero"), Path("/proc"))
    path.symlink_to(rng.choice(targets))


def pipe(path: Path, rng: random.Random, box: Box) -> None:
    _gone(path)
    os.mkfifo(path)


def connection(path: Path, rng: random.Random, box: Box) -> None:
    """A socket. Its name is too long for the call, so it is bound where it is short, and moved."""
    _gone(path)
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{short}/s")
        shutil.move(f"{short}/s", path) if Path(short).stat().st_dev == path.parent.stat().st_dev else path.mkdir()


def file(path: Path, rng: random.Random, box: Box) -> None:
    """A file in the place of a folder."""
    _gone(path)
    path.write_text("x")


Spoil = Callable[[Path, random.Random, Box], None]
OF_FILES: tuple[Spoil, ...] = (cut, empty, flip, replace, retype, retype, retype, lose, folder, link, link, pipe)
OF_FOLDERS: tuple[Spoil, ...] = (lose, link, link, file, pipe, connection)


def spoil(box: Box, seed: int, number: int) -> list[str]:
    """Spoil the box's run. Returns what was done, in words."""
    rng = random.Random(f"{seed} {number}")
    done = []
    if (other := rng.choice((None, None, None, None, of_one_stage, single))) is not None:
        other(box.run)
        done.append(other.__name__)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        whole = sorted(path for path in box.run.rglob("*") if not path.is_symlink())
        files = [path for path in whole if path.is_file()]
        folders = [path for path in whole if path.is_dir()]
        if rng.random() < 0.8:
            names = sorted({path.name if "epoch-" not in path.name else "checkpoint" for path in files})
            name = rng.choice(names)  # each kind of file as often as any other
            chosen = [path for path in files if path.name == name or ("epoch-" in path.name and name == "checkpoint")]
            path, how = rng.choice(chosen), rng.choice(OF_FILES)
        elif rng.random() < 0.3:
            name = rng.choice(
                ("wandb", "tensorboard", "ray", "halted.json", "failures.jsonl", "budget.json", "report.html")
            )
            path, how = rng.choice([box.run, *folders]) / name, rng.choice((link, folder, pipe, file))
            if path.exists():
                continue
        else:
            path, how = rng.choice(folders), rng.choice(OF_FOLDERS)
        how(path, rng, box)
        done.append(f"{how.__name__} {path.relative_to(box.run)}")
    return done


def no_ray(*_arguments: object) -> AbstractContextManager[bool]:
    """In place of `connected`: what is left of a spoilt run is not trained here."""
    raise ClusterError("the fuzzer starts no Ray")


def commands(box: Box) -> list[list[str | Path]]:
    out = box.folder / "out"
    return [
        ["status", box.run],
        ["status", box.run, "--json"],
        ["report", box.run],
        ["report", box.run, "--json"],
        ["report", box.run, "--html"],
        ["report", box.run, "--certificate"],
        ["report", box.run, "--certificate", "--check", box.certificate],
        ["export", box.run, "--to", out / "a.csv"],
        ["export", box.run, "--to", out / "a.parquet", "--epochs"],
        ["compare", box.run, box.other],
        ["compare", box.other, box.run, "--json"],
        ["resume", box.run],
    ]


def problems_of(outcome: Outcome, words: list[str | Path], longest: float) -> Iterator[str]:
    """What a command did that it must not do, whatever the run."""
    if outcome.code not in (0, 1, 2, *([DIFFERS] if "--check" in words else [])):
        yield f"exit code {outcome.code}"
    if outcome.seconds > longest:
        yield f"took {outcome.seconds:.1f} s"
    if outcome.code != 0 and not outcome.err.strip() and words[0] != "resume":
        yield f"exit code {outcome.code} without a word"
    if len(outcome.err) > 20_000:
        yield f"{len(outcome.err)} characters of errors"
    told = outcome.out + outcome.err
    if SECRET in told or "root:x:0" in told:
        yield "shows what lies outside the run"
    if "--json" in words and outcome.code in (0, 1):
        json.loads(outcome.out)


def fuzz(box: Box, seed: int, number: int, longest: float = LONGEST) -> list[tuple[str, int]]:
    """All commands on one input. Returns each command's name and exit code; raises `AssertionError` by name."""
    box.renew()
    done = ", ".join(spoil(box, seed, number))
    before = box.state()
    codes = []
    for words in commands(box):
        (box.folder / "out").mkdir()
        where = f"input {number} of seed {seed} ({done}): {' '.join(map(str, words))}"
        try:
            outcome = run_here(*words)
        except AssertionError as crash:
            raise AssertionError(f"{where}\n{crash}") from None
        problems = list(problems_of(outcome, words, longest))
        for name in ("report.html", "certificate.html", "certificate.json"):
            page = box.run / name
            if page.is_file() and not page.is_symlink() and SECRET in page.read_text(encoding="utf-8"):
                problems.append(f"{name} shows what lies outside the run")
        shutil.rmtree(box.folder / "out")
        if box.state() != before:
            problems.append("something outside the run was touched")
        assert not problems, f"{where}\n{'; '.join(problems)}\n{outcome.out[-2000:]}{outcome.err[-2000:]}"
        codes.append((str(words[0]), outcome.code))
    return codes


def warm(box: Box) -> None:
    """Everything on the whole run, so that no later command is slow for its imports; each must succeed."""
    box.renew()
    for words in commands(box):
        (box.folder / "out").mkdir(exist_ok=True)
        assert run_here(*words).code == 0, words
    shutil.rmtree(box.folder / "out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this input alone")
    given = parser.parse_args()
    failed: list[str] = []
    codes: Counter[tuple[str, int]] = Counter()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "connected", no_ray)
        box = Box(Path(folder))
        box.fill()
        warm(box)
        numbers = range(given.inputs) if given.only is None else [given.only]
        for number in numbers:
            try:
                codes.update(fuzz(box, given.seed, number))
            except AssertionError as error:
                failed.append(str(error))
                sys.stdout.write(f"{error}\n\n")
                sys.stdout.flush()
    for (command, code), count in sorted(codes.items()):
        sys.stdout.write(f"{command}: exit code {code}: {count}\n")
    sys.stdout.write(f"{len(numbers)} inputs, {len(failed)} failed\n")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
