"""A run as the report reads it: every search and retraining, the swept settings, and the question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean

from raydarts.json_types import number, section, whole
from raydarts.report.improvement import Improvement, improvements
from raydarts.report.skips import count_edges, count_skips
from raydarts.report.swept import SEED, Setting, named_members, swept
from raydarts.runs import results
from raydarts.runs.directory import TrialDirectory
from raydarts.runs.entries import AllocationEntry, TimeEntry
from raydarts.runs.folders import read_allocation, read_promotion, retrainings
from raydarts.runs.reading import Damage, read_text
from raydarts.runs.segments import lineage, lineage_in_words
from raydarts.runs.snapshot import RunSnapshot
from raydarts.storage.place import Place
from raydarts.study.configurations import Configuration, configurations
from raydarts.study.front import FrontReport, counted, front_of
from raydarts.study.noise_words import stage_noise
from raydarts.study.objectives import Score, SearchScore, score_of, search_score_of
from raydarts.study.random_cells import is_random
from raydarts.study.ranking import baselines, evaluation_rows
from raydarts.study.ranking_noise import RankingNoise, Unknown
from raydarts.study.results import TrialEntry, TrialRecord
from raydarts.study.searcher import is_model_based, searcher_of
from raydarts.study.stages import EVALUATE, stages_of


@dataclass(frozen=True)
class Searched:
    """One search trial. `metric` is the objective's figure at its end. `skips` counts all cell types together.

    `configuration` is its configuration's number, in a run with replicates.
    """

    id: str
    status: str
    seed: int | None
    choices: Mapping[str, object]
    metric: float | None
    skips: int | None
    skips_by_cell: Mapping[str, int]
    genotype: Mapping[str, object] | None
    genotype_id: str | None
    epochs: int
    rows: Sequence[Mapping[str, object]] = ()
    times: Sequence[TimeEntry] = ()
    seconds: float | None = None
    error: str | None = None
    config: Mapping[str, object] = field(default_factory=dict)
    """Its search settings, filled in."""
    configuration: int | None = None
    unhealthy: Sequence[str] | None = None
    """What is wrong with its genotype, in words. None: it has none."""
    reason: str | None = None
    """Why a rule of the sweep stopped it."""
    order: float | None = None
    """The number that it is ranked by."""
    lineage: str = ""
    """What a trial comes from that went on as a copy of another. Its `choices` are empty then: it had several settings,
    and what it came to follows from none of them alone.
    """

    @property
    def completed(self) -> bool:
        return self.status == "completed"


@dataclass(frozen=True)
class Retrained:
    """One retraining of a genotype with one evaluation seed. `validation` and `test` are the run's score."""

    id: str
    genotype_id: str
    seed: int
    status: str
    validation: float | None
    test: float | None
    parameters: int | None
    epochs: int
    times: Sequence[TimeEntry] = ()
    seconds: float | None = None
    error: str | None = None
    genotype: Mapping[str, object] | None = None
    rows: Sequence[Mapping[str, object]] = ()
    is_random: bool = False
    """Whether it is of a random cell, which is no answer of the run."""


