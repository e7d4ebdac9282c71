"""The retraining stages of a spec: what each inherits from `evaluate`, and what must hold between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from raydarts.config.allocation import AllocatedSettings
from raydarts.config.presets import merge
from raydarts.config.source import Node
from raydarts.config.spec import (
    BudgetSettings,
    EvaluateSettings,
    RungSettings,
    SweepSettings,
    TransferSettings,
    TrialsSettings,
)
from raydarts.config.texts import check_training
from raydarts.data.description import described
from raydarts.data.settings import DataSettings
from raydarts.errors import DataError, InputError
from raydarts.evaluation.lookup import check_table
from raydarts.json_types import Json
from raydarts.search.random_cells import Healthy, Size, draw_cells, spaces_of
from raydarts.search.settings import SearchSettings
from raydarts.spaces.nasbench201 import NasBench201
from raydarts.study.stages import SEARCH, Stage, chain

_TRIALS = tuple(TrialsSettings.model_fields)
INHERITED = {"rungs": ("training", "max_skips", *_TRIALS), "transfer": _TRIALS}
"""Keys that a listed stage inherits from `evaluate`."""


@dataclass(frozen=True)
class Stages:
    """The stages after the search, and what the whole run may use."""

    evaluate: AllocatedSettings | None = None
    rungs: tuple[RungSettings, ...] = ()
    transfer: tuple[TransferSettings, ...] = ()
    budget: BudgetSettings | None = None

    def chain(self) -> list[Stage[EvaluateSettings]]:
        """Returns the retraining stages in the order of work. Their settings are `EvaluateSettings`."""
        return chain(self.rungs, self.evaluate, self.transfer, lambda settings: str(getattr(settings, "name", "")))

    def to_plain(self) -> dict[str, Json]:
        return {
            "evaluate": None if self.evaluate is None else self.evaluate.model_dump(mode="json"),
            "rungs": [rung.model_dump(mode="json") for rung in self.rungs],
            "transfer": [transfer.model_dump(mode="json") for transfer in self.transfer],
            "budget": None if self.budget is None else self.budget.model_dump(mode="json"),
        }


def data_of(stage: Stage[EvaluateSettings], data: DataSettings) -> DataSettings:
    """Returns the data of a stage: its own, else the sweep's."""
    data_here: DataSettings | None = getattr(stage.settings, "data", None)
    return data if data_here is None else data_here


def inherit(root: Node) -> None:
    """Puts `evaluate` below each rung and transfer, in place: `training` key by key, the rest as a whole.

    A rung that reads a table trains nothing and inherits no training.
    """
    evaluate = root.keys.get("evaluate")
    if evaluate is None or not isinstance(evaluate.value, dict):
        return
    for stages, keys in INHERITED.items():
        listed = root.keys.get(stages)
        for item in () if listed is None else listed.items:
            if not isinstance(item.value, dict):
                continue
            table = item.value.get("table")
            for key in keys:
                if key not in evaluate.value or (key == "training" and table is not None and table.value is not None):
                    continue
                value = item.value.get(key)
                under = evaluate.value[key]
                if value is None:
                    item.value[key] = under
                elif key == "training":
                    item.value[key] = _trained_like(under, value)


def _trained_like(under: Node, here: Node) -> Node:
    """Merges a training onto `evaluate`'s, key by key. A training of another kind inherits nothing."""
    if not (isinstance(under.value, dict) and isinstance(here.value, dict)):
        return here
    names = [node.keys["name"] for node in (here, under) if "name" in node.keys]
    if len({name.value for name in names}) > 1:
        return here
    return merge(under, here, section=True)


Add = Callable[[str, str], None]
"""Reports a problem: the dotted path, and what is wrong."""


def check_random_cells(
    evaluate: AllocatedSettings | None, sweep: SweepSettings, drawn: list[SearchSettings], add: Add
) -> None:
    """Reports to `add` if a searched space does not hold so many random healthy cells."""
    if evaluate is None or not evaluate.random_cells:
        return
    healthy = Healthy.of(sweep.score, evaluate.max_skips)
    for space in {space.registered: space for space in spaces_of(drawn)}.values():
        cells = draw_cells([Size(space)], evaluate.random_cells, sweep.seed, healthy, set())
        if len(cells) < evaluate.random_cells:
            few = f"only {len(cells)}" if cells else "none"
            add(
                "evaluate.random_cells",
                f"is {evaluate.random_cells}, and of the healthy distinct cells of space {space.registered} {few} "
                f"could be drawn; write {len(cells)} or less, or loosen sweep.health, sweep.constraints or "
                "evaluate.max_skips",
            )


