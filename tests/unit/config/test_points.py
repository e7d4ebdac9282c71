"""Configurations to try first, and earlier runs: both are checked against the space, and told with their lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raydarts.config.loader import LoadedSpec, load_spec
from raydarts.config.plan import plan
from raydarts.errors import SpecError
from raydarts.runs.directory import RunDirectory
from tests.commands import run_here

SPEC = """\
data: {dataset: digits, limit: 200}
search:
  epochs: 4
  lr: {loguniform: [0.01, 0.1]}
  weight_decay: {quniform: [0.001, 0.004, 0.001]}
  space: {name: darts-cnn, channels: 4, layers: 3}
  estimator:
    choice:
      - first_order
      - {name: finite_difference, xi: {grid: [0, 0.01, lr]}}
  regularizers: {choice: [[], [{name: drop_path, probability: {uniform: [0.1, 0.5]}}]]}
sweep:
  searcher: {name: optuna, trials: 5, startup_trials: 2}
"""
POINT = "lr: 0.02, weight_decay: 0.002, estimator: first_order, regularizers: []"


def spec(folder: Path, more: str, text: str = SPEC) -> LoadedSpec:
    file = folder / "spec.yaml"
    file.write_text(text + more)
    return load_spec(file)


def refused(folder: Path, more: str, text: str = SPEC) -> str:
    with pytest.raises(SpecError) as caught:
        spec(folder, more, text)
    return str(caught.value)


def test_points_are_read_as_they_are_written_under_search(tmp_path: Path) -> None:
    points = """\
  points:
    - {lr: 0.02, weight_decay: 0.002, estimator: first_order, regularizers: []}
    - lr: 0.1
      weight_decay: 0.004
      epochs: 4                # what is not open may be repeated
      estimator: {name: finite_difference, xi: lr}
      regularizers: [{name: drop_path, probability: 0.25}]
