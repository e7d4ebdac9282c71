"""How much each setting matters, by Optuna's evaluators on a study rebuilt from the trials."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raydarts.json_types import number
from raydarts.report.gather import Run
from raydarts.report.swept import SEED, Setting, is_number

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.importance import BaseImportanceEvaluator

_TREES = 16
PED = "PED-ANOVA (Optuna's PedAnovaImportanceEvaluator: reaching the best tenth)"
FANOVA = f"fANOVA (Optuna's FanovaImportanceEvaluator, {_TREES} trees: share of variance)"
FEWEST = 20
"""Fewest completed trials. With fewer the best tenth is one trial, which says nothing."""
MOST = 10
"""Most options of a choice for fANOVA. Optuna goes through all sets of them in each tree: 2 ** 28 for 28 options."""


@dataclass(frozen=True)
class Importance:
    """One setting. `ped` and `fanova` are shares of 1 in their columns.

    `fanova` covers the `n` trials in which the setting exists, with the settings that always exist there, because
    fANOVA knows no conditional spaces. It is None where one of these is a choice of more than `MOST` options. `ped`
    covers all trials.
    """

    name: str
    label: str
    ped: float
    fanova: float | None
    n: int


@dataclass(frozen=True)
class _Row:
    choices: Mapping[str, object]
    value: float


def importances(run: Run, target: str) -> list[Importance]:
    """Returns importances for `metric` (the sweep's) or `skips` (fewest are best). Empty for few or equal trials."""
    rows = []
    for search in run.completed:
        value = search.metric if target == "metric" else search.skips
        if value is not None:
            rows.append(_Row({**search.choices, SEED: search.seed}, float(value)))
    if len(rows) < FEWEST or len({row.value for row in rows}) < 2:
        return []
    settings = list(run.settings)
    if len(run.seeds) > 1:
        settings.append(Setting(SEED, "search seed (luck)", tuple(run.seeds)))
    maximise = target == "metric" and run.mode == "max"
    names = [setting.name for setting in settings]
    if not names:
        return []
    ped = _evaluate(settings, rows, names, maximise, "ped")
    result = []
    known: dict[tuple[object, ...], dict[str, float]] = {}  # settings that exist in the same trials share one forest
    for setting in settings:
        chosen = [row for row in rows if setting.name in row.choices]
        always = [
            other for other in settings if all(other.name in row.choices for row in chosen) and _varies(other, chosen)
        ]
        shares: dict[str, float] = {}
        few = all(_options(other) <= MOST for other in always)
        if setting in always and few and len(chosen) >= FEWEST and len({row.value for row in chosen}) > 1:
            which = (*map(id, chosen), *(other.name for other in always))
            if which not in known:
                known[which] = _evaluate(always, chosen, [other.name for other in always], maximise, "fanova")
            shares = known[which]
        result.append(
            Importance(
                setting.name,
                setting.label,
                ped[setting.name],
                shares.get(setting.name),
                len(chosen),
            )
        )
    return sorted(result, key=lambda each: -each.ped)


def _varies(setting: Setting, rows: Sequence[_Row]) -> bool:
    return len({repr(row.choices[setting.name]) for row in rows}) > 1


def _evaluate(
    settings: Sequence[Setting], rows: Sequence[_Row], names: list[str], maximise: bool, kind: str
) -> dict[str, float]:
    import optuna  # noqa: PLC0415 - only who asks for importance needs Optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces = {setting.name: _distribution(setting) for setting in settings}
    study = optuna.create_study(
        direction="maximize" if maximise else "minimize", storage=optuna.storages.InMemoryStorage()
    )
    for row in rows:
        params = {name: _shown(spaces[name], row.choices[name]) for name in names if name in row.choices}
        distributions = {name: spaces[name] for name in params}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=row.value))
    evaluator: BaseImportanceEvaluator = optuna.importance.PedAnovaImportanceEvaluator()
    if kind == "fanova":
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator, params=names)
    optuna.logging.set_verbosity(before)
    return {name: float(value) for name, value in shares.items()}


def _options(setting: Setting) -> int:
    """Returns how many options a choice has. A range has none."""
    return 0 if _is_range(setting) else len(setting.values)


def _is_range(setting: Setting) -> bool:
    return setting.trend and (setting.name != SEED or len(setting.values) > MOST)


def _distribution(setting: Setting) -> BaseDistribution:
    """Returns a range for numbers that many trials drew, else categories. Many seeds are a range, to take less time."""
    import optuna  # noqa: PLC0415

    if _is_range(setting):
        low, high = float(setting.numbers[0]), float(setting.numbers[-1])
        return optuna.distributions.FloatDistribution(low, high, log=setting.log)
    return optuna.distributions.CategoricalDistribution([_plain(value) for value in setting.values])


def _shown(distribution: BaseDistribution, value: object) -> object:
    return number(value) if hasattr(distribution, "low") else _plain(value)


def _plain(value: object) -> str | None:
    """Returns a category as Optuna takes it. It keeps apart values that are equal in Python (1, 1.0, True)."""
    return value if isinstance(value, str) or value is None else f"{type(value).__name__} {value!r}"


def reasons(run: Run) -> str:
    """Returns why there is no importance, in words."""
    if len(run.completed) < FEWEST:
        return f"{len(run.completed)} completed trials; importance is computed from {FEWEST} on"
    if not any(is_number(search.metric) for search in run.completed):
        return f"no completed trial has the metric {run.metric}"
    return "nothing was swept, or all trials measured the same"