def check_stages(
    stages: Stages, data: DataSettings, drawn: list[SearchSettings], add: Add, absent: bool = False
) -> None:
    """Checks what must hold between stages, data and the searched spaces. Reports each problem to `add`."""
    if stages.rungs and stages.evaluate is None:
        add("rungs", "rungs narrow the field for evaluate, which is absent: add evaluate, or leave rungs out")
    names = [transfer.name for transfer in stages.transfer]
    for index, name in enumerate(names):
        if name in names[:index]:
            add(f"transfer.{index}.name", f"'{name}' is taken by an earlier transfer: each needs a name of its own")
    before: Stage[EvaluateSettings] | None = None
    for stage in stages.chain():
        _check_stage(stage, data, drawn, add, absent)
        here, there = stage.settings.top_k, None if before is None else before.settings.top_k
        if before is not None and isinstance(here, int) and isinstance(there, int) and here > there:
            add(
                f"{stage.section}.top_k",
                f"{here} genotypes cannot come from {before.name}, which has {there}: at most {there}, or raise "
                f"{before.section}.top_k",
            )
        before = before if stage.is_transfer else stage


def _check_stage(
    stage: Stage[EvaluateSettings], data: DataSettings, drawn: list[SearchSettings], add: Add, absent: bool
) -> None:
    stage_data = data_of(stage, data)
    where = "data" if stage_data is data else f"{stage.section}.data"
    if stage_data.kind != data.kind:
        message = (
            f"holds data of kind {stage_data.kind}, and a cell found on {data.kind} cannot be trained on them; name "
            "data "
        )
        add(f"{where}.dataset", f"{stage_data.dataset.name} {message}of kind {data.kind}")
        return
    ranks = not stage.is_transfer or stage.settings.top_k != 1
    if not stage_data.holds_out and ranks:
        add(
            f"{where}.validation_fraction",
            f"{stage.name} ranks by held-out images; hold some out (0.1), or leave {stage.name} out"
            + (", or let it retrain one genotype (top_k: 1)" if stage.is_transfer else ""),
        )
    try:
        stage_data.dataset.build().check()
    except DataError as error:
        if stage_data is not data and not absent:
            add(f"{where}.dataset", str(error))
    else:
        check_training(stage_data, stage.settings.training, add, where, f"{stage.section}.training")
    spaces = {settings.space.name: settings.space.build() for settings in drawn}
    if stage_data is not data and (
        others := sorted(name for name, space in spaces.items() if stage_data.kind != space.TASK.KIND)
    ):
        what = (
            f"{stage_data.dataset.name} is {stage_data.kind} data, on which cells of {', '.join(others)} cannot be "
            "trained"
        )
        add(f"{where}.dataset", what)
    elif stage.settings.table is None:
        for space in spaces.values():
            try:
                space.check_network(stage.settings.training.network)
            except InputError as error:
                add(f"{stage.section}.training.network", str(error))
    elif others := sorted(name for name, space in spaces.items() if not isinstance(space, NasBench201)):
        add(f"{stage.section}.table", f"holds cells of nasbench201; search.space is {', '.join(others)}")


def check_inputs(stages: Stages, data: DataSettings, only: str | None, *, load: bool) -> list[str]:
    """Like `describe_data`. Also raises `DataError` if a table that a stage reads cannot be used."""
    for stage in stages.chain():
        if only in (None, stage.name) and stage.settings.table is not None:
            check_table(stage.settings.table)
    return describe_data(stages, data, only, load=load)


def describe_data(stages: Stages, data: DataSettings, only: str | None, *, load: bool) -> list[str]:
    """Returns what the data of all stages hold, in lines. Raises `DataError` if they cannot be used.

    With `load` they are loaded once, before trials would load them, and downloaded if needed. Otherwise they are read
    as far as that is quick. `only` is the one stage that runs.
    """
    wanted = [data] if only in (None, SEARCH) else []
    wanted += [data_of(stage, data) for stage in stages.chain() if only in (None, stage.name)]
    lines: list[str] = []
    for number, each in enumerate(wanted):
        if each not in wanted[:number]:
            lines += described(each, load=load)
    return lines
