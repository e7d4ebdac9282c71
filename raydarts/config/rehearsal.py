"""A spec at tiny scale: the same stages, networks and shapes, with few configurations, few batches and few epochs.

`rehearsed` is the one place that says what a rehearsal leaves out. Every change is a line of `notes`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from raydarts.config.checks import check_draw
from raydarts.config.distributions import Draw
from raydarts.config.loader import LoadedSpec, effective_key, load_plain, unique_grid
from raydarts.config.rehearsal_data import few_data
from raydarts.config.seeds import tries_all
from raydarts.errors import Problem
from raydarts.evaluation.language_settings import LanguageSettings
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.json_types import section
from raydarts.registry import Component, resolve
from raydarts.runs.naming import derived
from raydarts.search.settings import SearchSettings
from raydarts.storage.files import plain
from raydarts.units import Unit

MOST_STRUCTURES = 40
MARK = "[a rehearsal at tiny scale, no result]"
"""Stands before the question, wherever that is shown."""
_SMALL: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("layers", (3, 5)),
    ("cells_per_stage", (1,)),
    ("channels", (4, 8, 12, 24)),
    ("units", (32,)),
)
_EPOCHS = (1, 2, 3, 4)
"""A remedy in stages needs an epoch for each."""


@dataclass(frozen=True)
class Scale:
    """How far a rehearsal is scaled. `batch`: the largest batch; None: as in the spec. `batches`: at least so many an
    epoch. `epochs`: of each trial; the last one is timed. `small`: networks are made smaller, as a step takes too long.
    `configurations`: at least so many, if there are, each structure once in any case.
    """

    batch: int | None = None
    batches: int = 2
    epochs: int = 1
    small: bool = False
    configurations: int = 2
    seeds: int = 2


@dataclass(frozen=True)
class Rehearsal:
    """A spec at tiny scale. `notes`: what was left out, a line each. `factors`: of each stage, by how much more images
    or tokens an epoch of the real run has.
    """

    spec: LoadedSpec
    notes: tuple[str, ...]
    factors: Mapping[str, float]
    scale: Scale


def signature(config: Mapping[str, object]) -> str:
    """What configurations have in common that differ in numbers alone: they run the same code."""

    def blank(value: object) -> object:
        if isinstance(value, Mapping):
            return {str(key): blank(item) for key, item in value.items() if key != "seed"}
        if isinstance(value, list | tuple):
            return [blank(item) for item in value]
        return 0 if isinstance(value, int | float) and not isinstance(value, bool) else value

    return json.dumps(blank(config), sort_keys=True, default=str)


def full_signature(config: Mapping[str, object]) -> str:
    """The signature of a configuration with all defaults written out, as a trial.json has it."""
    return signature(SearchSettings.model_validate(config).model_dump(mode="json"))


def configurations(loaded: LoadedSpec, least: int) -> list[Draw]:
    """Every structure of the space once, and further configurations until there are `least`, if there are so many."""
    by_structure: dict[str, Draw] = {}
    others: dict[str, Draw] = {}
    for draw in (*loaded.points, *loaded.search.variations()):
        if check_draw(draw, []) is None:
            continue
        first = by_structure.setdefault(signature(draw.plain), draw)
        key = json.dumps({**draw.plain, "seed": None}, sort_keys=True, default=str)
        if first is not draw and key != json.dumps({**first.plain, "seed": None}, sort_keys=True, default=str):
            others.setdefault(key, draw)
    chosen = list(by_structure.values())[:MOST_STRUCTURES]
    return [*chosen, *list(others.values())[: max(least - len(chosen), 0)]]


def shares_of_structures(loaded: LoadedSpec) -> dict[str, float]:
    """The share of each structure among the real sweep's configurations, where each is tried; else all alike."""
    draws = unique_grid(loaded) if tries_all(loaded.sweep.searcher) else configurations(loaded, 0)
    names = [full_signature(draw.plain) for draw in draws]
    return {name: names.count(name) / len(names) for name in dict.fromkeys(names)}


