"""A sweep as a Ray job: it runs on the cluster, whatever becomes of the machine that submitted it.

What travels: the spec's text, the command line, the version of raydarts. No variable of this machine's environment
does; what the sweep needs of secrets (W&B, the object store) is in the cluster's own environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from raydarts import __version__
from raydarts.cluster.authentication import REFUSED, UNKNOWN, token, use_token_if_any
from raydarts.errors import ClusterError, InputError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

ACCEPTED = "raydarts-job: accepted by"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# So that `ray job stop` is an interruption, which leaves the run's files in order, and not a kill after 3 s.
_STOP = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}


def check_storage(storage: str) -> None:
    """Raise `InputError` where a job could not use it, or where it would be written down with a secret in it."""
    if "://" not in storage:
        if not storage.startswith("/"):
            raise InputError(
                f"--storage {storage}: a path on the cluster's machines, so it must be absolute (such as "
                "/mnt/raydarts/runs), or a URI (such as s3://bucket/runs)"
            )
        return
    parts = urlsplit(storage)
    if parts.username or parts.password or re.search(r"(key|secret|token|password)=", parts.query, re.IGNORECASE):
        raise InputError(
            "--storage: the URI holds a key or password, which would end up in logs and on the dashboard; leave it "
            "out and give it to the cluster's machines in their environment"
        )


def entrypoint(arguments: Sequence[str], version: str = __version__) -> str:
    """The job's shell command: `raydarts ARGUMENTS`, where the cluster has the same raydarts as this machine."""
    refusal = (
        f"the cluster has raydarts $found where it starts Ray, and this was submitted by raydarts {version}: "
        "install the same on both (setup_commands of the cluster file)"
    )
    return (
        'found="$(raydarts version 2>/dev/null || echo none)"; '
        f'if [ "$found" != {shlex.quote(version)} ]; then echo "{refusal}" >&2; exit 2; fi; '
        f'echo "{ACCEPTED} raydarts $found on $(uname -n)"; exec raydarts {shlex.join(arguments)}'
    )


def connect_to_jobs(address: str) -> JobSubmissionClient:
    """The dashboard at `address` (http://host:port). Raises `ClusterError`, said for people."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ClusterError(
            f"--address {address}: jobs go to the cluster's dashboard, written http://host:port "
            "(through a tunnel: http://127.0.0.1:8265)"
        )
    use_token_if_any()
    from ray.exceptions import AuthenticationError  # noqa: PLC0415 - after the environment
    from ray.job_submission import JobSubmissionClient  # noqa: PLC0415

    for name in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise ClusterError(f"{address}: {UNKNOWN if token() is None else REFUSED}") from error
    except (ConnectionError, OSError) as error:
        raise ClusterError(
            f"{address}: no dashboard answers there; is the cluster up, and the tunnel to its head open "
            "('ray dashboard CLUSTER_FILE', or ssh -L 8265:127.0.0.1:8265 HEAD)?"
        ) from error
    except RuntimeError as error:
        if "ray[default]" in str(error):
            raise ClusterError("submitting needs Ray's job client: pip install 'raydarts[cluster]'") from error
        raise ClusterError(f"{address}: {error}") from error


def submit_job(
    client: JobSubmissionClient, job: str, arguments: Sequence[str], spec: tuple[str, str] | None = None
) -> None:
    """Submit `raydarts ARGUMENTS` as the job `job`. `spec`: name and text of the one file that lies in its folder."""
    runtime_env: dict[str, object] = {"env_vars": dict(_STOP)}
    with tempfile.TemporaryDirectory(prefix="raydarts-submit-") as folder:
        if spec is not None:
            (Path(folder) / spec[0]).write_text(spec[1], encoding="utf-8")
            runtime_env["working_dir"] = folder
        try:
            client.submit_job(
                entrypoint=entrypoint(arguments),
                submission_id=job,
                runtime_env=runtime_env,
                metadata={"raydarts": __version__},
            )
        except RuntimeError as error:
            raise ClusterError(f"the cluster does not take the job {job}: {error}") from error


def wait_for_acceptance(client: JobSubmissionClient, job: str, seconds: float = 60) -> str | None:
    """None once the job has begun; else what is known after `seconds`. Raises `ClusterError` where it ended at once."""
    deadline = time.monotonic() + seconds
    while True:
        status = client.get_job_status(job)
        logs = client.get_job_logs(job)
        if f"{ACCEPTED} raydarts {__version__} on" in logs:
            return None
        if status.is_terminal():
            info = client.get_job_info(job)
            raise ClusterError(f"{job} ended before it began: {logs.strip() or info.message}")
        if time.monotonic() > deadline:
            return f"still {status.value.lower()} after {seconds:.0f} s"
        time.sleep(0.5)


def follow(client: JobSubmissionClient, job: str, write: Callable[[str], object]) -> int:
    """Show a job's output until it ends. Its exit code; 1 where it has none."""
    asyncio.run(_tail(client, job, write))
    while not client.get_job_status(job).is_terminal():
        time.sleep(0.5)
    code = client.get_job_info(job).driver_exit_code
    return 1 if code is None else int(code)


async def _tail(client: JobSubmissionClient, job: str, write: Callable[[str], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the connection ended; whether the job did, its status says
        async for lines in client.tail_job_logs(job):
            write(lines)