"""
    loaded = spec(tmp_path, points)
    assert [draw.choices for draw in loaded.points] == [
        {
            "search.lr": 0.02,
            "search.weight_decay": 0.002,
            "search.estimator": "first_order",
            "search.regularizers": "none",
        },
        {
            "search.lr": 0.1,
            "search.weight_decay": 0.004,
            "search.estimator": "finite_difference",
            "search.estimator[finite_difference].xi": "lr",
            "search.regularizers": "drop_path",
            "search.regularizers[drop_path].0.probability": 0.25,
        },
    ]
    assert "sweep.points first (2)" in plan(loaded).stages[0].note


@pytest.mark.parametrize(
    ("point", "place", "message"),
    [
        (POINT.replace("0.02", "0.5"), "lr", "is 0.5, which is outside; allowed: loguniform: 0.01, 0.1"),
        (POINT.replace("0.02", "fast"), "lr", 'is "fast", which is no number; allowed: loguniform'),
        (POINT.replace("0.002", "0.0025"), "weight_decay", "is 0.0025, which is between two steps"),
        (POINT.replace("lr: 0.02, ", ""), "lr", "is left open in search and has no value here; allowed: loguniform"),
        (
            POINT.replace("first_order", "sam"),
            "estimator",
            'is "sam", which is no option; allowed: choice: first_order',
        ),
        (POINT.replace("first_order", "{name: finite_difference, xi: 1}"), "estimator.xi", "is 1, which is no option"),
        (
            POINT.replace("first_order", "finite_difference"),
            "estimator.xi",
            "is left open in search and has no value here; allowed: grid: 0",
        ),
        (f"{POINT}, epochs: 9", "epochs", "is 9, and in this space it is 4"),
        (f"{POINT}, momentum: 0.5", "momentum", "is 0.5, and in this space it is 0.9"),
        (f"{POINT}, momentun: 0.5", "momentun", "is no setting here; did you mean 'momentum'?"),
        (
            f"{POINT}, lr: {{uniform: [0, 1]}}".replace("lr: 0.02, ", ""),
            "lr",
            "a distribution (uniform) can only stand",
        ),
        (
            POINT.replace("[]", "[drop_path]"),
            "regularizers.0.probability",
            "is left open in search and has no value here; allowed: uniform",
        ),
        (POINT.replace("[]", "[skip_dropout]"), "regularizers", 'is ["skip_dropout"], which is no option'),
    ],
)
def test_a_point_outside_the_space_is_refused_at_its_line(tmp_path: Path, point: str, place: str, message: str) -> None:
    text = refused(tmp_path, f"  points:\n    - {{{POINT}}}\n    - {{{point}}}\n")
    assert f"{tmp_path}/spec.yaml:16: sweep.points.1.{place}: {message}" in text


def test_all_wrong_points_are_reported_at_once(tmp_path: Path) -> None:
    wrong = POINT.replace("0.02", "7").replace("0.002", "7")
    text = refused(tmp_path, f"  points:\n    - {{{wrong}}}\n    - {{{POINT}, epochs: 9}}\n")
    assert [line.split(": ")[1] for line in text.splitlines() if "sweep.points" in line] == [
        "sweep.points.0.lr",
        "sweep.points.0.weight_decay",
        "sweep.points.1.epochs",
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (POINT, POINT),
        (POINT, POINT.replace("first_order", "{name: finite_difference, xi: 0}")),  # acts like first order
    ],
)
def test_the_same_configuration_twice_is_refused(tmp_path: Path, first: str, second: str) -> None:
    text = refused(tmp_path, f"  points:\n    - {{{first}}}\n    - {{{second}}}\n")
    assert "spec.yaml:16: sweep.points.1: acts like points.0; leave one of them out" in text


def test_more_points_than_trials_are_refused(tmp_path: Path) -> None:
    text = refused(
        tmp_path, f"  points:\n    - {{{POINT}}}\n", SPEC.replace("trials: 5, startup_trials: 2", "trials: 0")
    )
    assert "trials" in text
    points = "".join(f"    - {{{POINT.replace('0.02', f'0.0{n}')}}}\n" for n in range(2, 8))
    text = refused(tmp_path, f"  points:\n{points}")
    assert "spec.yaml:14: sweep.points: has 6 configurations, and sweep.searcher tries 5 in all" in text


def test_a_point_that_fits_several_configurations_is_refused(tmp_path: Path) -> None:
    text = SPEC.replace("  lr: {loguniform: [0.01, 0.1]}\n", "").replace(
        "search:\n  epochs: 4\n",
        "search:\n  epochs: 4\n  space: {name: darts-cnn, channels: {grid: [2, 4]}, layers: 3}\n",
    )
    text = text.replace("  space: {name: darts-cnn, channels: 4, layers: 3}\n", "")
    point = POINT.replace("lr: 0.02, ", "")
    assert "search and has no value here; allowed: grid: 2, 4" in refused(tmp_path, f"  points: [{{{point}}}]\n", text)


def earlier(
    folder: Path, name: str, configs: list[dict[str, Any]], *, data: str = "200", **status: str
) -> RunDirectory:
    """A run of the same space whose trials have ended."""
    loaded = spec(folder, "", SPEC.replace("limit: 200", f"limit: {data}"))
    run = RunDirectory.create(folder / name, kind="sweep", spec=loaded.to_plain())
    for index, config in enumerate(configs):
        trial = run.trial(index)
        trial.create({"kind": "search", "index": index, "config": config, "choices": {}})
        trial.append_row({"epoch": 1, "validation_accuracy": 0.1 * (index + 1)})
        trial.write_result({"status": status.get(f"trial_{index}", "completed")})
    return run


def configs(folder: Path, *points: str) -> list[dict[str, Any]]:
    loaded = spec(folder, "  points:\n" + "".join(f"    - {{{point}}}\n" for point in points))
    return [loaded.settings_of(draw).model_dump(mode="json") for draw in loaded.points]


def test_earlier_trials_of_the_space_are_used_and_the_others_are_counted_with_the_reason(tmp_path: Path) -> None:
    one, two, three = configs(tmp_path, POINT, POINT.replace("0.02", "0.03"), POINT.replace("0.02", "0.04"))
    run = earlier(
        tmp_path,
        "old",
        [one, one | {"seed": 7}, two, three | {"epochs": 9}, three | {"lr": 0.5}, three],
        trial_5="stopped",
    )
    loaded = spec(tmp_path, f"  from_runs: ['{run.path}']\n")
    assert loaded.earlier is not None
    known = [(draw.choices["search.lr"], round(value, 6)) for draw, value in loaded.earlier.known]
    assert known == [(0.02, 0.15), (0.03, 0.3)], "search seeds of one configuration count once, with their mean"
    (line,) = plan(loaded).earlier
    assert f"{run.path}: 3 trials are used, 3 are not: " in line
    assert "1 search.epochs is 9, and in this space it is 4" in line
    assert "1 search.lr is 0.5, which is outside; allowed: loguniform: 0.01, 0.1" in line
    assert "1 stopped" in line


def test_an_earlier_run_without_anything_usable_is_refused_with_the_reason(tmp_path: Path) -> None:
    (one,) = configs(tmp_path, POINT)
    other = earlier(tmp_path, "other", [one, one], data="100")
    usable = earlier(tmp_path, "usable", [one])
    sources = f"  from_runs:\n    - '{usable.path}'\n    - '{other.path}'\n    - {tmp_path}/nowhere\n"
    text = refused(tmp_path, sources)
    assert f"spec.yaml:16: sweep.from_runs.1: {other.path}: nothing in it can be used: 2 data.limit is 100" in text
    assert f"spec.yaml:17: sweep.from_runs.2: {tmp_path}/nowhere: there is no such run" in text
    assert "from_runs.0" not in text


def test_cmaes_needs_ten_earlier_configurations(tmp_path: Path) -> None:
    text = (
        SPEC.split("  estimator:", maxsplit=1)[0]
        + "sweep:\n  searcher: {name: optuna, sampler: cmaes, trials: 5, startup_trials: 2}\n"
    )
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    loaded = load_spec(file)
    config = loaded.settings_of(next(loaded.search.variations())).model_dump(mode="json")
    run = RunDirectory.create(tmp_path / "old", kind="sweep", spec=loaded.to_plain())
    run.trial(0).create({"kind": "search", "index": 0, "config": config, "choices": {}})
    run.trial(0).append_row({"epoch": 1, "validation_accuracy": 0.5})
    run.trial(0).write_result({"status": "completed"})
    said = refused(tmp_path, f"  from_runs: ['{run.path}']\n", text)
    assert "sweep.from_runs: has 1 usable configurations, and sampler cmaes learns from the best tenth of 10" in said


def test_validate_and_dry_run_say_what_is_tried_first_and_what_is_learned(tmp_path: Path) -> None:
    one, two = configs(tmp_path, POINT, POINT.replace("0.02", "0.03"))
    run = earlier(tmp_path, "old", [one, two, two | {"epochs": 9}])
    file = tmp_path / "spec.yaml"
    file.write_text(f"{SPEC}  points: [{{{POINT}}}]\n  from_runs: ['{run.path}']\n")
    for command in (["validate", file], ["sweep", file, "--dry-run"]):
        outcome = run_here(*command)
        assert outcome.code == 0, outcome.err
        assert f"learns from {run.path}: 2 trials are used, 1 are not: 1 search.epochs is 9" in outcome.out
        assert "sweep.points first (1)" in outcome.out


def test_the_command_line_refuses_points_and_earlier_runs_with_exit_code_2(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(f"{SPEC}  points: [{{{POINT.replace('0.02', '3')}}}]\n  from_runs: [{tmp_path}/nowhere]\n")
    for command in (["validate", file], ["sweep", file, "--storage", tmp_path / "runs"]):
        outcome = run_here(*command)
        assert outcome.code == 2
        assert f"{file}:14: sweep.points.0.lr: is 3, which is outside" in outcome.err + outcome.out
        assert f"{file}:15: sweep.from_runs.0: {tmp_path}/nowhere: there is no such run" in outcome.err + outcome.out
    assert not (tmp_path / "runs").exists()
