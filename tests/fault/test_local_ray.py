"""A sweep's Ray on this machine, through the command line: it listens on loopback alone, and nothing stays of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from raydarts.cpus import usable_cpus
from raydarts.storage.files import read_lines
from tests.variables import without_ray

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parent.parent.parent
SPEC = """
name: tiny
data: {dataset: digits, limit: 80, validation_fraction: 0.25}
search: {epochs: 1, batch_size: 16, space: {name: darts-cnn, channels: 4, layers: 3, nodes: 1}}
evaluate:
  top_k: 1
  seeds: [0]
  training: {epochs: 1, batch_size: 16, network: {channels: 4, layers: 3, auxiliary_weight: 0}}
"""
CELL = [["sep_conv_3x3", 0], ["skip_connect", 1]]
GENOTYPE = {"normal": CELL, "normal_concat": [2], "reduce": CELL, "reduce_concat": [2]}
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


class Machine:
    """A home directory, a folder for temporary files and one for runs, and what the commands left in them."""

    def __init__(self, base: Path) -> None:
        self.base, self.runs, self.temporary = base, base / "runs", base / "tmp"
        self.temporary.mkdir()
        (base / "home").mkdir()
        (base / "spec.yaml").write_text(SPEC)
        self.variables = without_ray("WANDB_")
        self.variables |= {"HOME": str(base / "home"), "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"}
        self.started: set[psutil.Process] = set()
        self.listening: dict[str, set[str]] = {}

    def raydarts(
        self, *arguments: object, program: Sequence[str] = (), **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, and keep which processes it started and where each listened, asked every second.

        `program`: what starts the command, as `taskset` would.
        """
        command = [*program, sys.executable, "-m", "raydarts.cli", *map(str, arguments)]
        with (self.base / "out").open("w") as out, (self.base / "err").open("w") as err:
            process = psutil.Popen(command, cwd=self.base, env=self.variables | variables, stdout=out, stderr=err)
            deadline = time.monotonic() + 250
            while process.poll() is None and time.monotonic() < deadline:
                self._look(process)
                time.sleep(1)
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(30)
        texts = [(self.base / name).read_text() for name in ("out", "err")]
        return subprocess.CompletedProcess(command, process.returncode, *texts)

    def _look(self, root: psutil.Process) -> None:
        try:
            family = {each.pid: each for each in (root, *root.children(recursive=True))}
        except psutil.NoSuchProcess:
            return
        self.started |= set(family.values())
        for process in family.values():
            try:
                name, connections = process.name(), process.net_connections("inet")
            except psutil.NoSuchProcess:
                continue
            for each in connections:
                if each.status == psutil.CONN_LISTEN or (each.type == socket.SOCK_DGRAM and not each.raddr):
                    self.listening.setdefault(name, set()).add(each.laddr.ip)

    def check_loopback(self) -> None:
        assert {"gcs_server", "raylet"} <= set(self.listening)  # the check saw them
        assert any(name.startswith("ray::") for name in self.listening)
        assert {name: places for name, places in self.listening.items() if places - LOOPBACK} == {}

    def check_nothing_stays(self) -> None:
        _, living = psutil.wait_procs(self.started, timeout=5)
        assert [each for each in living if each.status() != psutil.STATUS_ZOMBIE] == []
        assert [each.name for each in self.temporary.iterdir() if each.name.startswith("rd")] == []


@pytest.fixture
def machine() -> Iterator[Machine]:
    base = Path(tempfile.mkdtemp(prefix="m", dir="/tmp"))  # short, as a socket's path must be
    yield Machine(base)
    shutil.rmtree(base)


