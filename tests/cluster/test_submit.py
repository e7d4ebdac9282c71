"""A sweep as a job of a real Ray with token authentication: submitted, stopped, gone on with; and what it leaves.

In the end the head is lost under a sweep that this machine drives.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raydarts import __version__
from raydarts.cluster import connection as cluster
from raydarts.cluster import submission
from raydarts.cluster.head import HEAD_LOST
from raydarts.errors import ClusterError, InputError
from raydarts.runs.directory import RunDirectory
from raydarts.sweeping.runner import resume_sweep
from tests import alone
from tests.alone import figures
from tests.cluster.head import Head, free_port, started_head
from tests.here import sweeps_run_here

SPEC = """
data: {dataset: digits, limit: 80, validation_fraction: 0.25}
search:
  seed: {grid: [0]}
  epochs: 30
  batch_size: 16
  space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}
"""
SECRETS = {
    "WANDB_API_KEY": "5ec2e7" + "0" * 28 + "wandb0",
    "AWS_ACCESS_KEY_ID": "AKIA5EC2E7EXAMPLE000",
    "AWS_SECRET_ACCESS_KEY": "5ec2e7/aws+secret/0123456789abcdefghijkl",
}


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with started_head(SECRETS) as made:
        (made.folder / "tiny.yaml").write_text(SPEC)
        yield made


def wait_for(condition: Callable[[], Any], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def holding(folder: Path, value: str) -> list[str]:
    """The files below a folder that hold a value."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and value.encode() in path.read_bytes()]


def ask(head: Head, path: str, method: str = "GET") -> dict[str, Any]:
    request = urllib.request.Request(f"{head.dashboard}/api/jobs/{path}", method=method)
    request.add_header("Authorization", f"Bearer {head.token}")
    with urllib.request.urlopen(request, timeout=90) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@pytest.mark.ray
def test_a_job_outlives_its_submitter_is_stopped_in_order_and_goes_on(head: Head) -> None:
    run = head.folder / "runs" / "tiny"
    options = ("--address", head.dashboard)
    begun = head.raydarts("submit", "tiny.yaml", "--storage", run.parent, "--name", "tiny", *options, **SECRETS)
    assert begun.returncode == 0, begun.stdout + begun.stderr
    assert "raydarts-tiny: running" in begun.stdout
    wait_for(lambda: any(run.glob("trials/*/metrics.jsonl")))
    ask(head, "raydarts-tiny/stop", "POST")  # what `ray job stop` sends
    wait_for(lambda: ask(head, "raydarts-tiny")["status"] == "STOPPED")
    assert json.loads((run / "status.json").read_text())["status"] == "interrupted"
    twice = head.raydarts("submit", "tiny.yaml", "--storage", run.parent, "--name", "tiny", *options)
    assert twice.returncode == 2
    assert "does not take the job raydarts-tiny" in twice.stderr  # a job's name is used once
    again = head.raydarts("submit", "--resume", run, *options, "--follow", **SECRETS)
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads((run / "status.json").read_text())["status"] == "completed"
    results = [json.loads(path.read_text())["status"] for path in run.glob("trials/*/result.json")]
    assert results == ["completed"]
    # What was in the environments of both sides, and the token, is in none of the files, nor in what was said.
    logs = head.folder / "ray"
    assert holding(run, "darts-cnn")
    assert holding(logs, "tiny.yaml")
    for value in (*SECRETS.values(), head.token):
        assert value not in begun.stdout + begun.stderr + again.stdout + again.stderr
        assert holding(head.folder / "runs", value) == []
        assert holding(logs, value) == []


@pytest.mark.ray
@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"RAY_AUTH_TOKEN": "ab" * 32}, "refuses this machine's token"),
        ({"HOME": "/nonexistent"}, "this machine has none"),
    ],
)
def test_a_wrong_token_and_none_are_told_apart(head: Head, variables: dict[str, str], told: str) -> None:
    program = "import sys; from raydarts.errors import ClusterError; from raydarts.cluster import {0}\ntry: {0}.{1}\n"
    program += "except ClusterError as error: print(error)"
    for call in (("submission", f"connect_to_jobs({head.dashboard!r})"), ("connection", f"connect({head.gcs!r})")):
        done = head.python("-c", program.format(*call), **variables)
        assert told in done.stdout, done.stdout + done.stderr
        assert done.stderr == ""
        assert head.token not in done.stdout


