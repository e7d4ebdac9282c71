"""The Pareto front of a sweep with several objectives: a line, a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from raydarts.report.figures import Figure, Picture, missing, scale_of
from raydarts.report.gather import Run
from raydarts.report.plotting import COLOURS, SOFT, axis, chart, lines, points, tidy
from raydarts.report.wording import axis as unit_of
from raydarts.report.wording import number, score_with_unit
from raydarts.study.front import REFERENCE, FrontMember, FrontReport
from raydarts.study.objectives import Score, SearchScore
from raydarts.terminal import line, paragraph

_MOST_NAMED = 12


def headline(front: FrontReport) -> str:
    """How large the front is, and which trials are on it."""
    if not front["members"]:
        return f"Pareto front: none yet; no completed {front['of'].removesuffix('s')} that nothing speaks against"
    names = [member["name"] for member in front["members"]]
    shown = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    return f"Pareto front: {len(names)} of {front['counted']} completed {front['of']}: {shown}"


def volume(front: FrontReport, score: SearchScore) -> str:
    """The hypervolume in words, with its reference point."""
    if front["hypervolume"] is None or front["ideal"] is None or front["reference"] is None:
        return ""
    ideal, reference = (_listed(front[end] or {}, score) for end in ("ideal", "reference"))
    return (
        f"hypervolume {front['hypervolume']:.4f}: the share of the box between the best of each objective ({ideal}) "
        f"and the reference point ({reference}) that the front dominates; the reference is {REFERENCE}"
    )


def _listed(figures: Mapping[str, float], score: SearchScore) -> str:
    return ", ".join(f"{each.words} {shown(each, figures[each.metric])}" for each in score.each)


def shown(score: Score, value: float) -> str:
    """A figure of an objective in its own unit."""
    if score.share:
        return score_with_unit(score, value)
    return f"{round(value):,}" if abs(value) >= 10_000 else number(value, 4)


def heads(score: SearchScore) -> list[str]:
    return [f"{each.words} ({each.direction})" for each in score.each]


def cells(member: FrontMember, score: SearchScore) -> list[str]:
    return [shown(each, member["figures"][each.metric]) for each in score.each]


def front_table(front: FrontReport | None, score: SearchScore) -> RenderableType | None:
    """Returns the members of the front, best in the first objective first. None: there is one objective."""
    if front is None:
        return None
    if not front["members"]:
        return line(headline(front))
    table = Table(title=headline(front).split(":")[0])
    for column in (front["of"].removesuffix("s"), *heads(score), "genotype"):
        table.add_column(column, overflow="fold")
    for member in front["members"]:
        table.add_row(member["name"], *cells(member, score), ", ".join(member["genotypes"]) or "-")
    return Group(table, line(headline(front)), paragraph(volume(front, score)))


def figure(run: Run) -> Figure:
    """The front of the search as a picture of its first two objectives, and as a table of all."""
    title, front, score = "Pareto front of the search", run.front, run.supernet
    if front is None:
        return missing("search-front", title, "the sweep has one objective; a list in sweep.objective asks for a front")
    if not front["members"]:
        return missing("search-front", title, headline(front))
    names = {member["name"] for member in front["members"]}
    known = [(name, figures, name in names) for name, figures in run.figures.items()]
    caption = (
        f"Filled squares lie on the front: no other of the {front['counted']} completed {front['of']} that nothing "
        f"speaks against is better in one objective and as good in the others. {volume(front, score)}."
    )
    of = front["of"].removesuffix("s")
    rows = [
        [name, *(shown(each, figures[each.metric]) for each in score.each), "yes" if on else "no"]
        for name, figures, on in sorted(known, key=lambda entry: (not entry[2], entry[0]))
    ]
    headers = [of, *heads(score), "on the front"]
    return Figure("search-front", title, caption, [_picture(known, score, of, run)], headers, rows)


def _picture(known: Sequence[tuple[str, Mapping[str, float], bool]], score: SearchScore, of: str, run: Run) -> Picture:
    """The second objective across, the first upwards."""
    up, across = score.each[:2]
    places = {
        name: (scale_of(across) * figures[across.metric], scale_of(up) * figures[up.metric])
        for name, figures, _ in known
    }
    on_front = [name for name, _, on in known if on]
    traces = []
    if len(score.each) == 2:  # of more objectives the front is no line
        border = _steps(sorted(places[name] for name in on_front), rising=across.sign * up.sign < 0)
        line = {
            "type": "scatter",
            "mode": "lines",
            "x": [tidy(x) for x, _ in border],
            "y": [tidy(y) for _, y in border],
        }
        traces.append({**line, "line": {"color": COLOURS[1], "width": 1.6}, "hoverinfo": "skip", "showlegend": False})
    for words, colour, symbol, chosen in (
        ("on the front", COLOURS[1], "square", [entry for entry in known if entry[2]]),
        ("beaten", SOFT, "circle-open", [entry for entry in known if not entry[2]]),
    ):
        hover = [
            lines(f"{of} {name}", *(f"{each.words} {shown(each, figures[each.metric])}" for each in score.each))
            for name, figures, _ in chosen
        ]
        x, y = [places[name][0] for name, *_ in chosen], [places[name][1] for name, *_ in chosen]
        trials = [_trials(run, name) for name, *_ in chosen]
        traces.append(points(x, y, hover, trials, name=words, colour=colour, symbol=symbol, opacity=0.95))
    plot = chart(
        traces, x=axis(f"{across.words}{unit_of(across)}"), y=axis(f"{up.words}{unit_of(up)}"), height=420, legend=True
    )
    alt = f"{len(known)} {of}s, {across.words} across, {up.words} upwards; {len(on_front)} lie on the front"
    return Picture("front", alt, plot)


def _trials(run: Run, name: str) -> list[str]:
    """Returns the trials of a member: of a configuration those of its search seeds."""
    return next(([record.id for record in each.trials] for each in run.configurations if each.name == name), [name])


def _steps(points: Sequence[tuple[float, float]], rising: bool) -> list[tuple[float, float]]:
    """The border of what the points dominate, from left to right.

    `rising`: the better way is right and down, or left and up. Then a point counts up to the next one. Otherwise the
    next one counts back to it.
    """
    path: list[tuple[float, float]] = []
    for point in points:
        if path:
            before = path[-1]
            path.append((point[0], before[1]) if rising else (before[0], point[1]))
        path.append(point)
    return path
