"""The typed spec: what a YAML file asks for, after it has been read and checked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from raydarts.config.ranking import (
    ConstraintSettings,
    HaltSettings,
    HealthSettings,
    StopSettings,
    refuse_repeated,
    refuse_worst_first,
)
from raydarts.data.paths import DataPath
from raydarts.data.settings import DataSettings
from raydarts.errors import InputError, shortened
from raydarts.evaluation.settings import EvaluationSettings, TableSettings
from raydarts.evaluation.trainings import ChooseTraining, TrainingSettings
from raydarts.registry import Around, Choose, ChooseSome, Component, Idle, Settings, Some
from raydarts.runs.naming import MOST_OF_A_RUN, complaint
from raydarts.study.objectives import ACCURACY, Score, SearchScore
from raydarts.study.objectives.base import Objective
from raydarts.study.rules import Rules
from raydarts.units import Epochs, Genotypes, Hours, Processes, Seconds, SkipConnections, Trials, Unit

TopK = Annotated[Genotypes, Field(ge=1)] | Literal["all", "third"]
"""The words: `study.allocation.places`."""
_TOP_K = (
    "How many distinct genotypes are retrained. `all`: all that no health check speaks against. `third`: the best "
    "third of these, four at least."
)
_NO_CUSTOM_NAMES = ("cpu", "cpus", "gpu", "gpus", "memory", "object_store_memory")


def check_name(name: str) -> str:
    """Returns the `--name` of a run. Raises `InputError` if it is not valid."""
    if wrong := complaint(name, MOST_OF_A_RUN):
        raise InputError(f"--name {shortened(name, 60)}: {wrong}")
    return name


def _component(family: str, name: str) -> Component:
    return Choose(family).parse(name)


class Resources(Settings):
    """The resources of one trial.

    `custom` is for resources such as licences or `accelerator_type:A100`.
    """

    cpus: Annotated[float, Unit("CPUs")] = Field(
        1, gt=0, description="CPUs of each trial. Its torch threads are as many, rounded down, at least one."
    )
    gpus: Annotated[float, Unit("GPUs")] = Field(
        0, ge=0, description="GPUs of each trial. A fraction shares one GPU: 0.25 puts four trials on it."
    )
    custom: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="Amounts of what the cluster's nodes offer by `ray start --resources`. Above 1 only whole amounts.",
    )

    def bundle(self) -> dict[str, float]:
        """Returns the resources of one process, by Ray's names."""
        return {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus > 0 else {}), **self.custom}

    @field_validator("custom")
    @classmethod
    def _names_of_their_own(cls, value: dict[str, float]) -> dict[str, float]:
        for name, amount in value.items():
            if name.lower() in _NO_CUSTOM_NAMES:
                raise ValueError(
                    f"{name} is no name of one's own; allowed: cpus and gpus by their own keys, others here"
                )
            if amount > 1 and not math.isclose(amount, round(amount)):
                raise ValueError(f"{name}: above 1 only whole amounts can be given; allowed: up to 1, or 2, 3, ...")
        return value

    def idle(self, around: Around) -> Iterator[Idle]:
        if self.gpus > 1:
            yield Idle(
                "gpus", f"is {self.gpus:g}, and a process computes on one GPU: the rest is idle; {self._spread()}"
            )

    def _spread(self) -> str:
        """Returns what to write instead of several GPUs for one process."""
        return "write gpus: 1"

    @property
    def processes(self) -> int:
        """Returns the number of processes of a trial. Each gets these resources."""
        return 1

    @property
    def in_all(self) -> tuple[float, float]:
        """Returns CPUs and GPUs of a trial over its processes."""
        return (self.cpus * self.processes, self.gpus * self.processes)

    @field_validator("gpus")
    @classmethod
    def _whole_above_one(cls, value: float) -> float:
        if value > 1 and not math.isclose(value, round(value)):
            raise ValueError("above 1 only whole GPUs can be given; allowed: a fraction up to 1, or 2, 3, ...")
        return value


