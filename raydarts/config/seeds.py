"""Seeds are drawn, never tuned. A searcher that fits a model needs them fixed.

`sweep.replicates` gives each configuration its search seeds. Then `search.seed` has nothing to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from raydarts.config.checks import check_draw
from raydarts.config.distributions import Tree
from raydarts.config.open_values import Path
from raydarts.config.source import Where
from raydarts.config.validation import where_of
from raydarts.errors import Problem
from raydarts.registry import Component, members

_SEED = re.compile(r"(^|_)seeds?(_|$)", re.IGNORECASE)
_SHOWN = 5
SEED = "search.seed"


def fits_a_model(searcher: Component) -> bool:
    """Returns whether a searcher proposes by a model of the results. The searcher's class says so."""
    return bool(getattr(searcher.member, "MODEL_BASED", False))


def tries_all(searcher: Component) -> bool:
    """Returns whether a searcher tries every combination once. The searcher's class says so."""
    return bool(getattr(searcher.member, "EXHAUSTIVE", False))


def refuse_tuned_seeds(tree: Tree, searcher: Component) -> list[Problem]:
    """Returns a problem for each seed with several values, if the searcher fits a model.

    A seed is any setting called `seed`, `seeds`, `init_seed` and so on, at any depth, also of a member from outside. It
    has several values if it is a distribution, or if options of a choice above it have different seeds.
    """
    if not fits_a_model(searcher):
        return []
    met: dict[str, dict[str, tuple[Path, Where]]] = {}
    for draw in tree.variations():
        settings = check_draw(draw, [])
        if settings is None:
            continue
        for name, path, value in _seeds(settings.model_dump(mode="json"), tree.name, ()):
            met.setdefault(name, {}).setdefault(json.dumps(value), (path, where_of(path, draw.lines)))
    problems = []
    for values in met.values():
        if len(values) > 1:
            path, where = list(values.values())[1]
            name = ".".join([tree.name, *map(str, path)])
            problems.append(Problem(*where, name, _message(name, list(values), searcher)))
    return problems


def refuse_second_seeds(tree: Tree, replicates: Sequence[int] | None) -> list[Problem]:
    """Returns a problem if `search.seed` says otherwise than `sweep.replicates`, which gives the search seeds."""
    values = _search_seeds(tree)
    if replicates is None or not values:
        return []
    gives = f"and sweep.replicates gives each configuration its search seeds ({_listed(map(str, replicates))})"
    first, where = next(iter(values.items()))
    if len(values) > 1 or any(dimension.name == SEED for dimension in tree.distributions()):
        message = f"is left open ({_listed(values)}), {gives}; leave search.seed out"
    elif first not in map(json.dumps, replicates):
        message = f"is {first}, {gives}; leave search.seed out, or add {first} to sweep.replicates"
    else:
        return []
    return [Problem(*where, SEED, f"{message}. To leave it out on the command line: --set {SEED}={replicates[0]}")]


def idle_seed(tree: Tree, replicates: Sequence[int] | None) -> Iterator[str]:
    """Returns a sentence if `search.seed` is written, and `sweep.replicates` gives the search seeds."""
    if replicates is not None:
        for value in _search_seeds(tree):
            shown = _listed(map(str, replicates))
            yield f"{SEED} is {value}, and sweep.replicates gives the search seeds ({shown}); leave {SEED} out"


def _search_seeds(tree: Tree) -> dict[str, Where]:
    """Returns the values of `search.seed` that are written, each with its place."""
    written: dict[str, Where] = {}
    for draw in tree.variations():
        if "seed" in draw.plain:
            written.setdefault(json.dumps(draw.plain["seed"]), where_of(("seed",), draw.lines))
    return written


def _listed(values: Iterable[str]) -> str:
    known = list(values)
    return ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")


def _message(name: str, values: list[str], searcher: Component) -> str:
    shown = _listed(values)
    instead = f"one seed ({values[0]}) in all options"
    if name == SEED:
        instead = (
            "sweep.replicates: [0, 1, 2] in its place, so that each configuration is searched with each of these seeds "
            f"and judged by their mean; or {instead}"
        )
    others = [name for name, member in members("searcher").items() if not getattr(member, "MODEL_BASED", False)]
    return (
        f"is left open ({shown}), and the searcher {searcher.name} fits a model to the trials' results: it would tune "
        f"the seed, and take a lucky one for a good setting. Write {instead}, or use a "
        f"searcher that fits no model (sweep.searcher {' or '.join(others)})"
    )


def _seeds(value: object, name: str, path: Path) -> Iterator[tuple[str, Path, object]]:
    """Returns every seed in nested settings: a name that is the same in all draws, its path, its value.

    A component is identified by its name, at any position in a list.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            if _SEED.search(key):
                yield f"{name}.{key}", (*path, key), item
            else:
                yield from _seeds(item, f"{name}.{key}{_called(item)}", (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _seeds(item, f"{name}{_called(item) or f'.{index}'}", (*path, index))


def _called(value: object) -> str:
    return f"[{value['name']}]" if isinstance(value, Mapping) and isinstance(value.get("name"), str) else ""
