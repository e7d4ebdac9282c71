"""The report's figures of results: supernet against retrained, and Pareto fronts. Each has its numbers as a table.

`Figure` is what every figure is: pictures, a caption, and the numbers. Pictures are Plotly figures (`plotting.chart`);
drawings of cells are SVG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markupsafe import Markup

from raydarts.report import costs, stats
from raydarts.report.gather import Run, Searched
from raydarts.report.limits import limits_of
from raydarts.report.plotting import (
    COLOURS,
    INK,
    SOFT,
    axis,
    categories,
    chart,
    interval,
    lines,
    points,
    text,
    tidy,
    whiskers,
)
from raydarts.report.wording import axis as unit_of
from raydarts.report.wording import number, score_text, score_with_unit
from raydarts.study.noise_words import noise_words
from raydarts.study.objectives import Score

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Plot


@dataclass(frozen=True)
class Picture:
    """A Plotly figure. `name` tells it from the other pictures of its figure, `alt` says in words what it shows."""

    name: str
    alt: str
    plot: Plot
    kind: str = ""
    """What the report's script does with it: `parallel` is brushed, `arch-weights` shows any trial."""


@dataclass(frozen=True)
class Figure:
    """Pictures with a heading, a caption, and their numbers. `missing` says why there are none.

    A `wide` picture takes the page's whole width. `note` is a sentence of its own below the caption.
    """

    id: str
    title: str
    caption: str = ""
    pictures: Sequence[Picture | Markup] = ()
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    missing: str = ""
    wide: bool = False
    note: str = field(default="")

    @property
    def plots(self) -> list[Picture]:
        """The pictures that Plotly draws."""
        return [picture for picture in self.pictures if isinstance(picture, Picture)]


def missing(name: str, title: str, why: str) -> Figure:
    return Figure(name, title, missing=why)


def supernet_name(run: Run) -> str:
    return f"supernet {run.metric.replace('_', ' ')}"


def is_share(run: Run) -> bool:
    """Returns whether the sweep's metric is shown in percent."""
    return run.supernet.share


def show_metric(run: Run, value: float) -> str:
    return score_with_unit(run.supernet, value) if is_share(run) else number(value, 4)


def scale_of(score: Score) -> float:
    """Returns what a score is multiplied with on an axis."""
    return 100.0 if score.share else 1.0


def trial_ids(run: Run, genotype: str) -> list[str]:
    """Returns the trials that ended with a genotype."""
    return [search.id for search in run.searches_by_genotype.get(genotype, [])]


def retrained_spread(run: Run, genotype: str) -> stats.Mean | None:
    """Returns a genotype's mean score over evaluation seeds."""
    return stats.mean_of(run.validation[genotype], limits_of(run.score))