def rehearsed(
    loaded: LoadedSpec,
    available: Mapping[str, float],
    scale: Scale,
    table: Callable[[Any], str] | None = None,
) -> Rehearsal:
    """Returns a spec at tiny scale for a machine that has `available`.

    `table`: makes a table up in the place of one that is absent, and returns its file.
    """
    notes: dict[str, None] = {}
    note = notes.setdefault
    spec: dict[str, Any] = json.loads(json.dumps(plain(loaded.to_plain())))
    spec["name"] = derived(f"{loaded.name}-rehearsal", "rehearsal")
    spec["question"] = f"{MARK} {loaded.question}".strip()
    spec["budget"] = None
    draws = configurations(loaded, scale.configurations)
    shrunk = [_shrunk(draw.plain, scale, note) for draw in draws]
    options = list({effective_key(SearchSettings.model_validate(each)): each for each in reversed(shrunk)}.values())[
        ::-1
    ]
    spec["search"] = options[0] if len(options) == 1 else {"choice": options}
    note(f"{len(options)} configurations, each structure at least once")
    _searching(spec["sweep"], options, scale, note)
    sections = _sections(spec)
    for name, section_ in sections.items():
        _fitting(name, section_, available, note)
    for name, section_ in sections.items():
        if name != "sweep":
            _retraining(name, section_, scale, table, note)
    _offline(spec, note)
    factors = _data(loaded, spec, options, scale, note)
    tiny = load_plain(spec, loaded.file)
    return Rehearsal(replace(tiny, text=json.dumps(spec, indent=2) + "\n"), tuple(notes), factors, scale)


