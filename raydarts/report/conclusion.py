"""What a run comes to, in a few lines: the answer, the best cell, what it cost, and where the rest lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table

from raydarts.report.answer import answer
from raydarts.report.gather import Run
from raydarts.report.improvement import FIRST, sentence
from raydarts.report.wording import duration, score_text, score_with_unit
from raydarts.runs.hours import spent
from raydarts.runs.snapshot import RunSnapshot
from raydarts.runs.winner import Winner, file_of, winner
from raydarts.storage.place import exists
from raydarts.study.stages import EVALUATE, SEARCH
from raydarts.terminal import line, paragraph

Line = tuple[str, list[str]]
"""A word, and what is said under it."""


def conclusion(run: RunSnapshot, read: Run) -> RenderableType:
    """Returns the last thing that a sweep prints, and the first of its report. `read`: the run, gathered."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for word, texts in _lines(run, read):
        for number, text in enumerate(texts):
            grid.add_row(line("" if number else word, "bold"), paragraph(text))
    return grid


def _lines(run: RunSnapshot, read: Run) -> Iterator[Line]:
    known = answer(read)
    question = str(run.description().get("question") or "")
    if question:
        yield "question", [question]
    if known is not None and known.words:
        yield "answer", list(known.words)
    best = winner(run)
    if best is None:
        yield "best cell", ["none yet: no search has ended"]
    else:
        yield "best cell", list(_best(best, read))
    yield "cost", [_cost(run, read)]
    report, file = run.path / "report.html", None if best is None else file_of(run, best.id)
    if exists(report):
        yield "report", [str(report)]
    if file is not None and exists(file):
        yield "winner", [str(file), f"raydarts show {run.path}"]
        if best is not None and best.stage == EVALUATE and read.table is None:
            yield "weights", [f"raydarts export {run.path} --weights FILE.safetensors"]


def _best(best: Winner, read: Run) -> Iterator[str]:
    """Says what the best cell is, how good, and how much better than random cells."""
    trials = f", found by trial {', '.join(best.trials[:5])}" if best.trials else ""
    if best.ranked is None:
        figure = "no figure" if best.value is None else score_with_unit(read.supernet, best.value)
        yield f"{best.id}: supernet {read.supernet.words} {figure}{trials}; nothing was retrained yet"
    else:
        score, row = read.score, best.ranked
        spread = row["validation_std"]
        std = "one seed has no spread" if spread is None else f"std {score_text(score, spread)}"
        mean = score_with_unit(score, row["validation_mean"])
        seeds = "seed" if row["n"] == 1 else "seeds"
        yield f"{best.id}: validation {score.measure} {mean} ({std}, n = {row['n']} evaluation {seeds}){trials}"
    if best.against:
        yield f"no healthy search is left: {'; '.join(best.against)}"
    if best.stage == EVALUATE:
        for each in read.improvement:
            if each.of == FIRST and each.part == "validation":
                yield sentence(each, read.score)


def _cost(run: RunSnapshot, read: Run) -> str:
    """Says how much was run, and what it took."""
    counts = Counter({SEARCH: len(read.searches)})
    counts.update(stage for stage, _ in read.all_retrainings)
    jobs = ", ".join(f"{count} in {stage}" for stage, count in counts.items())
    hours = spent(run)
    took = duration(3600 * hours["wall_hours"])
    processors = [
        f"{hours[unit]:.3g} {words}" for unit, words in (("gpu_hours", "GPU-hours"), ("cpu_hours", "CPU-hours"))
    ]
    used = " and ".join(text for text, unit in zip(processors, ("gpu_hours", "cpu_hours"), strict=True) if hours[unit])
    return f"{took}{f', {used} of training' if used else ''}; trials: {jobs}"
