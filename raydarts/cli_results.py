"""The commands that read what a run left on disk: status, report, export, compare, logs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from raydarts.cli_paths import given_file, given_place
from raydarts.errors import InputError
from raydarts.runs.reading import Damage
from raydarts.terminal import console, say

RunPath = Annotated[
    Any,  # a Place, which typer cannot tell from its parts
    typer.Argument(
        help="A run directory: STORAGE/NAME, s3://BUCKET/PREFIX/NAME or gs://...",
        show_default=False,
        parser=given_place,
        metavar="PLACE",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


_SHOWN = 20


def tell_damage(damage: Damage) -> None:
    """Name on standard error what was left out, and end with exit code 1; nothing where all is whole."""
    problems = damage.problems
    if not problems:
        return
    more = f"\n... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    sys.stderr.write("\n".join(problems[:_SHOWN]) + more)
    sys.stderr.write("\nThe run is damaged there. That is left out above; all else is whole, and is shown.\n")
    raise typer.Exit(1)


def status(
    run: RunPath,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep it on the screen until the run ends.")] = False,
    every: Annotated[
        float | None, typer.Option(help="Seconds between two looks of --watch. Default: 5.", min=0.1)
    ] = None,
) -> None:
    """How far a run is: trials by status, best so far. Exit code 1: parts of the run are damaged."""
    from raydarts.report.tables import status_json, status_table
    from raydarts.report.watch import follow

    if as_json and watch:
        raise InputError("--json prints once: leave --watch out")
    if every is not None and not watch:
        raise InputError("--every is how often --watch looks: add --watch")
    damage = Damage()
    if watch:
        follow(run, console(), 5.0 if every is None else every)
    if as_json:
        print_json(status_json(run, damage))
    else:
        shown = status_table(run, damage)
        if not watch:
            console().print(shown)
    tell_damage(damage)


def report(
    run: RunPath,
    as_json: AsJson = False,
    html: Annotated[
        bool, typer.Option("--html", help="Write one HTML file with findings and figures; needs no network.")
    ] = False,
    out: Annotated[
        Any,
        typer.Option(
            help="Where --html writes. Default: report.html in the run directory.", parser=given_place, metavar="PLACE"
        ),
    ] = None,
) -> None:
    """What a run found: the ranking of retrained genotypes, and every trial behind it. Exit 1: parts are damaged."""
    from raydarts.report.tables import full, report_of

    if as_json and html:
        raise InputError("--json and --html are two reports: choose one")
    if out is not None and not html:
        raise InputError("--out is where --html writes: add --html")
    damage = Damage()
    if html:
        from raydarts.report.html import write_html

        say(console(), [write_html(run, out, damage)])
    elif as_json:
        print_json(report_of(run, damage))
    else:
        console().print(full(run, damage))
    tell_damage(damage)


def export(
    run: RunPath,
    to: Annotated[
        Path,
        typer.Option(
            help="The file on this machine: .csv or .parquet.", show_default=False, parser=given_file, metavar="FILE"
        ),
    ],
    epochs: Annotated[bool, typer.Option("--epochs", help="A row for each epoch, not for each job.")] = False,
) -> None:
    """All results as one flat table: a row for each search trial and retraining. Exit code 1: parts are damaged."""
    from raydarts.report.export import export_run

    damage = Damage()
    rows = export_run(run, to, epochs=epochs, damage=damage)
    say(console(), [f"{to}: {rows} rows"])
    tell_damage(damage)


def compare(first: RunPath, second: RunPath, as_json: AsJson = False) -> None:
    """Two runs side by side: what was changed, and what differs in the results. Exit code 1: parts are damaged."""
    from raydarts.report.compare import compare_runs, comparison_table

    damage = Damage()
    comparison = compare_runs(first, second, damage)
    if as_json:
        print_json(comparison)
    else:
        console().print(comparison_table(comparison))
    tell_damage(damage)


def logs(
    run: RunPath,
    trial: Annotated[
        str,
        typer.Argument(
            help="A trial (7 is 0007), or a retraining: GENOTYPE-seedN, of another stage STAGE/GENOTYPE-seedN.",
            show_default=False,
            metavar="ID",
        ),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new lines until the trial has ended.")
    ] = False,
) -> None:
    """What a trial's process logged and printed, with warnings and tracebacks, over all its attempts."""
    from raydarts.report.logs import log_lines

    for each in log_lines(run, trial, follow):
        say(console(), [each])


COMMANDS = (status, report, export, compare, logs)
