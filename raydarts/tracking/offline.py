"""`python -m raydarts.tracking.offline TRIAL`: one trial's offline file, from its folder, in a process of its own.

W&B's service refuses a second run of an id while the first one hangs in it; a new process has a service of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from raydarts.runs.directory import TrialDirectory
from raydarts.runs.stages import run_of
from raydarts.storage.objects import ObjectPlace
from raydarts.tracking import settings_of
from raydarts.tracking.writer import WandbRun


def write_apart(trial: TrialDirectory, result: Mapping[str, Any], seconds: float) -> str | None:
    """Write the file in a new process, which is ended after `seconds`. None, or why there is no file."""
    if isinstance(trial.path, ObjectPlace):
        return "beside a run in an object store none is written: it is sent from there"
    apart = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    command = [sys.executable, "-m", "raydarts.tracking.offline", str(trial.path)]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            input=json.dumps(dict(result)),
            text=True,
            capture_output=True,
            timeout=seconds,
            check=False,
            env=apart,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        return f"{type(error).__name__}: the offline file could not be written in {seconds:g} s"
    return None if done.returncode == 0 else " ".join(done.stderr[-300:].split())


def main() -> None:
    trial = TrialDirectory(sys.argv[1])
    run = run_of(trial)
    settings = settings_of(run.description()).wandb
    if settings is None:
        sys.exit(f"{run.path}: has no track.wandb")
    writer = WandbRun(run, trial, settings, offline=True)
    writer.open()
    writer.finish(json.load(sys.stdin))
    os._exit(0)  # the file is whole; wandb's own goodbye to a server that does not answer takes 12 s


if __name__ == "__main__":
    main()
