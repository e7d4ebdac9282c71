"""A real `ray up cluster/onprem.yaml` over ssh, onto hosts made on this machine: `pytest -m cluster -s`.

The file is used as it is shipped, with its blanks filled in, one CPU a host, and the wheel made from these sources.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from raydarts import __version__
from tests.cluster.head import free_port
from tests.cluster.hosts import Hosts, made_hosts, missing, packages
from tests.variables import without_ray

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).parent / "ray")
PINNED = ("ray", "torch", "torchvision", "optuna", "numpy")
LACK = missing()
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(LACK is not None, reason=str(LACK)),
    pytest.mark.timeout(900),
]

SPEC = """
data: {dataset: digits, limit: 200, validation_fraction: 0.25}
search:
  seed: {grid: [0, 1, 2, 3, 4, 5, 6, 7, 8]}
  epochs: 6
  batch_size: 16
  space: {name: darts-cnn, channels: 4, layers: 3, nodes: 2}
sweep: {resources: {cpus: 1}}
evaluate:
  top_k: 2
  seeds: [0]
  training: {epochs: 2, batch_size: 32, network: {channels: 4, layers: 3, auxiliary_weight: 0}}
"""

BEGUN = time.monotonic()


def say(text: str) -> None:
    sys.stdout.write(f"[{time.monotonic() - BEGUN:6.1f} s] {text}\n")
    sys.stdout.flush()


class Laptop:
    """The user's own machine: a home with a token, the filled-in file, and the commands."""

    def __init__(self, folder: Path, hosts: Hosts) -> None:
        self.folder = folder
        self.config = folder / "onprem.yaml"
        self.name = f"raydarts-test-{os.getpid()}"
        self.environment = without_ray("RAYDARTS_", "WANDB_")
        self.environment |= {"HOME": str(folder / "home"), "PYTHONPATH": os.pathsep.join([str(ROOT), *packages()])}
        self.environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        (folder / "home").mkdir(parents=True)
        self.run("make", "-s", "-C", str(ROOT), "token", f"PYTHON={sys.executable}")
        wheel = self._wheel()
        (folder / "constraints.txt").write_text("".join(f"{name}=={metadata.version(name)}\n" for name in PINNED))
        text = (ROOT / "cluster" / "onprem.yaml").read_text()
        head, *workers = hosts.all
        lines = "\n".join(f"    - {host.address}" for host in workers)
        for blank, value in (
            ("FILL_IN_HEAD", head.address),
            ("    - FILL_IN_WORKER", lines),
            ("FILL_IN_USER", "root"),
            ("FILL_IN_KEY", str(hosts.key)),
            ("cluster/constraints.txt", str(folder / "constraints.txt")),
            (f"dist/{wheel.name}", str(wheel)),
            ("raydarts-onprem", self.name),
            ("ray start", "ray start --num-cpus=1"),
        ):
            settings = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
            assert blank in settings, f"{blank} is not in cluster/onprem.yaml any more"
            text = settings.replace(blank, value)
        self.config.write_text(text)

    def _wheel(self) -> Path:
        """The sources as they lie here, committed or not: `make wheel` takes a commit."""
        source = self.folder / "source"
        source.mkdir()
        shutil.copytree(ROOT / "raydarts", source / "raydarts", ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, source)
        options = ("--no-deps", "--no-build-isolation", "-q", "-w", str(self.folder / "dist"))
        self.run(sys.executable, "-m", "pip", "wheel", *options, str(source))
        return self.folder / "dist" / f"raydarts-{__version__}-py3-none-any.whl"

    def run(self, *command: str, **variables: str) -> str:
        done = subprocess.run(
            command,
            env=self.environment | variables,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        told = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        assert done.returncode == 0, f"{' '.join(command)}\n{told}"
        return done.stdout

    def exec(self, command: str) -> str:
        return self.run(RAY, "exec", str(self.config), command)

    @contextmanager
    def tunnel(self, port: int) -> Iterator[str]:
        """`ray dashboard`: the head's 127.0.0.1:8265 as this machine's."""
        process = subprocess.Popen(
            [RAY, "dashboard", str(self.config), "--port", str(port)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.3)
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def epochs(run: Path) -> list[tuple[str, str, int]]:
    """(host, trial, epoch) of every epoch that was run."""
    return [
        (entry["host"], path.parent.name, entry["epoch"])
        for path in sorted(run.glob("*/*/times.jsonl"))
        for entry in lines(path)
    ]


def reported(run: Path) -> dict[tuple[str, int], Any]:
    """What every finished epoch reported, but for how long it took and how much memory it held."""
    rows = {}
    for path in run.glob("trials/*/metrics.jsonl"):
        for row in lines(path):
            rows[path.parent.name, row["epoch"]] = {k: v for k, v in row.items() if k not in ("seconds", "memory_mb")}
    return rows


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("hosts")
    with made_hosts(folder / "h", ("head", "worker-1", "worker-2"), packages()) as made:
        yield made


def test_a_sweep_on_hosts_over_ssh_outlives_the_loss_of_one(hosts: Hosts, tmp_path: Path) -> None:
    say(f"{len(hosts.all)} hosts answer over ssh")
    laptop = Laptop(tmp_path, hosts)
    (tmp_path / "tiny.yaml").write_text(SPEC)
    run = hosts.shared / "runs" / "tiny"
    try:
        laptop.run(RAY, "up", "-y", "--no-config-cache", str(laptop.config), RAY_UP_enable_autoscaler_v2="0")
        say("ray up: the head is up")
        wait_for("3 nodes", lambda: _alive(laptop) == 3, 180)
        say("3 nodes are in the cluster")
        _check_security(hosts)
        with laptop.tunnel(free_port()) as address:
            submitted = _submit(laptop, address)
        say("the sweep is submitted, the tunnel closed: " + submitted.splitlines()[0])
        lost = hosts["worker-2"]
        names = {host.name for host in hosts.all}
        wait_for(
            "epochs on every host, and a trial unfinished on the one to be lost",
            lambda: {host for host, _, _ in epochs(run)} >= names and _unfinished_on(run, lost.name),
        )
        before, finished = reported(run), {path: path.read_text() for path in run.glob("trials/*/result.json")}
        lost.cut_off()
        say(f"{lost.name} is cut off: {len(finished)} of 9 trials finished, {len(before)} epochs reported")
        assert len(finished) < 9
        wait_for("the end of the sweep", lambda: _status(run) == "completed", 400)
        say("the sweep is complete")
        _check_results(run, before, finished)
        say(f"epochs run, by host: {dict(Counter(host for host, _, _ in epochs(run)))}")
        redone = len(epochs(run)) - len({(trial, epoch) for _, trial, epoch in epochs(run)})
        say(f"epochs run twice: {redone}")
    finally:
        if sys.exc_info()[0] is not None:
            _show_logs(hosts)
        laptop.run(RAY, "down", "-y", str(laptop.config))
        say("ray down")
        for left in Path("/tmp/ray").glob(f"cluster-{laptop.name}.*"):
            left.unlink()
    gone = time.monotonic()
    wait_for("the workers' end", lambda: "raylet" not in hosts.ssh(hosts["worker-1"], "ps ax -o comm").stdout, 180)
    say(f"Ray on worker-1 ended by itself {time.monotonic() - gone:.0f} s after ray down")
    assert "gcs_server" not in hosts.ssh(hosts["head"], "ps ax -o comm").stdout


def _submit(laptop: Laptop, address: str) -> str:
    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 1):
            return True
        return False

    wait_for("the tunnel", answers, 30)
    arguments = ("--storage", "/mnt/raydarts/runs", "--name", "tiny", "--address", address)
    return laptop.run(sys.executable, "-m", "raydarts.cli", "submit", "tiny.yaml", *arguments)


def _alive(laptop: Laptop) -> int:
    status = laptop.exec("ray status")
    if "Active:" not in status:
        return 0
    section = status.split("Active:")[1].split("Pending:")[0]
    return sum(int(found) for found in re.findall(r"(\d+) local\.cluster\.node", section))


def _status(run: Path) -> str | None:
    return json.loads((run / "status.json").read_text())["status"] if (run / "status.json").exists() else None


def _unfinished_on(run: Path, host: str) -> bool:
    """Whether a trial that has reported an epoch from `host` last is still at work."""
    for path in run.glob("trials/*/times.jsonl"):
        entries = lines(path)
        if entries and entries[-1]["host"] == host and not (path.parent / "result.json").exists():
            return True
    return False


def _check_security(hosts: Hosts) -> None:
    for host in hosts.all:
        mode = (host.home / ".ray" / "auth_token").stat().st_mode & 0o777
        assert mode == 0o600, f"{host.name}: the token's mode is {mode:o}"
    say(
        "listening on the head: "
        + ", ".join(sorted({line.split()[3] for line in hosts["head"].listening().splitlines()}))
    )
    # From outside the head, the dashboard does not answer at all; on it, it asks for the token.
    head = hosts["head"]
    ask = "curl -s -o /dev/null -w '%{http_code}' http://"
    assert hosts.ssh(hosts["worker-1"], f"{ask}{head.address}:8265/api/version").stdout == "000"
    assert hosts.ssh(head, f"{ask}127.0.0.1:8265/api/jobs/").stdout == "401"


def _check_results(run: Path, before: dict[tuple[str, int], Any], finished: dict[Path, str]) -> None:
    results = {path.parent.name: json.loads(path.read_text()) for path in run.glob("trials/*/result.json")}
    assert len(results) == 9
    assert {result["status"] for result in results.values()} == {"completed"}
    assert {path: path.read_text() for path in finished} == finished
    after = reported(run)
    assert {key: after.get(key) for key in before} == before, "what had been reported is lost or changed"
    assert len(after) == 9 * 6
    evaluations = [json.loads(path.read_text())["status"] for path in run.glob("evaluations/*/result.json")]
    assert evaluations
    assert set(evaluations) == {"completed"}


def _show_logs(hosts: Hosts) -> None:
    for pattern in ("job-driver-*", "monitor.out", "monitor.log"):
        found = hosts.ssh(hosts["head"], f"tail -n 40 /tmp/ray/session_latest/logs/{pattern}").stdout
        say(f"{pattern}:\n{found}")
