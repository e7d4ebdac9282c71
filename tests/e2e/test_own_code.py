"""Code of the user's own, and of others', as a user meets it on the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raydarts import cli, outside
from raydarts.runs.directory import RunDirectory
from raydarts.runs.trust import remember
from tests.here import sweeps_run_here
from tests.synthetic_run import write_run

OWN = """
from torch import nn
from raydarts.spaces.cell_space import CellSpace
from raydarts.trackers.base import Tracker, TrialObserver

class Shown(Tracker):
    def observer(self, trial):
        return Epochs(trial.path / "shown")

    def conclude(self, run):
        return f"{len(list(run.path.glob('*/*/shown')))} trials were shown"

class Epochs(TrialObserver):
    def __init__(self, file):
        self.file = file

    def open(self):
        self.file.write_text("")

    def epoch(self, row):
        self.file.write_text(self.file.read_text() + f"{row['epoch']} ")

    def finished(self, result):
        self.file.write_text(self.file.read_text() + result["status"])

class Blur(nn.Module):
    def __init__(self, channels, stride, affine):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)

    def forward(self, x):
        return self.op(x)

class Mine(CellSpace):
    class Settings(CellSpace.Settings):
        width: int

    num_nodes = 1

    def candidates(self, cell_type, edges):
        return (("none", "own_space:Blur", "skip_connect"),) * len(edges)

    def network(self, genotype, task, settings):
        assert self.settings.width == 5
        return super().network(genotype, task, settings)
"""
SPEC = """
data: {dataset: digits, limit: 80, validation_fraction: 0.25}
search:
  epochs: 1
  batch_size: 16
  space: {name: "own_space:Mine", channels: 4, layers: 3, width: 5}
evaluate:
  top_k: 1
  seeds: [0]
  training: {epochs: 1, batch_size: 16, network: {channels: 4, layers: 3, auxiliary_weight: 0}}
track: {"own_space:Shown": true}
"""
LIBRARIES = ("random", "ray", "numpy", "torch", "typing", "pandas", "email")
EVIL = "from pathlib import Path\nPath(__file__).with_name('it-was-run').touch()\nclass X: pass\nY = build = X\n"


def raydarts(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as its script runs it, in a process of its own."""
    script = Path(sys.executable).parent / "raydarts"
    command = [str(script)] if script.exists() else [sys.executable, "-m", "raydarts.cli"]
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=240,
        check=False,
        env={**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "COLUMNS": "200", **environment},
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a spec, the code it names, and files that are called like libraries."""
    for name in LIBRARIES:
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name} of the working folder')")
    (tmp_path / "yaml").mkdir()
    (tmp_path / "yaml" / "__init__.py").write_text("raise RuntimeError('yaml of the working folder')")
    (tmp_path / "own_space.py").write_text(OWN)
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs a command in this process, in the folder that the test is about: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outside, "_last", [])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = list(sys.path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["raydarts", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    yield run
    sys.path[:] = path


@pytest.mark.ray
def test_a_space_of_ones_own_goes_through_every_command_beside_files_named_like_libraries(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep under real Ray must find libraries anew, and is a process of its own; the rest runs in this one."""
    done = raydarts("sweep", "spec.yaml", "--name", "run", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(next((project / "runs/run/evaluations").glob("*/result.json")).read_text())
    assert result["status"] == "completed", result
    assert "2 trials were shown" in done.stdout + done.stderr
    assert [file.read_text() for file in (project / "runs/run").glob("*/*/shown")] == ["1 completed"] * 2
    genotype = json.loads((project / "runs/run/trials/0000/result.json").read_text())["genotype"]
    assert genotype["space"] == {"name": "own_space:Mine", "width": 5}
    (project / "best.json").write_text(json.dumps(genotype))
    monkeypatch.delitem(sys.modules, "own_space", raising=False)
    for arguments in (
        ["show", "best.json"],
        ["evaluate", "best.json", "--spec", "spec.yaml", "--name", "one"],
        ["search", "spec.yaml", "--name", "search"],
        ["show", "runs/search/genotype.json", "--json"],
        ["resume", "runs/one"],
        ["report", "runs/run"],
    ):
        code, out, err = command(*arguments)
        assert code == 0, f"{arguments}: {out}{err}"
    monkeypatch.delitem(sys.modules, "own_space", raising=False)
    with sweeps_run_here():
        for arguments in (
            ["sweep", "spec.yaml", "--stage", "evaluate", "--genotypes", "runs/run", "--name", "stage"],
            ["resume", "runs/stage"],
        ):
            code, out, err = command(*arguments)
            assert code == 0, f"{arguments}: {out}{err}"
    assert json.loads((project / "runs/stage/promotion.json").read_text())[0]["genotype"] == genotype
    (staged,) = (project / "runs/stage/evaluations").glob("*/result.json")
    assert json.loads(staged.read_text())["status"] == "completed"
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "another"))  # as on another machine
    code, _, err = command("resume", "runs/one")
    assert code == 2
    assert "own_space:Mine, from " in err
    assert command("resume", "runs/one", "--trust")[0] == 0
    monkeypatch.delitem(sys.modules, "own_space", raising=False)


