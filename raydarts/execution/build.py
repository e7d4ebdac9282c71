"""Builds jobs from settings."""

from __future__ import annotations

from raydarts.config.spec import EvaluateSettings
from raydarts.data.settings import DataSettings
from raydarts.data.text_splits import TextSplits
from raydarts.errors import InputError
from raydarts.evaluation.evaluation import Evaluation
from raydarts.evaluation.language import LanguageEvaluation
from raydarts.evaluation.language_settings import LanguageSettings
from raydarts.evaluation.lookup import Lookup
from raydarts.evaluation.trainings import FOR_KIND
from raydarts.execution.job import Job
from raydarts.execution.shared_data import splits_for
from raydarts.search.fused import GraphedSearch
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Genotype


def build_search(settings: SearchSettings, data: DataSettings, device: str) -> Search:
    """Builds a search on its data. It has not started."""
    build = GraphedSearch if settings.cuda_graph is not False and device.startswith("cuda") else Search
    return build(settings, splits_for(data), device)


def build_evaluation(
    stage: EvaluateSettings, data: DataSettings, genotype: Genotype, seed: int, device: str, section: str = "evaluate"
) -> Job:
    """Builds an evaluation: a training on its data, or a look-up in a table. It has not started.

    `section` is the stage's place in the spec. Its errors name a setting by it. Raises `InputError` if the training is
    for data of another kind.
    """
    if stage.table is not None:
        return Lookup(stage.table, genotype)
    training, splits = stage.training, splits_for(data)
    if isinstance(training, LanguageSettings):
        if isinstance(splits, TextSplits):
            return LanguageEvaluation(training, genotype, splits, seed, device, section)
    elif not isinstance(splits, TextSplits):
        return Evaluation(training, genotype, splits, seed, device, section)
    raise InputError(
        f"{section}.training.name: {training.name} is not for data.dataset {data.dataset.name}, which needs "
        f"{FOR_KIND[data.kind]}"
    )
