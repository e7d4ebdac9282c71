"""A spec with several objectives: how they are written, what is switched on, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydarts.config.loader import LoadedSpec, load_plain, load_spec
from raydarts.errors import SpecError
from tests.commands import run_here

BOTH = "[healthy_accuracy, {name: parameters}]"


def load(folder: Path, sweep: str, search: str = "{epochs: 3}") -> LoadedSpec:
    file = folder / "spec.yaml"
    file.write_text(f"search: {search}\nsweep:\n{sweep}\n")
    return load_spec(file)


def problems(folder: Path, sweep: str, search: str = "{epochs: 3}") -> str:
    with pytest.raises(SpecError) as raised:
        load(folder, sweep, search)
    return str(raised.value)


def test_a_list_of_objectives_is_ranked_by_all_and_kept_in_run_json(tmp_path: Path) -> None:
    loaded = load(tmp_path, f"  objective: {BOTH}\n  constraints: [{{signal: flops, most: 1}}]")
    score = loaded.sweep.score
    assert [(each.metric, each.mode) for each in score.each] == [("validation_accuracy", "max"), ("parameters", "min")]
    assert (score.several, score.healthy, bool(loaded.sweep.halt)) == (True, True, True)
    assert "network_cost" in {probe.name for probe in loaded.drawn[0].probes}
    plain = loaded.to_plain()
    again = load_plain(plain, "run.json")
    assert again.sweep == loaded.sweep
    assert again.sweep.score == score
    assert again.to_plain() == plain


def test_a_list_of_one_is_that_one(tmp_path: Path) -> None:
    one, alone = (load(tmp_path, f"  objective: {each}").to_plain() for each in ("[parameters]", "parameters"))
    assert one == alone
    assert isinstance(one["sweep"]["objective"], dict)
    assert "more" not in one["ranked"]


def test_healthy_cells_are_first_wherever_the_healthy_objective_stands(tmp_path: Path) -> None:
    sweep = load(tmp_path, "  objective: [parameters, healthy_accuracy]").sweep
    assert (sweep.score.metric, sweep.score.healthy, bool(sweep.halt)) == ("parameters", True, True)
    plain = load(tmp_path, "  objective: [parameters, validation_accuracy]").sweep
    assert (plain.score.healthy, plain.halt) == (False, False)
    assert "objective: [healthy_accuracy, parameters] ranks healthy cells first" in plain.score.warning


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        ("  objective:\n    - healthy_accuracy\n    - parametres", ":5: sweep.objective.1: unknown objective 'param"),
        ("  objective:\n    - skips\n    - {name: flops, direction: up}", ":5: sweep.objective.1.direction: must be"),
        ("  objective:\n    - skips\n    - {name: flops, way: up}", "sweep.objective.1.way: unknown key 'way'"),
        ("  objective: []", "needs an objective, for example healthy_accuracy"),
        ("  objective: [validation_accuracy, healthy_accuracy]", "are the same figure (validation_accuracy)"),
        ("  objective: [{name: column, column: loss, direction: max}, skips]", "would promote the worst"),
        ("  objective: [skips, {name: column, column: depth, direction: max}]", "sweep.objective.1: column reads"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_at_its_line(tmp_path: Path, sweep: str, told: str) -> None:
    assert told in problems(tmp_path, sweep)


@pytest.mark.parametrize("scheduler", ["asha", "median", "hyperband", "pbt"])
def test_schedulers_that_compare_one_number_are_refused(tmp_path: Path, scheduler: str) -> None:
    message = problems(tmp_path, f"  objective: {BOTH}\n  scheduler: {scheduler}")
    assert f"sweep.scheduler: {scheduler} compares trials by one number, and there are 2 objectives" in message
    assert "write scheduler: moasha" in message


def test_searchers_that_learn_from_one_number_are_refused(tmp_path: Path) -> None:
    search = "{epochs: 3, lr: {uniform: [0.1, 0.2]}, arch_lr: {uniform: [0.1, 0.2]}}"
    cmaes = f"  objective: {BOTH}\n  searcher: {{name: optuna, sampler: cmaes}}"
    assert "sampler cmaes learns from one number" in problems(tmp_path, cmaes, search)
    for sampler in ("tpe", "nsga2", "gp", "qmc"):
        load(tmp_path, cmaes.replace("cmaes", sampler), search)


def test_the_plan_names_all_objectives(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("search: {epochs: 2}\ndata: {dataset: digits}\n")
    done = run_here("validate", tmp_path / "spec.yaml", "--set", f"sweep.objective={BOTH}")
    assert done.code == 0, done.err
    assert "objectives healthy_accuracy (higher is better) and parameters (lower is better)" in done.out
