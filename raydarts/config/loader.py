"""A spec file to a `LoadedSpec`: read, overridden, parsed, and every possible configuration checked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from raydarts.config.checks import check_all, check_draw
from raydarts.config.distributions import (
    KINDS,
    Draw,
    Tree,
    grid_draws,
    refuse_continuous,
)
from raydarts.config.kinds import fill_in
from raydarts.config.parsing import parse_tree
from raydarts.config.presets import expand, split_overrides
from raydarts.config.source import Node, Where, from_plain, override, read_file
from raydarts.config.spec import NAME_PATTERN, EvaluateSettings, SweepSettings
from raydarts.config.texts import check_search, check_training
from raydarts.config.track import TrackSettings
from raydarts.config.validation import Model, check
from raydarts.data.settings import DataSettings
from raydarts.errors import DataError, InputError, Problem, SpecError
from raydarts.evaluation.trainings import FOR_KIND, SETTINGS
from raydarts.registry import Component, nearest
from raydarts.runs.score import Score
from raydarts.search.composition import refusals_of_data
from raydarts.search.settings import SearchSettings
from raydarts.spaces.nasbench201 import NasBench201
from raydarts.tasks import TASKS

SECTIONS = ("name", "question", "data", "search", "sweep", "evaluate", "track")
LARGEST_GRID = 100_000


@dataclass(frozen=True)
class LoadedSpec:
    """A sound spec. `search` is a tree of what is swept; everything else is fixed.

    `presets` are the names of those that were laid under each section; their values are in the sections.
    """

    name: str
    question: str
    data: DataSettings
    search: Tree
    sweep: SweepSettings
    evaluate: EvaluateSettings | None
    file: str
    text: str
    presets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    track: TrackSettings | None = None

    def to_plain(self) -> dict[str, Any]:
        """As JSON-able data that `load_plain` reads back, every default written out but the search's."""
        return {
            "name": self.name,
            "question": self.question,
            "data": self.data.model_dump(mode="json"),
            "search": self.search.to_plain(),
            "sweep": self.sweep.model_dump(mode="json"),
            "evaluate": None if self.evaluate is None else self.evaluate.model_dump(mode="json"),
            "track": None if self.track is None else self.track.model_dump(mode="json"),
            "presets": self.presets_of("data", "search", "evaluate"),
            "score": self.score.to_json(),
        }

    @property
    def score(self) -> Score:
        """What this run's retrainings are ranked by."""
        return SETTINGS[FOR_KIND[self.data.kind]].SCORE if self.evaluate is None else self.evaluate.score

    def presets_of(self, *sections: str) -> dict[str, list[str]]:
        """As JSON-able data: the presets named in these sections and what is under them."""
        return {place: list(names) for place, names in self.presets.items() if place.split(".")[0] in sections}

    def settings_of(self, draw: Draw) -> SearchSettings:
        """The typed settings of one configuration. Raises `SpecError`."""
        problems: list[Problem] = []
        settings = check_draw(draw, problems)
        if settings is None or problems:
            raise SpecError(problems)
        return settings


def load_spec(path: Path | str, overrides: Iterable[str] = ()) -> LoadedSpec:
    """Read a YAML spec. Raises `SpecError` with all of its problems."""
    root, text = read_file(Path(path))
    problems: list[Problem] = []
    first, others = split_overrides(overrides)
    override(root, first)
    presets = expand(root, problems)
    override(root, others)
    return _load(root, str(path), text, Path(path).stem, presets, problems)


def load_plain(value: Mapping[str, Any], file: str) -> LoadedSpec:
    """Read what `LoadedSpec.to_plain` gave (a run's run.json)."""
    stored = {key: item for key, item in value.items() if key != "score"}  # follows from the rest
    presets = {section: tuple(names) for section, names in stored.pop("presets", {}).items()}
    return _load(from_plain(stored, file), file, "", "run", presets, [])


