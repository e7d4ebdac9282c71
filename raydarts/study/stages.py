"""The stages of a run: their names, their order, and what each was told to do.

`search` comes first; every other stage retrains genotypes. In the order of work: the rungs `rung-1`, `rung-2`, ...,
then `evaluate`, then each transfer, `transfer-NAME`. A rung and `evaluate` take their genotypes from the stage
before them, all transfers from the last stage before the transfers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from raydarts.json_types import items, section

Settings = TypeVar("Settings")
SEARCH, EVALUATE = "search", "evaluate"
GIVEN = "given"
"""The source of the one stage of a run that retrains genotypes of elsewhere (`--stage` with `--genotypes`)."""


@dataclass(frozen=True)
class Stage(Generic[Settings]):
    """A retraining stage. `section`: its dotted path in a spec; `source`: the stage whose genotypes it takes."""

    name: str
    section: str
    source: str
    settings: Settings

    @property
    def is_transfer(self) -> bool:
        return self.section.startswith("transfer.")


def chain(
    rungs: Sequence[Settings],
    evaluate: Settings | None,
    transfer: Sequence[Settings],
    label: Callable[[Settings], str],
) -> list[Stage[Settings]]:
    """The retraining stages in the order of work; `label` gives a transfer's name."""
    stages: list[Stage[Settings]] = []
    listed = [(f"rung-{number}", f"rungs.{number - 1}", rung) for number, rung in enumerate(rungs, start=1)]
    listed += [] if evaluate is None else [(EVALUATE, EVALUATE, evaluate)]
    for name, place, settings in listed:
        stages.append(Stage(name, place, stages[-1].name if stages else SEARCH, settings))
    last = stages[-1].name if stages else SEARCH
    for index, settings in enumerate(transfer):
        stages.append(Stage(f"transfer-{label(settings)}", f"transfer.{index}", last, settings))
    return stages


def stages_of(description: Mapping[str, object]) -> list[Stage[Mapping[str, object]]]:
    """The retraining stages of a run.json, each with its section of the spec; the one alone where it runs alone."""
    spec = section(description.get("spec"))
    evaluate = spec.get("evaluate")
    rungs, transfer = ([section(each) for each in items(spec.get(key))] for key in ("rungs", "transfer"))
    stages = chain(
        rungs, None if evaluate is None else section(evaluate), transfer, lambda settings: str(settings["name"])
    )
    alone = description.get("stage")
    if alone is None:
        return stages
    return [Stage(each.name, each.section, GIVEN, each.settings) for each in stages if each.name == alone]


def section_of(spec: Mapping[str, object], stage: str) -> Mapping[str, object]:
    """A retraining stage's section of a run.json's spec; empty where it has none of that name."""
    return next((each.settings for each in stages_of({"spec": spec}) if each.name == stage), {})


def place_of_section(spec: Mapping[str, object], stage: str) -> str:
    """The dotted path of a stage's section in a spec: `sweep`, `evaluate`, `rungs.0`."""
    if stage == SEARCH:
        return "sweep"
    return next((each.section for each in stages_of({"spec": spec}) if each.name == stage), EVALUATE)


def data_of(spec: Mapping[str, object], stage: str) -> object:
    """The `data` section that a stage is run on, of a run.json's spec."""
    data = None if stage == SEARCH else section_of(spec, stage).get("data")
    return spec.get("data") if data is None else data