def supernet_against_retrained(run: Run) -> Figure:
    """Shows the misleading plot: the supernet's score of each genotype against its retrained score.

    Its note says which rank correlation can be attained at all with this noise of evaluation seeds.
    """
    score = run.score
    title = f"Supernet score against retrained {score.measure}"
    names = [name for name in run.ranked if name in run.supernet_mean]
    if len(names) < 2:
        return missing("misleading", title, "fewer than two genotypes have both scores")
    x, means, hover, trials, skips, rows = [], [], [], [], [], []
    for rank, name in enumerate(names, start=1):
        mean, before = retrained_spread(run, name), run.supernet_mean[name]
        if mean is None:
            continue
        found = run.searches_by_genotype[name]
        count = found[0].skips
        x.append(before * scale_of(run.supernet))
        means.append(mean)
        retrained = interval(mean, lambda value: score_with_unit(score, value))
        hover.append(
            lines(
                f"rank {rank}: {name}",
                f"supernet {show_metric(run, before)}",
                f"retrained {retrained}",
                "" if count is None else f"{count} skip connections",
            )
        )
        trials.append(trial_ids(run, name))
        skips.append("" if count is None else str(count))
        rows.append([str(rank), name, _scored(run, found), str(len(found)), *mean_cells(mean, score), str(count)])
    marks = whiskers(x, means, hover, scale=scale_of(score), symbol="circle")
    marks |= {"mode": "markers+text", "text": skips, "textposition": "top right", "customdata": trials}
    marks["textfont"] = {"size": 11, "color": SOFT}
    plot = chart(
        [marks],
        x=axis(f"{supernet_name(run)}{unit_of(run.supernet)} (mean over trials)"),
        y=axis(f"retrained {score.words}{unit_of(score)}"),
        height=420,
    )
    alt = f"Scatter of {len(x)} genotypes: {supernet_name(run)} across, mean retrained {score.words} upwards"
    line = "rising" if run.mode == score.mode else "falling"
    caption = (
        "Each point is a retrained genotype; the line is the 95 % interval of its mean over evaluation seeds, the "
        f"small number its skip connections. Points on a {line} line would mean that the supernet's score can be "
        "trusted."
    )
    headers = ["rank", "genotype", supernet_name(run), "trials", *mean_headers(score), "skips"]
    pictures = [Picture("retrained against supernet", alt, plot)]
    note = " ".join(sentence for sentence in noise_words(run.noise, score) if "tau" in sentence)
    return Figure("misleading", title, caption, pictures, headers, rows, note=note)


def _scored(run: Run, trials: Sequence[Searched]) -> str:
    """Returns the supernet's score over the trials that ended with a genotype, with its spread if there are several."""
    values = [search.metric for search in trials if search.metric is not None]
    mean = stats.mean_of(values, limits_of(run.supernet))
    if mean is None:
        return "-"
    if is_share(run):
        return mean_text(mean, run.supernet)
    return number(mean.value, 4) + ("" if mean.std is None else f" ± {number(mean.std)} (n={mean.n})")


def mean_headers(score: Score) -> tuple[str, ...]:
    return ("mean %" if score.share else "mean", "std", "n", "95 % interval")


def mean_cells(mean: stats.Mean | None, score: Score) -> list[str]:
    """Returns a mean of scores as table cells: mean (of shares in percent), spread, n, interval."""
    if mean is None:
        return ["-", "-", "0", "-"]
    value, std, low, high = (score_text(score, each) for each in (mean.value, mean.std, mean.low, mean.high))
    return [value, std, str(mean.n), "none: n is 1" if mean.low is None else f"{low} to {high}"]


def mean_text(mean: stats.Mean, score: Score) -> str:
    """Returns the same in one cell."""
    value, std, n, interval = mean_cells(mean, score)
    return f"{value} ± {std} (n={n}, 95 %: {interval})" if mean.n > 1 else f"{value} (n=1, no spread)"


def pareto(run: Run) -> Figure:
    """Shows cost against score. A line connects what nothing beats in both."""
    title = f"Pareto front: cost against retrained {run.score.measure}"
    skips = {name: searches[0].skips for name, searches in run.searches_by_genotype.items()}
    every: list[tuple[str, Mapping[str, float]]] = [
        ("parameters, millions", {name: count / 1e6 for name, count in costs.parameters(run).items()}),
        ("FLOPs, millions", {name: count / 1e6 for name, count in costs.flops(run).items()}),
        ("skip connections (fewer is better)", {name: float(n) for name, n in skips.items() if n is not None}),
    ]
    pictures, rows = [], []
    for label, cost in every:
        names = [name for name in run.retrained_mean if name in cost]
        if len(names) < 2:
            continue
        front = _front([(cost[name], run.score.sign * run.retrained_mean[name], name) for name in names])
        pictures.append(_front_picture(run, label, cost, names, front))
        rows += [
            [
                label,
                name,
                number(cost[name], 4),
                *mean_cells(retrained_spread(run, name), run.score),
                "yes" if name in front else "no",
            ]
            for name in sorted(names, key=lambda name: cost[name])
        ]
    if not pictures:
        return missing("pareto", title, "fewer than two genotypes have been retrained, or their size is not recorded")
    caption = (
        "Filled squares lie on the front: no other genotype is both cheaper and better in the mean. Means over "
        "evaluation seeds; their intervals are in the ranking. Membership of the front is itself uncertain. Parameters "
        "are those of the retrained network, FLOPs those of the space's standard evaluation network for one input (two "
        "for each multiply-add)."
    )
    headers = ["cost", "genotype", "value", *mean_headers(run.score), "on the front"]
    return Figure("pareto", title, caption, pictures, headers, rows)


