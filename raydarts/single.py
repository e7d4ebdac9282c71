"""One search or one evaluation without Ray, in a run directory of its own, resumable like a sweep."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from raydarts import trackers
from raydarts.config.allocation import AllocatedSettings
from raydarts.config.idle import idle_in, idle_in_search
from raydarts.config.loader import LoadedSpec, load_plain, load_spec
from raydarts.config.plan import longest
from raydarts.config.spec import EvaluateSettings, TrialsSettings, random_cells_of
from raydarts.cpus import cpus, usable_cpus
from raydarts.data.description import described
from raydarts.data.settings import DataSettings
from raydarts.errors import DamagedError, InputError, TrialError
from raydarts.evaluation.lookup import check_table
from raydarts.execution.attempt import Attempt
from raydarts.execution.build import build_evaluation, build_search
from raydarts.execution.capture import Capture
from raydarts.execution.job import Job
from raydarts.genotypes.source import GenotypeFile, RunGenotype
from raydarts.json_types import section, whole
from raydarts.registry import Around
from raydarts.runs import memory
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.log import TrialLog
from raydarts.runs.trust import Ask, admit, admit_genotype, kept_names, never, remember, spec_names
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Genotype, space_of
from raydarts.spaces.base import of_spaces
from raydarts.storage.place import Place
from raydarts.study.objectives import score_of
from raydarts.terminal import say

Typed = TypeVar("Typed", bound=BaseModel)
_SWEEP = "'raydarts sweep' uses it"


def start_search(loaded: LoadedSpec, path: Place, gpu: bool, console: Console) -> None:
    """A search of a spec in which nothing is left to choose."""
    if not loaded.search.is_constant:
        open_leaves = [dimension.name for dimension in loaded.search.distributions() if dimension.condition is None]
        raise InputError(
            f"{loaded.file}: a single search needs every value fixed, but these are distributions: "
            f"{', '.join(open_leaves)}; fix each with --set {open_leaves[0]}=VALUE, or run 'raydarts sweep'"
        )
    settings = loaded.settings_of(loaded.search.materialise(None))
    threads = _threads(loaded.sweep.resources.cpus, "sweep.resources.cpus", console)
    device(gpu)  # before anything is made
    say(console, [f"does nothing: {why}" for why in _idle_in_search(loaded, gpu)])
    trackers.check(loaded.track, path)
    held = described(loaded.data, load=True)  # bad data leave no run behind
    spec = {
        "search": settings.model_dump(mode="json"),
        "data": loaded.data.model_dump(mode="json"),
        "threads": threads,
        "gpu": gpu,
        "checkpoint_every": loaded.sweep.checkpoint_every,
        "track": None if loaded.track is None else loaded.track.model_dump(mode="json"),
        "presets": loaded.presets_of("data", "search"),
        "score": loaded.score.to_json(),
    }
    run = RunDirectory.create(
        path,
        kind="search",
        spec=spec,
        text=loaded.text,
        question=loaded.question,
        more=kept_names(loaded.outside_names()),
        begin=lambda run: run.trial(0).create({"index": 0, "config": spec["search"], "choices": {}}),
    )
    remember(run)
    say(console, held)
    go_on(run, console)


def start_evaluation(
    genotype: GenotypeFile,
    spec_path: Path | None,
    sets: list[str],
    seed: int,
    path: Place,
    gpu: bool,
    console: Console,
    ask: Ask = never,
) -> None:
    """An evaluation of a genotype file, with a spec's data and training or the defaults.

    `ask`: whether to run code that the genotype names and the spec does not.
    """
    found = Genotype.from_file(genotype)
    loaded = _spec_of(genotype, ask) if spec_path is None else load_spec(spec_path, sets)
    if loaded is not None and sets and spec_path is None:
        raise InputError(f"--set changes a spec, and {genotype} is retrained as its run was: give a spec with --spec")
    if loaded is not None and (named := loaded.outside_names()):
        found = of_spaces(found, loaded.spaces()) or found
        admit_genotype(found.outside_names() - set(named), str(genotype), ask)
    else:
        admit_genotype(found.outside_names(), str(genotype), ask)
    space = space_of(found, str(genotype))  # before anything is made: a genotype of no space is refused
    device(gpu)
    data, stage, text = DataSettings(), AllocatedSettings(), ""
    presets: dict[str, list[str]] = {}
    track = None
    threads = min(torch.get_num_threads(), usable_cpus())  # torch does not know of a quota
    if loaded is not None:
        data, text, presets = loaded.data, loaded.text, loaded.presets_of("data", "evaluate")
        track = loaded.track
        trackers.check(track, path)
        if loaded.evaluate is not None:
            stage = loaded.evaluate
            threads = _threads(stage.resources.cpus, "evaluate.resources.cpus", console)
            say(console, [f"does nothing: {why}" for why in _idle_in_evaluation(loaded, stage, gpu)])
            if stage.table is not None:
                check_table(stage.table)
        else:
            say(console, [f"{loaded.file}: has no evaluate, so the training is the default: {stage.epochs} epochs"])
    elif sets:
        raise InputError("--set changes a spec: give one with --spec")
    if data.kind != space.TASK.KIND:
        raise InputError(
            f"{genotype}: a cell of space {space.registered} is trained on {space.TASK.KIND} data, and data.dataset "
            f"{data.dataset.name} is {data.kind}; give a spec with other data by --spec"
        )
    held = described(data, load=True) if stage.table is None else []  # bad data leave no run behind
    spec = {
        "evaluate": stage.model_dump(mode="json", include=set(EvaluateSettings.model_fields)),
        "data": data.model_dump(mode="json"),
        "threads": threads,
        "gpu": gpu,
        "checkpoint_every": stage.checkpoint_every,
        "track": None if track is None else track.model_dump(mode="json"),
        "presets": presets,
        "score": stage.score.to_json(),
    }
    names = found.outside_names() | spec_names(spec)
    training = {"genotype_id": found.id, "genotype": found.to_json(), "seed": seed}
    run = RunDirectory.create(
        path,
        kind="evaluation",
        spec=spec,
        text=text,
        more=kept_names(names),
        begin=lambda run: run.evaluation(found.id, seed).create(training),
    )
    remember(run)
    say(console, held)
    go_on(run, console)


def _spec_of(genotype: GenotypeFile, ask: Ask) -> LoadedSpec | None:
    """The spec of the run that a genotype is of, if it is a sweep's that retrains. None: there is none."""
    if not isinstance(genotype, RunGenotype):
        return None
    run = RunDirectory.open(genotype.run)
    description = run.description()
    if description["kind"] != "sweep" or description["spec"].get("evaluate") is None:
        return None
    admit(run, ask)
    return load_plain(description["spec"], str(run.path / "run.json"))


