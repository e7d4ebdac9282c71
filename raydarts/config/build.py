"""Settings to jobs."""

from __future__ import annotations

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.evaluation.evaluation import Evaluation
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Genotype


def build_search(settings: SearchSettings, data: DataSettings, device: str) -> Search:
    """A search on its data, not begun."""
    return Search(settings, load_splits(data), device)


def build_evaluation(
    training: EvaluationSettings, data: DataSettings, genotype: Genotype, seed: int, device: str
) -> Evaluation:
    """An evaluation on its data, not begun."""
    return Evaluation(training, genotype, load_splits(data), seed, device)
