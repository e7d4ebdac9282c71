"""Loads a spec file into a `LoadedSpec`: reads, overrides, parses, and checks every possible configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from raydarts import outside
from raydarts.config import foreign
from raydarts.config.allocation import AllocatedSettings, fill_in_stages
from raydarts.config.beforehand import Earlier, read_earlier, read_points
from raydarts.config.checks import check_all, check_draw
from raydarts.config.distributions import Draw, Tree, grid_draws, grid_refusals
from raydarts.config.kinds import fill_in, training_of
from raydarts.config.open_training import as_written, open_trainings
from raydarts.config.parsing import parse_tree
from raydarts.config.presets import expand, split_overrides
from raydarts.config.ranking_defaults import check_columns, with_health
from raydarts.config.retraining import Stages, check_random_cells, check_stages, inherit
from raydarts.config.sections import listed, mapping, no_consequences, optional, section, text_of, where_in, within
from raydarts.config.seeds import SEED, fits_a_model, refuse_second_seeds, refuse_tuned_seeds, tries_all
from raydarts.config.source import Node, Where, from_plain, override, read_file, read_text, yaml_of
from raydarts.config.spec import (
    BudgetSettings,
    RungSettings,
    SweepSettings,
    TransferSettings,
)
from raydarts.config.texts import check_search
from raydarts.config.track import TrackSettings
from raydarts.data.settings import DataSettings
from raydarts.errors import DataError, Problem, SpecError
from raydarts.evaluation.trainings import FOR_KIND, SETTINGS
from raydarts.json_types import Json
from raydarts.registry import Component, nearest
from raydarts.runs.naming import complaint, derived
from raydarts.runs.trust import spec_names
from raydarts.search.composition import refusals_of_data
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Space
from raydarts.study.objectives import Score
from raydarts.tasks import TASKS

SECTIONS = ("name", "question", "data", "search", "sweep", "rungs", "evaluate", "transfer", "budget", "track")
_FOLLOWING = ("score", "ranked", "model_based")
"""Keys that `LoadedSpec.to_plain` adds for readers. They follow from the rest."""
LARGEST_GRID = 100_000


@dataclass(frozen=True)
class LoadedSpec:
    """A valid spec. `search` is a tree of what is swept. Everything else is fixed.

    `presets` are the names of the presets under each section. Their values are in the sections.
    """

    name: str
    question: str
    data: DataSettings
    search: Tree
    sweep: SweepSettings
    stages: Stages
    file: str
    text: str
    presets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    track: TrackSettings | None = None
    drawn: tuple[SearchSettings, ...] = ()
    """Every configuration of `search`, or where they are many a sample of them."""
    points: tuple[Draw, ...] = ()
    """The draws of `sweep.points`."""
    earlier: Earlier | None = None
    """What a new sweep learns from `sweep.from_runs`. A run that has begun keeps it itself."""
    most_lanes: int | None = None
    """How many trials of one process fit into memory here. None: no limit is known."""

    @property
    def evaluate(self) -> AllocatedSettings | None:
        return self.stages.evaluate

    def to_plain(self) -> dict[str, Json]:
        """Returns JSON data that `load_plain` reads back.

        Every default is written out, except those of the search. Of these only the one that decides how numbers are
        rounded is written.
        """
        return {
            "name": self.name,
            "question": self.question,
            "data": self.data.model_dump(mode="json"),
            "search": {"tf32": SearchSettings.model_fields["tf32"].default} | self.search.to_plain(),
            "sweep": self.sweep.model_dump(mode="json"),
            **self.stages.to_plain(),
            "track": None if self.track is None else self.track.model_dump(mode="json"),
            "presets": self.presets_of(*SECTIONS),
            "score": self.score.to_json(),
            "ranked": self.sweep.score.to_json(),
            "model_based": fits_a_model(self.sweep.searcher),
        }

    def spaces(self) -> dict[str, Space]:
        """Returns the spaces that `search` may have, by their names."""
        drawn = [check_draw(draw, []) for draw in self.search.variations()]
        return {settings.space.name: settings.space.build() for settings in drawn if settings is not None}

    def outside_names(self) -> list[str]:
        """Returns the user's own code that this spec runs: its members, and the primitives of their spaces."""
        names = spec_names(self.to_plain())
        if not names:
            return []
        return sorted(names.union(*(space.outside_primitives() for space in self.spaces().values())))

    @property
    def score(self) -> Score:
        """The score that ranks this run's retrainings."""
        return SETTINGS[FOR_KIND[self.data.kind]].SCORE if self.evaluate is None else self.evaluate.score

    def presets_of(self, *sections: str) -> dict[str, list[str]]:
        """Returns, as JSON data, the presets named in these sections and below them."""
        return {place: list(names) for place, names in self.presets.items() if place.split(".")[0] in sections}

    def settings_of(self, draw: Draw) -> SearchSettings:
        """Returns the typed settings of one configuration. Raises `SpecError`."""
        problems: list[Problem] = []
        settings = check_draw(draw, problems)
        if settings is None or problems:
            raise SpecError(problems)
        return settings


