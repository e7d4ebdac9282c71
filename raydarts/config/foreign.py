"""Recognises distributions in the forms of W&B, Ray Tune, Optuna, Ax, NNI and others, and says what to write instead.

These forms are not read, because some mean nearly, but not exactly, the same here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from raydarts.config.distributions import KINDS, NUMBERS
from raydarts.errors import shortened
from raydarts.json_types import Json, JsonObject

_LOW = ("min", "low", "lower", "minval", "lower_bound")
_HIGH = ("max", "high", "upper", "maxval", "upper_bound")
_STEP = ("q", "step", "quantization")
_LOG = ("log", "log_scale")
_MEAN = ("mu", "mean", "loc")
_SD = ("sigma", "sd", "std", "stddev", "scale")
_OPTIONS = ("values", "choices", "categories", "options", "_value", "grid_search", "categorical", "one_of")
_TYPE = ("distribution", "type", "_type", "value_type")
_MORE = ("value", "bounds", "probabilities", "weights", "is_ordered", "sort_values")
_KNOWN = {*_LOW, *_HIGH, *_STEP, *_LOG, *_OPTIONS, *_TYPE, *_MEAN, *_SD, *_MORE}

_NAMES = {
    **dict.fromkeys(("uniform", "float", "double", "float_uniform", "suggest_float", "suggest_uniform"), "uniform"),
    **dict.fromkeys(("interval",), "uniform"),
    **dict.fromkeys(
        ("loguniform", "log_uniform_values", "suggest_loguniform", "log_float", "reverse_log_uniform"), "loguniform"
    ),
    **dict.fromkeys(("log_uniform",), "exponents"),
    **dict.fromkeys(("qloguniform", "q_log_uniform_values", "qlograndint"), "qloguniform"),
    **dict.fromkeys(("q_log_uniform",), "q_exponents"),
    **dict.fromkeys(("lograndint",), "whole_log"),
    **dict.fromkeys(("normal", "randn", "gauss"), "normal"),
    **dict.fromkeys(("quniform", "q_uniform", "discrete_uniform", "suggest_discrete_uniform"), "quniform"),
    **dict.fromkeys(("randint", "int_uniform", "int", "integer", "suggest_int", "range", "uniformint"), "randint"),
    **dict.fromkeys(("choice", "categorical", "suggest_categorical", "sample", "pchoice"), "choice"),
    **dict.fromkeys(("grid", "grid_search"), "grid"),
    **dict.fromkeys(("constant", "fixed"), "value"),
    **dict.fromkeys(("sample_from",), "tied"),
    **dict.fromkeys(
        (
            *("log_normal", "lognormal", "q_normal", "qnormal", "q_log_normal", "qlognormal", "qrandn", "qrandint"),
            *("beta", "q_beta", "inv_log_uniform", "inv_log_uniform_values", "logistic"),
        ),
        "none",
    ),
}
_PREFIX = re.compile(r"^(?:(?:ray\.)?tune\.|hp\.|trial\.|optuna\.(?:\w+\.)*|np\.random\.|wandb\.)?")
_CALL = re.compile(r"^((?:[A-Za-z_]\w*\.)*)([a-z_]+)\((.*)\)$", re.DOTALL)
_ALL = ", ".join(KINDS)
_EXPONENTS = {"loguniform": "exponents", "qloguniform": "q_exponents"}
"""Hyperopt's distributions of these names take the ends' logarithms."""

SECTIONS = {
    **dict.fromkeys(
        ("parameters", "param_space", "params", "config", "search_space"), "what is swept stands under search"
    ),
    **dict.fromkeys(("method", "algorithm", "search_alg"), "write sweep: {searcher: grid}, random or optuna"),
    **dict.fromkeys(("metric", "objective"), "write sweep: {objective: NAME}"),
    **dict.fromkeys(("early_terminate", "pruner"), "write sweep: {scheduler: asha}"),
    **dict.fromkeys(("num_samples", "n_trials", "run_cap"), "write sweep: {searcher: {name: random, trials: 20}}"),
    **dict.fromkeys(("program", "command"), "no program is named: raydarts runs the search itself"),
    **dict.fromkeys(("project", "entity", "wandb"), "write track: {wandb: {project: NAME}}"),
    **dict.fromkeys(("seeds",), "write search: {seed: {grid: [0, 1]}}, or evaluate: {seeds: [0, 1]}"),
    **dict.fromkeys(("resources",), "write sweep: {resources: {cpus: 1, gpus: 0}}"),
}
"""Top-level keys of other tools' files, and what to write here."""