class WorkerResources(Resources):
    """The resources of each of the `workers` that train one network together."""

    workers: Processes = Field(
        1, ge=1, description="Processes that train one network together. Each is given these resources."
    )

    @model_validator(mode="after")
    def _a_gpu_each(self) -> Self:
        if self.workers > 1 and 0 < self.gpus < 1:
            raise ValueError(
                f"{self.workers} workers with {self.gpus:g} GPU each may share one, where NCCL joins no two of them; "
                "allowed: whole gpus for each worker, or workers: 1"
            )
        return self

    def _spread(self) -> str:
        return f"write gpus: 1, or gpus: 1 and workers: {self.gpus * self.workers:g}"

    @property
    def processes(self) -> int:
        return self.workers


class OutOfMemory(Settings):
    """What happens to a trial whose GPU's memory was full. It is tried again with a larger share of a GPU.

    A process trains on one GPU, so more than a whole GPU would not help.
    """

    retries: int = Field(2, ge=1, description="How often a trial is tried again after its GPU's memory was full.")
    grow: float = Field(
        2, gt=1, description="Factor on the trial's share of a GPU at each retry. The share is at most 1."
    )

    def idle(self, around: Around) -> Iterator[Idle]:
        shares = [around.gpus]
        while len(shares) <= self.retries and shares[-1] < 1:
            shares.append(grown(shares[-1], self.grow))
        useful = len(shares) - 1
        if self.retries > useful:
            yield Idle(
                "retries",
                f"is {self.retries}, and after {useful} of them a trial has a whole GPU, of which a process uses no "
                f"more; write retries: {useful}",
            )
        if self.written("grow") and around.gpus * self.grow > 1:
            yield Idle(
                "grow",
                f"is {self.grow:g}, and {around.gpus:g} GPU times that is more than a whole one, which is the most; "
                f"write grow: {1 / around.gpus:.4g}",
            )


def grown(share: float, by: float) -> float:
    """Returns the next share of a GPU for a trial whose memory was full. It is at most a whole GPU."""
    return min(1.0, round(share * by, 4))  # Ray hands out GPUs in ten thousandths


class TrialsSettings(Settings):
    """Settings of the trials of any stage.

    A trial's own error, such as a loss that is not finite, is not retried. Retries are counted over all drivers of the
    run.
    """

    resources: Resources = Field(Resources(), description="What each trial is given.")
    max_failures: int = Field(
        3, ge=0, description="How often a trial is tried again after its process, its node or its storage was lost."
    )
    epoch_timeout: Seconds | None = Field(
        None, gt=0, description="A trial without a new epoch for this long is ended and tried again. `null`: no limit."
    )
    out_of_memory: OutOfMemory | None = Field(
        None, description="What happens when a GPU's memory is full. `null`: the trial fails."
    )
    checkpoint_every: Epochs = Field(1, ge=1, description="Epochs from one checkpoint to the next.")

    def idle(self, around: Around) -> Iterator[Idle]:
        if self.checkpoint_every > around.epochs:
            yield Idle(
                "checkpoint_every",
                f"is {self.checkpoint_every}, and trials run at most {around.epochs} epochs: the one checkpoint is "
                f"that of a trial's end, and a trial that is lost before begins anew; write checkpoint_every: "
                f"{max(1, around.epochs // 2)} or less",
            )

    @model_validator(mode="after")
    def _shares_that_can_grow(self) -> Self:
        if self.out_of_memory is not None and not 0 < self.resources.gpus < 1:
            raise ValueError(
                f"out_of_memory gives a trial a larger share of its GPU, and resources.gpus is "
                f"{self.resources.gpus:g}; allowed: a share above 0 and below 1, or out_of_memory: null"
            )
        return self


