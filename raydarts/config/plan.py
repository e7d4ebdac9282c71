"""Says what a spec will do, before it does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table

from raydarts.config.allocation import AllocatedSettings
from raydarts.config.checks import check_draw
from raydarts.config.distributions import Tree, grid_draws
from raydarts.config.fusing import reasons, without_graph
from raydarts.config.idle import distinct, idle_in, idle_in_search
from raydarts.config.loader import SECTIONS, LoadedSpec, effective_key, unique_grid
from raydarts.config.seeds import idle_seed, tries_all
from raydarts.config.spec import EvaluateSettings, Resources, random_cells_of
from raydarts.errors import InputError
from raydarts.registry import Around, nearest
from raydarts.study.allocation import ALL, THIRD, places
from raydarts.study.budget import UNITS
from raydarts.study.stages import SEARCH
from raydarts.terminal import line, paragraph


@dataclass(frozen=True)
class Stage:
    """A stage: its most jobs, the most epochs of each, and the resources of each."""

    name: str
    jobs: int
    epochs: int
    resources: str
    note: str
    cpus: float
    gpus: float

    @property
    def epochs_in_all(self) -> int:
        """Returns the most epochs of all jobs."""
        return self.jobs * self.epochs


@dataclass(frozen=True)
class Plan:
    name: str
    file: str
    question: str
    stages: tuple[Stage, ...]
    dimensions: tuple[dict[str, str | None], ...]
    ties: tuple[dict[str, str | None], ...]
    """Values that follow from others."""
    presets: dict[str, list[str]]
    budget: dict[str, float]
    idle: tuple[str, ...]
    """Settings that do nothing in this spec, why, and what to write instead."""
    warnings: tuple[str, ...] = ()
    """What has come of it when others asked for the same."""
    earlier: tuple[str, ...] = ()
    """What of each earlier run the searcher learns from, and what it does not."""
    changing: tuple[str, ...] = ()
    """Swept settings that the scheduler changes while trials run."""
    alone: tuple[str, ...] = ()
    """Why configurations run alone, though `sweep.fuse` asks for groups."""
    without_graph: tuple[str, ...] = ()
    """Why configurations run without a CUDA graph, though they could have one."""

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def _resources(resources: Resources) -> str:
    text = f"{resources.cpus:g} CPU, {resources.gpus:g} GPU"
    text += "".join(f", {amount:g} {name}" for name, amount in resources.custom.items())
    return text if resources.processes == 1 else f"{resources.processes} workers x ({text})"


def _how(evaluate: EvaluateSettings) -> str:
    count = random_cells_of(evaluate)
    cells = f" and {count} random {'cell' if count == 1 else 'cells'}" if count else ""
    if evaluate.table is not None:
        absent = "" if Path(evaluate.table.file).is_file() else ", which is not there yet"
        return f"{_taken(evaluate.top_k)}{cells} looked up in {evaluate.table.file}{absent}"
    what = f"{_taken(evaluate.top_k)}{cells}"
    seeds = f"{f'({what})' if cells else what} x {len(evaluate.seeds)} evaluation seeds"
    return seeds if not isinstance(evaluate, AllocatedSettings) else seeds + _added(evaluate)


def _taken(top_k: int | str) -> str:
    words = {ALL: "all distinct healthy genotypes", THIRD: "the best third, four at least,"}
    return f"at most {top_k} distinct genotypes" if isinstance(top_k, int) else words[top_k]


def _added(evaluate: AllocatedSettings) -> str:
    """Returns words on the seeds that are added."""
    if evaluate.confidence is None:
        return ""
    within = "the best" if evaluate.within == 0 else f"at most {evaluate.within:g} below the best"
    return (
        f"; more where the first places overlap, until the first is {within} with probability "
        f"{evaluate.confidence:g}, at most {evaluate.max_seeds} each"
    )


def longest(tree: Tree) -> int:
    """Returns the most epochs of any trial of the sweep."""
    drawn = (check_draw(draw, []) for draw in tree.variations())
    return max((settings.total_epochs for settings in drawn if settings is not None), default=0)


def stage_names(loaded: LoadedSpec) -> list[str]:
    """Returns the stages of a spec in the order of work."""
    return [SEARCH, *(stage.name for stage in loaded.stages.chain())]


def check_stage(loaded: LoadedSpec, name: str) -> None:
    """Raises `InputError` if a spec has no stage of this name."""
    allowed = stage_names(loaded)
    if name not in allowed:
        raise InputError(
            f"{loaded.file}: has no stage '{name}'{nearest(name, allowed)} (its stages: {', '.join(allowed)})"
        )


def _configurations(loaded: LoadedSpec) -> tuple[int, str]:
    """Returns how many configurations a search tries, and words on them."""
    if tries_all(loaded.sweep.searcher):
        count = len(unique_grid(loaded))
        merged = sum(1 for _ in grid_draws(loaded.search)) - count
        note = f"; {merged} combinations that act like another are left out" if merged else ""
    else:
        count, note = int(getattr(loaded.sweep.searcher.settings, "trials", 0)), ""
    return count, note + (f"; sweep.points first ({len(loaded.points)})" if loaded.points else "")


def search_trials(loaded: LoadedSpec) -> int:
    """Returns the number of trials of a search."""
    return _configurations(loaded)[0] * loaded.sweep.trials_each


def plan(loaded: LoadedSpec, only: str | None = None, candidates: int | None = None) -> Plan:
    """Returns the stages and dimensions of a spec.

    `only` selects one stage, which gets `candidates` genotypes.
    """
    sweep = loaded.sweep
    configurations, note = _configurations(loaded)
    jobs = configurations * sweep.trials_each
    if sweep.replicates is not None:
        note = f"; {configurations} configurations x {sweep.trials_each} search seeds{note}"
    ranked = f"objective{'s' if sweep.score.several else ''} {sweep.score.title}"
    note = f"{sweep.searcher.name}{note}; {sweep.scheduler.name}; {ranked}"
    stages = [_stage(SEARCH, jobs, longest(loaded.search), sweep.resources, note)]
    genotypes = {SEARCH: jobs}
    entrants, spent = None, 0
    for each in loaded.stages.chain():
        settings = each.settings
        offered = genotypes[each.source] if candidates is None else candidates
        genotypes[each.name] = places(settings.top_k, offered)
        retrainings = genotypes[each.name] * len(settings.seeds)
        if isinstance(settings, AllocatedSettings):
            retrainings = settings.most_retrainings(offered, None if only == each.name else entrants, spent)
        entrants = genotypes[each.name] if entrants is None else entrants
        spent += retrainings * settings.epochs
        how = _how(settings) + (f" on {data.dataset.name}" if (data := getattr(settings, "data", None)) else "")
        retrainings += random_cells_of(settings) * len(settings.seeds)
        stages.append(_stage(each.name, retrainings, settings.epochs, settings.resources, how))
    if only is not None:
        stages = [stage for stage in stages if stage.name == only]
    budget = loaded.stages.budget
    dimensions = tuple(
        {"name": dimension.name, "distribution": str(dimension.distribution), "condition": dimension.condition}
        for dimension in loaded.search.distributions()
    )
    ties = tuple(
        {"name": tie.name, "distribution": str(tie.tied), "condition": tie.condition} for tie in loaded.search.ties()
    )
    return Plan(
        loaded.name,
        loaded.file,
        loaded.question,
        tuple(stages),
        dimensions,
        ties,
        loaded.presets_of(*SECTIONS),
        {} if budget is None else {name: hours for name, hours in budget.model_dump().items() if hours is not None},
        tuple(_idle(loaded, only, genotypes, candidates)),
        (sweep.score.warning,) if sweep.score.warning and only in (None, SEARCH) else (),
        () if loaded.earlier is None or only not in (None, SEARCH) else loaded.earlier.lines,
        sweep.scheduler.build().changes(loaded.search) if only in (None, SEARCH) else (),
        tuple(reasons(loaded)) if only in (None, SEARCH) and jobs > 1 else (),
        tuple(without_graph(sweep, loaded.drawn)) if only in (None, SEARCH) else (),
    )


def _idle(loaded: LoadedSpec, only: str | None, genotypes: Mapping[str, int], candidates: int | None) -> Iterator[str]:
    """Returns what the spec asks for and nothing uses, of the stages that run.

    `genotypes` is the number of genotypes of each stage.
    """
    sweep, budget = loaded.sweep, loaded.stages.budget
    jobs, gpus = genotypes[SEARCH], sweep.resources.gpus
    most_gpus = 0.0
    if only in (None, SEARCH):
        most_gpus = gpus
        yield from idle_in_search(loaded.drawn, jobs, gpus)
        count = None
        if not tries_all(sweep.searcher):
            count = distinct(loaded.search, len({effective_key(settings) for settings in loaded.drawn}))
        epochs = longest(loaded.search)
        drawn = 0 if loaded.evaluate is None else loaded.evaluate.random_cells
        around = Around(sweep, epochs, epochs, jobs // sweep.trials_each, gpus, count, random_cells=drawn)
        yield from idle_in(sweep, "sweep", around)
        yield from idle_seed(loaded.search, sweep.replicates)
    chain = loaded.stages.chain()
    after = {
        stage.source: stage.settings.top_k
        for stage in chain
        if not stage.is_transfer and isinstance(stage.settings.top_k, int)
    }
    for stage in chain:
        if only in (None, stage.name):
            settings, given_gpus = stage.settings, stage.settings.resources.gpus
            most_gpus = max(most_gpus, given_gpus)
            offered = genotypes[stage.source] if candidates is None else candidates
            onward = after.get(stage.name) if only is None else None
            around = Around(settings, settings.epochs, settings.epochs, offered, given_gpus, onward=onward)
            yield from idle_in(settings, stage.section, around)
    if budget is not None:
        yield from idle_in(budget, "budget", Around(budget, 0, 0, jobs, most_gpus))
    if loaded.track is not None:
        yield from idle_in(loaded.track, "track", Around(loaded.track, 0, 0, jobs, most_gpus))


def _stage(name: str, jobs: int, epochs: int, resources: Resources, note: str) -> Stage:
    return Stage(name, jobs, epochs, _resources(resources), note, *resources.in_all)


def _budget(planned: Plan) -> list[RenderableType]:
    """Returns what the run may use, and the known need: epochs, but no hours before an epoch has run."""
    limits = ", ".join(f"{hours:g} {UNITS[name]}" for name, hours in planned.budget.items())
    epochs = ", ".join(f"{stage.name} {stage.epochs_in_all:,}" for stage in planned.stages)
    lines = [f"epochs at most: {epochs}"]
    if limits:
        lines.append(
            f"budget: {limits}; when it is spent the run halts, and can be resumed. Whether it suffices is unknown "
            "until the first epochs have run: 'raydarts status' estimates it then"
        )
    return [line(text) for text in lines]


def render(planned: Plan) -> RenderableType:
    """Returns the plan for a terminal."""
    stages = Table(title=f"{planned.name} ({planned.file})")
    stages.add_column("stage", overflow="fold")
    for column in ("jobs", "epochs each", "each is given", "how"):
        stages.add_column(column)
    for stage in planned.stages:
        stages.add_row(stage.name, str(stage.jobs), str(stage.epochs), stage.resources, stage.note)
    swept = Table(title="swept")
    for column in ("setting", "values", "only if"):
        swept.add_column(column, overflow="fold")
    for dimension in (*planned.dimensions, *planned.ties):
        swept.add_row(*(line(dimension[key] or "-") for key in ("name", "distribution", "condition")))
    parts: list[RenderableType] = [paragraph(planned.question)] if planned.question else []
    parts += [line(f"{section}: preset {', '.join(names)}") for section, names in planned.presets.items()]
    shown = [swept] if any(stage.name == SEARCH for stage in planned.stages) and swept.row_count else []
    changing = [line(f"changes while trials run: {', '.join(planned.changing)}")] if planned.changing else []
    idle = [line(f"does nothing: {why}") for why in planned.idle]
    idle += [line(f"warning: {text}") for text in planned.warnings]
    earlier = [line(f"learns from {each}") for each in planned.earlier]
    alone = [line(f"not fused: {why}") for why in planned.alone]
    alone += [line(f"no CUDA graph: {why}") for why in planned.without_graph]
    return Group(*parts, stages, *_budget(planned), *shown, *changing, *alone, *earlier, *idle)
