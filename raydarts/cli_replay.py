"""The command that tries a sweep's settings on recorded searches: replay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from raydarts.cli_paths import given_file, given_place
from raydarts.terminal import console, say


def replay(
    runs: Annotated[
        list[Any],
        typer.Argument(
            help="Run directories of sweeps, or tables of recorded searches (.json, .json.gz).",
            show_default=False,
            parser=given_place,
            metavar="RUN",
        ),
    ],
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of the replayed sweep: sweep.scheduler=asha (value as in YAML). Repeatable. Others: as the "
            "run has them, or the defaults.",
        ),
    ] = None,
    sweeps: Annotated[int, typer.Option(help="How many sweeps, each in another order.", min=1)] = 100,
    workers: Annotated[int, typer.Option(help="How many trials run at the same time.", min=1)] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the orders and of the search seeds drawn.", min=0)] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--json", help="Write all of it as JSON to this file.", parser=given_file, metavar="OUT"),
    ] = None,
) -> None:
    """Try a sweep's settings on searches that were recorded. Nothing is trained: trials report the recorded rows."""
    from raydarts.report.replays import as_json, table
    from raydarts.runs.recordings import read
    from raydarts.storage.files import write_json
    from raydarts.sweeping.replays import plan_of, run, settings_of, summary

    recordings = read(runs)
    settings = settings_of(recordings, sets or ())
    plan, notes = plan_of(recordings, settings, workers, seed)
    say(console(), [*recordings.notes, *notes])
    rows = run(plan, sweeps)
    outcome = summary(rows)
    console().print(table(outcome, plan.recordings, settings.score, workers))
    if out is not None:
        write_json(out, as_json(outcome, rows, plan.recordings, settings.model_dump(mode="json"), workers, seed))
        say(console(), [f"{out}: {len(rows)} sweeps"])


COMMANDS = (replay,)