def load_spec(
    spec: Path | str | Mapping[str, object], overrides: Iterable[str] = (), *, absent_data: bool = False
) -> LoadedSpec:
    """Reads a YAML spec: a file, or a mapping of what it would hold. Raises `SpecError` with all of its problems.

    `absent_data`: data need not be there.
    """
    if isinstance(spec, Mapping):
        path, text = Path("the spec"), yaml_of(spec)
        root = read_text(text, str(path))
    else:
        path = Path(spec)
        root, text = read_file(path)
    problems: list[Problem] = []
    first, others = split_overrides(overrides)
    override(root, first)
    presets = expand(root, problems)
    override(root, others)
    opened = open_trainings(root, problems)
    fill_in_stages(root, training_of(root))
    inherit(root)
    outside.allow(outside.names_in(root.plain()))  # the user who gives a spec wants what it names
    name = "sweep" if isinstance(spec, Mapping) else derived(path.stem, "sweep")
    try:
        loaded = _load(root, str(path), text, name, presets, problems, begun=False, absent=absent_data)
    except SpecError as error:
        raise SpecError(as_written(error.problems, opened)) from None
    outside.allow(loaded.outside_names())
    return loaded


def load_plain(value: Mapping[str, object], file: str) -> LoadedSpec:
    """Reads what `LoadedSpec.to_plain` returned (a run's run.json)."""
    stored = {key: item for key, item in value.items() if key not in _FOLLOWING}
    named = stored.pop("presets", None)
    presets = {
        str(section): tuple(map(str, names))
        for section, names in (named.items() if isinstance(named, Mapping) else ())
        if isinstance(names, list | tuple)
    }
    return _load(from_plain(stored, file), file, "", "run", presets, [], begun=True)


def override_budget(limits: Mapping[str, float], overrides: Iterable[str]) -> BudgetSettings:
    """Returns a run's limits with `budget.KEY=HOURS` applied (null: no limit).

    Raises `SpecError` for any other key.
    """
    assignments = list(overrides)
    for each in assignments:
        if each.split("=")[0].strip().split(".")[0] != "budget":
            message = (
                "a run keeps the spec it began with; allowed: budget.gpu_hours, budget.cpu_hours, budget.wall_hours"
            )
            raise SpecError([Problem(f"--set '{each}'", 0, "", message)])
    root = from_plain({"budget": dict(limits)}, "budget")
    override(root, assignments)
    problems: list[Problem] = []
    settings = section(BudgetSettings, root.keys, "budget", root.where, problems)
    if settings is None:
        raise SpecError(problems)
    return settings


