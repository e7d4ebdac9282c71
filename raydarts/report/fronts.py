"""The Pareto front of a sweep with several objectives: a line, a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.table import Table

from raydarts.report.axes import plot_area
from raydarts.report.figures import Figure, missing
from raydarts.report.gather import Run
from raydarts.report.svg import COLOURS, SOFT, Chart
from raydarts.report.wording import axis, number, score_with_unit
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
    return Figure("search-front", title, caption, [_chart(known, score, of)], headers, rows)


def _chart(known: Sequence[tuple[str, Mapping[str, float], bool]], score: SearchScore, of: str) -> Markup:
    """The second objective across, the first upwards."""
    up, across = score.each[:2]
    x, y = plot_area(
        [figures[across.metric] for _, figures, _ in known],
        [figures[up.metric] for _, figures, _ in known],
        percent_x=across.share,
        percent_y=up.share,
    )
    on_front = sum(on for _, _, on in known)
    alt = f"{len(known)} {of}s, {across.words} across, {up.words} upwards; {on_front} lie on the front"
    chart = Chart(alt, x, y, f"{across.words}{axis(across)}", f"{up.words}{axis(up)}")
    points = [(x(figures[across.metric]), y(figures[up.metric])) for _, figures, on in known if on]
    if len(score.each) == 2:  # of more objectives the front is no line
        chart.line(_steps(sorted(points), rising=across.sign * up.sign < 0), COLOURS[1], width=1.6)
    for name, figures, on in known:
        text = f"{of} {name}: " + ", ".join(f"{each.words} {shown(each, figures[each.metric])}" for each in score.each)
        at = (x(figures[across.metric]), y(figures[up.metric]))
        chart.mark(at, COLOURS[1] if on else SOFT, "square" if on else "circle", text, 4.5, hollow=not on)
    chart.key("on the front", COLOURS[1], shape="square")
    chart.key("beaten", SOFT, shape="circle", hollow=True)
    return chart.svg()


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
