"""Random cells in a sweep, without Ray: who they are, that they come last, and that none is taken for an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raydarts.config.loader import LoadedSpec, load_spec
from raydarts.config.plan import plan
from raydarts.errors import SpecError
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import read_promotion
from raydarts.study.random_cells import only_random
from raydarts.sweeping.genotype_sources import read_genotypes
from raydarts.sweeping.retraining import RetrainingStage, promote
from raydarts.sweeping.searching import SearchStage
from tests.fault import staged
from tests.unit.sweeping.test_retraining_stage import drain, new_run

EVALUATE: dict[str, Any] = {"top_k": 2, "seeds": [0, 1], "random_cells": 3, "training": {"epochs": 3}}
SHORT = {"training": {"epochs": 2}}


def swept(folder: Path, **more: Any) -> tuple[RunDirectory, LoadedSpec]:
    loaded = staged.staged(evaluate=EVALUATE, **more)
    run = new_run(folder, loaded)
    drain(run, SearchStage(run, loaded))
    for stage in loaded.stages.chain():
        drain(run, RetrainingStage(run, stage, promote(run, loaded, stage)))
    return run, loaded


def test_they_enter_evaluate_alone_beside_top_k(tmp_path: Path) -> None:
    run, loaded = swept(
        tmp_path,
        rungs=[{"top_k": 3, **SHORT}],
        transfer=[{"name": "other", "data": {"limit": 100}, "top_k": 2, "seeds": [7], **SHORT}],
    )
    decisions = read_promotion(run, "evaluate") or []
    cells = only_random(decisions)
    assert len({cell["id"] for cell in cells}) == 3
    assert sum(bool(each["promoted"]) for each in decisions) == 5
    assert all(cell["trials"] == [] and "random cell" in str(cell["reason"]) for cell in cells)
    for stage in ("rung-1", "transfer-other"):
        assert only_random(read_promotion(run, stage) or []) == []
        assert {cell["id"] for cell in cells}.isdisjoint(each["id"] for each in read_promotion(run, stage) or [])
    done = results.evaluations(run)
    assert {record.id for record in done if record.description.get("random_cell")} == {
        f"{cell['id']}-seed{seed}" for cell in cells for seed in (0, 1)
    }
    report = results.report_json(run)
    assert len(report["ranking"]) == 2  # type: ignore[arg-type]
    given = read_genotypes(loaded, [run.path])
    assert {each["id"] for each in given["candidates"]} == {row["genotype"] for row in report["ranking"]}  # type: ignore[attr-defined]


def test_a_resumed_run_has_the_same_cells_and_they_come_last(tmp_path: Path) -> None:
    loaded = staged.staged(evaluate=EVALUATE)
    drawn = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        run = new_run(tmp_path / name, loaded)
        drain(run, SearchStage(run, loaded))
        (stage,) = loaded.stages.chain()
        drawn.append(promote(run, loaded, stage))
        source = RetrainingStage(run, stage, promote(run, loaded, stage))
        order = []
        while (trial := source.next_trial()) is not None:
            order.append(bool(trial.description().get("random_cell")))
        assert order == [False] * 4 + [True] * 6
    assert drawn[0] == drawn[1]


SPEC = """\
data: {dataset: digits}
search: {epochs: 2, seed: {grid: [0, 1, 2]}, space: {name: darts-cnn, nodes: NODES}}
sweep: {health: HEALTH, seed: 1}
evaluate: {top_k: 2, random_cells: CELLS, training: {epochs: 4}}
"""


def load(folder: Path, cells: int, nodes: int = 2, health: str = "{}", more: str = "") -> LoadedSpec:
    text = SPEC.replace("CELLS", str(cells)).replace("NODES", str(nodes)).replace("HEALTH", health)
    (folder / "s.yaml").write_text(text + more)
    return load_spec(folder / "s.yaml")


def test_the_plan_counts_them_and_the_sweeps_seed_then_acts(tmp_path: Path) -> None:
    planned = plan(load(tmp_path, 3))
    stage = planned.stages[1]
    assert stage.jobs == (2 + 3) * 2
    assert "3 random cells" in stage.note
    assert not any("sweep.seed" in why for why in planned.idle)
    planned = plan(load(tmp_path, 0))
    assert planned.stages[1].jobs == 4
    assert any("sweep.seed" in why for why in planned.idle)


def test_a_space_with_too_few_healthy_cells_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as refused:
        load(tmp_path, 1000, nodes=1, health="{skip_share: {most: 0}, parameter_free_share: {most: 0}}")
    (problem,) = refused.value.problems
    assert "s.yaml:4: evaluate.random_cells: is 1000, and of the healthy distinct cells" in str(problem)
    assert "only 784 could be drawn; write 784 or less" in str(
        problem
    )  # 4 x 4 normal cells times 7 x 7 reduction cells


@pytest.mark.parametrize(
    "more",
    ["rungs: [{top_k: 3, random_cells: 1}]\n", "transfer: [{name: x, random_cells: 1, training: {epochs: 1}}]\n"],
)
def test_no_other_stage_has_them(more: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="random_cells"):
        load(tmp_path, 1, more=more)
