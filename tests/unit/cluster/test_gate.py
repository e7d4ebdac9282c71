"""Whoever imports Ray first, by whatever command, finds set what keeps a local Ray on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raydarts.cluster import gate
from tests.variables import without_ray

COMMON = """
import os, sys
class Seen(BaseException): pass  # what loads own code turns any Exception into words
class Hook:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ray":
            raise Seen(os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"), os.environ.get("TUNE_RESULT_BUFFER_LENGTH"))
"""
COMMANDS = (
    COMMON
    + """
import contextlib, io, json
from raydarts import cli
from raydarts.config.loader import load_spec
from raydarts.runs.directory import RunDirectory
RunDirectory.create("run", kind="sweep", spec=load_spec("spec.yaml").to_plain())
given = dict(normal=[["skip_connect", 0], ["skip_connect", 1]], reduce=[["skip_connect", 0], ["skip_connect", 1]])
given |= dict(normal_concat=[2], reduce_concat=[2])
open("cell.json", "w").write(json.dumps(given))
sys.meta_path.insert(0, Hook())
sys.path.insert(0, "")
told = {}
for name, command in {
    "sweep": ["sweep", "spec.yaml"],
    "stage": ["sweep", "spec.yaml", "--stage", "evaluate", "--genotypes", "cell.json"],
    "resume": ["resume", "run"],
    "own module": ["sweep", "own.yaml"],
    "address": ["sweep", "spec.yaml", "--address", "auto"],
    "resume at address": ["resume", "run", "--address", "auto"],
}.items():
    os.environ.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", None)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            cli.app(command, standalone_mode=False)
    except Seen as seen:
        told[name] = seen.args
    except Exception as error:
        told[name] = repr(error)
import importlib, pkgutil, raydarts
behind = []
for found in pkgutil.walk_packages(raydarts.__path__, "raydarts."):
    try:
        importlib.import_module(found.name)
    except Seen:
        behind.append(found.name.removeprefix("raydarts."))
print(json.dumps([told, sorted(behind)]))
"""
)
SPEC = """
data: {dataset: digits, limit: 80, validation_fraction: 0.25}
search: {epochs: 1, batch_size: 16, space: {name: darts-cnn, channels: 4, layers: 3, nodes: 1}}
evaluate: {training: {epochs: 1, batch_size: 16, network: {channels: 4, layers: 3, auxiliary_weight: 0}}}
"""


def run(program: str, cwd: Path) -> str:
    environment = without_ray("TUNE_")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What each command had set when Ray would have been imported first, and which modules import Ray."""
    folder = tmp_path_factory.mktemp("gate")
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "own.yaml").write_text(SPEC + "sweep: {searcher: {name: 'own_searcher:Own'}}\n")
    (folder / "own_searcher.py").write_text("import ray\n")
    return json.loads(run(COMMANDS, folder).splitlines()[-1])


def test_each_command_sets_all_before_anything_imports_ray(told: Any) -> None:
    local, cluster = ["0", "1"], [None, "1"]
    assert told[0] == {
        "sweep": local,
        "stage": local,
        "resume": local,
        "own module": local,
        "address": cluster,
        "resume at address": cluster,
    }


def test_only_modules_behind_the_gate_import_ray(told: Any) -> None:
    """All modules but those that stand behind the gate: they are Ray's own subclasses, loaded when it is open."""
    assert told[1] == ["execution.process_group", "execution.trainable", "execution.tune", "sweeping.engine"]


def test_ray_imported_before_with_other_settings_is_refused(tmp_path: Path) -> None:
    program = """
import ray
from raydarts.errors import ClusterError
from raydarts.cluster.gate import import_ray
import_ray("auto")
try:
    import_ray(None)
except ClusterError as error:
    print(error)
"""
    assert "listen on every network interface. Call raydarts.cluster.gate.prepare(None) before" in run(
        program, tmp_path
    )


def test_files_on_pythonpath_with_the_names_of_modules_do_not_stop_the_driver_or_are_named(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise RuntimeError('of the user')")
    (tmp_path / "typing.py").write_text("x = 1")
    (tmp_path / "ray.py").write_text("x = 1")
    program = """
import raydarts, random, typing
from raydarts.errors import ClusterError
from raydarts.cluster.gate import import_ray
try:
    import_ray(None)
except ClusterError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{tmp_path / 'ray.py'} is not Ray, and has its name: rename it\n"


def test_a_user_cannot_open_a_local_ray_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gate.LOOPBACK, "1")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    gate.prepare("10.0.0.5:6379")
    assert os.environ[gate.LOOPBACK] == "1"
    gate.prepare(None)
    assert os.environ[gate.LOOPBACK] == "0"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
