"""What is ranked, and which way is better: one notion for schedulers, searchers, promotion, tables and trackers.

`score` has what readers of a run need. The other modules hold the family `objective`: figures by name.
"""

from raydarts.study.bars import LARGEST, figure
from raydarts.study.objectives.score import (
    ACCURACY,
    MEASURES,
    PERPLEXITY,
    Score,
    SearchScore,
    mode_of,
    score_named,
    score_of,
    search_score_of,
)

__all__ = [
    "ACCURACY",
    "LARGEST",
    "MEASURES",
    "PERPLEXITY",
    "Score",
    "SearchScore",
    "figure",
    "mode_of",
    "score_named",
    "score_of",
    "search_score_of",
]