@dataclass(frozen=True)
class Run:
    """Everything that a report is made from. `retrainings` are those of discovered or given genotypes."""

    description: Mapping[str, object]
    searches: Sequence[Searched]
    retrainings: Sequence[Retrained]
    status: str = "completed"
    name: str = "run"
    path: str = ""
    spec_text: str = ""
    promotion: Sequence[Mapping[str, object]] = field(default_factory=tuple)
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    faults: Sequence[results.FaultOfTrial] = ()
    """What befell trials from outside, those retried too (`results.faults`)."""
    configurations: Sequence[Configuration] = ()
    """What the search seeds of each configuration came to together. Empty without replicates."""
    front: FrontReport | None = None
    """The Pareto front of several objectives. None: there is one objective."""
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The figures of all objectives, of each trial (or configuration) that counts for the front."""
    allocation: Sequence[AllocationEntry] = ()
    """What was decided on more evaluation seeds for `evaluate`."""
    damaged: Sequence[str] = ()
    """What is wrong with files of the run, whose content is left out."""
    random_retrainings: Sequence[Retrained] = ()
    """The retrainings of random cells."""
    improvement: Sequence[Improvement] = ()
    """By how much genotypes are better than random cells. Empty without random cells."""
    stages: Mapping[str, Run] = field(default_factory=dict)
    """Every other retraining stage by name: this run with that stage's retrainings and promotion for its own."""
    stage: str = EVALUATE
    """Whose retrainings `retrainings` are."""

    @property
    def all_retrainings(self) -> list[tuple[str, Retrained]]:
        """Returns the retrainings of every stage with the stage's name.

        Use it only for what does not mix evaluation seeds.
        """
        pairs = [(EVALUATE, each) for each in [*self.retrainings, *self.random_retrainings]]
        return pairs + [(name, each) for name, stage in self.stages.items() for each in stage.retrainings]

    @property
    def spec(self) -> Mapping[str, object]:
        return section(self.description.get("spec"))

    @property
    def metric(self) -> str:
        return self.supernet.metric

    @property
    def mode(self) -> str:
        return self.supernet.mode

    @property
    def score(self) -> Score:
        """The score that ranks genotypes."""
        return score_of(self.description)

    @property
    def supernet(self) -> SearchScore:
        """The score that decided promotion: the sweep's objective."""
        return search_score_of(self.description)

    @property
    def table(self) -> str | None:
        """The file in which the genotypes' accuracies were looked up, if nothing was retrained."""
        file = section(section(self.spec.get("evaluate")).get("table")).get("file")
        return None if file is None else str(file)

    @property
    def searcher(self) -> str:
        return searcher_of(self.description)

    @property
    def model_based(self) -> bool:
        """Whether the searcher proposed settings from earlier results."""
        return is_model_based(self.description)

    @cached_property
    def completed(self) -> list[Searched]:
        return [search for search in self.searches if search.completed]

    @property
    def unit(self) -> str:
        """What is compared, in words. Search seeds of a configuration are no independent searches."""
        return "configurations" if self.configurations else "searches"

    def units(self, value: Callable[[Searched], float | None]) -> list[tuple[Searched, float]]:
        """Returns the completed searches that have a value, and that value.

        With replicates it returns each configuration once, with the mean over its search seeds: the settings are those
        of its first search, and it has no seed.
        """
        known = [(search, float(score)) for search in self.completed if (score := value(search)) is not None]
        if not self.configurations:
            return known
        groups: dict[int | None, list[tuple[Searched, float]]] = {}
        for search, score in known:
            groups.setdefault(search.configuration, []).append((search, score))
        return [
            (replace(group[0][0], id=f"configuration {number:04d}", seed=None), fmean(score for _, score in group))
            for number, group in groups.items()
            if number is not None
        ]

    @cached_property
    def settings(self) -> list[Setting]:
        """The settings that differ between trials, without search seed, in the order of the spec."""
        return swept((search.choices for search in self.searches), self.members)

    @cached_property
    def members(self) -> dict[str, str]:
        """The names of list items (`search.regularizers.0` -> `beta_decay`), where all trials have the same there."""
        configs = [search.config for search in self.searches if search.config]
        return named_members(configs or [section(self.spec.get("search"))])

    @cached_property
    def most_skips(self) -> dict[str, int]:
        """The most skip connections that a genotype of this run can have, for each cell type: its edges."""
        most: dict[str, int] = {}
        for search in self.searches:
            for cell, edges in count_edges(search.genotype or {}).items():
                most[cell] = max(most.get(cell, 0), edges)
        return most

    def trials_of(self, unit: Searched) -> list[str]:
        """Returns the trials behind one of `units`."""
        if not self.configurations or unit.configuration is None:
            return [unit.id]
        return [search.id for search in self.completed if search.configuration == unit.configuration]

    @cached_property
    def seeds(self) -> list[int]:
        """The search seeds of all trials."""
        return sorted({search.seed for search in self.searches if search.seed is not None})

    @cached_property
    def validation(self) -> dict[str, list[float]]:
        """Returns genotype id -> its scores, one for each completed evaluation seed."""
        scores: dict[str, list[float]] = {}
        for done in self.retrainings:
            if done.status == "completed" and done.validation is not None:
                scores.setdefault(done.genotype_id, []).append(done.validation)
        return scores

    @cached_property
    def retrained_mean(self) -> dict[str, float]:
        return {name: fmean(values) for name, values in self.validation.items()}

    @cached_property
    def ranked(self) -> list[str]:
        """Returns the retrained genotypes, best mean first."""
        mean = self.retrained_mean
        return sorted(mean, key=lambda name: (-self.score.sign * mean[name], name))

    @cached_property
    def noise(self) -> RankingNoise | Unknown | None:
        """What the noise of evaluation seeds leaves of the ranking. None: nothing is ranked, or by a table."""
        rows = [
            {"genotype": each.genotype_id, "status": each.status, self.score.metric: each.validation}
            for each in self.retrainings
        ]
        return stage_noise(self.spec, self.stage, rows, self.score)

    @cached_property
    def searches_by_genotype(self) -> dict[str, list[Searched]]:
        """Returns genotype id -> the completed and stopped trials that ended with it."""
        searches: dict[str, list[Searched]] = {}
        for search in self.searches:
            if search.genotype_id is not None and search.status in ("completed", "stopped"):
                searches.setdefault(search.genotype_id, []).append(search)
        return searches

    @cached_property
    def supernet_mean(self) -> dict[str, float]:
        """Returns genotype id -> the sweep's metric, averaged over the trials that ended with it."""
        means = {}
        for name, searches in self.searches_by_genotype.items():
            values = [search.metric for search in searches if search.metric is not None]
            if values:
                means[name] = fmean(values)
        return means

    def setting(self, name: str) -> Setting | None:
        return next((setting for setting in self.settings if setting.name == name), None)