def _load(
    root: Node,
    file: str,
    text: str,
    default_name: str,
    presets: Mapping[str, tuple[str, ...]],
    problems: list[Problem],
) -> LoadedSpec:
    fill_in(root, problems)
    sections: dict[str, Node] = root.value
    for key, node in sections.items():
        if key not in SECTIONS:
            problems.append(
                Problem(*node.where, key, f"unknown key{nearest(key, list(SECTIONS))} (allowed: {', '.join(SECTIONS)})")
            )
    data = _section(DataSettings, sections, "data", root.where, problems)
    sweep = _section(SweepSettings, sections, "sweep", root.where, problems)
    wanted = "evaluate" in sections and sections["evaluate"].value is not None
    evaluate = _section(EvaluateSettings, sections, "evaluate", root.where, problems) if wanted else None
    tracked = "track" in sections and sections["track"].value is not None
    track = _section(TrackSettings, sections, "track", root.where, problems) if tracked else None
    tree = parse_tree(_mapping(sections, "search", root.where, problems), "search", problems)
    loaded = {
        "name": _text(sections, "name", default_name, problems),
        "question": _text(sections, "question", "", problems),
    }
    if not re.match(NAME_PATTERN, loaded["name"]):
        message = f"'{loaded['name']}' is no name: letters, digits, '.', '_', '-', and first a letter or digit"
        problems.append(Problem(*_where(sections, "name", root.where), "name", message))
    broken = {problem.path for problem in problems if _within(problem.path, "search")}
    found: list[Problem] = []
    drawn = check_all(tree, found)
    problems += _no_consequences(found, broken)
    if not broken and data is not None and sweep is not None:
        _cross_checks(sections, root.where, data, sweep, evaluate if wanted else None, tree, drawn, problems)
    if problems or data is None or sweep is None:
        raise SpecError(problems)
    return LoadedSpec(loaded["name"], loaded["question"], data, tree, sweep, evaluate, file, text, presets, track)


def _within(path: str, section: str) -> bool:
    return path == section or path.startswith(f"{section}.")


def _no_consequences(found: Iterable[Problem], broken: Iterable[str]) -> list[Problem]:
    """Where a distribution is broken there is no value to check: what follows from that is not told again."""
    roots = tuple(broken)
    return [problem for problem in found if not any(_within(problem.path, path) for path in roots)]


def _where(sections: Mapping[str, Node], key: str, default: Where) -> Where:
    """The place of `key`, dotted, or of the nearest section above it."""
    node: Node | None = None
    found = default
    items: Any = sections
    for part in key.split("."):
        node = items.get(part) if isinstance(items, Mapping) else None
        if node is None:
            break
        found, items = node.where, node.value
    return found


def _text(sections: Mapping[str, Node], key: str, default: str, problems: list[Problem]) -> str:
    node = sections.get(key)
    if node is None or node.value is None:
        return default
    if not isinstance(node.value, str):
        problems.append(Problem(*node.where, key, f"must be a text, got {json.dumps(node.plain())}; quote it"))
        return default
    return node.value


def _mapping(sections: Mapping[str, Node], key: str, where: Where, problems: list[Problem]) -> Node:
    node = sections.get(key)
    if node is None or node.value is None:
        return Node({}, where)
    if not isinstance(node.value, dict):
        problems.append(Problem(*node.where, key, f"must be a mapping of keys, got {json.dumps(node.plain())}"))
        return Node({}, node.where)
    return node


def _section(
    model: type[Model], sections: Mapping[str, Node], key: str, where: Where, problems: list[Problem]
) -> Model | None:
    """A section in which nothing may be left open."""
    node = _mapping(sections, key, where, problems)
    before = len(problems)
    _refuse_distributions(node, key, problems)
    if len(problems) > before:
        return None
    draw = parse_tree(node, key, problems).materialise(None)
    found: list[Problem] = []
    settings = check(model, draw.plain, draw.lines, key, found)
    broken = [problem.path for problem in problems[before:]]
    problems += _no_consequences(found, broken)
    return None if broken else settings


