"""The command line: `raydarts sweep SPEC` and what belongs to it.

Exit codes are in `EXIT_CODES`, and for each command in docs/exit-codes.md. Commands import what they need when they
run, so that `--help`, `show` and `list` are quick and work without Ray.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raydarts import __version__, cli_cluster, cli_replay, cli_results, cli_spec, cli_wandb, outside
from raydarts.cli_paths import given_file, given_genotype, given_genotypes, given_place
from raydarts.errors import InputError, StorageError, TrialError
from raydarts.loading import end_quickly, loading
from raydarts.runs.naming import derived
from raydarts.terminal import clean_warnings, complain, console, say

if TYPE_CHECKING:
    from raydarts.config.loader import LoadedSpec
    from raydarts.config.plan import Plan
    from raydarts.errors import Problem
    from raydarts.runs.trust import Ask

EXIT_CODES = {
    0: "done",
    1: "a trial failed, or parts of a run are damaged (they are named, the rest is shown)",
    2: "something that was given is wrong: the command line, a spec, data, a run, a cluster",
    3: "halted, the budget is spent; resume with a larger one",
    4: "the storage failed; can be resumed",
    5: "Ray was lost: the cluster's head or the local Ray; can be resumed",
    6: "a certificate and its run differ",
    130: "interrupted; can be resumed",
}
app = typer.Typer(
    name="raydarts",
    epilog="\b\nExit codes:\n" + "\n".join(f"  {code:<5}{text}" for code, text in EXIT_CODES.items()),
    help="Sweep differentiable architecture search (DARTS) on Ray, retrain the best genotypes, rank them honestly.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
WRITE, RUN, READ = "Write a spec", "Run it", "Read what came of it"
"""The groups of commands in `--help`."""
for panel, commands in (
    (WRITE, cli_spec.COMMANDS),
    (RUN, (*cli_replay.COMMANDS, *cli_cluster.COMMANDS)),
    (READ, cli_results.COMMANDS),
):
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(cli_wandb.app, rich_help_panel=READ)


def _say_version(asked: bool) -> None:
    if asked:
        console().print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version of raydarts.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """What stands before a command."""


SpecPath = Annotated[
    Path,
    typer.Argument(
        help="A spec (YAML); see sweeps/ for examples.", show_default=False, parser=given_file, metavar="SPEC"
    ),
]
RunPath = cli_results.RunPath
GenotypePath = Annotated[
    Any,  # a GenotypeFile
    typer.Argument(
        help="A genotype: JSON, or Python's Genotype(...) as authors publish it; FILE:NAME chooses one of several. Or "
        "RUN:ID, a genotype of a run; RUN alone is its winner.",
        show_default=False,
        parser=given_genotype,
        metavar="GENOTYPE",
    ),
]
Storage = Annotated[
    Any,  # a Place, which typer cannot tell from its parts
    typer.Option(
        help="What holds runs: a folder (on several nodes one that all mount), s3://BUCKET/PREFIX or gs://...",
        parser=given_place,
        metavar="PLACE",
    ),
]
Name = Annotated[str | None, typer.Option(help="The run's name. Default: the spec's name and the time.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="Replace a value of the spec: path.to.key=value (value as in YAML). Repeatable."),
]
Address = Annotated[
    str | None, typer.Option(help="A running Ray cluster ('auto' or host:port). Default: this machine.")
]
AsJson = cli_results.AsJson
Trust = Annotated[
    bool, typer.Option("--trust", help="Run code that the run or genotype names, though it may be another's.")
]
Gpu = Annotated[bool, typer.Option("--gpu", help="Train on the first GPU; resume then does too.")]


def _load(spec: Path, overrides: list[str] | None) -> LoadedSpec:
    with loading():
        from raydarts.config.loader import load_spec

        return load_spec(spec, overrides or ())


def asking(trust: bool) -> Ask:
    """Who answers whether to run another's code: `--trust`, else whoever sits at the terminal, else nobody: no."""
    from raydarts.runs.trust import never

    def ask(text: str) -> bool:
        try:
            return trust or typer.confirm(f"{text}\nRun it?", err=True)
        except typer.Abort:  # Ctrl-C or Ctrl-D for an answer
            return False

    return ask if trust or (sys.stdin.isatty() and sys.stderr.isatty()) else never