class SweepSettings(TrialsSettings):
    """The first stage: search trials."""

    searcher: Annotated[Component, Choose("searcher")] = Field(
        default_factory=lambda: _component("searcher", "grid"), description="How configurations are chosen."
    )
    points: tuple[dict[str, Any], ...] = Field(
        (),
        description="Configurations that are tried first, in this order. Each is written as under `search`, with one "
        "value for each open setting.",
    )
    from_runs: tuple[DataPath, ...] = Field(
        (),
        description="Earlier runs. The searcher's model learns from their completed trials before its first proposal.",
    )
    scheduler: Annotated[Component, Choose("scheduler")] = Field(
        default_factory=lambda: _component("scheduler", "fifo"), description="Which trials stop early."
    )
    objective: Annotated[Some, ChooseSome("objective")] = Field(
        default_factory=lambda: _component("objective", "healthy_accuracy"),
        description="What trials are ranked by. On text it is `healthy_perplexity` by default. A list of several, such "
        "as `[healthy_accuracy, parameters]`, asks for their Pareto front.",
    )
    health: HealthSettings = Field(
        default_factory=HealthSettings,
        description="Bars of the health checks, beside the space's: `{skip_share: {most: 0.4}}`. `false` leaves a "
        "check out.",
    )
    halt: HaltSettings | Literal[False] | None = Field(
        None,
        validate_default=True,
        description="When a collapsed trial is halted. `null`: by the defaults if the objective is healthy first, "
        "else never. `false`: never.",
    )
    constraints: tuple[ConstraintSettings, ...] = Field(
        (), description="Bars on other figures. A trial that does not keep them ranks behind all that do."
    )
    replicates: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None,
        description="Search seeds. Each configuration is searched once with each, and judged by their mean. `null`: "
        "once, with `search.seed`.",
    )
    stop: tuple[StopSettings, ...] = Field((), description="Figures by which a trial is stopped.")
    seed: int = Field(0, ge=0, description="Seed of what searcher and scheduler draw, and of `evaluate.random_cells`.")
    max_concurrent: Trials | None = Field(
        None, ge=1, description="Most trials that run at the same time. `null`: as many as fit."
    )
    fuse: Literal["auto", "off"] | Annotated[Trials, Field(ge=2)] = Field(
        "auto",
        description="Most trials of like structure that one process runs together as one computation. `auto`: up to 8, "
        "as long as every process has some and they fit into memory, and none on a share of a GPU. `off`: each trial "
        "has a process of its own. Figures differ by rounding.",
    )

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        trials = around.jobs * self.trials_each
        if self.max_concurrent is not None and self.max_concurrent > trials > 0:
            yield Idle(
                "max_concurrent",
                f"is {self.max_concurrent}, and there are {trials} trials in all; lower it, or leave it out",
            )
        at_a_time = min(trials, self.max_concurrent or trials)
        if isinstance(self.fuse, int) and self.fuse > at_a_time > 0:
            yield Idle("fuse", f"is {self.fuse}, and no more than {at_a_time} trials run at a time; lower it")
        if self.replicates is not None and len(self.replicates) == 1:
            seed = self.replicates[0]
            yield Idle(
                "replicates",
                f"has one search seed, of which no spread is known; write two or more, or search.seed: {seed} in its "
                "place",
            )
        exhaustive = getattr(self.searcher.member, "EXHAUSTIVE", False)
        draws = not exhaustive or self.scheduler.build().draws or around.random_cells > 0
        if self.written("seed") and not draws:
            yield Idle(
                "seed",
                f"is {self.seed}, and neither searcher {self.searcher.name} nor scheduler {self.scheduler.name} draws "
                "at random, nor are there evaluate.random_cells; leave it out (the searches' own seed is search.seed)",
            )

    @property
    def trials_each(self) -> int:
        """Returns the number of trials of each configuration."""
        return 1 if self.replicates is None else len(self.replicates)

    @field_validator("replicates")
    @classmethod
    def _distinct_seeds(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and not value:
            raise ValueError("needs at least one search seed, for example [0, 1, 2]; or leave it out")
        if value is not None and len(set(value)) != len(value):
            raise ValueError("search seeds must be distinct: the same seed twice is one search, not two")
        return value

    @field_validator("objective", mode="after")
    @classmethod
    def _names_figures(cls, value: Some) -> Some:
        objectives = (value,) if isinstance(value, Component) else value
        for each in objectives:
            refuse_worst_first(each)
        refuse_repeated(objectives)
        return value

    @field_validator("halt")
    @classmethod
    def _by_the_objective(cls, value: HaltSettings | bool | None, info: ValidationInfo) -> HaltSettings | bool:
        objective = info.data.get("objective")
        if value is not None or objective is None:
            return False if value is None else value
        objectives = (objective,) if isinstance(objective, Component) else objective
        return HaltSettings() if any(each.build().HEALTHY for each in objectives) else False

    @property
    def objectives(self) -> tuple[Component, ...]:
        """All objectives, also where there is one."""
        return (self.objective,) if isinstance(self.objective, Component) else self.objective

    @property
    def score(self) -> SearchScore:
        """What ranks search trials: the objectives with their bars.

        Healthy cells are first if one of several objectives asks for it.
        """
        objectives: list[Objective] = [each.build() for each in self.objectives]
        first, *more = (each.score() for each in objectives)
        return replace(
            first,
            healthy=any(each.HEALTHY for each in objectives),
            health=self.health.bars(),
            constraints=tuple(each.bar() for each in self.constraints),
            more=tuple(more),
        )

    @property
    def signals(self) -> list[tuple[str, Component]]:
        """Every figure that is named here, with its place below `sweep`."""
        several = len(self.objectives) > 1
        named = [(f"objective.{n}" if several else "objective", each) for n, each in enumerate(self.objectives)]
        named += [(f"constraints.{number}.signal", each.signal) for number, each in enumerate(self.constraints)]
        return named + [(f"stop.{number}.signal", each.signal) for number, each in enumerate(self.stop)]

    def rules(self) -> Rules:
        """What stops a trial whatever the scheduler says."""
        halt = (self.halt.rule(self.health.bars()),) if self.halt else ()
        return Rules((*halt, *(each.rule(number) for number, each in enumerate(self.stop))))


class EvaluateSettings(TrialsSettings):
    """A stage of retraining: the best `top_k` distinct genotypes are retrained, once with each evaluation seed.

    `evaluate`, each rung and each transfer are such stages.
    """

    top_k: TopK = Field(4, description=_TOP_K)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0, 1), description="Evaluation seeds. Each genotype is retrained once with each seed."
    )
    max_skips: SkipConnections | None = Field(
        None, ge=0, description="Genotypes with more than this in one cell type are not retrained. `null`: no limit."
    )
    resources: WorkerResources = Field(WorkerResources(), description="What each trial is given.")
    training: Annotated[TrainingSettings, ChooseTraining()] = Field(
        EvaluationSettings(), description="How each network is trained: `image` or `language`."
    )
    table: TableSettings | None = Field(
        None, description="A table in which accuracies are looked up. Nothing is trained then."
    )

    def idle(self, around: Around) -> Iterator[Idle]:
        if self.table is None:
            yield from super().idle(around)
        elif self.resources.gpus > 0:
            yield Idle("resources.gpus", "reserves a GPU, and a table is looked up without one; write gpus: 0")
        if self.written("top_k") and isinstance(self.top_k, int) and self.top_k > around.jobs > 0:
            what = f"is {self.top_k}, and no more than {around.jobs} genotypes can come here"
            yield Idle("top_k", f"{what}; write top_k: {around.jobs} or less")
        training = self.training
        among_workers = isinstance(training, EvaluationSettings) and training.written("sync_batch_norm")
        if among_workers and self.resources.workers == 1:
            what = "acts among several workers, and resources.workers is 1; leave it out"
            yield Idle("training.sync_batch_norm", what)

    @property
    def epochs(self) -> int:
        """Returns the epochs of each retraining. Looking up a table is one epoch."""
        return self.training.epochs if self.table is None else 1

    @property
    def score(self) -> Score:
        """What ranks genotypes. A table holds accuracies."""
        return self.training.SCORE if self.table is None else ACCURACY

    @model_validator(mode="after")
    def _table_or_training(self) -> EvaluateSettings:
        if self.table is not None and self.training != EvaluationSettings():
            raise ValueError("table and training exclude each other: nothing is trained where a table is read")
        if self.table is not None and len(self.seeds) > 1:
            raise ValueError("a table has one value for each cell, whatever the seed: write seeds: [0]")
        return self

    @model_validator(mode="after")
    def _divisible(self) -> EvaluateSettings:
        workers, training = self.resources.workers, self.training
        if workers > 1 and (self.table is not None or not isinstance(training, EvaluationSettings)):
            raise ValueError("resources.workers above 1 divide the training of images among them; write workers: 1")
        if workers > 1 and training.batch_size % workers:
            raise ValueError(
                f"training.batch_size {training.batch_size} cannot be divided evenly among {workers} workers "
                "(resources.workers)"
            )
        return self

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value:
            raise ValueError("needs at least one evaluation seed, for example [0, 1]")
        if len(set(value)) != len(value):
            raise ValueError("evaluation seeds must be distinct: the same seed twice is one result, not two")
        return value