def _sections(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections of all stages, by their dotted paths."""
    named: dict[str, dict[str, Any]] = {"sweep": spec["sweep"]}
    named |= {f"rungs.{number}": each for number, each in enumerate(spec.get("rungs") or [])}
    if spec.get("evaluate"):
        named["evaluate"] = spec["evaluate"]
    return named | {f"transfer.{number}": each for number, each in enumerate(spec.get("transfer") or [])}


def _valid(config: dict[str, Any]) -> bool:
    problems: list[Problem] = []
    return check_draw(Draw(config, {}), problems) is not None and not problems


def _written_out(settings: SearchSettings) -> dict[str, Any]:
    """A configuration as in YAML, with every setting."""

    def yaml(value: object) -> object:
        if isinstance(value, Component):
            return value.plain()
        if isinstance(value, tuple):
            return [yaml(item) for item in value]
        return value.model_dump(mode="json") if isinstance(value, BaseModel) else value

    written: dict[str, Any] = json.loads(json.dumps(plain({key: yaml(value) for key, value in settings})))
    return written


def _shrunk(config: Mapping[str, object], scale: Scale, note: Callable[[str, None], object]) -> dict[str, Any]:
    """A configuration with as few epochs as its parts allow, and smaller where the scale says so."""
    full = SearchSettings.model_validate(plain(config))
    small = _written_out(full)
    if scale.batch is not None and full.batch_size > scale.batch:
        small["batch_size"] = scale.batch
        note(f"search batches of {scale.batch} in place of {full.batch_size}: a step is too slow here", None)
    if scale.small:
        for remedy in small["regularizers"]:
            if remedy["name"] == "progressive" and remedy["layers"] is not None:
                remedy["layers"] = [3] * len(remedy["shares"])
        for key, values in _SMALL:
            there = small["space"].get(key)
            for value in values if isinstance(there, int) else ():
                trial = {**small, "space": {**small["space"], key: value}, "epochs": full.epochs}
                if there > value and _valid(trial):
                    note(f"search.space.{key} {value} in place of {there}: a step is too slow here", None)
                    small["space"][key] = value
                    break
    for epochs in sorted({scale.epochs, *_EPOCHS}):
        fewer = _within(small, epochs)
        if epochs >= scale.epochs and _valid(fewer):
            note(f"{epochs} epoch{'s' if epochs > 1 else ''} a search (of {full.epochs})", None)
            return fewer
    return small


def _within(config: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """A configuration of so many epochs, and none of its parts lasts longer."""
    fewer: dict[str, Any] = json.loads(json.dumps({**config, "epochs": epochs}))
    named = [("regularizer", each) for each in fewer["regularizers"]] + [("selection", fewer["selection"])]
    for family, part in named:
        fields = resolve(family, part["name"]).Settings.model_fields
        for key, value in part.items():
            counts = key in fields and Unit("epochs") in fields[key].metadata
            if counts and isinstance(value, int):
                least = 1 if family == "selection" else 0
                part[key] = min(value, max(epochs - 1, least))
    return fewer


def _searching(
    sweep: dict[str, Any], options: Sequence[dict[str, Any]], scale: Scale, note: Callable[[str, None], object]
) -> None:
    """The searcher runs these configurations and no more."""
    searcher = dict(sweep["searcher"])
    sweep["from_runs"] = []
    sweep["points"] = []
    if "trials" in searcher:
        searcher["trials"] = len(options)
        if "startup_trials" in searcher:
            searcher["startup_trials"] = min(int(searcher["startup_trials"] or 1), max(1, len(options) // 2))
        sweep["points"] = [dict(option) for option in options] if len(options) > 1 else []
    sweep["searcher"] = searcher
    if sweep.get("replicates") and len(sweep["replicates"]) > scale.seeds:
        note(f"{scale.seeds} search seeds (of {len(sweep['replicates'])})", None)
        sweep["replicates"] = sweep["replicates"][: scale.seeds]


def _fitting(
    name: str, settings: dict[str, Any], available: Mapping[str, float], note: Callable[[str, None], object]
) -> None:
    """Resources that this machine has."""
    resources = settings["resources"]
    settings["checkpoint_every"] = 1
    settings["epoch_timeout"] = None
    there = available.get("gpus", 0.0)
    if resources["gpus"] * resources.get("workers", 1) > there:
        place = "the CPU" if there == 0 else f"{there:g} GPU(s)"
        note(f"{name}: on {place}, though it asks for {resources['gpus']:g} GPU(s)", None)
        resources["gpus"] = 0 if there == 0 else min(resources["gpus"], there)
        if resources.get("workers", 1) > 1:
            resources["workers"] = 1
    if not 0 < resources["gpus"] < 1:
        settings["out_of_memory"] = None
    if resources["cpus"] * resources.get("workers", 1) > available["cpus"]:
        note(f"{name}: {available['cpus']:g} CPU(s) a trial (it asks for {resources['cpus']:g})", None)
        resources["workers"] = 1 if "workers" in resources else None
        resources["cpus"] = available["cpus"]
        if resources["workers"] is None:
            del resources["workers"]
    for custom in [each for each in resources["custom"] if available.get(each, 0.0) < resources["custom"][each]]:
        note(f"{name}: without {custom}, which is not here", None)
        del resources["custom"][custom]


def _retraining(
    name: str,
    stage: dict[str, Any],
    scale: Scale,
    table: Callable[[Any], str] | None,
    note: Callable[[str, None], object],
) -> None:
    """A stage of retraining with few genotypes and epochs."""
    few = 2 if isinstance(stage["top_k"], str) else min(stage["top_k"], 2)
    if few != stage["top_k"] or len(stage["seeds"]) > scale.seeds:
        note(f"{name}: {few} genotypes (of {stage['top_k']}), {scale.seeds} evaluation seeds at most", None)
    stage["top_k"], stage["seeds"] = few, stage["seeds"][: scale.seeds]
    _answering(name, stage, note)
    if stage["max_skips"] is not None:
        stage["max_skips"] = None
        note(f"{name}: genotypes of any number of skips are retrained", None)
    if stage["table"] is not None:
        if table is not None:
            stage["table"]["file"] = table(stage["table"])
            note(f"{name}: accuracies made up, as the table is not there", None)
        return
    training = stage["training"]
    note(f"{name}: {scale.epochs} epoch{'s' if scale.epochs > 1 else ''} (of {training['epochs']})", None)
    training["epochs"] = scale.epochs
    if training.get("warmup_epochs"):
        training["warmup_epochs"] = 0
    if scale.batch is not None and training["batch_size"] > scale.batch:
        note(f"{name}: batches of {scale.batch} in place of {training['batch_size']}: a step is too slow here", None)
        training["batch_size"] = scale.batch
    if stage["resources"]["gpus"] == 0:
        for key, off in (("amp", "off"), ("compile", False), ("tf32", False)):
            if training.get(key, off) != off:
                note(f"{name}: without {key}, which is for a GPU", None)
                training[key] = off
    network = training["network"]
    for key, values in _SMALL if scale.small else ():
        value = values[-1] if key == "layers" else values[1] if key == "channels" else values[0]
        if isinstance(network.get(key), int) and network[key] > value:
            note(f"{name}: {key} {value} in place of {network[key]}: a step is too slow here", None)
            network[key] = value


def _answering(name: str, stage: dict[str, Any], note: Callable[[str, None], object]) -> None:
    """Of `evaluate`: one seed may be added, and one random cell is retrained."""
    if stage.get("confidence") is not None:
        stage["max_seeds"] = len(stage["seeds"]) + 1
        note(f"{name}: at most {stage['max_seeds']} evaluation seeds of a genotype until the first place is sure", None)
    if stage.get("random_cells", 0) > 1:
        note(f"{name}: 1 random cell (of {stage['random_cells']})", None)
        stage["random_cells"] = 1


def _offline(spec: dict[str, Any], note: Callable[[str, None], object]) -> None:
    wandb = section(spec.get("track")).get("wandb")
    if isinstance(wandb, dict) and wandb.get("mode") != "disabled":
        wandb["mode"] = "offline"
        note("track.wandb: offline", None)


def _data(
    loaded: LoadedSpec,
    spec: dict[str, Any],
    options: Sequence[dict[str, Any]],
    scale: Scale,
    note: Callable[[str, None], object],
) -> dict[str, float]:
    """Puts few images or tokens in the place of the data. Returns by how much more an epoch of each stage has."""
    drawn = [SearchSettings.model_validate(option) for option in options]
    stages = {stage.name: stage for stage in loaded.stages.chain()}
    plain_of = {stage.name: _at(spec, stage.section) for stage in stages.values()}
    shared = [name for name, stage in stages.items() if getattr(stage.settings, "data", None) is None]
    trainings = {name: _training(plain_of[name]) for name in stages if plain_of[name]["table"] is None}
    factors: dict[str, float] = {}
    here = [trainings[name] for name in shared if name in trainings]
    spec["data"], factor = few_data(loaded.data, drawn, here, scale.batches, note)
    factors |= {"search": factor, **dict.fromkeys(shared, factor)}
    for name, stage in stages.items():
        data = getattr(stage.settings, "data", None)
        if data is not None:
            plain_of[name]["data"], factors[name] = few_data(data, [], [trainings[name]], scale.batches, note)
    return factors


def _at(spec: Mapping[str, Any], path: str) -> dict[str, Any]:
    value: Any = spec
    for part in path.split("."):
        value = value[int(part)] if part.isdigit() else value[part]
    return value  # type: ignore[no-any-return]


def _training(stage: Mapping[str, Any]) -> EvaluationSettings | LanguageSettings:
    kind = LanguageSettings if stage["training"]["name"] == "language" else EvaluationSettings
    return kind.model_validate(stage["training"])
