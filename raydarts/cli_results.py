"""The commands that read what a run left on disk: status, report, export, compare."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from raydarts.cli_paths import given_file, given_place
from raydarts.errors import InputError
from raydarts.terminal import CleanConsole

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


console = CleanConsole()


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def status(
    run: RunPath,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep it on the screen until the run ends.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks of --watch.", min=0.1)] = 5.0,
) -> None:
    """How far a run is: trials by status, best so far."""
    from raydarts.report.tables import status_json, status_table
    from raydarts.report.watch import follow

    if as_json and watch:
        raise InputError("--json prints once: leave --watch out")
    if as_json:
        print_json(status_json(run))
    elif watch:
        follow(run, console, every)
    else:
        console.print(status_table(run))


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
    """What a run found: the ranking of retrained genotypes, and every trial behind it."""
    from raydarts.report.tables import full, report_of

    if as_json and html:
        raise InputError("--json and --html are two reports: choose one")
    if out is not None and not html:
        raise InputError("--out is where --html writes: add --html")
    if html:
        from raydarts.report.html import write_html

        console.print(str(write_html(run, out)), markup=False, highlight=False, soft_wrap=True)
    elif as_json:
        print_json(report_of(run))
    else:
        console.print(full(run))


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
    """All results as one flat table: a row for each search trial and retraining."""
    from raydarts.report.export import export_run

    rows = export_run(run, to, epochs=epochs)
    console.print(f"{to}: {rows} rows", markup=False, highlight=False, soft_wrap=True)


def compare(first: RunPath, second: RunPath, as_json: AsJson = False) -> None:
    """Two runs side by side: what was changed, and what differs in the results."""
    from raydarts.report.compare import compare_runs, comparison_table

    found = compare_runs(first, second)
    if as_json:
        print_json(found)
    else:
        console.print(comparison_table(found))


COMMANDS = (status, report, export, compare)
