"""The report's figures of single settings: importance, and what each does to searches and to retrained genotypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raydarts.report import stats
from raydarts.report.figures import Figure, Picture, bars, is_share, missing, supernet_name
from raydarts.report.gather import Run, Searched
from raydarts.report.importance import FANOVA, FEWEST, MOST, PED, importances, reasons
from raydarts.report.limits import Limits, limits_of
from raydarts.report.plotting import (
    COLOURS,
    SOFT,
    axis,
    categories,
    chart,
    interval,
    lines,
    points,
    room,
    text,
    whiskers,
)
from raydarts.report.swept import Setting, is_number
from raydarts.report.wording import number, percent

Value = Callable[[Searched], float | None]
_SHIFT = 0.18  # of a mean, to the right of its single values


@dataclass(frozen=True)
class Measured:
    """Something that is drawn against settings. `share`: it is shown in percent. `limits`: its least and most."""

    name: str
    share: bool
    value: Value
    limits: Limits

    @property
    def label(self) -> str:
        return self.name + (", %" if self.share else "")

    @property
    def scale(self) -> float:
        return 100.0 if self.share else 1.0

    def show(self, value: float) -> str:
        return f"{percent(value)} %" if self.share else number(value, 4)

    def mean(self, values: Sequence[float]) -> stats.Mean | None:
        return stats.mean_of(values, self.limits)

    def cells(self, mean: stats.Mean) -> list[str]:
        """Returns mean, spread, n and interval as table cells."""
        show = percent if self.share else (lambda value: "-" if value is None else number(value))
        ends = "none: n is 1"
        if mean.low is not None and mean.high is not None:
            ends = f"{show(mean.low)} to {show(mean.high)}"
        return [show(mean.value), show(mean.std), str(mean.n), ends]


def measured(run: Run) -> list[Measured]:
    """Returns what searches are judged by."""
    skips = Limits(0.0, float(sum(run.most_skips.values())) if run.most_skips else None)
    return [
        Measured(supernet_name(run), is_share(run), lambda search: search.metric, limits_of(run.supernet)),
        Measured(
            "skip connections", False, lambda search: None if search.skips is None else float(search.skips), skips
        ),
    ]


def retrained(run: Run) -> Measured:
    """Returns the retrained score of the genotype that a search ended with."""
    return Measured(
        f"retrained {run.score.words}",
        run.score.share,
        lambda search: run.retrained_mean.get(search.genotype_id or ""),
        limits_of(run.score),
    )


def importance(run: Run) -> Figure:
    title = "Importance of each hyperparameter"
    pictures, rows = [], []
    for target, words in (("metric", supernet_name(run)), ("skips", "few skip connections")):
        result = importances(run, target)
        if not result:
            continue
        values = [(each.label, each.ped, f"{each.label}: {each.ped:.3f} of PED-ANOVA's total") for each in result]
        pictures.append(bars("share of importance, PED-ANOVA", values, f"for {words}"))
        rows += [
            [words, each.label, f"{each.ped:.3f}", "-" if each.fanova is None else f"{each.fanova:.3f}", str(each.n)]
            for each in result
        ]
    if not pictures:
        return missing("importance", title, reasons(run))
    caption = (
        f"Bars: {PED}, over all completed trials; a setting that exists under one option only counts where it exists. "
        f"The table adds {FANOVA}, for each setting over the trials in which it exists (from {FEWEST} on), if "
        f"no choice there has more than {MOST} options. "
        "The two answer different questions and need not agree. Neither has an interval: the bar of the search seed, "
        "which is luck, "
        "shows how large a share means nothing."
    )
    headers = ["for", "hyperparameter", "PED-ANOVA", "fANOVA", "trials with it"]
    return Figure("importance", title, caption, pictures, headers, rows)


_HEADERS = ("hyperparameter", "value", "of", "mean", "std", "n", "95 % interval")
_CUT = "A whisker that reaches the edge of a chart goes on beyond it."


def effects(run: Run) -> Figure:
    """Shows each setting against the metric and the skips: means with intervals, or points if there are many values."""
    title = "What each hyperparameter does"
    pictures, rows = _against_settings(run, measured(run))
    if not pictures:
        return missing("effects", title, "nothing was swept, or fewer than two trials completed")
    caption = (
        "Completed searches. Points are single trials; a bar with a cap is a mean over trials (search seeds and "
        "other settings differ) with Student's 95 % interval. The sentences above compare at equal seeds and settings "
        "instead."
    )
    if run.configurations:
        caption = (
            "Points are configurations, each the mean over its completed search seeds; a bar with a cap is a mean over "
            "configurations (other settings differ) with Student's 95 % interval. n counts configurations. The "
            "sentences above compare at equal settings instead."
        )
    return Figure("effects", title, f"{caption} {_CUT}", pictures, _HEADERS, rows)


def retrained_effects(run: Run) -> Figure:
    """Shows each setting against the retrained score of the genotypes that were promoted."""
    title = f"Retrained {run.score.measure} against each hyperparameter"
    pictures, rows = _against_settings(run, [retrained(run)])
    if not pictures:
        return missing("retrained-effects", title, "nothing was swept, or fewer than two genotypes have been retrained")
    caption = (
        f"Completed searches whose genotype was retrained; each counts with its genotype's mean {run.score.words} over "
        "evaluation seeds. Only genotypes that the supernet's score promoted are known, so this holds among those. A "
        f"bar with a cap is a mean over {run.unit} with Student's 95 % interval. {_CUT}"
    )
    return Figure("retrained-effects", title, caption, pictures, _HEADERS, rows)


def _against_settings(run: Run, every: Sequence[Measured]) -> tuple[list[Picture], list[list[str]]]:
    pictures, rows = [], []
    for setting in run.settings:
        for of in every:
            units = [(search, value) for search, value in run.units(of.value) if setting.name in search.choices]
            if len(units) < 2:
                continue
            if setting.trend:
                pictures.append(_points(run, setting, units, of))
            else:
                picture, numbers = _means(run, setting, units, of)
                pictures.append(picture)
                rows += numbers
    return pictures, rows


def unit_name(run: Run, search: Searched) -> str:
    """Returns what a mark is: a trial, or a configuration."""
    return search.id if run.configurations else f"trial {search.id}"


def _marks(
    run: Run, units: Sequence[tuple[Searched, float]], of: Measured
) -> tuple[list[str], list[object], list[float]]:
    """Returns hover texts, trials, and heights of the units."""
    hover = [text(f"{unit_name(run, search)}: {of.show(value)}") for search, value in units]
    return hover, [run.trials_of(search) for search, _ in units], [of.scale * value for _, value in units]


def _points(run: Run, setting: Setting, units: Sequence[tuple[Searched, float]], of: Measured) -> Picture:
    hover, trials, y = _marks(run, units, of)
    x = [float(value) for search, _ in units if is_number(value := search.choices[setting.name])]
    whole = setting.numbers if all(isinstance(value, int) for value in setting.values) and not setting.log else None
    across = axis(setting.label, log=setting.log, whole=whole)
    shown = "%{hovertext}<br>" + text(setting.label) + ": %{x:.4g}<extra></extra>"
    marks = points(x, y, hover, trials, opacity=0.55, hovertemplate=shown)
    plot = chart([marks], x=across, y=axis(of.label, range=room(y)))
    alt = f"{of.name} against {setting.label}, {len(units)} points"
    return Picture(f"{of.name} by {setting.label}", alt, plot)


def _means(
    run: Run, setting: Setting, units: Sequence[tuple[Searched, float]], of: Measured
) -> tuple[Picture, list[list[str]]]:
    levels = list(dict.fromkeys(str(value) for value in setting.values))
    hover, trials, y = _marks(run, units, of)
    place = [levels.index(str(search.choices[setting.name])) for search, _ in units]
    jitter = [round(at + ((index * 7) % 11 - 5) * 0.016 - 0.06, 3) for index, at in enumerate(place)]
    rows, at, means, words = [], [], [], []
    for index, level in enumerate(levels):
        mean = of.mean([value for (_, value), where in zip(units, place, strict=True) if where == index])
        if mean is None:
            continue
        at.append(index + _SHIFT)
        means.append(mean)
        words.append(lines(f"{setting.label}: {level}", f"mean {interval(mean, of.show)}"))
        rows.append([setting.label, level, of.name, *of.cells(mean)])
    traces = [
        points(jitter, y, hover, trials, colour=SOFT, size=6, opacity=0.35),
        whiskers(at, means, words, colour=COLOURS[0], scale=of.scale),
    ]
    names = [number(value) for value in setting.values] if len(levels) == len(setting.values) else levels
    plot = chart(traces, x=categories(setting.label, names), y=axis(of.label, range=room(y)))
    alt = f"{of.name} for each value of {setting.label}"
    return Picture(f"{of.name} by {setting.label}", alt, plot), rows
