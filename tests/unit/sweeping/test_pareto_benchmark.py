"""benchmarks/pareto.py tells a claim that does not hold."""

from __future__ import annotations

from typing import Any

from tests.scripts import script


def outcome(**changed: Any) -> dict[str, Any]:
    moasha = {"scheduler": "moasha", "epochs_share": 0.55, "hypervolume_share": 0.97, "pick_collapsed": 0.0} | changed
    world = {"records": "cells", "hypervolume": 0.8, "hypervolume_interval": [0.78, 0.82], "same_trials": None}
    better = {"searcher": "nsga2", "hypervolume": 0.9, "hypervolume_interval": [0.88, 0.92], "same_trials": 1.0}
    bars = {"feasible": 0.3, "feasible_interval": [0.2, 0.4], "infeasible_picks": 0}
    return {
        "stopping": [{"scheduler": "fifo"}, moasha],
        "searchers": [{**world, "searcher": "random"}, {**world, **better}],
        "constraints": [
            {**bars, "searcher": "random"},
            {**bars, "searcher": "tpe", "feasible": 0.6, "feasible_interval": [0.5, 0.7]},
        ],
    }


def broken(figures: dict[str, Any]) -> list[str]:
    return [each["claim"] for each in script("benchmarks/pareto.py").claims_of(figures) if not each["holds"]]


def test_claims_are_checked_against_the_figures() -> None:
    assert broken(outcome()) == []
    assert broken(outcome(epochs_share=0.61)) == ["moasha runs at most 60% of FIFO's epochs"]
    assert broken(outcome(hypervolume_share=0.94)) == ["moasha keeps 95% of FIFO's hypervolume"]
    other = outcome()
    other["searchers"][1] |= {"same_trials": 0.95, "hypervolume_interval": [0.81, 0.92]}
    other["constraints"][1] |= {"infeasible_picks": 1, "feasible_interval": [0.39, 0.7]}
    assert len(broken(other)) == 4
