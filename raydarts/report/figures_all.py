"""All figures of a run: as the report's sections, and as Plotly figures by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from raydarts.report import (
    figures,
    figures_alpha,
    figures_cluster,
    figures_epochs,
    figures_parallel,
    figures_sweep,
    figures_together,
    fronts,
)
from raydarts.report.figures import Figure
from raydarts.report.gather import Run

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Plot

Maker = Callable[[Run], Figure]
Sections = list[tuple[str, str, list[Figure]]]
"""Id, heading and figures of each section."""


class Section(NamedTuple):
    id: str
    heading: str
    makers: tuple[Maker, ...]


SECTIONS = (
    Section(
        "cells",
        "Genotypes and what they are worth",
        (
            figures_cluster.drawings,
            fronts.figure,
            figures.supernet_against_retrained,
            figures.pareto,
            figures_epochs.retraining,
            figures_alpha.stability,
        ),
    ),
    Section(
        "settings",
        "Hyperparameters",
        (
            figures_parallel.parallel,
            figures_sweep.importance,
            figures_sweep.effects,
            figures_sweep.retrained_effects,
            figures_together.interaction,
            figures_together.contour,
        ),
    ),
    Section(
        "epochs",
        "Over the epochs of search",
        (
            figures_epochs.skips,
            figures_epochs.health,
            figures_epochs.eigenvalue,
            figures_epochs.score,
            figures_alpha.arch_heat,
            figures_alpha.arch_means,
        ),
    ),
    Section("cluster", "Cluster", (figures_cluster.timeline,)),
)
"""In reading order."""


def sections(run: Run) -> Sections:
    """Returns every section, in reading order."""
    return [(section.id, section.heading, [make(run) for make in _makers(run, section)]) for section in SECTIONS]


def _makers(run: Run, section: Section) -> list[Maker]:
    """Returns what a section shows of this run. A front is there only if the sweep has several objectives."""
    return [make for make in section.makers if make is not fronts.figure or run.front is not None]


def plots(figure: Figure) -> dict[str, Plot]:
    """Returns the Plotly figures of one figure: its only one by the figure's id, several as `ID/NAME`."""
    if len(figure.plots) == 1:
        return {figure.id: figure.plots[0].plot}
    return {f"{figure.id}/{picture.name}": picture.plot for picture in figure.plots}


class Figures(Mapping[str, "Plot"]):
    """The Plotly figures of a run by name: `parallel`, `pareto/parameters, millions`. One that the run's data do not
    allow is absent. A figure is made when it is asked for; the same run gives the same figures.
    """

    def __init__(self, run: Run) -> None:
        makers = [make for section in SECTIONS for make in _makers(run, section)]
        self._run = run
        self._left = [make for make in makers if make is not figures_cluster.drawings]  # SVG, and a second each
        self._made: dict[str, Plot] = {}

    def _make(self, wanted: str = "") -> None:
        """Makes figures in their order until one has the name `wanted`."""
        while self._left and wanted not in self._made:
            self._made |= plots(self._left.pop(0)(self._run))

    def __getitem__(self, name: str) -> Plot:
        self._make(name)
        if name in self._made:
            return self._made[name]
        close = [each for each in self._made if each.startswith(f"{name}/")]
        raise KeyError(f"no figure {name!r}; there are: {', '.join(close or self._made)}")

    def __iter__(self) -> Iterator[str]:
        self._make()
        return iter(self._made)

    def __len__(self) -> int:
        self._make()
        return len(self._made)


def plotly_figures(run: Run) -> dict[str, Plot]:
    """Returns every Plotly figure of a run by name."""
    return dict(Figures(run))
