"""What replayed sweeps came to: a table, and JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table

from raydarts.runs.recordings import Recordings
from raydarts.study.front import REFERENCE
from raydarts.study.objectives import SearchScore
from raydarts.terminal import line, paragraph

_MOST_PICKS = 5
HYPERVOLUME = (
    "the share of a box that the completed, healthy configurations dominate. The box goes from the best of each "
    "objective to the reference point, over all recorded configurations that count at their end; the reference is "
    + REFERENCE
)


def table(outcome: Mapping[str, Any], recordings: Recordings, score: SearchScore, workers: int) -> Group:
    """The summary of replayed sweeps for a terminal."""

    def share(value: float) -> str:
        return f"{100 * value:.1f} %"

    def figure(value: float) -> str:
        return f"{100 * value:.2f}" if score.share else f"{value:.4g}"

    unit = "points" if score.share else score.unit or score.metric
    shown: list[tuple[str, str, Callable[[float], str]]] = [
        ("epochs", "epochs that were run", lambda value: f"{value:,.0f}"),
        ("epochs_share", "share of FIFO's epochs", share),
        ("clock", f"length with {workers} workers, in epochs", lambda value: f"{value:,.0f}"),
        ("pick_figure", f"{score.words} of the pick ({unit})", figure),
        ("below_best", f"below the best of all records ({unit})", figure),
        ("regret", f"below the best by the objective ({unit})", figure),
        ("best_picked", "picked the best by the objective", share),
        ("pick_skips", "skips of the pick's judged cell", lambda value: f"{value:.1f}"),
        ("pick_parameter_free", "its edges without parameters", lambda value: f"{value:.1f}"),
        ("pick_collapsed", "the pick has collapsed", share),
        ("pick_fallback", "the pick is a fallback", share),
        ("finishers_collapsed", "collapsed trials among those completed", share),
        ("halts_caught", f"halted, of {outcome['halts_caught_of']:.1f} that collapse", lambda value: f"{value:.1f}"),
        ("halts_false", f"halted, of {outcome['halts_false_of']:.1f} that do not", lambda value: f"{value:.1f}"),
    ]
    title = f"{outcome['sweeps']} replayed sweeps of {len(recordings.configurations)} configurations"
    if score.several:
        shown = [row for row in shown if row[0] not in ("regret", "best_picked", "below_best")]
        shown += [
            ("front_size", "configurations on the front", lambda value: f"{value:.1f}"),
            ("hypervolume", "hypervolume of the front", lambda value: f"{value:.4f}"),
            ("hypervolume_fifo", "hypervolume of FIFO's front", lambda value: f"{value:.4f}"),
            ("hypervolume_share", "share of FIFO's hypervolume", share),
        ]
    rows = Table(title=title)
    for head in ("", "mean", "95 % interval", "least", "most"):
        rows.add_column(head, justify="left" if not head else "right")
    for key, words, text in shown:
        known = outcome[key]
        if known is not None:
            low, high = known["interval"]
            rows.add_row(
                words, text(known["mean"]), f"{text(low)} to {text(high)}", text(known["least"]), text(known["most"])
            )
    picks = Table(title="Picked configurations")
    picks.add_column("share", justify="right")
    picks.add_column("settings")
    names = _differing(recordings)
    for pick in outcome["picks"][:_MOST_PICKS]:
        picks.add_row(share(pick["share"]), line(_settings(pick["configuration"], names)))
    if len(outcome["picks"]) > _MOST_PICKS:
        picks.add_row("", f"and {len(outcome['picks']) - _MOST_PICKS} others")
    without = [paragraph(f"{outcome['without_pick']} sweeps picked nothing: all of their trials failed.")]
    about = [paragraph(f"Hypervolumes: {HYPERVOLUME}.")] if score.several else []
    return Group(rows, *about, picks, *(without if outcome["without_pick"] else ()))


def _differing(recordings: Recordings) -> list[str]:
    """The top-level settings in which configurations differ."""
    configs = [each.config for each in recordings.configurations]
    names = dict.fromkeys(name for config in configs for name in config)
    return [name for name in names if any(config.get(name) != configs[0].get(name) for config in configs)]


def _settings(config: Mapping[str, Any], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {config[name]}" for name in names if name in config) or "(one configuration)"


def as_json(
    outcome: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    recordings: Recordings,
    sweep: Mapping[str, Any],
    workers: int,
    seed: int,
) -> dict[str, Any]:
    """All that is known of replayed sweeps."""
    return {
        "recorded": {
            "runs": len(recordings.runs),
            "configurations": len(recordings.configurations),
            "seeds": list(recordings.seeds),
            "epochs": recordings.epochs,
            "notes": list(recordings.notes),
        },
        "sweep": dict(sweep),
        "workers": workers,
        "seed": seed,
        "summary": dict(outcome),
        "sweeps": [dict(row) for row in rows],
    }
