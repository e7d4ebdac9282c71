"""From a trial's folder to its job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from raydarts import outside
from raydarts.config.spec import Resources
from raydarts.execution.job import Job
from raydarts.runs.directory import TrialDirectory
from raydarts.runs.folders import run_of
from raydarts.study.stages import EVALUATE, data_of, place_of_section, section_of

Builder = Callable[[Mapping[str, Any], Mapping[str, Any], str], Job]
"""`(trial.json, run.json, device) -> Job`."""

DEFAULT_BUILDER = "raydarts.execution.jobs:build_job"
"""What builds a trial's job where run.json names nothing else."""


def build_job(trial: Mapping[str, Any], run: Mapping[str, Any], device: str) -> Job:
    """The search or the evaluation that a trial.json describes."""
    from raydarts.config.spec import EvaluateSettings  # noqa: PLC0415
    from raydarts.data.settings import DataSettings  # noqa: PLC0415
    from raydarts.execution.build import build_evaluation, build_search  # noqa: PLC0415 - loads torch
    from raydarts.genotypes.genotype import Genotype  # noqa: PLC0415
    from raydarts.search.settings import SearchSettings  # noqa: PLC0415

    spec, name = run["spec"], trial.get("stage", EVALUATE)
    if trial["kind"] == "search":
        data = DataSettings.model_validate(spec["data"])
        return build_search(SearchSettings.model_validate(trial["config"]), data, device)
    data = DataSettings.model_validate(data_of(spec, name))
    common = {key: value for key, value in section_of(spec, name).items() if key in EvaluateSettings.model_fields}
    stage = EvaluateSettings.model_validate(common)
    genotype = Genotype.from_json(trial["genotype"], "trial.json")
    return build_evaluation(stage, data, genotype, trial["seed"], device, place_of_section(spec, name))


def builder_named(path: str | None) -> Builder:
    """The function behind `module:function`; None: raydarts' own."""
    builder: Builder = build_job if path in (None, DEFAULT_BUILDER) else outside.load(str(path))
    return builder


def restrict_code(config: Mapping[str, Any]) -> None:
    """From now on this process, a worker's, loads no code from outside raydarts but what the run may load."""
    if "own_code" in config:
        outside.restrict(config["own_code"])


def bundle(config: Mapping[str, Any]) -> dict[str, float]:
    """What one process of a trial is given, by Ray's names; its GPU share may have grown since the spec was read."""
    return Resources(cpus=config["cpus"], gpus=config["gpus"], custom=config["custom"]).bundle()


def job_of(trial: TrialDirectory, config: Mapping[str, Any], device: str | None = None) -> Job:
    """The job of a trial, on as many threads as it has CPUs; `device` None: a GPU where it was given one."""
    run = run_of(trial).description()
    build = builder_named(run.get("builder"))
    if build is build_job or "torch" in sys.modules:  # of another's builder: where its module loads torch
        import torch  # noqa: PLC0415 - only where trials run

        torch.set_num_threads(max(1, int(config["cpus"])))
    place = device or ("cuda" if config["gpus"] > 0 else "cpu")
    return build(trial.description(), run, place)