def _refuse_distributions(node: Node, path: str, problems: list[Problem]) -> None:
    if isinstance(node.value, list):
        for index, item in enumerate(node.value):
            _refuse_distributions(item, f"{path}.{index}", problems)
    elif isinstance(node.value, dict):
        if len(node.value) == 1 and next(iter(node.value)) in KINDS:
            kind = next(iter(node.value))
            message = f"a distribution ({kind}) can only stand under search: this is one for the whole run"
            problems.append(Problem(*node.where, path, message))
            return
        for key, item in node.value.items():
            _refuse_distributions(item, f"{path}.{key}", problems)


def _cross_checks(
    sections: Mapping[str, Node],
    where: Where,
    data: DataSettings,
    sweep: SweepSettings,
    evaluate: EvaluateSettings | None,
    tree: Tree,
    drawn: list[SearchSettings],
    problems: list[Problem],
) -> None:
    def add(path: str, message: str) -> None:
        problems.append(Problem(*_where(sections, path, where), path, message))

    if sweep.searcher.name == "grid":
        problems += refuse_continuous(tree)
    if evaluate is not None and not data.holds_out:
        add("data.validation_fraction", "evaluate ranks by held-out images; hold some out (0.1), or leave evaluate out")
    try:
        data.dataset.build().check()
    except DataError as error:
        add("data.dataset", str(error))
    else:
        check_search(data, drawn, add)
        if evaluate is not None:
            check_training(data, evaluate.training, add, "data", "evaluate.training")
    if evaluate is not None:
        _check_evaluation(evaluate, drawn, add)
    for settings in drawn:
        told = refusals_of_data(settings, data.kind, f"data.dataset {data.dataset.name}")
        for place, message in told:
            add(".".join(map(str, ("search", *place))), message)
        if told:
            return
    metrics = TASKS[data.kind].metrics()
    reported = [
        tuple(name for probe in settings.probes for name in getattr(probe.member, "METRICS", ())) for settings in drawn
    ]
    for probes in dict.fromkeys(reported):
        allowed = [name for name in metrics if data.holds_out or not name.startswith("validation")]
        if not any(fnmatchcase(sweep.metric, pattern) for pattern in [*allowed, *probes]):
            hint = nearest(sweep.metric, [*allowed, *probes])
            if sweep.metric in metrics:
                hint = "; with data.validation_fraction 0 nothing is held out, use alpha_accuracy"
            add("sweep.metric", f"'{sweep.metric}' is not reported{hint} (allowed: {', '.join([*allowed, *probes])})")
            break


def _check_evaluation(evaluate: EvaluateSettings, drawn: list[SearchSettings], add: Callable[[str, str], None]) -> None:
    """Whether every space swept can be evaluated in the way asked for."""
    spaces = {settings.space.name: settings.space.build() for settings in drawn}
    if evaluate.table is None:
        for space in spaces.values():
            try:
                space.check_network(evaluate.training.network)
            except InputError as error:
                add("evaluate.training.network", str(error))
        return
    if others := sorted(name for name, space in spaces.items() if not isinstance(space, NasBench201)):
        add("evaluate.table", f"holds cells of nasbench201; search.space is {', '.join(others)}")


def effective_key(settings: SearchSettings) -> str:
    """Equal for configurations that act alike: neutral remedies left out, second order at xi = 0 is first order."""
    plain = settings.model_dump(mode="json")
    for key in plain:
        value = getattr(settings, key)
        if isinstance(value, Component):
            plain[key] = value.effective()
        elif isinstance(value, tuple) and all(isinstance(item, Component) for item in value):
            plain[key] = [kept for item in value if (kept := item.effective()) is not None]
    return json.dumps(plain, sort_keys=True)


def unique_grid(loaded: LoadedSpec) -> list[Draw]:
    """The grid's draws in order, none acting like one before it."""
    unique: dict[str, Draw] = {}
    for number, draw in enumerate(grid_draws(loaded.search)):
        if number >= LARGEST_GRID:
            message = f"the grid has more than {LARGEST_GRID:,} combinations; use sweep.searcher random or optuna"
            raise SpecError([Problem(loaded.file, 0, "search", message)])
        unique.setdefault(effective_key(loaded.settings_of(draw)), draw)
    return list(unique.values())
