"""Pictures of results: supernet against retrained, and the Pareto front. Each has its numbers as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from raydarts.report import stats
from raydarts.report.axes import NoAxis, Scale, plot_area
from raydarts.report.gather import Run, Searched
from raydarts.report.limits import limits_of
from raydarts.report.svg import COLOURS, SOFT, Chart
from raydarts.report.wording import axis, number, score_text, score_with_unit
from raydarts.study.objectives import Score


@dataclass(frozen=True)
class Figure:
    """Pictures with a heading, a caption, and their numbers. `missing` says why there are none.

    A `wide` picture scrolls sideways on a phone instead of shrinking.
    """

    id: str
    title: str
    caption: str = ""
    pictures: Sequence[Markup] = ()
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    missing: str = ""
    wide: bool = False
    note: str = field(default="")


def missing(name: str, title: str, why: str) -> Figure:
    return Figure(name, title, missing=why)


def _metric(run: Run) -> str:
    return f"supernet {run.metric.replace('_', ' ')}"


def is_share(run: Run) -> bool:
    """Returns whether the sweep's metric is shown in percent."""
    return run.supernet.share


def show_metric(run: Run, value: float) -> str:
    return score_with_unit(run.supernet, value) if is_share(run) else number(value, 4)


def supernet_against_retrained(run: Run) -> Figure:
    """Shows the misleading plot: the supernet's score of each genotype against its retrained score."""
    score = run.score
    title = f"Supernet score against retrained {score.measure}"
    names = [name for name in run.ranked if name in run.supernet_mean]
    if len(names) < 2:
        return missing("misleading", title, "fewer than two genotypes have both scores")
    means = {name: stats.mean_of(run.validation[name], limits_of(score)) for name in names}
    known = [mean for mean in means.values() if mean is not None]
    ends = [mean.value if end is None else end for mean in known for end in (mean.low, mean.high)]
    x, y = plot_area([run.supernet_mean[name] for name in names], ends, percent_x=is_share(run), percent_y=score.share)
    chart = Chart(
        f"Scatter of {len(names)} genotypes: {_metric(run)} across, mean retrained {score.words} upwards",
        x,
        y,
        f"{_metric(run)}{axis(run.supernet)} (mean over trials)",
        f"retrained {score.words}{axis(score)}",
    )
    rows = []
    for rank, name in enumerate(names, start=1):
        mean, before = means[name], run.supernet_mean[name]
        if mean is None:
            continue
        trials = run.searches_by_genotype[name]
        skips = trials[0].skips
        at = (x(before), y(mean.value))
        if mean.low is not None and mean.high is not None:
            chart.line([(at[0], y(mean.low)), (at[0], y(mean.high))], COLOURS[0], width=1.2, opacity=0.6)
        text = (
            f"rank {rank}: {name}, supernet {show_metric(run, before)}, "
            f"retrained {score_with_unit(score, mean.value)} (n={mean.n})"
        )
        chart.mark(at, COLOURS[0], title=f"{text}, {skips} skips", size=5)
        chart.text((at[0] + 7, at[1] - 5), f"{skips}" if skips is not None else "", size=11, soft=True)
        rows.append([str(rank), name, _scored(run, trials), str(len(trials)), *mean_cells(mean, score), str(skips)])
    line = "rising" if run.mode == score.mode else "falling"
    caption = (
        "Each point is a retrained genotype; the line is the 95 % interval of its mean over evaluation seeds, the "
        f"small number its skip connections. Points on a {line} line would mean that the supernet's score can be "
        "trusted."
    )
    headers = ["rank", "genotype", _metric(run), "trials", *mean_headers(score), "skips"]
    return Figure("misleading", title, caption, [chart.svg()], headers, rows)


