"""The commands that read what a run left on disk: status, report, export, compare, logs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from raydarts.cli_paths import given_file, given_place, given_run
from raydarts.errors import InputError
from raydarts.runs.reading import Damage
from raydarts.runs.trust import never
from raydarts.storage.place import Place
from raydarts.terminal import complain, console, say

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
DIFFERS = 6
"""Exit code: a certificate and its run differ."""


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
    from raydarts.report.status import status_json, status_table
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
    certificate: Annotated[
        bool,
        typer.Option(
            "--certificate",
            help="Write what the run has shown as one JSON file and one HTML page, with the SHA-256 of its files.",
        ),
    ] = False,
    check: Annotated[
        Any,
        typer.Option(
            help="With --certificate: compute this certificate again from the run, and compare. Exit code 6: something "
            "differs.",
            parser=given_place,
            metavar="CERTIFICATE",
        ),
    ] = None,
    out: Annotated[
        Any,
        typer.Option(
            help="Where --html or --certificate writes. Default: report.html or certificate.json in the run directory. "
            "A certificate's page goes beside its JSON file.",
            parser=given_place,
            metavar="PLACE",
        ),
    ] = None,
) -> None:
    """What a run found: the ranking of retrained genotypes, and every trial behind it. Exit 1: parts are damaged."""
    from raydarts.report.tables import answered, full

    if as_json + html + certificate > 1:
        raise InputError("--json, --html and --certificate are different reports: choose one")
    if out is not None and not (html or certificate):
        raise InputError("--out is where a page is written: add --html or --certificate")
    if check is not None and not certificate:
        raise InputError("--check compares a certificate with its run: add --certificate")
    if check is not None and out is not None:
        raise InputError("--check writes nothing: leave --out out")
    damage = Damage()
    if check is not None:
        _check(run, check, damage)
        return
    if certificate:
        from raydarts.report.certificate import write_certificate

        say(console(), write_certificate(run, out, damage))
    elif html:
        from raydarts.report.html import write_html

        say(console(), [write_html(run, out, damage)])
    elif as_json:
        print_json(answered(run, damage))
    else:
        console().print(full(run, damage))
    tell_damage(damage)


def _check(run: Any, certificate: Any, damage: Damage) -> None:
    """Compare a certificate with its run. Exit code 6 where something differs. Damage that it names is none."""
    from raydarts.report.certificate import check_certificate

    found = check_certificate(run, certificate, damage)
    if found.holds:
        named = f"; {len(damage.problems)} damaged parts of the run, as it says" if damage.problems else ""
        say(console(), [f"{certificate}: holds: computed again from {run}, every figure and file is the same{named}"])
        return
    for title, lines in (
        ("files of the run that are not those of the certificate", found.files),
        ("figures of the certificate that do not follow from the run", found.figures),
        ("the run cannot be read", [] if found.unreadable is None else [found.unreadable]),
    ):
        if lines:
            more = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
            complain("\n".join([f"{title}:", *(each.replace("\n", " ") for each in lines[:_SHOWN]), *more]))
    if found.figures and not found.files:
        complain("the files are those of the certificate, so that was edited, or another version of raydarts made it")
    raise typer.Exit(DIFFERS)


def export(
    run: Annotated[
        Any,  # a Place and a genotype's id
        typer.Argument(
            help="A run directory: STORAGE/NAME, s3://BUCKET/PREFIX/NAME or gs://... With --weights RUN:ID is a "
            "genotype of it; RUN alone is its winner. With --space a spec's file too.",
            show_default=False,
            parser=given_run,
            metavar="PLACE",
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option(
            help="The table, on this machine: .csv or .parquet. Or the searches as an Optuna study: .db or .log.",
            parser=given_file,
            metavar="FILE",
        ),
    ] = None,
    epochs: Annotated[bool, typer.Option("--epochs", help="A row for each epoch, not for each job.")] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Write the retrained weights of the genotype: .safetensors. raydarts.load_network reads it.",
            parser=given_file,
            metavar="FILE",
        ),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            help="Write the search space for ConfigSpace, AutoML.org's library: .json. Needs raydarts[configspace].",
            parser=given_file,
            metavar="FILE",
        ),
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="With --weights: the stage of retraining. Default: evaluate.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="With --weights: the evaluation seed. Default: the smallest.", min=0)
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="With --weights: run code that the genotype names, though it may be another's."),
    ] = False,
) -> None:
    """All results as one flat table (--to), a retrained network (--weights), or the search space (--space).

    Exit code 1: parts are damaged.
    """
    place, genotype = run
    if [to, weights, space].count(None) != 2:
        raise InputError(
            "give one of: --to FILE for the table of results, --weights FILE for a retrained network, --space FILE for "
            "the search space"
        )
    if weights is None:
        _refuse_idle(genotype, stage=stage, seed=seed, trust=trust)
    if to is None and epochs:
        raise InputError("--epochs is for the table: add --to, or leave it out")
    if space is not None:
        _export_space(place, space)
    if to is not None:
        damage = Damage()
        if to.suffix.lower() in (".db", ".log"):
            _export_study(place, to, epochs, damage)
        else:
            from raydarts.report.export import export_run

            rows = export_run(place, to, epochs=epochs, damage=damage)
            say(console(), [f"{to}: {rows} rows"])
        tell_damage(damage)
    if weights is not None:
        _export_weights(place, genotype, weights, stage, seed, trust)


def _export_study(place: Place, to: Path, epochs: bool, damage: Damage) -> None:
    from raydarts.runs.directory import RunDirectory
    from raydarts.trackers.optuna_journal import export_study

    if epochs:
        raise InputError("--epochs is for a table, .csv or .parquet: a study has each epoch's value anyway")
    count = export_study(RunDirectory.open(place, damage), to)
    say(console(), [f"{to}: an Optuna study of {count} searches; 'optuna-dashboard {to}' shows it"])


def _export_space(place: Place, file: Path) -> None:
    from raydarts.config.configspace import write_configspace
    from raydarts.config.loader import load_spec
    from raydarts.config.parsing import stored_tree
    from raydarts.runs.directory import RunDirectory

    if isinstance(place, Path) and place.is_file():
        spec = load_spec(place, absent_data=True)
        tree, name = spec.search, spec.name
    else:
        run = RunDirectory.open(place)
        tree, name = stored_tree(run.description()), run.name
    made = write_configspace(tree, name, file)
    say(console(), [f"{file}: {len(made)} open settings; ConfigurationSpace.from_json reads it"])


def _refuse_idle(genotype: str | None, **given: object) -> None:
    """Refuse what only --weights uses."""
    idle = [f"--{name}" for name, value in given.items() if value not in (None, False)]
    if genotype is not None:
        idle.append(f"the genotype :{genotype}")
    if idle:
        raise InputError(f"{' and '.join(idle)} is for --weights alone: leave it out, or write --weights FILE")


def _export_weights(
    place: Place, genotype: str | None, file: Path, stage: str | None, seed: int | None, trust: bool
) -> None:
    from raydarts.execution.trained import of_run, write_weights
    from raydarts.runs.directory import RunDirectory
    from raydarts.runs.winner import chosen
    from raydarts.study.stages import EVALUATE

    if file.suffix.lower() != ".safetensors":
        raise InputError(f"{file}: the file's name must end in .safetensors")
    opened = RunDirectory.open(place)
    number, _ = chosen(opened, genotype)
    trained = of_run(opened, number, stage or EVALUATE, seed, (lambda _: True) if trust else never)
    write_weights(trained, file)
    about = trained.about
    figures = ", ".join(f"{name} {value:g}" for name, value in about.figures.items())
    say(console(), [f"{file}: genotype {number}, stage {about.stage}, evaluation seed {about.seed}; {figures}"])


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
