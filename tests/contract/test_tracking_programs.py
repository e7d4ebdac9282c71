"""What was tracked, read back by the real programs on loopback: an MLflow server, and optuna-dashboard."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from raydarts import trackers
from raydarts.config.track import TrackSettings
from raydarts.runs.directory import RunDirectory
from raydarts.storage.files import read_json, write_json
from tests.commands import run_here
from tests.synthetic_run import write_run

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        text = answer.read()
    return json.loads(text) if text.startswith((b"{", b"[")) else text.decode()


@contextmanager
def serving(command: list[str], url: str, log: Path) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            limit = time.monotonic() + 120
            while True:
                try:
                    ask(url)
                    break
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < limit, log.read_text()
                    time.sleep(0.3)
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # MLflow's has processes of its own
            process.wait(30)


def track(folder: Path, settings: dict[str, Any]) -> RunDirectory:
    """A run of three searches, of which one failed and one goes on, and a retraining; all are tracked."""
    path = write_run(folder / "run", trials=3, top_k=1, epochs=3)
    description = read_json(path / "run.json")
    second = {"name": "finite_difference", "xi": {"choice": [0.01, 0.1, "lr"]}, "epsilon": {"loguniform": [1e-3, 0.1]}}
    description["spec"]["search"] = {
        "seed": {"grid": [0, 1, 2, 3]},
        "estimator": {"choice": ["first_order", second]},
        "regularizers": [{"name": "beta_decay", "strength": {"uniform": [0, 1]}}],
        "nothing": {"choice": ["a", "b", "c"]},
    }
    description["spec"]["track"] = TrackSettings.model_validate(settings).model_dump(mode="json")
    write_json(path / "run.json", description)
    run = RunDirectory.open(path)
    assert not (trackers.begin(run) or "").startswith("tracker")
    for trial in [*run.trials(), *run.evaluations()[:1]]:
        trial.claim()
        observers = trackers.observers(trial)
        observers.finished(trial.result() or {})
        observers.close()
    assert not trackers.conclude(run)
    return run


def test_an_mlflow_server_has_every_trial_with_its_settings_figures_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow.server")
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # eight processes that nothing here asks anything
    port = free_port()
    store = f"sqlite:///{tmp_path}/mlflow.db"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--default-artifact-root", str(tmp_path / "artifacts")]
    url = f"http://127.0.0.1:{port}"
    with serving(command, f"{url}/health", tmp_path / "server.log"):
        run = track(tmp_path, {"mlflow": {"uri": url, "experiment": "mine"}})
        experiment = ask(f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=mine")["experiment"]
        wanted = {"experiment_ids": [experiment["experiment_id"]]}
        runs = {each["info"]["run_name"]: each for each in ask(f"{url}/api/2.0/mlflow/runs/search", wanted)["runs"]}
        results = {trial.id: trial.result() or {} for trial in [*run.trials(), *run.evaluations()[:1]]}
        assert set(runs) == set(results)
        for name, each in runs.items():
            status = "FAILED" if results[name]["status"] == "failed" else "FINISHED"
            assert each["info"]["status"] == status
        first = run.trials()[0]
        data = runs[first.id]["data"]
        params = {entry["key"]: entry["value"] for entry in data["params"]}
        assert params["search.estimator"] == (first.description()["choices"] or {})["search.estimator"]
        number = runs[first.id]["info"]["run_id"]
        history = ask(f"{url}/api/2.0/mlflow/metrics/get-history?run_id={number}&metric_key=weight_loss")["metrics"]
        assert [(int(entry["step"]), entry["value"]) for entry in history] == [
            (row["epoch"], row["weight_loss"]) for row in first.rows()
        ]


def test_optuna_dashboard_shows_the_sweep_and_an_exported_study(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    run = track(tmp_path, {"optuna_journal": True})
    done = run_here("export", run.path, "--to", "study.db", cwd=tmp_path)
    assert done.code == 0, done.err
    again = run_here("export", run.path, "--to", "study.db", cwd=tmp_path)
    assert (again.code, "is there already" in again.err) == (2, True)
    for store in (f"{run.path}/optuna.log", f"sqlite:///{tmp_path}/study.db"):
        port = free_port()
        command = [str(Path(sys.executable).parent / "optuna-dashboard"), store, "--host", "127.0.0.1"]
        url = f"http://127.0.0.1:{port}/api/studies"
        with serving([*command, "--port", str(port)], url, tmp_path / "dashboard.log"):
            (summary,) = ask(url)["study_summaries"]
            assert summary["study_name"] == "run"
            study = ask(f"{url}/{summary['study_id']}")
        trials = {
            next(each["value"] for each in trial["user_attrs"] if each["key"] == "raydarts.trial"): trial
            for trial in study["trials"]
        }
        for trial in run.trials():
            shown, result = trials[trial.id], trial.result() or {}
            if result["status"] == "completed":
                assert shown["state"] == "Complete"
                assert shown["values"] == [pytest.approx(trial.rows()[-1]["validation_accuracy"])]
                assert len(shown["intermediate_values"]) == 3
                assert {each["name"] for each in shown["params"]} == set(trial.description()["choices"] or {})
            else:
                assert shown["state"] == {"failed": "Fail", "stopped": "Pruned"}[result["status"]]
