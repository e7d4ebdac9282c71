"""A sweep from its first trial, or from wherever an earlier driver left it, to its last."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType

from raydarts import trackers
from raydarts.cluster.connection import connect, connected
from raydarts.cluster.gate import prepare, set_environment
from raydarts.cluster.head import watched
from raydarts.cluster.resources import check_resources, concurrency
from raydarts.cluster.visibility import check_nodes
from raydarts.cluster.warm_workers import WarmWorkers
from raydarts.config.loader import LoadedSpec, load_plain, override_budget
from raydarts.config.plan import search_trials
from raydarts.config.retraining import data_of
from raydarts.config.spec import EvaluateSettings, Resources
from raydarts.data.settings import DataSettings
from raydarts.errors import RunError, StorageError
from raydarts.execution.shared_data import Copies, DriversData, NodesData, SweepData
from raydarts.json_types import whole
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import jobs
from raydarts.runs.hours import change_limits, limits, write_plan
from raydarts.runs.snapshot import RunSnapshot
from raydarts.runs.trust import Ask, admit, kept_names, names_of, never, remember
from raydarts.runs.whole import open_whole
from raydarts.runs.winner import write_genotypes
from raydarts.storage.place import Place, place_of
from raydarts.study.budget import allotted
from raydarts.study.stages import GIVEN, SEARCH, Stage
from raydarts.sweeping import memory
from raydarts.sweeping.budget import BudgetSpentError, Ledger
from raydarts.sweeping.display import Display
from raydarts.terminal import console, say

INTERRUPTED = 130
BUDGET_SPENT = 3


def start_sweep(
    loaded: LoadedSpec,
    storage: Place,
    name: str | None = None,
    *,
    address: str | None = None,
    display: bool = True,
    command: Sequence[str] | None = None,
    builder: str | None = None,
    stage: str | None = None,
    genotypes: Mapping[str, object] | None = None,
    planned: Sequence[Mapping[str, object]] = (),
    rehearsal: Mapping[str, object] | None = None,
) -> int:
    """Begin a new run at STORAGE/NAME. Nothing is made where the resources asked for do not exist.

    `stage`: the one stage to run, of those the spec has. One that retrains gets `genotypes`, as
    `genotype_sources.read_genotypes` makes them. `planned`: what each stage amounts to, for `raydarts status`.
    `rehearsal`: what it leaves out, for a run that is a rehearsal and no result.
    """
    available = check_resources(loaded, address, stage)
    place = place_of(storage) / (name or loaded.name)
    trackers.check(getattr(loaded, "track", None), place)
    RunDirectory.check_new(place)
    with connected(address, _first_workers(builder, loaded, stage, planned, available), place):
        check_nodes(place.parent)
        run = RunDirectory.create(
            place,
            kind="sweep",
            spec=loaded.to_plain(),
            text=loaded.text,
            question=loaded.question or "",
            command=sys.argv if command is None else command,
            builder=builder,
            more=({} if stage is None else {"stage": stage, "genotypes": genotypes})
            | ({} if loaded.earlier is None else {"earlier": loaded.earlier.to_json()})
            | ({} if rehearsal is None else {"rehearsal": rehearsal})
            | kept_names(loaded.outside_names()),
        )
        remember(run)
        write_plan(run, list(planned))
        return run_sweep(run, loaded, address, display)


def _first_workers(
    builder: str | None,
    loaded: LoadedSpec,
    stage: str | None,
    planned: Sequence[Mapping[str, object]],
    available: Mapping[str, float],
) -> WarmWorkers:
    """Those of the first stage that is run."""
    alone = [each.settings.resources for each in loaded.stages.chain() if each.name == stage]
    resources = alone[0] if alone else loaded.sweep.resources
    jobs = whole(planned[0]["jobs"]) if planned else 1
    most = jobs if alone or loaded.sweep.max_concurrent is None else min(jobs, loaded.sweep.max_concurrent)
    return _workers(builder, resources, available, most)


def _workers(builder: str | None, resources: Resources, available: Mapping[str, float], most: int) -> WarmWorkers:
    """The processes of the first trials, `most` of them or as many as fit. raydarts' own jobs need torch and more."""
    modules = ("raydarts.execution.build",) if builder is None else ()
    alone = resources.processes == 1  # else Ray Train starts the processes that train
    many = min(most, concurrency(resources, None, available)) if alone else 1
    return WarmWorkers(modules, max(1, many), max(1, int(resources.cpus)))