def _scored(run: Run, trials: Sequence[Searched]) -> str:
    """Returns the supernet's score over the trials that ended with a genotype, with its spread if there are several."""
    known = [search.metric for search in trials if search.metric is not None]
    mean = stats.mean_of(known, limits_of(run.supernet))
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
    parameters = {each.genotype_id: each.parameters for each in run.retrainings if each.parameters is not None}
    skips = {
        name: searches[0].skips for name, searches in run.searches_by_genotype.items() if searches[0].skips is not None
    }
    costs = [("parameters, millions", {name: value / 1e6 for name, value in parameters.items() if value is not None})]
    costs.append(("skip connections (fewer is better)", {name: float(value or 0) for name, value in skips.items()}))
    pictures, rows = [], []
    for label, cost in costs:
        names = [name for name in run.retrained_mean if name in cost]
        if len(names) < 2:
            continue
        front = _front([(cost[name], run.score.sign * run.retrained_mean[name], name) for name in names])
        pictures.append(_front_chart(run, label, cost, names, front))
        rows += [
            [
                label,
                name,
                number(cost[name], 4),
                *mean_cells(stats.mean_of(run.validation[name], limits_of(run.score)), run.score),
                "yes" if name in front else "no",
            ]
            for name in sorted(names, key=lambda name: cost[name])
        ]
    if not pictures:
        return missing("pareto", title, "fewer than two genotypes have been retrained, or their size is not recorded")
    caption = (
        "Filled squares lie on the front: no other genotype is both cheaper and better in the mean. Means over "
        "evaluation seeds; their intervals are in the ranking. Membership of the front is itself uncertain."
    )
    headers = ["cost", "genotype", "value", *mean_headers(run.score), "on the front"]
    return Figure("pareto", title, caption, pictures, headers, rows)


def _front(points: list[tuple[float, float, str]]) -> list[str]:
    """Returns the names that no other (cost, gain, name) beats: cheaper or equal, with more gain."""
    best, names = float("-inf"), []
    for _, gain, name in sorted(points, key=lambda point: (point[0], -point[1], point[2])):
        if gain > best:
            best = gain
            names.append(name)
    return names


def _front_chart(run: Run, label: str, cost: dict[str, float], names: list[str], front: list[str]) -> Markup:
    x, y = plot_area(
        [cost[name] for name in names],
        [run.retrained_mean[name] for name in names],
        percent_y=run.score.share,
        whole_x=all(cost[name].is_integer() for name in names),
    )
    alt = f"{len(names)} genotypes, {label} across, mean {run.score.words} upwards; {len(front)} lie on the front"
    chart = Chart(alt, x, y, label, f"retrained {run.score.words}{axis(run.score)}")
    path: list[tuple[float, float]] = []
    for name in front:
        at = (x(cost[name]), y(run.retrained_mean[name]))
        path += [(at[0], path[-1][1]), at] if path else [at]
    chart.line(path, COLOURS[1], width=1.6)
    for name in names:
        label_of = f"{name}: {label} {number(cost[name], 4)}, {score_with_unit(run.score, run.retrained_mean[name])}"
        at = (x(cost[name]), y(run.retrained_mean[name]))
        on = name in front
        chart.mark(at, COLOURS[1] if on else SOFT, "square" if on else "circle", label_of, 4.5, hollow=not on)
    chart.key("on the front", COLOURS[1], shape="square")
    chart.key("beaten in both", SOFT, shape="circle", hollow=True)
    return chart.svg()


def bars(label: str, values: Sequence[tuple[str, float, str]], title: str, colour: str = COLOURS[0]) -> Markup:
    """Returns horizontal bars of shares of 1: (name, value, hover title)."""
    height = 80 + 24 * len(values)
    left = 178
    scale = Scale(0.0, max(0.05, *(value for _, value, _ in values)) * 1.18, left, 428)
    rows = Scale(0.0, float(len(values)), 32, height - 46)
    alt = f"Bars of {label}: " + ", ".join(f"{name} {value:.2f}" for name, value, _ in values)
    chart = Chart(alt, scale, NoAxis(), label, "", title, height=height, left=left, bottom=44)
    for index, (name, value, text) in enumerate(values):
        at = rows(index + 0.5)
        chart.bar((left, at - 8, scale(value) - left, 16), colour, text)
        chart.text((left - 6, at + 4), name if len(name) < 27 else name[:25] + "…", "end", 12)
        chart.text((scale(value) + 5, at + 4), f"{value:.2f}", size=12)
    return chart.svg()
