"""`raydarts compare RUN RUN`: what was changed between two runs, and how their results differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import cast

from rich.console import Group, RenderableType
from rich.table import Table

from raydarts.json_types import items, section
from raydarts.report import improvement, stats
from raydarts.report.gather import Run, Searched, gather
from raydarts.report.html import command
from raydarts.report.limits import COUNT, Limits, limits_of
from raydarts.report.shapes import (
    Best,
    Changed,
    Comparison,
    MeanShape,
    Paired,
    SharedGenotype,
    SharedStage,
    Summary,
)
from raydarts.runs.reading import Damage
from raydarts.storage.files import plain
from raydarts.storage.place import Place
from raydarts.study.front import points_of
from raydarts.study.pareto import Box
from raydarts.study.stages import data_of, section_of
from raydarts.terminal import line


def compare_runs(first: Place, second: Place, damage: Damage | None = None) -> Comparison:
    """Returns JSON data. Means have n, sample standard deviation and Student's 95 % interval.

    - `paired`: second minus first over searches with the same choices and search seed in both.
    - `warnings`: why numbers cannot be compared.

    `damage` is as in `gather`. Raises `RunError` if a path is no run.
    """
    runs = [gather(path, damage) for path in (first, second)]
    comparison: Comparison = {
        "runs": [_summary(run) for run in runs],
        "spec": _differences(runs[0].spec, runs[1].spec),
        "versions": _differences(*(section(run.description.get("versions")) for run in runs)),
        "hypervolumes": _hypervolumes(runs),
        "warnings": _warnings(runs),
        "paired": _paired(runs),
        "genotypes": _shared(runs),
        "stages": _stages(runs),
    }
    return cast(Comparison, plain(comparison))


def _mean(values: Sequence[float], limits: Limits) -> MeanShape | None:
    mean = stats.mean_of(values, limits)
    if mean is None:
        return None
    return {"value": mean.value, "std": mean.std, "n": mean.n, "low": mean.low, "high": mean.high}


def _summary(run: Run) -> Summary:
    statuses = [search.status for search in run.searches]
    best = next(iter(run.ranked), None)
    return {
        "name": run.name,
        "status": run.status,
        "command": command(list(map(str, items(run.description.get("command"))))),
        "trials": {name: statuses.count(name) for name in dict.fromkeys(statuses)},
        "metric": run.metric,
        "front": run.front,
        "score": run.score.metric,
        "supernet": _mean([score for _, score in run.units(lambda search: search.metric)], limits_of(run.supernet)),
        "skips": _mean([count for _, count in run.units(lambda search: search.skips)], COUNT),
        "retrained_genotypes": len(run.retrained_mean),
        "retrained": _mean(list(run.retrained_mean.values()), limits_of(run.score)),
        "best_genotype": best,
        "best": _mean(run.validation[best], limits_of(run.score)) if best else None,
        "improvement": [asdict(each) for each in run.improvement],
    }


def _hypervolumes(runs: Sequence[Run]) -> list[float] | None:
    """Returns the hypervolume of each run's front, in one box. None: they have not the same several objectives."""
    score = runs[0].supernet
    same = [(each.metric, each.mode) for each in score.each] == [
        (each.metric, each.mode) for each in runs[1].supernet.each
    ]
    points = [points_of(run.figures.values(), score) if same else [] for run in runs]
    if not score.several or not all(points):
        return None
    box = Box.around([point for each in points for point in each])
    return [box.hypervolume(each) for each in points]


def _flat(value: object, name: str = "") -> dict[str, object]:
    if isinstance(value, Mapping) and value:
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{name}.{key}" if name else key).items()}
    return {name: value}


def _differences(first: Mapping[str, object], second: Mapping[str, object]) -> list[Changed]:
    a, b = _flat(first), _flat(second)
    names = list(dict.fromkeys([*a, *b]))
    return [{"key": name, "first": a.get(name), "second": b.get(name)} for name in names if a.get(name) != b.get(name)]


def _warnings(runs: Sequence[Run]) -> list[str]:
    first, second = runs
    lines = [f"Parts of {run.name} are damaged, and left out." for run in runs if run.damaged]
    if first.spec.get("data") != second.spec.get("data"):
        lines.append("The data differ: figures of the two runs do not measure the same.")
    if first.score != second.score:
        lines.append(f"The retrained figures differ ({first.score.metric}, {second.score.metric}).")
    if first.metric != second.metric:
        lines.append(f"The supernet's metrics differ ({first.metric}, {second.metric}).")
    elif first.supernet.several or second.supernet.several:
        lines.append(
            f"Trials have several objectives in {' and '.join(run.name for run in runs if run.supernet.several)}: the "
            f"supernet metric below is the first one ({first.metric})."
        )
    training = [section(run.spec.get("evaluate")).get("training") for run in runs]
    if training[0] != training[1]:
        lines.append("The retrainings differ in their settings: retrained figures compare these too.")
    return lines


def _key(search: Searched) -> tuple[object, ...]:
    if search.lineage:  # it had several settings, so no other trial has the same
        return (search.id, search.lineage)
    return (search.seed, *sorted((name, repr(value)) for name, value in search.choices.items()))


def _paired(runs: Sequence[Run]) -> Paired:
    """Returns differences over searches with the same configuration in both runs."""
    first, second = ({_key(search): search for search in run.completed} for run in runs)
    same = [(first[key], second[key]) for key in first if key in second]
    metric = [(a, b.metric - a.metric) for a, b in same if a.metric is not None and b.metric is not None]
    skips = [(a, float(b.skips - a.skips)) for a, b in same if a.skips is not None and b.skips is not None]
    comparable = runs[0].metric == runs[1].metric
    limits = limits_of(runs[0].supernet).of_differences
    supernet = _mean(_by_configuration(metric), limits) if comparable else None
    return {"pairs": len(same), "supernet": supernet, "skips": _mean(_by_configuration(skips), COUNT.of_differences)}