def resume_sweep(
    path: Place,
    *,
    address: str | None = None,
    display: bool = True,
    overrides: Sequence[str] = (),
    ask: Ask = never,
) -> int:
    """Go on with the run at `path` as if it had never stopped. `overrides` change its budget, and nothing else.

    `ask`: whether to run the code that the run names, where this user did not make it.
    """
    run = open_whole(path)
    description = run.description()
    if description["kind"] != "sweep":
        raise RunError(f"{run.path}: is a {description['kind']}, not a sweep; resume goes on with sweeps")
    admit(run, ask)
    if address is not None:
        connect(address)
    check_nodes(run.path.parent)
    if overrides:
        changed = override_budget(limits(run), overrides)
        with run.locked():
            change_limits(run, changed.model_dump(), time.time())
    loaded = load_plain(description["spec"], str(run.path / "run.json"))
    if description.get("builder") is None and _searches_left(run, loaded):
        needed = memory.told(loaded, check_resources(loaded, address), address, description.get("stage"))
        say(console(), needed.lines if display else ())
        loaded = needed.loaded
    return run_sweep(run, loaded, address, display)


def _searches_left(run: RunDirectory, loaded: LoadedSpec) -> bool:
    return sum(trial.result() is not None for trial in run.trials()) < search_trials(loaded)


def run_sweep(run: RunDirectory, loaded: LoadedSpec, address: str | None = None, display: bool = True) -> int:
    """Run what is left of a run.

    0: all done; 1: some trials failed; 3: halted, the budget being spent (resumable); 130: interrupted (resumable).
    Raises `StorageError` where the storage failed (resumable). Where a running cluster's head or the local Ray is
    lost the process ends with 5 (resumable): see `head.watched`.
    """
    prepare(address)  # a scheduler imports Ray before Ray is started
    with run.locked():
        available = check_resources(loaded, address, run.description().get("stage"))
        return _run(run, loaded, address, display, available)


def _run(
    run: RunDirectory, loaded: LoadedSpec, address: str | None, display: bool, available: Mapping[str, float]
) -> int:
    from raydarts.sweeping.forecasting import states  # noqa: PLC0415 - schedulers import Ray, after the environment

    shown = Display(loaded.sweep.score, display, title=run.name)
    ledger = Ledger(run)
    shown.spent = ledger.in_words
    spec = loaded.to_plain()
    shown.gpus = lambda stage: allotted(spec, stage)["gpu_hours"]
    shown.expect(states(run, loaded, available))
    away = False
    try:
        with _Ray(run, address) as ray, shown:
            if address is not None:
                ray.start()  # it is watched from here on
            if sentence := trackers.begin(run):
                shown.say(sentence)
            _stages(run, loaded, shown, ledger, _Platform(available, ray, _shared_data(run, address, shown)))
    except BudgetSpentError as spent:
        run.write("status.json", {"status": "halted", "reason": str(spent)})
        shown.say(f"halted: {spent}; go on with: {ledger.hint()}")
        return BUDGET_SPENT
    except KeyboardInterrupt:
        run.write("status.json", {"status": "interrupted"})
        shown.say(f"interrupted; go on with: raydarts resume {run.path}")
        return INTERRUPTED
    except StorageError:
        away = True
        raise
    finally:
        if not away:
            ledger.beat(always=True)
    run.write("status.json", {"status": "completed"})
    return _conclude(run, shown)


def _shared_data(run: RunDirectory, address: str | None, shown: Display) -> SweepData | None:
    """Returns what holds the data for all trials. None: the driver loads none, as a builder of one's own may need none.

    On a cluster the data may lie on the nodes alone.
    """
    if address is not None:
        return NodesData(shown.say, sorted(names_of(run.description())))
    return None if run.description().get("builder") is not None else DriversData(shown.say)


class _Ray:
    """The connection to Ray, made when the first trial is to run: a run of which nothing is left needs none."""

    def __init__(self, run: RunDirectory, address: str | None) -> None:
        self._run = run
        self._address = address
        self._started = False
        self._stack = ExitStack()

    def __enter__(self) -> _Ray:
        return self

    def start(self, workers: WarmWorkers | None = None) -> None:
        """Connect, and watch Ray from then on. The run counts as running only once Ray stands."""
        if self._started:
            return
        self._stack.enter_context(connected(self._address, workers or WarmWorkers(), self._run.path))
        self._stack.enter_context(watched(self._run, self._address))
        self._run.write("status.json", {"status": "running"})
        self._started = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)