def hostile(run: Path, module: str) -> Path:
    """A finished run that names code wherever a run can: run.json, trials, rows, results, promotions, genotypes."""
    write_run(run, trials=6, top_k=2)

    def named(value: Any) -> Any:
        if isinstance(value, list):
            if len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int):
                return [f"{module}:Y", value[1]]
            return [named(item) for item in value]
        if isinstance(value, dict):
            found = {key: named(item) for key, item in value.items()}
            if "normal_concat" in found:
                found |= {"space": f"{module}:X", "skip": f"{module}:Y"}
            if "config" in found:
                found["config"] = {**found["config"], "space": {"name": f"{module}:X"}}
            return found
        return value

    for file in [*run.rglob("*.json"), *run.rglob("*.jsonl")]:
        lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
        file.write_text("".join(json.dumps(named(json.loads(line))) + "\n" for line in lines))
    description = json.loads((run / "run.json").read_text())
    description |= {"builder": f"{module}:build", "outside": [f"{module}:Z"]}
    description["spec"]["search"]["space"] = {"name": f"{module}:X"}
    description["spec"]["sweep"]["searcher"] = {"name": f"{module}:X"}
    (run / "run.json").write_text(json.dumps(description))
    shutil.rmtree(run / "trials" / "0005")  # something is left to be done
    (run / "status.json").write_text('{"status": "interrupted"}')
    asked = [json.loads(file.read_text()) for file in sorted(run.glob("trials/*/trial.json"))]
    events = [
        {"event": "ask", "index": index, "config": trial["config"], "choices": trial["choices"]}
        for index, trial in enumerate(asked)
    ]
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return run


@pytest.mark.parametrize("where", ["in the run", "beside runs", "in the working folder"])
def test_a_run_of_somebody_elses_is_read_and_refused_and_nothing_of_it_is_run(
    where: str, tmp_path: Path, command: Command
) -> None:
    # Not "runs": tests/fuzz/runs.py is a module of that name wherever pytest has loaded the fuzzers.
    module = {
        "in the run": "kept_runs.friend.evil_code",
        "beside runs": "kept_runs.evil_code",
        "in the working folder": "evil_code",
    }[where]
    run = hostile(tmp_path / "kept_runs" / "friend", module)
    for folder in (tmp_path, tmp_path / "kept_runs", run):
        (folder / "evil_code.py").write_text(EVIL)
    code, out, err = command("resume", run)
    assert code == 2, out + err
    assert f"{module}:X" in err
    assert "Traceback" not in err
    if where == "in the working folder":
        assert "--trust" in err
        assert f"from {tmp_path / 'evil_code.py'}" in err
    else:
        assert "whose code lies in" in err
        assert command("resume", run, "--trust")[0] == 2  # whatever the user says
    for arguments in (
        ["report", run],
        ["report", run, "--json"],
        ["report", run, "--html", "--out", tmp_path / "report.html"],
        ["status", run],
        ["export", run, "--to", tmp_path / "rows.csv"],
        ["compare", run, run],
        ["wandb", "report", run, "--dry-run", "--out", tmp_path / "report.json"],
    ):
        code, out, err = command(*arguments)
        assert code == 0, f"{arguments}: {err}"
    (tmp_path / "spec.yaml").write_text(SPEC.replace("own_space:Mine", "darts-cnn").replace(", width: 5", ""))
    genotype = json.loads((run / "trials" / "0000" / "result.json").read_text())["genotype"]
    (tmp_path / "taken.json").write_text(json.dumps(genotype))
    for arguments in (
        ["sweep", "spec.yaml", "--stage", "evaluate", "--genotypes", run],
        ["sweep", "spec.yaml", "--stage", "evaluate", "--genotypes", "taken.json"],
        ["show", "taken.json"],
        ["evaluate", "taken.json", "--spec", "spec.yaml"],
    ):
        code, out, err = command(*arguments)
        assert code == 2, f"{arguments}: {out}{err}"
        assert "Traceback" not in err
    assert list(tmp_path.rglob("it-was-run")) == []
    assert not (tmp_path / "state").exists()


