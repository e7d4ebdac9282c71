"""`python -m tests.fault.nodes FOLDER`: sweeps on a cluster of several nodes, two of which are removed in mid-run.

At the end a node comes that does not see FOLDER/blind. Leaves FOLDER/found.json. A process of its own, since a process
has one Ray, and the tests' is another.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from raydarts.cluster.gate import set_environment
from raydarts.cluster.local import _SYSTEM, _without_unused_servers
from raydarts.config.loader import LoadedSpec, load_spec
from raydarts.errors import InputError
from raydarts.execution.job import Job
from raydarts.execution.jobs import build_job
from raydarts.runs.directory import RunDirectory
from raydarts.storage.files import read_lines
from raydarts.sweeping.runner import start_sweep
from tests.fault import fakes

REAL = """
name: real
data:
  dataset: {name: "tests.fault.marked_digits:MarkedDigits", marks: MARKS}
  limit: 80
  validation_fraction: 0.3
search:
  epochs: 5
  batch_size: 8
  seed: {grid: [0, 1]}
  space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}
  estimator: {name: finite_difference, xi: lr}
sweep: {resources: {cpus: 1, custom: {accel: 1}}}
evaluate:
  top_k: 1
  seeds: [0]
  resources: {cpus: 1, custom: {accel: 1}}
  training: {epochs: 8, batch_size: 8, network: {channels: 2, layers: 3, auxiliary_weight: 0}}
"""


def build(trial: Mapping[str, Any], run: Mapping[str, Any], device: str) -> Job:
    """The job, and a note of where it runs and with what."""
    import ray

    context = ray.get_runtime_context()
    where = {"node": context.get_node_id(), "given": context.get_assigned_resources()}
    log = Path(fakes.script_of(run)["log"])
    with log.open("a") as file:
        file.write(json.dumps({"trial": trial.get("index", trial.get("seed")), "kind": trial["kind"], **where}) + "\n")
    if run["spec"]["name"] == "fake":
        meet(log, fakes.script_of(run)["all"]["meet"])
        return fakes.build(trial, run, device)
    job = build_job(trial, run, device)
    epoch = job.run_epoch
    job.run_epoch = lambda: (time.sleep(PAUSE), epoch())[1]  # type: ignore[method-assign]  # else it is over too soon
    return job


PAUSE = 0.3  # seconds before an epoch


def meet(log: Path, trials: int) -> None:
    """Wait until so many have begun: however long a process takes to start, they run at the same time."""
    deadline = time.monotonic() + 60
    while len(read_lines(log)) < trials and time.monotonic() < deadline:
        time.sleep(0.05)


class Nodes:
    """A cluster whose head takes no trials."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        soon = {
            "health_check_initial_delay_ms": 500,
            "health_check_period_ms": 500,
            "health_check_failure_threshold": 4,
        }
        # A lost node is known in seconds.
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": _SYSTEM | soon}
        with _without_unused_servers():
            self.cluster = Cluster(initialize_head=True, head_node_args=head)

    def add(self, accel: int = 1) -> Any:
        with _without_unused_servers():
            return self.cluster.add_node(num_cpus=1, resources={"accel": accel})

    def remove(self, name: str) -> None:
        node = next(each for each in self.cluster.list_all_nodes() if each.node_id == name)
        self.cluster.remove_node(node, allow_graceful=False)


def _rows(run: Path, pattern: str) -> dict[str, list[Any]]:
    return {path.parent.name: read_lines(path) for path in sorted(run.glob(f"{pattern}/*/metrics.jsonl"))}


def remove_under_way(nodes: Nodes, run: Path, log: Path, removed: list[dict[str, Any]]) -> None:
    """In mid-search and in mid-evaluation the node of a trial that has reported two epochs."""
    for pattern, kind, epochs in (("trials", "search", 5), ("evaluations", "evaluation", 8)):
        begun: dict[str, list[Any]] = {}
        deadline = time.monotonic() + 120
        while not begun and time.monotonic() < deadline:
            begun = {name: rows for name, rows in _rows(run, pattern).items() if 2 <= len(rows) < epochs}
            time.sleep(0.01)
        number = int(next(iter(begun)).rpartition("seed")[2])
        places = [each for each in read_lines(log) if each["kind"] == kind and each["trial"] == number]
        nodes.remove(places[-1]["node"])
        removed.append({"kind": kind, "trial": number, "node": places[-1]["node"], "rows": _rows(run, pattern)})


def sweep(folder: Path, loaded: LoadedSpec, address: str) -> tuple[RunDirectory, Path]:
    folder.mkdir()
    log = folder / "log"
    script = json.loads(loaded.question or "{}") | {"log": str(log)}
    loaded = replace(loaded, question=json.dumps(script))
    code = start_sweep(loaded, folder, "run", address=address, builder="tests.fault.nodes:build", display=False)
    if code:
        sys.exit(f"{folder.name} ended with {code}")
    return RunDirectory.open(folder / "run"), log


START = """
from raydarts.cluster.local import _without_unused_servers
from ray.scripts.scripts import main
with _without_unused_servers():
    main()
"""


@contextmanager
def blind_node(address: str, folder: Path) -> Iterator[None]:
    """One more node, for which another (empty) file system lies on `folder`: a machine without the network file system.

    Its raylet runs in a mount namespace of its own. Needs root on Linux.
    """
    count = len(living())
    start = f"start --address={address} --num-cpus=1 --block"
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", f"mount -t tmpfs none {folder} && exec {sys.executable} -c '{START}' {start}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 90
        while len(living()) == count:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("the blind node did not come")
            time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def living() -> list[str]:
    """The nodes that Ray counts as alive."""
    import ray

    return [node["NodeID"] for node in ray.nodes() if node["Alive"]]


def main() -> None:
    """`--blind`: with the node that does not see a folder."""
    folder = Path(sys.argv[1])
    set_environment()
    import ray

    nodes = Nodes()
    for _ in range(3):
        nodes.add()
    address = nodes.cluster.address
    ray.init(address=address, log_to_driver=False)
    (folder / "real.yaml").write_text(REAL.replace("MARKS", str(folder / "marks")))
    found: dict[str, Any] = {}
    removed: list[dict[str, Any]] = []
    arguments = (nodes, folder / "faulty" / "run", folder / "faulty" / "log", removed)
    threading.Thread(target=remove_under_way, args=arguments, daemon=True).start()
    _, log = sweep(folder / "faulty", load_spec(folder / "real.yaml"), address)
    found |= {"removed": removed, "places": read_lines(log)}
    found["loads"] = len((folder / "marks").read_text().split())
    for name, share, trials, at_once in (("halves", 0.5, 3, 2), ("both", 2, 2, 1)):
        if share == 2:
            nodes.add(accel=2)
        many = fakes.loaded(
            {"name": "random", "trials": trials},
            resources={"cpus": 0.1, "custom": {"accel": share}},
            base={"epochs": 4, "sleep": 1.0, "meet": at_once},
        )
        run, log = sweep(folder / name, many, address)
        times = {trial.id: trial.times() for trial in run.trials()}
        found[name] = {"places": read_lines(log), "times": times}
    if "--blind" in sys.argv:
        (folder / "blind").mkdir()
        found["nodes"] = len(living())  # the head takes no trials and is not asked; the blind node comes
        with blind_node(address, folder / "blind"):
            try:
                start_sweep(fakes.loaded(), folder / "blind" / "runs", address=address, display=False)
            except InputError as error:
                found["refused"] = str(error)
    (folder / "found.json").write_text(json.dumps(found))
    ray.shutdown()
    nodes.cluster.shutdown()


if __name__ == "__main__":
    main()
