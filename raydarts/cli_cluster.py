"""The command that hands a sweep to a cluster: `raydarts submit`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from raydarts.cli_paths import given_file
from raydarts.errors import InputError
from raydarts.terminal import clean, complain, console, say

ADDRESS = "http://127.0.0.1:8265"


def submit(
    spec: Annotated[
        Path | None,
        typer.Argument(
            help="A spec (YAML); it alone is uploaded.", show_default=False, parser=given_file, metavar="SPEC"
        ),
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Folder that holds runs: a path or URI that all of the cluster's machines see.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The run's name. Default: the spec's name and the time.")] = None,
    address: Annotated[
        str,
        typer.Option(
            help="The cluster's dashboard; through a tunnel it is on this machine.", envvar="RAY_API_SERVER_ADDRESS"
        ),
    ] = ADDRESS,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Replace a value of the spec: path.to.key=value. Repeatable.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(help="Go on with this run (as the cluster sees it) instead of beginning one.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="With --resume: run code that the run names, though it may be another's.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show its output to the end; Ctrl-C leaves the job running.")
    ] = False,
) -> None:
    """Run a sweep as a job on a cluster: this machine may then be switched off."""
    from raydarts.cluster import submission

    if resume is not None:
        if spec is not None or storage is not None or name is not None or sets:
            raise InputError(
                "--resume RUN goes on with a run as it was begun: leave SPEC, --storage, --name and --set out"
            )
        submission.check_storage(resume)
        run, file = resume, None
        arguments = ["resume", resume, "--address", "auto", *(["--trust"] if trust else [])]
    else:
        if trust:
            raise InputError("--trust is for a run that is gone on with: add --resume RUN, or leave it out")
        run, file, arguments = _new_run(spec, storage, name, sets or [])
    job = f"raydarts-{run.rstrip('/').rsplit('/', 1)[-1]}"
    if resume is not None:
        job += f"-{datetime.now():%Y%m%d-%H%M%S}"  # a job's name is used once
    client = submission.connect_to_jobs(address)
    _warn_unencrypted(address)
    submission.submit_job(client, job, arguments, file)
    refusal = submission.wait_for_acceptance(client, job)
    say(console(), [f"{job}: {refusal or 'running'}; the run is {run}"])
    _how_to_go_on(job, address, run)
    if follow:
        raise typer.Exit(_follow(client, job))


def _new_run(
    spec: Path | None, storage: str | None, name: str | None, sets: list[str]
) -> tuple[str, tuple[str, str], list[str]]:
    """The run's place, the spec's file name and text, and the command line on the cluster."""
    from raydarts.cluster import submission
    from raydarts.config.loader import load_spec
    from raydarts.config.spec import check_name

    if spec is None or storage is None:
        raise InputError("a new run needs SPEC and --storage; an existing one goes on with --resume RUN")
    submission.check_storage(storage)
    loaded = load_spec(spec, sets)
    name = check_name(name) if name is not None else f"{loaded.name}-{datetime.now():%Y%m%d-%H%M%S}"
    arguments = ["sweep", spec.name, "--storage", storage, "--name", name, "--address", "auto"]
    arguments += [word for value in sets for word in ("--set", value)]
    return f"{storage.rstrip('/')}/{name}", (spec.name, loaded.text), arguments


def _warn_unencrypted(address: str) -> None:
    from raydarts.cluster.submission import LOOPBACK

    parts = urlsplit(address)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        complain(
            f"{address}: not encrypted, so whoever listens on the way can read the token; a tunnel is safer: "
            "ssh -L 8265:127.0.0.1:8265 HEAD"
        )


def _how_to_go_on(job: str, address: str, run: str) -> None:
    ray = f"RAY_AUTH_MODE=token ray job {{}} --address {address}"
    for what, command in (
        ("its output", f"{ray.format('logs')} --follow {job}"),
        ("stop it", f"{ray.format('stop')} {job}"),
        ("go on", f"raydarts submit --resume {run} --address {address}"),
        ("results", f"raydarts report {run}   # on a machine that sees it"),
    ):
        say(console(), [f"  {what + ':':12}{command}"])


def _follow(client: object, job: str) -> int:
    from raydarts.cluster import submission

    try:
        return submission.follow(client, job, lambda output: sys.stdout.write(clean(output, "\n\t")))  # type: ignore[arg-type]
    except KeyboardInterrupt:
        complain(f"{job} goes on without this machine")
        return 130


COMMANDS = (submit,)