def test_while_trials_run_nothing_listens_but_on_loopback(machine: Machine) -> None:
    """A retraining with W&B and several workers. Searches: the next test. Of neither anything stays."""
    (machine.base / "spec.yaml").write_text(SPEC + "track: {wandb: {mode: offline, project: tiny}}\n")
    several = ["--set", "evaluate.resources.workers=2"] if (os.cpu_count() or 1) > 1 else []
    # RAY_ADDRESS and this Windows variable would make Ray listen elsewhere.
    variables = {"RAY_ADDRESS": "10.9.9.9:6379", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    (machine.base / "genotype.json").write_text(json.dumps(GENOTYPE))
    stage = ("--stage", "evaluate", "--genotypes", "genotype.json")
    done = machine.raydarts("sweep", "spec.yaml", "--name", "a", *stage, *several, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    (trial,) = (machine.runs / "a" / "evaluations").iterdir()
    assert json.loads((trial / "result.json").read_text())["status"] == "completed"
    assert "RAY_ADDRESS=10.9.9.9:6379 is set, and not used without --address" in done.stderr
    machine.check_nothing_stays()
    machine.check_loopback()
    token = machine.base / "home" / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o777 == 0o600  # nobody else reads it


BOUND = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execv(sys.argv[2], sys.argv[2:])"  # taskset -c


def test_bound_to_one_cpu_a_sweep_runs_one_trial_at_a_time(machine: Machine) -> None:
    """As under `taskset -c 0` or Slurm. TMPDIR is too long for sockets, and the home directory takes no token."""
    long, home = machine.base / ("x" * 80), machine.base / "another-home"
    long.mkdir()
    home.mkdir()
    (home / ".ray").touch()  # no folder
    # What Ray itself would count, and what a pod of a Ray cluster tells it, must not matter.
    misleading = {"RAY_USE_MULTIPROCESSING_CPU_COUNT": "1", "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": 2})}
    program: tuple[str, ...] = ()
    if hasattr(os, "sched_setaffinity"):
        program = (sys.executable, "-c", BOUND, str(min(os.sched_getaffinity(0))))
    settings = ("search.seed={grid: [0, 1]}", "sweep.searcher=grid", "sweep.fuse=off", "evaluate=null")
    two = [word for setting in settings for word in ("--set", setting)]
    variables = {"TMPDIR": str(long), "HOME": str(home), "RAYDARTS_START_SECONDS": "150", **misleading}  # one busy CPU
    done = machine.raydarts("sweep", "spec.yaml", "--name", "b", *two, program=program, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"TMPDIR={long}: too long for the sockets of Ray" in done.stderr
    assert not Path(done.stderr.split("Ray's files are in ")[1].split(" ")[0]).exists()
    machine.check_nothing_stays()
    machine.check_loopback()
    if program and (os.cpu_count() or 1) > 1:
        assert f"1 of {os.cpu_count()} CPUs (by this process's CPU affinity)" in done.stdout
        assert "trials at a time: sweep 1" in done.stdout
        times = [read_lines(machine.runs / "b" / "trials" / name / "times.jsonl") for name in ("0000", "0001")]
        spans = [(each[0]["start"], each[-1]["end"]) for each in times]
        for (_, ended), (began, _) in pairwise(sorted(spans)):
            assert began >= ended, f"two trials ran at once: {spans}"


BROKEN = "import sys\nif 'default_worker' in ' '.join(sys.orig_argv):\n    raise SystemExit('the licence has run out')"


def refused(machine: Machine, **variables: str) -> str:
    """A sweep that cannot start ends soon with exit code 2, and leaves nothing. Returns what it said."""
    begun = time.monotonic()
    done = machine.raydarts("sweep", "spec.yaml", "--name", "a", **variables)
    assert time.monotonic() - begun < 100
    assert done.returncode == 2, done.stdout + done.stderr
    assert not machine.runs.exists()
    machine.check_nothing_stays()
    return done.stderr


def test_workers_that_cannot_start_end_the_sweep_with_their_reason(machine: Machine) -> None:
    """Other reasons, and workers that hang: `tests/unit/cluster/test_first_worker.py`."""
    (machine.base / "path").mkdir()
    (machine.base / "path" / "sitecustomize.py").write_text(BROKEN)
    told = refused(machine, PYTHONPATH=str(machine.base / "path"))
    assert told.startswith("processes for trials cannot start on this machine: "), told
    assert "process ended while it started" in told
    assert "licence has run out" in told


def test_a_ray_that_cannot_start_is_told_and_leaves_nothing(machine: Machine) -> None:
    """Ray waits for this server in C++ with Python's lock held, so that no Python of the driver runs."""
    told = refused(machine, RAY_REDIS_ADDRESS="127.0.0.1:9", RAYDARTS_START_SECONDS="10")
    assert "a local Ray did not start in time" in told
    assert "Could not establish connection to Redis 127.0.0.1:9" in told
    assert "Traceback" not in told


TAKEN_OVER = """
import os, time
from raydarts.cluster import connection
from raydarts.cluster.warm_workers import WarmWorkers
connection.connect(None, WarmWorkers(("fractions",), many=int(os.environ["MANY"])))
import ray
from ray.tune.execution.class_cache import _ActorClassCache
class Trial:
    def answer(self):
        import sys
        return os.getpid(), "fractions" in sys.modules and "ray.tune" in sys.modules
folder = connection._connection.local.folder
while len(list(folder.glob("*.answer"))) < int(os.environ["MANY"]):
    time.sleep(0.1)
warm = {int(file.stem) for file in folder.glob("*.answer")}
made = _ActorClassCache().get(Trial).options(num_cpus=1)
trials = [made.remote() for _ in warm]
answers = ray.get([trial.answer.remote() for trial in trials])
connection.disconnect(True)
assert {pid for pid, _ in answers} == warm, (answers, warm)
assert all(loaded for _, loaded in answers), answers
"""


def test_trials_take_over_the_workers_that_the_driver_checked(machine: Machine) -> None:
    """Tune's actors get these processes: what trials import is imported once."""
    variables = {**machine.variables, "PYTHONPATH": str(ROOT), "MANY": str(min(2, usable_cpus()))}
    command = [sys.executable, "-c", TAKEN_OVER]
    done = subprocess.run(
        command, env=variables, cwd=machine.base, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
