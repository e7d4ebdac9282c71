"""What a spec will do, before it does it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raydarts.config.checks import check_draw
from raydarts.config.distributions import Tree, grid_draws
from raydarts.config.loader import LoadedSpec, unique_grid
from raydarts.config.spec import EvaluateSettings, Resources


@dataclass(frozen=True)
class Stage:
    """A stage: how many jobs at most, how many epochs each at most, what each is given."""

    name: str
    jobs: int
    epochs: int
    resources: str
    note: str


@dataclass(frozen=True)
class Plan:
    name: str
    file: str
    question: str
    stages: tuple[Stage, ...]
    dimensions: tuple[dict[str, str | None], ...]
    presets: dict[str, list[str]]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _resources(resources: Resources) -> str:
    given = f"{resources.cpus:g} CPU, {resources.gpus:g} GPU"
    return given if resources.processes == 1 else f"{resources.processes} workers x ({given})"


def _how(evaluate: EvaluateSettings) -> str:
    if evaluate.table is not None:
        absent = "" if Path(evaluate.table.file).is_file() else ", which is not there yet"
        return f"at most {evaluate.top_k} distinct genotypes looked up in {evaluate.table.file}{absent}"
    return f"at most {evaluate.top_k} distinct genotypes x {len(evaluate.seeds)} evaluation seeds"


def longest(tree: Tree) -> int:
    """The most epochs that any trial of the sweep runs."""
    drawn = (check_draw(draw, []) for draw in tree.variations())
    return max((settings.total_epochs for settings in drawn if settings is not None), default=0)


def plan(loaded: LoadedSpec) -> Plan:
    """The stages and dimensions of a spec."""
    sweep, evaluate = loaded.sweep, loaded.evaluate
    if sweep.searcher.name == "grid":
        jobs = len(unique_grid(loaded))
        merged = sum(1 for _ in grid_draws(loaded.search)) - jobs
        note = f"grid; {merged} combinations that act like another are left out" if merged else "grid"
    else:
        jobs = int(getattr(sweep.searcher.settings, "trials", 0))
        note = sweep.searcher.name
    note += f"; {sweep.scheduler.name}; metric {sweep.metric} ({sweep.mode})"
    stages = [Stage("search", jobs, longest(loaded.search), _resources(sweep.resources), note)]
    if evaluate is not None:
        stages.append(
            Stage(
                "evaluate",
                min(evaluate.top_k, jobs) * len(evaluate.seeds),
                evaluate.training.epochs if evaluate.table is None else 1,
                _resources(evaluate.resources),
                _how(evaluate),
            )
        )
    dimensions = tuple(
        {"name": found.name, "distribution": str(found.distribution), "condition": found.condition}
        for found in loaded.search.distributions()
    )
    return Plan(
        loaded.name,
        loaded.file,
        loaded.question,
        tuple(stages),
        dimensions,
        loaded.presets_of("data", "search", "evaluate"),
    )


def render(found: Plan) -> RenderableType:
    """The plan for a terminal."""
    stages = Table(title=f"{found.name} ({found.file})")
    for column in ("stage", "jobs", "epochs each", "each is given", "how"):
        stages.add_column(column)
    for stage in found.stages:
        stages.add_row(stage.name, str(stage.jobs), str(stage.epochs), stage.resources, stage.note)
    swept = Table(title="swept")
    for column in ("setting", "values", "only if"):
        swept.add_column(column, overflow="fold")
    for dimension in found.dimensions:
        swept.add_row(*(Text(dimension[key] or "-") for key in ("name", "distribution", "condition")))
    parts: list[RenderableType] = [Text(found.question)] if found.question else []
    parts += [Text(f"{section}: preset {', '.join(names)}") for section, names in found.presets.items()]
    return Group(*parts, stages, *([swept] if found.dimensions else []))
