"""The commands that speak to W&B: `raydarts wandb report`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from raydarts.cli_paths import given_place
from raydarts.cli_results import RunPath
from raydarts.errors import InputError
from raydarts.terminal import console, say

app = typer.Typer(name="wandb", help="Weights & Biases: what a run gives to it.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Weights & Biases: what a run gives to it."""


@app.command()
def report(
    run: RunPath,
    entity: Annotated[
        str | None,
        typer.Option(help="The user or team the report is to be with. Default: the key's.", envvar="WANDB_ENTITY"),
    ] = None,
    project: Annotated[
        str, typer.Option(help="The project that the run was tracked in.", envvar="WANDB_PROJECT")
    ] = "raydarts",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the report's spec as JSON; no network, no account.")
    ] = False,
    out: Annotated[
        Any,
        typer.Option(
            help="Where --dry-run writes. Default: wandb-report.json in the run directory.",
            parser=given_place,
            metavar="PLACE",
        ),
    ] = None,
) -> None:
    """Save a W&B report of a run: findings in words, panels over its tracked runs, ranking, genotypes, cost."""
    if out is not None and not dry_run:
        raise InputError("--out is where --dry-run writes: add --dry-run")
    if dry_run:
        from raydarts.trackers.wandb.report import write_spec

        made = str(write_spec(run, entity, project, out))
    else:
        from raydarts.trackers.wandb.report import save

        made = save(run, entity, project)
    say(console(), [made])


@app.command()
def sync(
    run: RunPath,
    mode: Annotated[str, typer.Option(help="online: send; offline: write files into the run directory.")] = "online",
    entity: Annotated[
        str | None, typer.Option(help="The user or team. Default: the spec's, else the key's.", envvar="WANDB_ENTITY")
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="The project. Default: the spec's, else raydarts.", envvar="WANDB_PROJECT")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that W&B is known to have.")] = False,
) -> None:
    """Send a run's trials to W&B, on a sweep page: those written offline, and those never tracked."""
    from raydarts.trackers.wandb.sync import sync as send

    if mode not in ("online", "offline"):
        raise InputError(f"--mode {mode}: online or offline")

    def tell(line: str) -> None:
        say(console(), [line])

    sent = send(run, tell, again=again, mode=mode, entity=entity, project=project)
    tell(f"{sent} run(s) {'sent' if mode == 'online' else 'written'}")