def hint_for_mapping(value: JsonObject) -> str | None:
    """Returns what to write for a mapping that is a distribution elsewhere. None: it is no such mapping."""
    keys = set(value)
    if len(keys) == 1 and isinstance(only := next(iter(value.values())), list):
        kind = _NAMES.get(next(iter(keys)).lower())
        if kind is not None:
            by_values = {other: kind for kind, other in _EXPONENTS.items()}
            return _written(by_values.get(kind, kind), only)
    if not keys or not keys <= _KNOWN:
        return None
    kind = next((str(value[key]).lower() for key in _TYPE if isinstance(value.get(key), str)), None)
    options = next((value[key] for key in _OPTIONS if isinstance(value.get(key), list)), None)
    low, high = (next((value[key] for key in names if key in value), None) for names in (_LOW, _HIGH))
    bounds = value.get("bounds")
    if isinstance(bounds, list) and len(bounds) == 2:
        low, high = bounds
    if kind is not None and "_value" in value:
        return _written(_NAMES.get(kind, "none"), value["_value"])
    if options is not None:
        weights = value.get("probabilities", value.get("weights"))
        beside = f", weights: {json.dumps(weights)}" if isinstance(weights, list) and len(weights) < 20 else ""
        return _written("grid" if "grid_search" in value else "choice", options, beside)
    if "value" in value and keys <= {"value", *_TYPE}:
        return _written("value", [value["value"]])
    step = next((value[key] for key in _STEP if key in value), None)
    if _NAMES.get(kind or "") == "normal":
        return _written("normal", numbers_of(value))
    if is_number(low) and is_number(high):
        return _written(*_between(kind, low, high, step, any(value.get(key) is True for key in _LOG)))
    if (kind in _NAMES and keys & {*_TYPE}) or is_number(low) or is_number(high):
        return _written(_NAMES.get(kind or "uniform", "none"), None)
    return None


def hint_for_text(text: str) -> str | None:
    """Returns the same for a text such as `tune.loguniform(1e-4, 1e-1)`."""
    call = _CALL.match(text.strip()) if len(text) < 300 else None
    if call is None or _PREFIX.sub("", call[1]) != "":
        return None
    kind = _NAMES.get(call[2])
    if kind is None:
        return None
    if call[1] == "hp.":
        kind = _EXPONENTS.get(kind, kind)
    inside = call[3].strip().removeprefix("[").removesuffix("]")
    try:
        numbers = [json.loads(part) for part in inside.replace("'", '"').split(",")]
    except ValueError:
        numbers = None  # keywords, lambdas
    if numbers and kind not in ("choice", "grid", "value"):
        numbers = [number for number in numbers if is_number(number)]  # hp and trial say the name first
    return _written(kind, numbers)


def numbers_of(value: Mapping[str, object]) -> list[int | float] | None:
    """Returns the list to write for `{low: 0, high: 1}` or `{mean: 0, sd: 1}` under one of our names."""
    known = [next((value[key] for key in keys if key in value), None) for keys in (_MEAN, _SD, _LOW, _HIGH, _STEP)]
    mean, sd, low, high, step = known
    if is_number(mean) and is_number(sd):
        return [mean, sd, low, high] if is_number(low) and is_number(high) else [mean, sd]
    ends = [end for end in (low, high) if is_number(end)]
    if len(ends) < 2 or (step is not None and not is_number(step)):
        return None
    return ends if step is None else [*ends, step]


def is_number(value: object) -> TypeGuard[int | float]:
    """Returns whether a value is a finite number. True and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _between(kind: str | None, low: float, high: float, step: Json, log: bool) -> tuple[str, list[int | float]]:
    name = _NAMES.get(kind or "", "uniform" if kind is None else "none")
    whole = all(isinstance(end, int) for end in (low, high))
    if is_number(step) and step > 0 and (log or name in ("qloguniform", "q_exponents")):
        return ("q_exponents" if name == "q_exponents" else "qloguniform"), [low, high, step]
    if log:
        return "loguniform", [low, high]
    if kind is None and whole:
        name = "randint"
    if is_number(step) and step > 0 and name in ("uniform", "quniform", "randint") and not (whole and step == 1):
        return "quniform", [low, high, step]
    return name, [low, high]


def _written(kind: str, values: Sequence[object] | object, beside: str = "") -> str:
    """Returns the sentence that names our form."""
    if kind == "value":
        shown = json.dumps(values[0]) if isinstance(values, list) and len(values) == 1 else "the value"
        return f"this is another tool's form; here a value stands by itself: write {shortened(shown)}"
    if kind == "tied":
        return (
            "this is another tool's form of a value that follows from others; write {tied_to: search.lr, times: 2}, "
            "with the place that it follows"
        )
    if kind == "none":
        return f"this is another tool's distribution, which has no like here; write one of {_ALL}"
    numbers = [each for each in values if is_number(each)] if isinstance(values, list) else []
    if kind in ("exponents", "q_exponents"):
        if len(numbers) > 1 and all(abs(end) < 300 for end in numbers[:2]):
            values = [*(float(f"{math.exp(end):.3g}") for end in numbers[:2]), *numbers[2:]]
        kind = {"exponents": "loguniform", "q_exponents": "qloguniform"}[kind]
    if kind == "whole_log":
        values, kind = [*numbers, 1] if len(numbers) == 2 else None, "qloguniform"
    form = next(iter(NUMBERS[kind].FORMS.values())) if kind in NUMBERS else "[a, b]"
    shown = json.dumps(values) if isinstance(values, list) and values else form
    ends = ", both ends included" if kind == "randint" else ""
    shown = shown if len(shown) <= 300 else form
    return f"this is another tool's form of a distribution; write {{{kind}: {shown}{beside}}}{ends}"