@app.command(rich_help_panel=RUN)
def sweep(
    spec: SpecPath,
    storage: Storage = Path("runs"),
    name: Name = None,
    address: Address = None,
    sets: Sets = None,
    stage: Annotated[
        str | None, typer.Option(help="Run this stage alone: search, rung-1, evaluate, transfer-NAME.")
    ] = None,
    genotypes: Annotated[
        list[Any] | None,
        typer.Option(
            help="With --stage: what it retrains: a run, RUN:ID, or a genotype's FILE or FILE:NAME. Repeatable.",
            parser=given_genotypes,
            metavar="PLACE",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and start nothing.")] = False,
    time_steps: Annotated[
        bool,
        typer.Option(
            "--time",
            help="With --dry-run: time steps of each structure and stage here, and say what the run will take.",
        ),
    ] = False,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse",
            help="Run all stages here at tiny scale, in minutes, and say what the real run costs. Data that are absent "
            "are made up; without a GPU it runs on the CPU.",
        ),
    ] = False,
    trust: Trust = False,
) -> None:
    """Run a sweep: search trials, retraining of the best genotypes in stages, ranking."""
    from raydarts import cli_rehearsal

    if rehearse:
        cli_rehearsal.check(address, stage, genotypes, dry_run, time_steps)
        cli_rehearsal.rehearse(spec, sets or [], storage, name)
        return
    if time_steps and not dry_run:
        raise InputError("--time times steps for --dry-run: add --dry-run, or leave --time out")
    if time_steps and address is not None:
        raise InputError("--time times steps on this machine: leave --address out, or run it where the trials run")
    if trust and not genotypes:
        raise InputError("--trust is for the code that --genotypes name: a spec's own code needs no leave")
    if dry_run:
        _show_plan(spec, sets, address, stage, genotypes or [], trust, time_steps)
        return
    from raydarts.api import run_sweep

    raise typer.Exit(run_sweep(spec, sets or [], storage, name, address, stage, genotypes or [], asking(trust))[0])


def _show_plan(
    spec: Path,
    sets: list[str] | None,
    address: str | None,
    stage: str | None,
    genotypes: list[Any],
    trust: bool,
    time_steps: bool,
) -> None:
    """What `sweep --dry-run` prints. It starts nothing."""
    from raydarts import cli_rehearsal
    from raydarts.cluster import gate

    gate.prepare(address)  # before the spec's own modules, which may import Ray
    from raydarts.cluster.connection import capacity
    from raydarts.cluster.resources import here
    from raydarts.config.plan import plan, render
    from raydarts.config.retraining import describe_data
    from raydarts.sweeping import memory
    from raydarts.sweeping.genotype_sources import genotypes_for

    loaded = _load(spec, sets)
    candidates = genotypes_for(loaded, stage, genotypes, asking(trust))
    planned = plan(loaded, stage, None if candidates is None else len(candidates["candidates"]))
    held = describe_data(loaded.stages, loaded.data, stage, load=False)
    console().print(render(planned))
    say(console(), held)
    needed = memory.told(loaded, capacity(), address, stage)
    loaded = needed.loaded
    if address is None:
        say(console(), here(loaded, stage).lines())
    say(console(), needed.lines)
    if time_steps:
        cli_rehearsal.tell_time(loaded, stage)


@app.command(rich_help_panel=RUN)
def resume(
    run: RunPath,
    address: Address = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Change the budget: budget.gpu_hours=HOURS. Repeatable.")
    ] = None,
    trust: Trust = False,
) -> None:
    """Go on with a run that was interrupted or halted: finished trials stay, others go on from their checkpoint."""
    from raydarts.runs.directory import RunDirectory
    from raydarts.runs.whole import open_whole

    directory = RunDirectory.open(run)
    description = directory.description()
    if description["kind"] != "sweep":
        from raydarts import single

        if address is not None:
            raise InputError(
                f"{directory.path} is a {description['kind']}, which runs without Ray; leave --address out"
            )
        if sets:
            raise InputError(f"{directory.path} is a {description['kind']}, which has no budget; leave --set out")
        single.resume(open_whole(run), console(), asking(trust))
        return
    from raydarts.api import resume_run

    raise typer.Exit(resume_run(directory.path, address, sets or [], asking(trust)))


@app.command(rich_help_panel=RUN)
def search(
    spec: SpecPath,
    storage: Storage = Path("runs"),
    name: Name = None,
    sets: Sets = None,
    gpu: Gpu = False,
) -> None:
    """Run one search without Ray: a spec in which nothing is left to choose."""
    from raydarts.api import run_path
    from raydarts.single import start_search

    loaded = _load(spec, sets)
    start_search(loaded, run_path(storage, name, f"{loaded.name}-search"), gpu, console())


