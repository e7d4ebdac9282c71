"""Which searcher proposed a run's trials, out of its run.json."""

from __future__ import annotations

from collections.abc import Mapping

from raydarts.json_types import section
from raydarts.registry import members


def searcher_of(description: Mapping[str, object]) -> str:
    """The searcher's name."""
    named = section(section(description.get("spec")).get("sweep")).get("searcher") or "grid"
    return str(named.get("name", "grid") if isinstance(named, Mapping) else named)


def is_model_based(description: Mapping[str, object]) -> bool:
    """Whether it fitted a model to earlier results, so that the trials are no independent draws.

    A run made before this was kept is answered by the shipped searcher of that name; nothing outside is imported.
    """
    kept = section(description.get("spec")).get("model_based")
    if kept is None:
        kept = getattr(members("searcher").get(searcher_of(description)), "MODEL_BASED", False)
    return bool(kept)