@dataclass(frozen=True)
class _Platform:
    """What trials run on: how much of each resource there is, Ray, and the data in its object store."""

    available: Mapping[str, float]
    ray: _Ray
    data: SweepData | None

    def data_for(self, data: DataSettings) -> Callable[[], Copies] | None:
        """Returns what puts a stage's data where all its trials can take them. None: each process loads its own."""
        return None if self.data is None else partial(self.data.of, data)


def _conclude(run: RunDirectory, shown: Display) -> int:
    # The lock is still held here, which only matters to the status of trials without a result.
    seen = RunSnapshot.open(run.path)
    failed = [trial.id for trial in jobs(seen) if (trial.result() or {}).get("status") == "failed"]
    if failed:
        shown.say(
            f"{len(failed)} trial(s) failed: {', '.join(failed)}"
            f"; what each of them said: raydarts logs {run.path} {failed[0]}"
        )
    write_genotypes(seen)
    if sentence := trackers.conclude(run):
        shown.say(sentence)
    return 1 if failed else 0


def _stages(run: RunDirectory, loaded: LoadedSpec, shown: Display, ledger: Ledger, platform: _Platform) -> None:
    """All stages in the order of work, or the one that the run is of."""
    alone = run.description().get("stage")
    if alone in (None, SEARCH):
        _search(run, loaded, shown, ledger, platform)
    for stage in loaded.stages.chain():
        if alone is None:
            _retrain(run, loaded, stage, shown, ledger, platform)
        elif alone == stage.name:
            _retrain(run, loaded, replace(stage, source=GIVEN), shown, ledger, platform)


def _search(run: RunDirectory, loaded: LoadedSpec, shown: Display, ledger: Ledger, platform: _Platform) -> None:
    from raydarts.sweeping.engine import run_stage  # noqa: PLC0415 - imports Ray, after the environment
    from raydarts.sweeping.fusing import fusing_of  # noqa: PLC0415
    from raydarts.sweeping.searching import SearchStage  # noqa: PLC0415

    sweep = loaded.sweep
    stage = SearchStage(run, loaded)
    shown.begin(SEARCH, stage.total(), sweep.score)
    for record in results.trials(run):
        if record.result:
            shown.known(record)
    places = concurrency(sweep.resources, sweep.max_concurrent, platform.available)
    left = stage.remaining()
    fusing = fusing_of(run, loaded, stage.total(), places)
    if left:
        processes = left if fusing is None else -(-left // fusing.lanes)
        platform.ray.start(_workers(run.description().get("builder"), sweep.resources, platform.available, processes))
    if fusing is not None:
        shown.say(str(fusing))
    run_stage(
        stage,
        shown,
        ledger,
        run.path / "ray" / SEARCH,
        sweep,
        places,
        sorted(names_of(run.description())),
        fusing,
        platform.data_for(loaded.data),
    )


def _retrain(
    run: RunDirectory,
    loaded: LoadedSpec,
    stage: Stage[EvaluateSettings],
    shown: Display,
    ledger: Ledger,
    platform: _Platform,
) -> None:
    from raydarts.sweeping.allocating import stage_of  # noqa: PLC0415
    from raydarts.sweeping.engine import run_stage  # noqa: PLC0415

    source = stage_of(run, loaded, stage)
    if source.total() == 0:
        shown.say(f"{stage.name}: no genotype was promoted, so none is retrained; promotion.json says why")
        return
    shown.begin(stage.name, source.total(), source.score)
    for record in results.retrained(run, stage.name):
        if record.result:
            shown.known(record)
    settings = stage.settings
    if left := source.remaining():
        platform.ray.start(_workers(run.description().get("builder"), settings.resources, platform.available, left))
    run_stage(
        source,
        shown,
        ledger,
        run.path / "ray" / stage.name,
        settings,
        concurrency(settings.resources, None, platform.available),
        sorted(names_of(run.description())),
        data=platform.data_for(data_of(stage, loaded.data)) if settings.table is None else None,
    )


set_environment()