@app.command(rich_help_panel=RUN)
def evaluate(
    genotype: GenotypePath,
    spec: Annotated[
        Path | None,
        typer.Option(
            help="A spec whose data and evaluate.training are used. Default: the run's of RUN:ID, else digits and the "
            "paper's training.",
            parser=given_file,
            metavar="FILE",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Evaluation seed.", min=0)] = 0,
    storage: Storage = Path("runs"),
    name: Name = None,
    sets: Sets = None,
    gpu: Gpu = False,
    trust: Trust = False,
) -> None:
    """Train a genotype's network from scratch without Ray, and test it."""
    from raydarts.api import run_path
    from raydarts.single import start_evaluation

    path = run_path(storage, name, derived(genotype.stem, "evaluation"))
    start_evaluation(genotype, spec, sets or [], seed, path, gpu, console(), asking(trust))


@app.command(rich_help_panel=READ)
def show(
    genotype: GenotypePath,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The drawing: .png, .svg or .pdf. Default: beside the genotype, .png.",
            parser=given_file,
            metavar="FILE",
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="A title above the drawing.")] = None,
    as_json: AsJson = False,
    trust: Trust = False,
) -> None:
    """Draw a genotype's cells; count the parameters and FLOPs of its space's standard network."""
    from raydarts.genotype_facts import facts
    from raydarts.genotypes.text import read_file
    from raydarts.json_types import section
    from raydarts.runs.trust import admit_genotype
    from raydarts.spaces import Genotype

    if title is not None and as_json and out is None:
        raise InputError("--title stands above the drawing, and --json alone draws nothing: add --out, or leave it out")
    parsed = Genotype.from_file(genotype)
    admit_genotype(parsed.outside_names(), str(genotype), asking(trust))
    known = facts(parsed, str(genotype))
    if (origin := section(read_file(genotype)[0]).get("lineage")) and isinstance(origin, str):
        known["lineage"] = origin
    if not as_json or out is not None:
        from raydarts.report.drawing import draw_genotype, unreadable

        target = out or genotype.with_suffix(".png")
        if out is None and (reason := unreadable(parsed.to_json())):
            known["drawing"] = f"none: {reason}"
        else:
            draw_genotype(parsed.to_json(), target, title)
            known["drawing"] = str(target)
    if as_json:
        cli_results.print_json(known)
    else:
        from raydarts.report.tables import facts_table

        console().print(facts_table(known))


@app.command(name="list", rich_help_panel=WRITE)
def list_(
    family: Annotated[
        str | None,
        typer.Argument(help="One family, or remedies, or presets; default: all families.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Every registered choice with its source and defaults; `remedies` with their formulas; `presets`."""
    from raydarts.catalogue import REMEDIES, catalogue, presets_table, remedies_table, table

    if family in ("preset", "presets"):
        from raydarts.config.presets import all_presets

        presets = [preset.to_json() for preset in all_presets()]
        rows, shown = list(map(dict, presets)), presets_table(presets)
    else:
        members = catalogue(family)
        drawn = remedies_table if family in REMEDIES else table
        rows, shown = list(map(dict, members)), drawn(members)
    if as_json:
        cli_results.print_json(rows)
    else:
        console().print(shown)


@app.command(rich_help_panel=WRITE)
def validate(
    specs: Annotated[
        list[Path], typer.Argument(help="Specs (YAML).", show_default=False, parser=given_file, metavar="SPEC")
    ],
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Check specs and print their plans: stages, trials, resources, what is conditional on what."""
    with loading():
        from raydarts.cluster.resources import Here, here
        from raydarts.config.plan import plan, render
        from raydarts.config.retraining import describe_data
        from raydarts.errors import DataError, Problem, SpecError

    plans: list[tuple[Plan, list[str], Here]] = []
    problems: list[Problem] = []
    for spec in specs:
        try:
            loaded = _load(spec, sets)
            held = describe_data(loaded.stages, loaded.data, None, load=False)
            plans.append((plan(loaded), held, here(loaded)))
        except SpecError as error:
            problems += error.problems
        except DataError as error:
            problems.append(Problem(str(spec), 0, "data", str(error)))
    if as_json:
        cli_results.print_json(
            [{**stages.to_json(), "data_held": held, "here": asdict(machine)} for stages, held, machine in plans]
        )
    else:
        for stages, held, machine in plans:
            console().print(render(stages))
            say(console(), [*held, *machine.lines()])
    if problems:
        raise SpecError(problems)


@app.command(hidden=True)
def version() -> None:
    """The version of raydarts, as --version prints it. `raydarts submit` asks a cluster's head by this command."""
    console().print(__version__)


def main() -> None:
    """Entry point: input errors become one message on standard error and exit code 2."""
    outside.search_last(Path.cwd())  # so that `module:Class` in a spec finds a file beside it
    clean_warnings()
    end_quickly()
    try:
        with outside.only_allowed():
            app()
    except InputError as error:
        complain(error)
        sys.exit(2)
    except TrialError as error:  # of a single search or evaluation; a sweep's are in its report
        complain(error, "failed: ")
        sys.exit(1)
    except StorageError as error:
        complain(error, "storage: ")
        sys.exit(4)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