def _idle_in_search(loaded: LoadedSpec, gpu: bool) -> Iterator[str]:
    """What a single search makes no use of."""
    yield from idle_in_search(loaded.drawn, 1, float(gpu))
    yield from _idle_alone(loaded, "sweep", loaded.sweep, longest(loaded.search), gpu)


def _idle_in_evaluation(loaded: LoadedSpec, stage: AllocatedSettings, gpu: bool) -> Iterator[str]:
    """What a single evaluation makes no use of."""
    yield from idle_in(stage.training, "evaluate.training", Around(stage, stage.epochs, stage.epochs, 1, float(gpu)))
    yield from _idle_alone(loaded, "evaluate", stage, stage.epochs, gpu)
    if stage.resources.workers > 1:
        yield f"evaluate.resources.workers is {stage.resources.workers}, and this trains in one process; {_SWEEP}"
    if cells := random_cells_of(stage):
        yield f"evaluate.random_cells is {cells}, and this retrains one genotype; {_SWEEP}"
    if stage.confidence is not None:
        yield f"evaluate.confidence adds evaluation seeds, and this trains with one; {_SWEEP}"
    for transfer in loaded.stages.transfer:
        if transfer.data is None and transfer.table is None:  # as each further setting of an open training is
            yield f"transfer {transfer.name} is another training, and this trains with that of evaluate; {_SWEEP}"


def _idle_alone(loaded: LoadedSpec, section: str, settings: TrialsSettings, epochs: int, gpu: bool) -> Iterator[str]:
    """What only the trials of a sweep have."""
    if settings.resources.gpus > 0 and not gpu:
        yield f"{section}.resources.gpus is {settings.resources.gpus:g}, and this trains on the CPU; add --gpu"
    for why in TrialsSettings.idle(settings, Around(settings, epochs, epochs, 1, float(gpu))):
        yield f"{section}.{why.key} {why.why}"
    for key in ("epoch_timeout", "out_of_memory"):
        if getattr(settings, key) is not None:
            yield f"{section}.{key} is for the trials of a sweep; {_SWEEP}"
    if loaded.stages.budget is not None:
        yield f"budget is a sweep's; {_SWEEP}"


