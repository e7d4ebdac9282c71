"""Fills in what follows from the kind of a spec's data: the training, and what decides promotion."""

from __future__ import annotations

from collections.abc import Iterator

from raydarts.config.ranking_defaults import fill_in_objective, switch_on_probes
from raydarts.config.source import Node
from raydarts.errors import Problem
from raydarts.evaluation.trainings import FOR_KIND
from raydarts.registry import UnknownNameError, resolve

_STAGES = ("evaluate", "rungs", "transfer")


def fill_in(root: Node, problems: list[Problem], begun: bool = False) -> None:
    """Names each training after the data it is for, and the sweep's objective by the data's kind, in place.

    A training for data of another kind is a problem. For an unknown data set it does nothing: that error is reported
    elsewhere. `begun`: a run has this spec, so that nothing is switched on that its searches do not have.
    """
    kind = _kind_of(root.keys.get("data"), "image")
    if kind is None:
        return
    sweep = root.keys.setdefault("sweep", Node({}, root.where))
    if sweep.value is None:
        sweep.value = {}
    if isinstance(sweep.value, dict):
        fill_in_objective(sweep, kind, problems, begun)
        if not begun:
            switch_on_probes(root)
    for stage, path in _stages(root):
        stage_kind = _kind_of(stage.keys.get("data"), kind)
        if stage_kind is not None and _is_none(stage.keys.get("table")):
            _name(stage, f"{path}.training", FOR_KIND[stage_kind], problems)


def training_of(root: Node) -> str:
    """Returns the name of the training that a spec's data need. Where the kind of data is not known, it is `image`."""
    return FOR_KIND[_kind_of(root.keys.get("data"), "image") or "image"]


def _is_none(node: Node | None) -> bool:
    return node is None or node.value is None


def _kind_of(data: Node | None, default: str) -> str | None:
    """Returns the kind of a `data` section, or None if the section does not say it."""
    if data is None or data.value is None:
        return default
    dataset = data.value.get("dataset") if isinstance(data.value, dict) else None
    if dataset is None:
        return default if isinstance(data.value, dict) else None
    name = dataset.value.get("name") if isinstance(dataset.value, dict) else dataset
    try:
        member = resolve("dataset", str(None if name is None else name.value))
    except UnknownNameError:
        return None
    kind = getattr(member, "KIND", None)
    return kind if kind in FOR_KIND else None


def _stages(root: Node) -> Iterator[tuple[Node, str]]:
    """Returns every stage of retraining that is a mapping, with its dotted path."""
    for key in _STAGES:
        node = root.keys.get(key)
        if node is not None and isinstance(node.value, dict):
            yield node, key
        elif node is not None and isinstance(node.value, list):
            yield from ((item, f"{key}.{n}") for n, item in enumerate(node.value) if isinstance(item.value, dict))


def _name(stage: Node, path: str, wanted: str, problems: list[Problem]) -> None:
    training = stage.keys.get("training")
    if training is None or training.value is None:
        stage.keys["training"] = Node({"name": Node(wanted, stage.where)}, stage.where)
    elif isinstance(training.value, dict):
        named: Node = training.value.setdefault("name", Node(wanted, training.where))
        if named.value != wanted:
            message = f"the data are for training {wanted}; write name: {wanted}, or leave name out"
            problems.append(Problem(*named.where, f"{path}.name", message))
