"""A sweep from its first trial, or from wherever an earlier driver left it, to its last."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from raydarts import tracking
from raydarts.errors import RunError
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.runs.place import Place, place_of
from raydarts.sweep.cluster import connect, disconnect, set_environment
from raydarts.sweep.display import Display
from raydarts.sweep.resources import check_resources, concurrency
from raydarts.sweep.schedulers.base import Horizon
from raydarts.sweep.visibility import check_nodes

INTERRUPTED = 130


def start_sweep(
    loaded: Any,
    storage: Place,
    name: str | None = None,
    *,
    address: str | None = None,
    display: bool = True,
    command: Sequence[str] | None = None,
    builder: str | None = None,
) -> int:
    """Begin a new run at STORAGE/NAME. Nothing is made where the resources asked for do not exist."""
    check_resources(loaded, address)
    place = place_of(storage) / (name or loaded.name)
    tracking.check(getattr(loaded, "track", None), place)
    check_nodes(place.parent)
    run = RunDirectory.create(
        place,
        kind="sweep",
        spec=loaded.to_plain(),
        text=loaded.text,
        question=loaded.question or "",
        command=sys.argv if command is None else command,
        builder=builder,
    )
    return run_sweep(run, loaded, address, display)


def resume_sweep(path: Place, *, address: str | None = None, display: bool = True) -> int:
    """Go on with the run at `path` as if it had never stopped."""
    from raydarts.config.loader import load_plain  # noqa: PLC0415 - tests resume without the loader

    run = RunDirectory.open(path)
    description = run.description()
    if description["kind"] != "sweep":
        raise RunError(f"{run.path}: is a {description['kind']}, not a sweep; resume goes on with sweeps")
    if address is not None:
        connect(address)
    check_nodes(run.path.parent)
    return run_sweep(run, load_plain(description["spec"], str(run.path / "run.json")), address, display)


def run_sweep(run: RunDirectory, loaded: Any, address: str | None = None, display: bool = True) -> int:
    """Run what is left of a run. 0: all done; 1: some trials failed; 130: interrupted (resumable)."""
    with run.locked():
        available = check_resources(loaded, address)
        run.write("status.json", {"status": "running"})
        shown = Display(loaded.sweep.metric, loaded.sweep.mode, display)
        here = False
        try:
            here = connect(address)
            with shown:
                if told := tracking.begin(run):
                    shown.say(told)
                _search(run, loaded, shown, available)
                if loaded.evaluate is not None:
                    _evaluate(run, loaded, shown, available)
        except KeyboardInterrupt:
            run.write("status.json", {"status": "interrupted"})
            shown.say(f"interrupted; go on with: raydarts resume {run.path}")
            return INTERRUPTED
        finally:
            disconnect(here)
        run.write("status.json", {"status": "completed"})
        return _conclude(run, shown)


def _conclude(run: RunDirectory, shown: Display) -> int:
    # The lock is still held here, which only matters to the status of trials without a result.
    failed = [record.id for record in (*results.trials(run), *results.evaluations(run)) if record.status == "failed"]
    if failed:
        shown.say(f"{len(failed)} trial(s) failed: {', '.join(failed)}; the errors are in their result.json")
    if told := tracking.conclude(run):
        shown.say(told)
    return 1 if failed else 0


def _search(run: RunDirectory, loaded: Any, shown: Display, available: Mapping[str, float]) -> None:
    from raydarts.config.plan import longest  # noqa: PLC0415 - tests resume without the loader
    from raydarts.sweep.stages import SearchStage, refill  # noqa: PLC0415
    from raydarts.sweep.tuning import run_stage  # noqa: PLC0415 - imports Ray, after the environment

    sweep = loaded.sweep
    scheduler = sweep.scheduler.build().build(Horizon(sweep.metric, sweep.mode, longest(loaded.search), sweep.seed))
    refill(run, scheduler)
    stage = SearchStage(run, loaded, sweep.searcher.build())
    shown.begin("search", stage.total(), sweep.metric, sweep.mode)
    for record in results.trials(run):
        if record.result:
            shown.known(record.id, record.status, record.value(sweep.metric))
    run_stage(
        stage,
        shown,
        run.path / "ray" / "search",
        scheduler,
        sweep.resources,
        concurrent=concurrency(sweep.resources, sweep.max_concurrent, available),
        max_failures=sweep.max_failures,
        checkpoint_every=sweep.checkpoint_every,
    )


def _evaluate(run: RunDirectory, loaded: Any, shown: Display, available: Mapping[str, float]) -> None:
    from ray.tune.schedulers import FIFOScheduler  # noqa: PLC0415

    from raydarts.sweep.stages import EvaluationStage, promote  # noqa: PLC0415
    from raydarts.sweep.tuning import run_stage  # noqa: PLC0415

    decisions = promote(run, loaded)
    stage = EvaluationStage(run, loaded, decisions)
    if stage.total() == 0:
        shown.say("no genotype was promoted, so none is evaluated; promotion.json says why")
        return
    shown.begin("evaluate", stage.total(), stage.metric, "max")
    for record in results.evaluations(run):
        if record.result:
            shown.known(record.id, record.status, record.value(stage.metric))
    settings = loaded.evaluate
    run_stage(
        stage,
        shown,
        run.path / "ray" / "evaluate",
        FIFOScheduler(),  # type: ignore[no-untyped-call]
        settings.resources,
        concurrent=concurrency(settings.resources, None, available),
        max_failures=settings.max_failures,
        checkpoint_every=settings.checkpoint_every,
    )


set_environment()