def _threads(asked: float, key: str, console: Console) -> int:
    """How many threads train: as many as the spec gives CPUs, but no more than this process may use."""
    threads, found = max(1, int(asked)), cpus()
    if threads > found.usable:
        text = f"{key} is {asked:g}, but this process may use {found}: it trains on {found.usable} thread(s)"
        say(console, [text])
    return min(threads, found.usable)


def device(gpu: bool) -> str:
    """Where to train. Raises `InputError` where a GPU is asked for and there is none."""
    if gpu and not torch.cuda.is_available():
        raise InputError("--gpu: torch sees no GPU here, and this run trains on one")
    return "cuda" if gpu else "cpu"


def _job(trial: TrialDirectory, kind: str, spec: Mapping[str, object]) -> Job:
    data = _settings(DataSettings, spec, "data")
    if kind == "search":
        return build_search(_settings(SearchSettings, spec, "search"), data, device(bool(spec["gpu"])))
    what = trial.description()
    genotype = Genotype.from_json(what["genotype"], str(trial.path))
    stage = _settings(AllocatedSettings, spec, "evaluate")
    return build_evaluation(stage, data, genotype, what["seed"], device(bool(spec["gpu"])))


def _settings(model: type[Typed], spec: Mapping[str, object], section: str) -> Typed:
    """A section of run.json's spec. Raises `DamagedError` where it is not what a start wrote there."""
    try:
        return model.model_validate(spec.get(section))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, (section, *first["loc"])))
        raise DamagedError(f"run.json: damaged: spec.{place}: {first['msg'][:200]}") from None


def resume(run: RunDirectory, console: Console, ask: Ask = never) -> None:
    """Go on with a run's one job. `ask`: whether to run the code it names, where this user did not make the run."""
    admit(run, ask)
    go_on(run, console)


def go_on(run: RunDirectory, console: Console) -> None:
    """Start or continue the run's one job, to its end."""
    description = run.description()
    kind, spec = description["kind"], description["spec"]
    with run.locked():
        if missing := [key for key in ("threads", "gpu", "checkpoint_every") if key not in spec]:
            raise DamagedError(f"{run.path / 'run.json'}: damaged: spec: {', '.join(missing)} missing")
        torch.set_num_threads(whole(spec["threads"]))  # as it began, wherever it goes on: equal threads, equal bits
        listed = [run.trial(0)] if kind == "search" else run.evaluations()
        if not listed or not listed[0].exists:
            raise DamagedError(f"{run.path}: holds no trial.json of its {kind}, so there is nothing to go on with")
        trial = listed[0]
        trial.claim()
        attempt = Attempt(trial, lambda: _job(trial, kind, spec), whole(spec["checkpoint_every"]))
        outcome = _run(attempt, kind, console)
        run.write("status.json", {"status": "completed"})
    _conclude(run, outcome, kind, console)


def _run(attempt: Attempt, kind: str, console: Console) -> dict[str, object]:
    """The job to its end, and its result. Memory may be full when it is built, in an epoch, and in the last test."""
    log = TrialLog(attempt.trial)
    with attempt, Capture([log]) as capture:
        try:
            attempt.open()
            log.head(attempt.job.epoch + 1)
            with _progress(console) as progress:
                task = progress.add_task(kind, total=attempt.job.epochs, completed=attempt.job.epoch, last="")
                while not attempt.finished:
                    row = attempt.advance()
                    progress.update(task, completed=attempt.job.epoch, last=_line(row))
            return attempt.finish()
        except Exception as error:
            capture.add(traceback.format_exc())
            failure = error if isinstance(error, TrialError) else memory.alone(error, attempt.trial)
            if failure is None:
                raise
            attempt.fail(failure)
            if failure is error:
                raise
            raise failure from error


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}", markup=False),
        console=console,
    )


def _line(row: Mapping[str, object]) -> str:
    shown = ("weight_loss", "alpha_loss", "train_loss", "validation_accuracy", "validation_perplexity", "skips_normal")
    return "  ".join(f"{key} {row[key]:.4g}" for key in shown if isinstance(row.get(key), int | float))


def _conclude(run: RunDirectory, outcome: Mapping[str, object], kind: str, console: Console) -> None:
    result = section(outcome.get("result"))
    say(console, [f"{kind} finished: {run.path}"])
    if kind == "search":
        path = run.path / "genotype.json"
        run.write("genotype.json", outcome["genotype"])
        say(console, [f"genotype {outcome['genotype_id']}, skips {outcome['skips']}: {path}"])
    else:
        score = score_of(run.description())
        for key in (score.metric, score.test, "parameters"):
            say(console, [f"{key}: {result.get(key)}"])
