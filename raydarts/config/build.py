"""Settings to jobs."""

from __future__ import annotations

from raydarts.config.spec import EvaluateSettings
from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.evaluation.evaluation import Evaluation
from raydarts.evaluation.lookup import Lookup
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Genotype


def build_search(settings: SearchSettings, data: DataSettings, device: str) -> Search:
    """A search on its data, not begun."""
    return Search(settings, load_splits(data), device)


def build_evaluation(
    stage: EvaluateSettings, data: DataSettings, genotype: Genotype, seed: int, device: str
) -> Evaluation | Lookup:
    """An evaluation, not begun: a training on its data, or the reading of a table."""
    if stage.table is not None:
        return Lookup(stage.table, genotype)
    return Evaluation(stage.training, genotype, load_splits(data), seed, device)