def _front(every: list[tuple[float, float, str]]) -> list[str]:
    """Returns the names that no other (cost, gain, name) beats: cheaper or equal, with more gain."""
    best, names = float("-inf"), []
    for _, gain, name in sorted(every, key=lambda point: (point[0], -point[1], point[2])):
        if gain > best:
            best = gain
            names.append(name)
    return names


def _front_picture(
    run: Run, label: str, cost: Mapping[str, float], names: Sequence[str], front: Sequence[str]
) -> Picture:
    scale = scale_of(run.score)
    height = {name: scale * run.retrained_mean[name] for name in names}
    stairs: dict[str, object] = {
        "type": "scatter",
        "mode": "lines",
        "x": [cost[name] for name in front],
        "y": [tidy(height[name]) for name in front],
        "line": {"shape": "hv", "color": COLOURS[1], "width": 1.6},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    marks = []
    for words, colour, symbol, chosen in (
        ("on the front", COLOURS[1], "square", list(front)),
        ("beaten in both", SOFT, "circle-open", [name for name in names if name not in front]),
    ):
        hover = [
            lines(name, f"{label}: {number(cost[name], 4)}", score_with_unit(run.score, run.retrained_mean[name]))
            for name in chosen
        ]
        ids = [trial_ids(run, name) for name in chosen]
        x, y = [cost[name] for name in chosen], [height[name] for name in chosen]
        marks.append(points(x, y, hover, ids, name=words, colour=colour, symbol=symbol, opacity=0.95))
    whole = list(cost.values()) if all(value.is_integer() for value in cost.values()) else None
    plot = chart(
        [stairs, *marks],
        x=axis(label, whole=whole),
        y=axis(f"retrained {run.score.words}{unit_of(run.score)}"),
        legend=True,
    )
    alt = f"{len(names)} genotypes, {label} across, mean {run.score.words} upwards; {len(front)} lie on the front"
    return Picture(label, alt, plot)


def bars(label: str, values: Sequence[tuple[str, float, str]], title: str, colour: str = COLOURS[0]) -> Picture:
    """Returns horizontal bars of shares of 1: (name, value, hover text). The first one is on top."""
    rows = list(range(len(values)))
    trace: dict[str, object] = {
        "type": "bar",
        "orientation": "h",
        "y": rows,
        "x": [tidy(value) for _, value, _ in values],
        "text": [f"{value:.2f}" for _, value, _ in values],
        "textposition": "outside",
        "textfont": {"color": INK},
        "cliponaxis": False,
        "hovertext": [text(hover) for *_, hover in values],
        "hoverinfo": "text",
        "marker": {"color": colour},
    }
    names = {**categories("", [name for name, *_ in values], 22), "range": [len(values) - 0.5, -0.5]}
    most = max(0.05, *(value for _, value, _ in values))
    plot = chart(
        [trace],
        x=axis(label, range=[0, most * 1.18]),
        y=names,
        height=90 + 34 * len(values),
        title={"text": text(title), "font": {"size": 14}, "x": 0, "xanchor": "left", "y": 0.99, "yanchor": "top"},
        margin={"l": 56, "r": 16, "t": 40, "b": 48},
        bargap=0.35,
    )
    alt = f"Bars of {label} {title}: " + ", ".join(f"{name} {value:.2f}" for name, value, _ in values)
    return Picture(title, alt, plot)
