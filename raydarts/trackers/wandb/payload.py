"""From what lies on disk to what W&B is given, pictures too: nothing of it from the environment or the command line."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from PIL import Image

from raydarts.json_types import items, section
from raydarts.report.drawing import build_figure
from raydarts.report.figures_alpha import heat_map_of_epoch
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.runs.segments import segments_of
from raydarts.study.objectives import Score, score_of, search_score_of
from raydarts.study.results import TrialEntry
from raydarts.study.stages import EVALUATE, SEARCH, data_of, section_of
from raydarts.trackers.aside import scrub
from raydarts.trackers.base import is_scalar, scalars
from raydarts.trackers.wandb import names

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Plot

Picture = Image.Image
_LONGEST_ERROR = 300
_DPI = 100


def is_evaluation(what: Mapping[str, object]) -> bool:
    """Whether a trial.json is an evaluation's."""
    return "genotype" in what


def job_type(what: Mapping[str, object]) -> str:
    """The name of a trial.json's stage."""
    return str(what.get("stage", EVALUATE)) if is_evaluation(what) else SEARCH


def config(run: RunDirectory, description: Mapping[str, object], what: TrialEntry) -> dict[str, object]:
    """A trial's config as `wandb.init` takes it: every setting with its own type, and the versions that ran it."""
    spec = section(description.get("spec"))
    versions = {"versions": description.get("versions") or {}, "git_commit": description.get("git_commit")}
    if not is_evaluation(what):
        parent = segments_of(what)[-1].parent
        copied = {} if parent is None else {"forked_from": {"trial": parent.trial, "epoch": parent.epoch}}
        flat = names.flat_config({**names.search_config(what), **copied, **versions})
        return names.nested(flat | _dataset(spec.get("data")))
    score = search_score_of(description)
    flat = names.evaluation_config(what, score.metric, _supernet(run, what, score))
    flat["searches_by_genotype"] = list(items(what.get("trials")))
    training = section_of(spec, job_type(what)).get("training") or {}
    flat |= names.flat_config({"training": training, **versions})
    return names.nested(flat | _dataset(data_of(spec, job_type(what))))


def _dataset(data: object) -> dict[str, object]:
    """The data set's name; its paths are nobody's business."""
    dataset = section(data).get("dataset")
    name = dataset.get("name") if isinstance(dataset, Mapping) else dataset
    return {} if name is None else {"data.dataset": name}


def _supernet(run: RunDirectory, what: Mapping[str, object], score: Score) -> float | None:
    """What the supernet said of a genotype: the score's mean over the searches that found it."""
    records = [results.read_trial(trial) for trial in run.trials() if trial.id in items(what.get("trials"))]
    values = [value for record in records if (value := record.value(score)) is not None]
    return fmean(values) if values else None


def summary(
    what: Mapping[str, object], rows: Sequence[Mapping[str, object]], result: Mapping[str, object]
) -> dict[str, object]:
    """Each metric's last, min and max over all epochs, whatever part of them this process saw; and the outcome.

    The outcome: `status`, `genotype_id`, `skips.CELL`, `total_seconds`, `error`, and `final.*`: what was computed only
    at the end (of an evaluation all of its result, test figures among it).
    """
    entries: dict[str, object] = dict(extremes(rows))
    entries["status"] = result.get("status", "running")
    if isinstance(error := result.get("error"), str):
        entries["error"] = scrub(error)[:_LONGEST_ERROR]
    if result.get("genotype_id") is not None:
        entries["genotype_id"] = result["genotype_id"]
    if result.get("seconds") is not None:
        entries["total_seconds"] = result["seconds"]
    skips = {cell: count for cell, count in section(result.get("skips")).items() if is_scalar(count)}
    if skips:
        entries["skips"] = skips
    last = rows[-1] if rows else {}
    outcome = section(result.get("result"))
    final = {key: value for key, value in scalars(outcome).items() if is_evaluation(what) or key not in last}
    final.pop("genotype_id", None)
    return {**entries, "final": final} if final else entries


def extremes(rows: Iterable[Mapping[str, object]]) -> dict[str, dict[str, float]]:
    """`{metric: {last, min, max}}` of each metric that is a number."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for key, value in scalars(row).items():
            if key != names.STEP and not isinstance(value, str | bool):
                values.setdefault(key, []).append(value)
    return {key: {"last": numbers[-1], "min": min(numbers), "max": max(numbers)} for key, numbers in values.items()}


def best_so_far(
    run: RunDirectory, trial_id: str, what: Mapping[str, object], description: Mapping[str, object]
) -> bool:
    """Whether no completed trial of the same stage has a better value. Of equal ones the first counts as better."""
    score = score_of(description) if is_evaluation(what) else search_score_of(description)
    everyone = results.retrained(run, job_type(what)) if is_evaluation(what) else results.trials(run)
    done = [record for record in everyone if record.status == "completed"]
    values = {record.id: score.sign * value for record in done if (value := record.value(score)) is not None}
    this = values.get(trial_id)
    return this is not None and not any(
        value > this or (value == this and name < trial_id) for name, value in values.items() if name != trial_id
    )


def _picture(figure: Figure) -> Picture:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_DPI, format="png")
    buffer.seek(0)
    return Image.open(buffer)


def drawing(genotype: Mapping[str, object], title: str | None = None) -> Picture:
    """The genotype's cells."""
    return _picture(build_figure(genotype, title))


def heat_maps(arch_weights: Mapping[str, object], epoch: int) -> dict[str, Plot]:
    """Cell type -> its arch weights as the report draws them: an edge a row, a primitive a column."""
    return {
        cell: heat_map_of_epoch(cell, record, epoch)
        for cell in arch_weights
        if (record := section(arch_weights[cell])).get("weights")
    }
