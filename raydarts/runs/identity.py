"""What a job's numbers follow from, and where two such descriptions or two states differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from raydarts.json_types import Json, section
from raydarts.runs.directory import TrialDirectory
from raydarts.runs.folders import run_of, stage_of
from raydarts.runs.segments import number_at, segments_of
from raydarts.storage.files import plain
from raydarts.study.stages import data_of, section_of

_PLACES = frozenset({"root", "file", "download", "workers"})


def identity(trial: TrialDirectory, epoch: int | None = None) -> dict[str, Json]:
    """The settings that decide every bit of a trial, with JSON's types only.

    A search that was forked has several: each segment has its settings, and the checkpoint from which it goes on. The
    last segment is meant, or the one in which `epoch` was run.

    A search's resolved settings (its seed among them), or an evaluation's genotype, seed and training; and the
    data. Left out is what changes no bit: a trial's number, where the data lie (`root`, `file`, `download`) and
    by how many processes they are read (`workers`), so that a run may be moved and go on.
    """
    what = trial.description()
    run, name = run_of(trial).read("run.json"), stage_of(trial)
    spec = section(section(run).get("spec"))
    if "genotype" in what:
        stage = section_of(spec, name)
        facts: dict[str, object] = {"kind": "evaluation", "genotype": what["genotype"], "seed": what.get("seed")}
        facts |= {"training": stage.get("training"), "table": stage.get("table")}
    else:
        segments = segments_of(what)
        segment = segments[-1 if epoch is None else number_at(segments, epoch)]
        facts = {"kind": "search", "search": what.get("config") if len(segments) == 1 else segment.config}
        facts |= {} if segment.parent is None else {"parent": segment.parent._asdict()}
    return dict(plain(facts | {"data": _without_places(data_of(spec, name))}))


def _without_places(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_places(item) for key, item in value.items() if key not in _PLACES}
    return value


def differences(one: object, other: object, at: str = "") -> Iterator[str]:
    """Where two nested values differ, tensors to the last bit (NaN equals NaN)."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in [*one, *(key for key in other if key not in one)]:
            place = f"{at}.{key}" if at else str(key)
            if key in one and key in other:
                yield from differences(one[key], other[key], place)
            else:
                yield place
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            yield at
        else:
            for number, pair in enumerate(zip(one, other, strict=True)):
                yield from differences(*pair, f"{at}[{number}]")
    elif not _same(one, other):
        yield at


def _same(one: object, other: object) -> bool:
    if hasattr(one, "dtype") and hasattr(other, "dtype"):
        return _same_tensors(one, other)
    return type(one) is type(other) and (bool(one == other) or (_is_nan(one) and _is_nan(other)))


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _same_tensors(one: object, other: object) -> bool:
    import torch  # noqa: PLC0415 - reading results needs no torch

    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return False
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    pair = [tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)]
    return torch.equal(*pair)
