"""Recorded searches: what a replay runs in place of training.

A `Recording` is one search that ran: its configuration, its search seed, and its rows by epoch. `read` takes them from
run directories of raydarts and from tables (`recorded_tables.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from raydarts.errors import GenotypeError, InputError, Problem, SpecError
from raydarts.genotypes.facts import cell_facts
from raydarts.genotypes.genotype import Genotype
from raydarts.json_types import section
from raydarts.runs.directory import RunDirectory
from raydarts.runs.results import trials
from raydarts.storage.place import Place
from raydarts.study.objectives import figure
from raydarts.study.results import NOT_SCALAR, TrialRecord

SEED = "seed"
"""The key of a raydarts configuration that is the search seed. It is no part of a recording's configuration."""


@dataclass(frozen=True)
class Recording:
    """One search that ran. `rows[i]` and `genotypes[i]` are those of epoch i + 1.

    `whole`: it ran to its own last epoch. `where` names it in messages.
    """

    where: str
    config: Mapping[str, object]
    seed: int
    rows: tuple[Mapping[str, object], ...]
    genotypes: tuple[Genotype | None, ...]
    whole: bool = True

    @property
    def epochs(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Configuration:
    """A configuration with its recordings by search seed."""

    config: Mapping[str, object]
    runs: Mapping[int, Recording]


@dataclass(frozen=True)
class Recordings:
    """All recordings that a replay may use. `notes` are lines for the user about what was read.

    `sweeps` are the `sweep` sections of the run directories among what was read, by their paths.
    """

    runs: tuple[Recording, ...]
    notes: tuple[str, ...] = ()
    sweeps: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @cached_property
    def epochs(self) -> int:
        """The most epochs of any run."""
        return max(run.epochs for run in self.runs)

    @cached_property
    def configurations(self) -> tuple[Configuration, ...]:
        """The configurations that differ, in the order met."""
        known: dict[str, dict[int, Recording]] = {}
        for run in self.runs:
            known.setdefault(key_of(run.config), {})[run.seed] = run
        return tuple(Configuration(next(iter(runs.values())).config, runs) for runs in known.values())

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """All search seeds that were recorded."""
        return tuple(sorted({run.seed for run in self.runs}))

    @cached_property
    def columns(self) -> frozenset[str]:
        """The columns that any row has."""
        return frozenset(key for run in self.runs for row in run.rows for key in row)

    def of(self, configurations: Iterable[Configuration]) -> Recordings:
        """The recordings of some configurations alone."""
        return Recordings(tuple(run for each in configurations for run in each.runs.values()), self.notes, self.sweeps)

    def with_seeds(self, seeds: Sequence[int]) -> Recordings:
        """The recordings with these search seeds alone."""
        return Recordings(tuple(run for run in self.runs if run.seed in seeds), self.notes, self.sweeps)


def key_of(config: Mapping[str, object]) -> str:
    """A text that is equal for equal configurations."""
    return json.dumps(config, sort_keys=True, default=str)


@cache
def facts_of(genotype: Genotype) -> Mapping[str, float] | str:
    """The columns of a row that follow from its genotype alone, or the reason why they are not known."""
    try:
        return {**cell_facts(genotype), **{f"skips_{name}": count for name, count in genotype.skips().items()}}
    except GenotypeError as error:
        return str(error)


def row_of(epoch: int, figures: Mapping[str, object], genotype: Genotype | None) -> dict[str, object]:
    """A row as a search reports it: its finite figures, and what follows from its genotype. What it says wins."""
    row: dict[str, object] = {"epoch": epoch}
    known = {} if genotype is None else facts_of(genotype)
    if not isinstance(known, str):
        row.update(known)
    row.update({key: value for key, raw in figures.items() if (value := figure(raw)) is not None})
    row["epoch"] = epoch
    return row


def read(places: Sequence[Place]) -> Recordings:
    """Reads run directories and tables. Raises `SpecError` with all problems of all of them."""
    from raydarts.runs.recorded_tables import is_table, read_table  # noqa: PLC0415 - it makes this module's recordings

    runs: list[Recording] = []
    notes: list[str] = []
    sweeps: dict[str, Mapping[str, object]] = {}
    problems: list[Problem] = []
    for place in places:
        try:
            recordings = read_table(Path(str(place))) if is_table(place) else read_run(place)
        except SpecError as error:
            problems += error.problems
            continue
        except InputError as error:
            problems.append(Problem(str(place), 0, "", str(error).removeprefix(f"{place}: ")))
            continue
        runs += recordings.runs
        notes += recordings.notes
        sweeps.update(recordings.sweeps)
    if not problems:
        runs, problems = _distinct(runs, notes)
    if not problems and not runs:
        named = ", ".join(map(str, places))
        problems = [Problem(named, 0, "", "holds no search with an epoch; there is nothing to replay")]
    if problems:
        raise SpecError(problems)
    notes += _unknown_health(runs)
    return Recordings(tuple(runs), tuple(dict.fromkeys(notes)), sweeps)


def read_run(place: Place) -> Recordings:
    """The search trials of a run directory that reported an epoch."""
    run = RunDirectory.open(place)
    description = run.description()
    if description["kind"] not in ("sweep", "search"):
        raise InputError(f"{place}: is a run of kind {description['kind']}, which searched nothing; give a sweep")
    records = trials(run)
    recordings = [_recorded(place, record) for record in records if record.rows]
    notes = []
    if empty := len(records) - len(recordings):
        notes.append(f"{place}: {empty} of {len(records)} trials reported no epoch and are left out")
    if cut := sum(not recording.whole for recording in recordings):
        notes.append(
            f"{place}: {cut} of {len(recordings)} trials did not run to their end; in a replay they fail where their "
            "rows end"
        )
    sweep = section(section(description.get("spec")).get("sweep"))
    return Recordings(tuple(recordings), tuple(notes), {str(place): sweep} if sweep else {})


def _recorded(place: Place, record: TrialRecord) -> Recording:
    where = f"{place}: trial {record.id}"
    config = {key: value for key, value in (record.description.get("config") or {}).items() if key != SEED}
    seed = (record.description.get("config") or {}).get(SEED, 0)
    if not isinstance(seed, int):
        raise InputError(f"{where}: its search seed is {seed!r}; allowed: a whole number")
    genotypes = tuple(
        Genotype.from_json(row["genotype"], f"{where}, epoch {row.get('epoch')}") if row.get("genotype") else None
        for row in record.rows
    )
    rows = tuple(
        row_of(epoch, {key: value for key, value in row.items() if key not in NOT_SCALAR}, genotype)
        for epoch, (row, genotype) in enumerate(zip(record.rows, genotypes, strict=True), start=1)
    )
    return Recording(where, config, seed, rows, genotypes, record.status == "completed")


def _distinct(runs: Sequence[Recording], notes: list[str]) -> tuple[list[Recording], list[Problem]]:
    """Each configuration and seed once. Equal ones that reported the same are one; others are a problem."""
    kept: dict[tuple[str, int], Recording] = {}
    problems = []
    repeated = 0
    for run in runs:
        first = kept.setdefault((key_of(run.config), run.seed), run)
        if first is run:
            continue
        if first.rows == run.rows:
            repeated += 1
        else:
            problems.append(
                Problem(
                    run.where,
                    0,
                    "",
                    f"has the settings and the seed ({run.seed}) of {first.where}, and other rows; settings are "
                    f"{', '.join(run.config) or 'none'}. Give each run its own seed, or write what differs into its "
                    "config",
                )
            )
    if repeated:
        notes.append(f"{repeated} runs repeat another with the same settings, seed and rows; they count once")
    return list(kept.values()), problems


def _unknown_health(runs: Sequence[Recording]) -> list[str]:
    """Lines on rows whose cell is not known, or not known to be healthy."""
    notes = []
    without = sum(None in run.genotypes for run in runs)
    if without:
        notes.append(
            f"{without} of {len(runs)} runs have epochs without a genotype: whether they collapsed is not known"
        )
    reasons = dict.fromkeys(
        reason
        for run in runs
        for genotype in run.genotypes
        if genotype is not None and isinstance(reason := facts_of(genotype), str)
    )
    return notes + list(reasons)[:3]