def _load(
    root: Node,
    file: str,
    text: str,
    default_name: str,
    presets: Mapping[str, tuple[str, ...]],
    problems: list[Problem],
    *,
    begun: bool,
    absent: bool = False,
) -> LoadedSpec:
    """Builds the spec from its nodes. `absent`: data that are not there are no problem.

    `begun` says that a run has this spec already. It may continue with what a new spec is refused.
    """
    fill_in(root, problems, begun)
    sections = root.keys
    for key, node in sections.items():
        if key not in SECTIONS:
            hint = f"; {foreign.SECTIONS[key]}" if key in foreign.SECTIONS else nearest(key, list(SECTIONS))
            problems.append(Problem(*node.where, key, f"unknown key{hint} (allowed: {', '.join(SECTIONS)})"))
    data = section(DataSettings, sections, "data", root.where, problems)
    sweep = section(SweepSettings, sections, "sweep", root.where, problems)
    before = len(problems)
    stages = _stages(sections, root.where, problems)
    whole = len(problems) == before
    track = optional(TrackSettings, sections, "track", root.where, problems)
    tree = parse_tree(mapping(sections, "search", root.where, problems), "search", problems)
    loaded = {
        "name": text_of(sections, "name", default_name, problems),
        "question": text_of(sections, "question", "", problems),
    }
    if wrong := complaint(loaded["name"]):
        problems.append(Problem(*where_in(sections, "name", root.where), "name", wrong))
    points: tuple[Draw, ...] = ()
    earlier: Earlier | None = None
    broken = {problem.path for problem in problems if within(problem.path, "search")}
    consequences: list[Problem] = []
    drawn = check_all(tree, consequences)
    problems += no_consequences(consequences, broken)
    if not broken and data is not None and sweep is not None:
        written = sections["sweep"].parts.get("health") if "sweep" in sections else None
        if not (begun and written is not None):
            sweep = with_health(sweep, written, drawn, partial(_add, problems, sections, root.where))
        _cross_checks(
            sections, root.where, data, sweep, stages if whole else Stages(), tree, drawn, problems, begun, absent
        )
        points = _points(sections, root.where, sweep, tree, problems)
        if not begun:
            twice = refuse_second_seeds(tree, sweep.replicates)
            tuned = refuse_tuned_seeds(tree, sweep.searcher)
            problems += [*twice, *(each for each in tuned if not twice or each.path != SEED)]
            earlier = _earlier(sections, root.where, data, sweep, tree, problems)
    if problems or data is None or sweep is None:
        raise SpecError(problems)
    return LoadedSpec(
        loaded["name"],
        loaded["question"],
        data,
        tree,
        sweep,
        stages,
        file,
        text,
        presets,
        track,
        tuple(drawn),
        points,
        earlier,
    )


def _points(
    sections: Mapping[str, Node], where: Where, sweep: SweepSettings, tree: Tree, problems: list[Problem]
) -> tuple[Draw, ...]:
    """Returns the draws of `sweep.points`. What is no configuration of the space is a problem at its line."""
    draws: dict[str, Draw] = {}
    places: dict[str, int] = {}
    for number, read in read_points(sweep.points, tree):
        path: tuple[str | int, ...] = (number,)
        if isinstance(read, Draw):
            settings = check_draw(read, [])
            key = str(number) if settings is None else effective_key(settings)
            if key not in draws:
                draws[key], places[key] = read, number
                continue
            message = f"acts like points.{places[key]}; leave one of them out"
        else:
            path, message = (number, *read.path), read.message
        place = ".".join(map(str, ("sweep", "points", *path)))
        problems.append(Problem(*where_in(sections, place, where), place, message))
    most = getattr(sweep.searcher.settings, "trials", None)
    if isinstance(most, int) and len(sweep.points) > most:
        message = f"has {len(sweep.points)} configurations, and sweep.searcher tries {most} in all; raise its trials"
        problems.append(Problem(*where_in(sections, "sweep.points", where), "sweep.points", message))
    return tuple(draws.values())


def _earlier(
    sections: Mapping[str, Node],
    where: Where,
    data: DataSettings,
    sweep: SweepSettings,
    tree: Tree,
    problems: list[Problem],
) -> Earlier | None:
    """Returns what a new sweep learns from `sweep.from_runs`. None: nothing is asked for, or it is refused."""
    if not sweep.from_runs:
        return None

    def add(place: str, message: str) -> None:
        problems.append(Problem(*where_in(sections, place, where), place, message))

    searcher = sweep.searcher.build()
    if why := searcher.refuses_earlier():
        add("sweep.from_runs", why)
        return None
    earlier, refused = read_earlier(sweep.from_runs, tree, data, sweep.score)
    for number, why in refused:
        add(f"sweep.from_runs.{number}", why)
    if not refused and (why := searcher.refuses_earlier(len(earlier.outcomes))):
        add("sweep.from_runs", why)
    return earlier