def test_a_trials_file_cannot_name_code_that_its_run_does_not(tmp_path: Path, command: Command) -> None:
    """run.json is the user's own and names nothing; a trial.json in it was changed by somebody else."""
    (tmp_path / "evil_code.py").write_text(EVIL)
    cell = [["skip_connect", 0], ["skip_connect", 1]]
    genotype = {"normal": cell, "normal_concat": [2], "reduce": cell, "reduce_concat": [2]}
    (tmp_path / "good.json").write_text(json.dumps(genotype))
    plain = SPEC.replace("own_space:Mine", "darts-cnn").replace(", width: 5", "").partition("track:")[0]
    (tmp_path / "spec.yaml").write_text(plain)
    code, _, err = command("evaluate", "good.json", "--spec", "spec.yaml", "--name", "one")
    assert code == 0, err
    (trial,) = RunDirectory.open(tmp_path / "runs" / "one").evaluations()
    (trial.path / "result.json").unlink()
    shutil.rmtree(trial.checkpoints)
    (trial.path / "metrics.jsonl").unlink()
    what = json.loads((trial.path / "trial.json").read_text())
    what["genotype"] |= {"space": "evil_code:X"}
    (trial.path / "trial.json").write_text(json.dumps(what))
    code, _, err = command("resume", "runs/one", "--trust")
    assert code == 2, err
    assert "evil_code:X is code from outside raydarts that nobody allowed here" in err
    assert list(tmp_path.rglob("it-was-run")) == []


def test_a_sweeps_worker_loads_no_code_but_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a trial's process does first, in this process."""
    from raydarts.errors import GenotypeError
    from raydarts.execution.jobs import job_of, restrict_code

    (tmp_path / "evil_code.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path)
    spec = {"evaluate": {"training": {"epochs": 1}}, "data": {"dataset": "digits"}}
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec=spec)
    trial = run.evaluation("abc", 0)
    cell = [["skip_connect", 0], ["skip_connect", 1]]
    genotype = {"normal": cell, "normal_concat": [2], "reduce": cell, "reduce_concat": [2], "space": "evil_code:X"}
    trial.create({"kind": "evaluation", "genotype_id": "abc", "genotype": genotype, "seed": 0})
    with outside.only_allowed():
        restrict_code({"own_code": ["another:Name"]})
        with pytest.raises(GenotypeError, match="nobody allowed"):
            job_of(trial, {"cpus": 1, "gpus": 0})
    assert not (tmp_path / "it-was-run").exists()


def test_the_flag_travels_with_a_submitted_resume(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from raydarts.cluster import submission

    submitted: list[list[str]] = []
    monkeypatch.setattr(submission, "connect_to_jobs", lambda address: None)
    monkeypatch.setattr(submission, "wait_for_acceptance", lambda client, job: None)
    monkeypatch.setattr(submission, "submit_job", lambda client, job, arguments, file: submitted.append(arguments))
    assert command("submit", "--resume", "/mnt/runs/r", "--trust")[0] == 0
    assert command("submit", "--resume", "/mnt/runs/r")[0] == 0
    plain = ["resume", "/mnt/runs/r", "--address", "auto"]
    assert submitted == [[*plain, "--trust"], plain]
    code, _, err = command("submit", "spec.yaml", "--storage", "/mnt/runs", "--trust")
    assert code == 2
    assert "--resume RUN" in err


def test_whoever_sits_at_the_terminal_is_asked(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    from raydarts import single

    gone_on: list[RunDirectory] = []
    monkeypatch.setattr(single, "go_on", lambda run, console: gone_on.append(run))
    (tmp_path / "evil_code.py").write_text("X = 1\n")
    run = RunDirectory.create(
        tmp_path / "runs" / "r", kind="search", spec={"search": {"space": {"name": "evil_code:X"}}}
    )
    asked: list[str] = []

    def answer(text: str, **options: Any) -> bool:
        asked.append(text)
        return False

    monkeypatch.setattr(typer, "confirm", answer)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert command("resume", run.path)[0] == 2
    assert "evil_code:X, from " in asked[0]
    assert gone_on == []
    remember(run)
    assert command("resume", run.path)[0] == 0
    assert (len(asked), len(gone_on)) == (1, 1)
