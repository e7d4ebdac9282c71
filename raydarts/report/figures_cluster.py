"""The report's picture of time and place, and the drawings of genotypes."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from markupsafe import Markup, escape

from raydarts.errors import GenotypeError
from raydarts.report.figures import Figure, Picture, missing, trial_ids
from raydarts.report.gather import Retrained, Run, Searched
from raydarts.report.plotting import COLOURS, axis, categories, chart, lines, tidy
from raydarts.report.wording import duration, number
from raydarts.runs.entries import TimeEntry

_DRAWN = 4
_GAP = 60.0  # seconds without an epoch after which a bar is broken


class Bar(NamedTuple):
    """A stretch of work. `cost`: its seconds; of trials that one process ran together each has an equal share."""

    place: str
    start: float
    end: float
    first: int
    last: int
    cost: float


class Work(NamedTuple):
    """A stretch of work and what it was. `trials`: the search trials behind it."""

    kind: str
    name: str
    trials: list[str]
    bar: Bar


def _bars(times: Sequence[TimeEntry]) -> list[Bar]:
    """Returns unbroken stretches of work."""
    bars: list[Bar] = []
    for entry in times:
        place = f"{entry.get('host', 'unknown')} {entry.get('pid', '')}".strip()
        start, end, epoch = float(entry["start"]), float(entry["end"]), entry.get("epoch") or 0
        limit, share = max(_GAP, 2 * (end - start)), (end - start) / entry.get("lanes", 1)
        before = bars[-1] if bars else None
        if before and before.place == place and start - before.end < limit and epoch > before.last:
            bars[-1] = before._replace(end=end, last=epoch, cost=before.cost + share + max(0.0, start - before.end))
        else:
            bars.append(Bar(place, start, end, epoch, epoch, share))
    return bars


def timeline(run: Run) -> Figure:
    """Shows when each process worked on what."""
    title = "Cluster use over time"
    jobs: list[tuple[str, str, list[str], Searched | Retrained]] = [
        ("search", f"trial {s.id}", [s.id], s) for s in run.searches
    ]
    jobs += [
        (
            "retraining",
            f"{stage}: genotype {r.genotype_id}, evaluation seed {r.seed}",
            trial_ids(run, r.genotype_id),
            r,
        )
        for stage, r in run.all_retrainings
    ]
    work = [Work(kind, name, trials, bar) for kind, name, trials, job in jobs for bar in _bars(job.times)]
    if not work:
        return missing("timeline", title, "start and end times are not recorded in this run")
    lanes = _lanes(work)
    begin, end = min(each.bar.start for each in work), max(each.bar.end for each in work)
    units = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
    unit, words = next(each for each in units if end - begin > 2.5 * each[0] or each[0] == 1.0)
    since = datetime.fromtimestamp(begin, UTC).strftime("%Y-%m-%d %H:%M UTC")
    traces: list[dict[str, object]] = []
    for kind, colour in (("search", COLOURS[0]), ("retraining", COLOURS[4])):
        chosen = [each for each in work if each.kind == kind]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "width": 0.75,
                "name": kind,
                "y": [lanes.index(each.bar.place) for each in chosen],
                "base": [tidy((each.bar.start - begin) / unit) for each in chosen],
                "x": [tidy((each.bar.end - each.bar.start) / unit) for each in chosen],
                "marker": {"color": colour, "line": {"color": "#ffffff", "width": 0.5}},
                "hovertext": [_words_for(each) for each in chosen],
                "hoverinfo": "text",
                "customdata": [each.trials for each in chosen],
            }
        )
    across = axis(f"{words} since {since}")
    names = {**categories("", lanes, 24), "range": [len(lanes) - 0.5, -0.5]}
    height = 110 + 26 * len(lanes)
    plot = chart(traces, x=across, y=names, height=height, legend=True, barmode="overlay", bargap=0.25)
    busy = {kind: sum(each.bar.cost for each in work if each.kind == kind) for kind in ("search", "retraining")}
    rows = [[kind, str(sum(w.kind == kind for w in work)), duration(total)] for kind, total in busy.items()]
    whole = (end - begin) * len(lanes)
    share = sum(busy.values()) / whole if whole else 0.0
    rows.append(["idle or starting", "-", duration(max(0.0, whole - sum(busy.values())))])
    caption = (
        f"{duration(end - begin)} from the first epoch to the last; {len(lanes)} processes were at work "
        f"{100 * share:.0f} % "
        "of that time (epochs only: start-up, data loading and final tests are not in the bars). Work that a failure "
        "undid is drawn too."
    )
    alt = f"Timeline of {len(work)} stretches of work on {len(lanes)} processes over {duration(end - begin)}"
    pictures = [Picture("timeline", alt, plot)]
    return Figure("timeline", title, caption, pictures, ["stage", "stretches", "process time"], rows, wide=True)


def _words_for(work: Work) -> str:
    bar = work.bar
    return lines(work.name, f"epochs {bar.first} to {bar.last}", f"{duration(bar.end - bar.start)} on {bar.place}")


def _lanes(work: Sequence[Work]) -> list[str]:
    """Returns the processes in the order of their first work, those of one host together."""
    first: dict[str, float] = {}
    for each in work:
        first[each.bar.place] = min(each.bar.start, first.get(each.bar.place, each.bar.start))
    return sorted(first, key=lambda place: (place.rsplit(" ", 1)[0], first[place]))


def drawings(run: Run) -> Figure:
    """Draws the best retrained genotypes, or the promoted ones, or the best by the metric."""
    title = "Genotypes"
    ranked = run.ranked
    known = {s.genotype_id: s.genotype for s in run.searches if s.genotype_id and s.genotype}
    known |= {r.genotype_id: r.genotype for r in run.retrainings if r.genotype}
    if not ranked:
        sign = -run.supernet.sign
        scored = [s for s in run.completed if s.genotype_id and s.order is not None]
        ranked = list(dict.fromkeys(str(s.genotype_id) for s in sorted(scored, key=lambda s: sign * (s.order or 0))))
    chosen = [name for name in ranked if known.get(name)][:_DRAWN]
    if not chosen:
        return missing("genotypes", title, "no genotype is known yet")
    pictures, rows = [], []
    for rank, name in enumerate(chosen, start=1):
        genotype = known[name] or {}
        heading = f"{rank}: {name}" if run.retrained_mean else name
        if (picture := draw(genotype, heading, f"g{rank}-")) is not None:
            pictures.append(picture)
        for cell, edges in genotype.items():
            rows.append([str(rank), name, cell, _words(edges)])
    order = (
        f"by mean retrained {run.score.words}" if run.retrained_mean else "by the supernet's score; none is retrained"
    )
    caption = f"The first {len(chosen)} of {len(ranked)}, {order}. Dashed: skip connections; dotted: none."
    if len(pictures) < len(chosen):
        caption += f" Not drawn, since they are no genotypes: {len(chosen) - len(pictures)}, as the table has them."
    return Figure("genotypes", title, caption, pictures, ["rank", "genotype", "part", "edges or nodes"], rows)


def _words(edges: object) -> str:
    return str(edges) if not isinstance(edges, list) else ", ".join(_words_of(edge) for edge in edges)


def _words_of(edge: object) -> str:
    if isinstance(edge, list) and len(edge) == 2 and isinstance(edge[0], str):
        return f"{edge[0]} from {edge[1]}"
    return number(edge) if not isinstance(edge, list) else f"({_words(edge)})"


def draw(genotype: Mapping[str, object], title: str, prefix: str) -> Markup | None:
    """Returns the drawing as inline SVG whose ids start with `prefix`, or None if it is no genotype."""
    from raydarts.report.drawing import build_figure  # noqa: PLC0415 - matplotlib

    try:
        figure = build_figure(genotype, title)
    except GenotypeError:
        return None
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    body = text[text.index("<svg") :]
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body).groups()  # type: ignore[union-attr]
    inner = body[body.index(">") + 1 : body.rindex("</svg>")]
    inner = re.sub(r"<metadata>.*?</metadata>", "", inner, flags=re.DOTALL)
    inner = re.sub(r"<style.*?</style>", "", inner, flags=re.DOTALL)  # it would hold for the whole page
    inner = re.sub(r'\bid="', f'id="{prefix}', inner)
    inner = re.sub(r'href="#', f'href="#{prefix}', inner)
    inner = re.sub(r"url\(#", f"url(#{prefix}", inner)
    inner = re.sub(r'\bd="[^"]*"', lambda path: re.sub(r"(\.\d{2})\d+", r"\1", path[0]), inner)
    alt = f"Drawing of genotype {title}; its edges are listed in the table"
    return Markup(  # noqa: S704 - matplotlib escapes what it writes, and the rest is escaped here
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(alt)}" '
        f'style="max-width:{float(width) * 1.1:.0f}px;min-width:{float(width) * 0.75:.0f}px">'
        f'<g style="stroke-linejoin:round">{inner}</g></svg>'
    )