def _by_configuration(differences: Sequence[tuple[Searched, float]]) -> list[float]:
    """Returns one difference for each search, with replicates one for each configuration: the mean of its searches."""
    groups: dict[object, list[float]] = {}
    for search, difference in differences:
        of = search.id if search.configuration is None else search.configuration
        groups.setdefault(of, []).append(difference)
    return [fmean(group) for group in groups.values()]


def _shared(runs: Sequence[Run]) -> list[SharedGenotype]:
    """Returns genotypes that both runs retrained."""
    both = [name for name in runs[0].validation if name in runs[1].validation]

    def mean(run: Run, name: str) -> MeanShape | None:
        return _mean(run.validation[name], limits_of(run.score))

    return [{"id": name, "first": mean(runs[0], name), "second": mean(runs[1], name)} for name in both]


def _stages(runs: Sequence[Run]) -> list[SharedStage]:
    """Returns the other retraining stages of both runs: the best genotype of each, and whether they can be compared."""
    stages: list[SharedStage] = []
    for name in (name for name in runs[0].stages if name in runs[1].stages):
        first, second = (_side(_summary(run.stages[name])) for run in runs)
        sections = [(section_of(run.spec, name).get("training"), data_of(run.spec, name)) for run in runs]
        comparable = sections[0] == sections[1]
        stages.append({"name": name, "comparable": comparable, "first": first, "second": second})
    return stages


def _side(summary: Summary) -> Best:
    return {
        "best_genotype": summary["best_genotype"],
        "best": summary["best"],
        "retrained_genotypes": summary["retrained_genotypes"],
    }


def _mean_text(mean: MeanShape | None) -> str:
    if mean is None:
        return "-"
    if mean["low"] is None:
        return f"{mean['value']:.4f} (n={mean['n']}, no spread)"
    return f"{mean['value']:.4f} ± {mean['std']:.4f} (n={mean['n']}, 95 %: {mean['low']:.4f} to {mean['high']:.4f})"


def comparison_table(comparison: Comparison) -> RenderableType:
    """Returns the comparison for a terminal."""
    names = [run["name"] for run in comparison["runs"]]
    parts: list[RenderableType] = [line(warning, "bold") for warning in comparison["warnings"]]
    table = Table(title="Results: mean ± sample standard deviation (n, 95 % interval of the mean)")
    for column in ("", *names):
        table.add_column(column, overflow="fold")
    rows: tuple[tuple[str, Callable[[Summary], str]], ...] = (
        ("status", lambda run: run["status"]),
        ("search trials", lambda run: ", ".join(f"{count} {name}" for name, count in run["trials"].items()) or "-"),
        ("supernet metric, over completed searches", lambda run: f"{run['metric']} {_mean_text(run['supernet'])}"),
        ("skips, over completed searches", lambda run: _mean_text(run["skips"])),
        ("retrained, over genotypes", lambda run: f"{run['score']} {_mean_text(run['retrained'])}"),
        ("best genotype, over evaluation seeds", _best),
        ("best genotype against random cells", _improvement),
    )
    for name, show in rows:
        table.add_row(name, *(show(run) for run in comparison["runs"]))
    parts.append(table)
    if comparison["hypervolumes"] is not None:
        shown = " and ".join(f"{value:.4f}" for value in comparison["hypervolumes"])
        parts.append(line(f"hypervolume of the Pareto fronts, in one box around the trials of both runs: {shown}"))
    paired = comparison["paired"]
    if paired["pairs"]:
        parts.append(
            line(
                f"{paired['pairs']} searches have the same settings and seed in both; {names[1]} minus {names[0]}: "
                f"supernet {_mean_text(paired['supernet'])}; skips {_mean_text(paired['skips'])}"
            )
        )
    for genotype in comparison["genotypes"]:
        both = f"{_mean_text(genotype['first'])} and {_mean_text(genotype['second'])}"
        parts.append(line(f"retrained in both: {genotype['id']}: {both}"))
    for stage in comparison["stages"]:
        note = "" if stage["comparable"] else "; data or training differ, so these do not measure the same"
        parts.append(line(f"best of {stage['name']}: {_best(stage['first'])} and {_best(stage['second'])}{note}"))
    parts += [_changes("Spec", comparison["spec"], names), _changes("Versions", comparison["versions"], names)]
    return Group(*parts)


def _best(run: Best | Summary) -> str:
    if run["best"] is None:
        return "-"
    return f"{run['best_genotype']} {_mean_text(run['best'])}; the best of {run['retrained_genotypes']}"


def _improvement(run: Summary) -> str:
    """Returns by how much the first of the ranking is better than random cells, of validation data."""
    found = [each for each in map(improvement.from_json, run["improvement"]) if each.part == "validation"]
    first = next((each for each in found if each.of == improvement.FIRST), None)
    if first is None:
        return "-"
    ends = "no interval" if first.low is None else f"95 %: {first.low:+.4f} to {first.high:+.4f}"
    return f"{first.difference:+.4f} (n={first.n} seeds and {first.random_n} random cells, {ends})"


def _changes(title: str, rows: Sequence[Changed], names: Sequence[str]) -> RenderableType:
    if not rows:
        return line(f"{title}: no difference")
    table = Table(title=f"{title}: differences")
    for column in ("key", *names):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(line(row["key"]), *(line(value) for value in (row["first"], row["second"])))
    return table