class AnswerSettings(EvaluateSettings):
    """The stage `evaluate`, whose ranking is the run's answer.

    Random cells are no candidates for the answer. They are the baseline that it must beat.
    """

    random_cells: Genotypes = Field(
        0,
        ge=0,
        le=1000,
        description="How many random healthy cells of the same space and size are retrained too, as the baseline. They "
        "are not among `top_k`.",
    )


def random_cells_of(stage: EvaluateSettings) -> int:
    """Returns how many random cells a stage retrains beside its genotypes."""
    return stage.random_cells if isinstance(stage, AnswerSettings) else 0


class RungSettings(EvaluateSettings):
    """A short retraining before `evaluate`, of more genotypes than `evaluate` takes.

    A rung inherits these keys from `evaluate` if it does not set them: `training` (key by key), `resources`,
    `max_skips`, `max_failures`, `epoch_timeout`, `out_of_memory` and `checkpoint_every`. See `stages.inherit`.
    """

    top_k: TopK = Field(description=_TOP_K)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0,), description="Evaluation seeds. Each genotype is retrained once with each seed."
    )

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if around.onward is not None and isinstance(self.top_k, int) and self.top_k <= around.onward:
            what = f"is {self.top_k}, and the next stage takes {around.onward}: the rung narrows nothing"
            yield Idle("top_k", f"{what}; write {around.onward + 1} or more, or leave the rung out")