@pytest.mark.ray
@pytest.mark.usefixtures("one_thread")
def test_a_sweep_from_this_machine_runs_on_the_cluster_and_ends_with_words_where_the_head_is_lost(head: Head) -> None:
    """In the second of two searches, the first one being short. It goes on elsewhere: in this process. A resume under
    real Ray: test_local_ray_lost.py. This head is gone.
    """
    run = RunDirectory(head.folder / "runs" / "direct")
    place = (
        "--storage",
        run.path.parent,
        "--name",
        "direct",
        "--set",
        "search.epochs={grid: [2, 20]}",
        "--set",
        "sweep.searcher=grid",
    )
    driver = head.started("sweep", "tiny.yaml", *place, "--set", "sweep.max_concurrent=1", "--address", head.gcs)
    wait_for(lambda: len(rows(run, 1)) >= 2 or driver.poll() is not None)
    before = rows(run, 1)
    head.kill()
    out, told = driver.communicate(timeout=90)
    assert driver.returncode == HEAD_LOST, told[-3000:]
    assert out.count("one copy on each node for all trials, loaded when a trial needs it") == 1
    assert 2 <= len(before) < 20, "the head was not lost in mid-search"
    assert "the head of the cluster at 127.0.0.1:" in told
    assert "has not answered for 20 s" in told
    assert f"raydarts resume {run.path} --address ADDRESS" in told
    first, second = run.trials()
    ended = first.owner()
    assert (first.result() or {})["status"] == "completed"
    with sweeps_run_here():
        assert resume_sweep(run.path, display=False) == 0
    assert first.owner() == ended, "a finished trial was run again"
    assert second.failures() == []
    assert second.rows()[: len(before)] == before
    assert figures(second.rows()) == alone.run_here(second, run)[0]


def rows(run: RunDirectory, index: int) -> list[dict[str, Any]]:
    return run.trial(index).rows() if run.trial(index).path.exists() else []


def test_missing_dashboard_error_names_the_tunnel() -> None:
    with pytest.raises(ClusterError, match=r"no dashboard answers there.*ssh -L 8265"):
        submission.connect_to_jobs(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ClusterError, match="http://host:port"):
        submission.connect_to_jobs("127.0.0.1:8265")


def test_an_address_where_nobody_is_is_refused_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(ClusterError, match="nobody answers there"):
        cluster.connect(f"127.0.0.1:{free_port()}")
    with pytest.raises(ClusterError, match="host:port"):
        cluster.connect("somewhere")
    assert time.monotonic() - began < 10  # Ray would have waited ten minutes


@pytest.mark.parametrize(("there", "code"), [(__version__, 0), ("0.0.9", 2), (None, 2)])
def test_another_raydarts_on_the_cluster_is_refused(tmp_path: Path, there: str | None, code: int) -> None:
    if there is not None:
        (tmp_path / "raydarts").write_text(f'#!/bin/sh\n[ "$1" = version ] && echo {there} || echo "ran: $*"\n')
        (tmp_path / "raydarts").chmod(0o755)
    command = submission.entrypoint(["sweep", "a b.yaml", "--set", "search.seed={grid: [0]}; touch x"])
    environment = {"PATH": f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin"}
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    if code:
        assert f"the cluster has raydarts {there or 'none'}" in done.stderr
        assert f"submitted by raydarts {__version__}" in done.stderr
    else:
        assert "ran: sweep a b.yaml --set search.seed={grid: [0]}; touch x" in done.stdout
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "storage",
    ["runs", "./runs", "s3://key:secret@bucket/runs", "s3://bucket/runs?secret_key=abc", "gs://user@bucket/runs"],
)
def test_storage_that_a_job_could_not_use_or_that_holds_a_secret_is_refused(storage: str) -> None:
    with pytest.raises(InputError, match="--storage") as caught:
        submission.check_storage(storage)
    assert "secret@" not in str(caught.value)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("storage", ["/mnt/raydarts/runs", "s3://bucket/runs", "gs://bucket/runs?anonymous=true"])
def test_storage_that_all_machines_see_is_taken(storage: str) -> None:
    submission.check_storage(storage)
