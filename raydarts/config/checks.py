"""Checks every configuration that a spec can give: each setting's type, and one part against another."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice

from raydarts.config.distributions import Draw, Tree, enumerate_draws
from raydarts.config.open_values import Distribution, Value
from raydarts.config.validation import check, where_of
from raydarts.errors import Problem
from raydarts.search.composition import refusals
from raydarts.search.settings import SearchSettings

ALL_COMBINATIONS = 2000
SAMPLED_COMBINATIONS = 300


def check_draw(draw: Draw, problems: list[Problem]) -> SearchSettings | None:
    """Returns the settings of a configuration, or None. What is wrong with it is added to `problems`."""
    met: list[Problem] = []
    settings = check(SearchSettings, draw.plain, draw.lines, "search", met)
    if settings is not None:
        for place, message in refusals(settings):
            met.append(Problem(*where_of(place, draw.lines), ".".join(map(str, ("search", *place))), message))
    problems += [_as_written(each, draw) for each in met]
    return settings


def _as_written(problem: Problem, draw: Draw) -> Problem:
    """Returns a problem with the place at which its value is written, and what is to be said of its distribution."""
    paths = {".".join(map(str, ("search", *path))): path for path in draw.lines}
    known, rest = problem.path, ""
    while known and known not in paths:
        known, _, last = known.rpartition(".")
        rest = f".{last}{rest}"
    if not known:
        return problem
    written = ".".join(("search", *draw.written(paths[known]))) + rest
    note = "" if rest else draw.notes.get(paths[known], "")
    return replace(problem, path=written, message=problem.message + note)


class _EndsChooser:
    """Chooses any of the options, or either end."""

    def __init__(self, generator: random.Random) -> None:
        self._generator = generator

    def choose(self, name: str, distribution: Distribution) -> Value:
        return self._generator.choice(distribution.ends())


def check_all(tree: Tree, problems: list[Problem]) -> list[SearchSettings]:
    """Checks every configuration if they are few.

    Otherwise it checks each option of each distribution, and a sample.
    """
    draws = list(islice(enumerate_draws(tree, ends=True), ALL_COMBINATIONS + 1))
    if len(draws) > ALL_COMBINATIONS:
        draws = list(tree.variations())
        chooser = _EndsChooser(random.Random(0))
        draws += [tree.materialise(chooser) for _ in range(SAMPLED_COMBINATIONS)]
    return [settings for draw in draws if (settings := check_draw(draw, problems)) is not None]