def _stages(sections: Mapping[str, Node], where: Where, problems: list[Problem]) -> Stages:
    """Returns the stages after the search. Problems that a stage inherits from `evaluate` are reported once."""
    before = len(problems)
    evaluate = optional(AllocatedSettings, sections, "evaluate", where, problems)
    reported = {(problem.file, problem.line) for problem in problems[before:]}
    others: list[Problem] = []
    rungs = listed(RungSettings, sections, "rungs", others)
    transfer = listed(TransferSettings, sections, "transfer", others)
    problems += [problem for problem in others if (problem.file, problem.line) not in reported]
    return Stages(evaluate, rungs, transfer, optional(BudgetSettings, sections, "budget", where, problems))


def _add(problems: list[Problem], sections: Mapping[str, Node], where: Where, path: str, message: str) -> None:
    problems.append(Problem(*where_in(sections, path, where), path, message))


def _cross_checks(
    sections: Mapping[str, Node],
    where: Where,
    data: DataSettings,
    sweep: SweepSettings,
    stages: Stages,
    tree: Tree,
    drawn: list[SearchSettings],
    problems: list[Problem],
    begun: bool,
    absent: bool,
) -> None:
    add = partial(_add, problems, sections, where)
    if tries_all(sweep.searcher):
        problems += grid_refusals(tree)
    _check_strategy(sweep, tree, add)
    try:
        data.dataset.build().check()
    except DataError as error:
        if not absent:
            add("data.dataset", str(error))
    else:
        check_search(data, drawn, add)
    check_stages(stages, data, drawn, add, absent)
    if not begun:
        check_random_cells(stages.evaluate, sweep, drawn, add)
    for settings in drawn:
        refusals = refusals_of_data(settings, data.kind, f"data.dataset {data.dataset.name}")
        for place, message in refusals:
            add(".".join(map(str, ("search", *place))), message)
        if refusals:
            return
    metrics = [name for name in TASKS[data.kind].metrics() if data.holds_out or not name.startswith("validation")]
    reported = [
        (*metrics, "seconds", *(name for probe in settings.probes for name in getattr(probe.member, "METRICS", ())))
        for settings in drawn
    ]
    check_columns(sweep, reported, data.holds_out, add)


def _check_strategy(sweep: SweepSettings, tree: Tree, add: Callable[[str, str], None]) -> None:
    """Reports what the searcher and the scheduler cannot do."""
    for why in sweep.searcher.build().refusals(tree):
        add("sweep.searcher", why)
    if sweep.score.several:
        names = [each.name for each in sweep.objectives]
        for key, part in (("searcher", sweep.searcher), ("scheduler", sweep.scheduler)):
            if refused := part.build().refuses_objectives(names):
                add(f"sweep.{key}", refused)
    for key, why in sweep.scheduler.build().refusals(tree, sweep):
        add(f"sweep.scheduler.{key}" if key else "sweep.scheduler", why)


def effective_key(settings: SearchSettings) -> str:
    """Returns a text that is equal for configurations that act the same.

    Neutral regularizers are left out, and second order at xi = 0 is first order.
    """
    plain = settings.model_dump(mode="json")
    for key in plain:
        value = getattr(settings, key)
        if isinstance(value, Component):
            plain[key] = value.effective()
        elif isinstance(value, tuple) and all(isinstance(item, Component) for item in value):
            plain[key] = [kept for item in value if (kept := item.effective()) is not None]
    return json.dumps(plain, sort_keys=True)


def unique_grid(loaded: LoadedSpec) -> list[Draw]:
    """Returns the grid's draws in order, without those that act like an earlier one."""
    unique: dict[str, Draw] = {}
    for number, draw in enumerate(grid_draws(loaded.search)):
        if number >= LARGEST_GRID:
            message = f"the grid has more than {LARGEST_GRID:,} combinations; use sweep.searcher random or optuna"
            raise SpecError([Problem(loaded.file, 0, "search", message)])
        unique.setdefault(effective_key(loaded.settings_of(draw)), draw)
    return list(unique.values())