class TransferSettings(EvaluateSettings):
    """Retrains the best genotypes of `evaluate` on other data.

    `data: null` is the sweep's data, for a table or another training. `training` inherits nothing from
    `evaluate.training`, because that was made for other data. `resources`, `max_failures`, `epoch_timeout`,
    `out_of_memory` and `checkpoint_every` are inherited from `evaluate` if they are not set.
    """

    name: str = Field(description="Name of the stage and of its folder.")
    data: DataSettings | None = Field(None, description="The other data. `null` is the sweep's data.")
    top_k: TopK = Field(1, description=_TOP_K)

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if wrong := complaint(value):
            raise ValueError(wrong)
        return value


class BudgetSettings(Settings):
    """What a run may use in all, over all its stages and drivers. See `runs.hours`."""

    gpu_hours: Hours | None = Field(
        None, gt=0, description="Most GPU hours that all stages may use together. `null`: no limit."
    )
    cpu_hours: Hours | None = Field(
        None, gt=0, description="Most CPU hours that all stages may use together. `null`: no limit."
    )
    wall_hours: Hours | None = Field(None, gt=0, description="Most hours that the run may take. `null`: no limit.")

    def idle(self, around: Around) -> Iterator[Idle]:
        if self.gpu_hours is not None and around.gpus == 0:
            yield Idle(
                "gpu_hours",
                f"is {self.gpu_hours:g}, and no stage is given a GPU (resources.gpus): none is ever spent, and nothing "
                "halts the run; write cpu_hours or wall_hours",
            )