def _searched(
    record: TrialRecord, trial: TrialDirectory, score: SearchScore, described: Mapping[str, TrialEntry]
) -> Searched:
    config = record.description.get("config") or {}
    choices = record.description.get("choices") or {}
    parts = lineage(record.id, record.epochs, lambda name: described.get(name, {}))
    seed = choices.get(SEED, config.get("seed"))
    skips = record.skips or (count_skips(record.genotype) if record.genotype else {})
    return Searched(
        id=record.id,
        status=record.status,
        seed=None if seed is None else whole(seed),
        choices={} if parts else choices,
        metric=record.value(score),
        skips=sum(skips.values()) if skips else None,
        skips_by_cell=skips,
        genotype=record.genotype,
        genotype_id=record.genotype_id,
        epochs=record.epochs,
        rows=record.rows,
        times=trial.times(),
        seconds=record.result.get("seconds"),
        unhealthy=score.unhealthy(record.judged) if record.genotype is not None else None,
        reason=record.result.get("reason"),
        order=record.order(score),
        error=record.result.get("error"),
        config=config,
        lineage=lineage_in_words(parts),
        configuration=record.configuration,
    )


def _retrained(record: TrialRecord, row: Mapping[str, object], trial: TrialDirectory, score: Score) -> Retrained:
    parameters = (record.result.get("result") or {}).get("parameters")
    return Retrained(
        id=record.id,
        genotype_id=str(row["genotype"]),
        seed=whole(row["seed"]),
        status=record.status,
        validation=number(row[score.metric]),
        test=number(row[score.test]),
        parameters=None if parameters is None else int(parameters),
        epochs=record.epochs,
        times=trial.times(),
        seconds=record.result.get("seconds"),
        error=record.result.get("error"),
        genotype=record.description.get("genotype"),
        rows=record.rows,
        is_random=is_random(record.description),
    )


def gather(path: Place, damage: Damage | None = None) -> Run:
    """Reads a run directory. Raises `RunError` if `path` is none.

    Damaged files are noted in `damage` and left out. Without `damage` they raise.
    """
    return gathered(RunSnapshot.open(path, damage))


def gathered(run: RunSnapshot) -> Run:
    """Returns the run as the report reads it."""
    description = run.description()
    draft = Run(description, (), ())
    searched, evaluated = results.trials(run), results.evaluations(run)
    described = {record.id: record.description for record in searched}
    retrained = _retrainings(run, EVALUATE, evaluated, draft.score)
    groups = configurations(searched, draft.supernet)
    whole = Run(
        description=description,
        searches=[
            _searched(record, trial, draft.supernet, described)
            for record, trial in zip(searched, run.trials(), strict=True)
        ],
        retrainings=[each for each in retrained if not each.is_random],
        random_retrainings=[each for each in retrained if each.is_random],
        improvement=improvements(evaluation_rows(evaluated, draft.score), draft.score),
        status=results.run_status(run),
        name=run.name,
        path=str(run.path),
        spec_text=read_text(run.files / "spec.yaml", run.damage),
        promotion=read_promotion(run, EVALUATE) or (),
        baselines=baselines(evaluated),
        faults=results.faults(run),
        configurations=groups,
        front=front_of(searched, groups, draft.supernet),
        figures={member["name"]: member["figures"] for member in counted(searched, groups, draft.supernet)},
        allocation=read_allocation(run),
    )
    names = [stage.name for stage in stages_of(description) if stage.name != EVALUATE]
    views = {
        name: replace(
            whole,
            retrainings=_retrainings(run, name, results.retrained(run, name), whole.score),
            promotion=read_promotion(run, name) or (),
            stage=name,
            random_retrainings=(),
            improvement=(),
            allocation=(),
        )
        for name in names
    }
    damaged = () if run.damage is None else run.damage.problems
    views = {name: replace(view, damaged=damaged) for name, view in views.items()}
    return replace(whole, stages=views, damaged=damaged)


def _retrainings(run: RunSnapshot, stage: str, records: Sequence[TrialRecord], score: Score) -> list[Retrained]:
    rows = evaluation_rows(records, score)
    return [
        _retrained(record, row, trial, score)
        for record, row, trial in zip(records, rows, retrainings(run, stage), strict=True)
    ]
