"""A searcher that fits a model finds every seed fixed, through the command line; any other may be given several."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from raydarts import cli
from raydarts.config.loader import load_plain, load_spec
from raydarts.registry import members
from raydarts.search.selection.argmax import Argmax
from raydarts.searchers.base import Searcher
from raydarts.study.study import Outcome

OPTUNA = "sweep: {searcher: {name: optuna, trials: 4, startup_trials: 2}}\n"


class Listening(Searcher):
    """From outside; says nothing of a model, and hears how trials end."""

    NAME = "listening"

    def total(self) -> int:
        return 2

    def tell(self, index: int, outcome: Outcome) -> None:
        pass


class TakingNotes(Listening):
    """From outside; says that it fits no model."""

    NAME = "taking_notes"
    MODEL_BASED = False


class Seeded(Argmax):
    """A selection from outside with a seed of its own."""

    NAME = "seeded"

    class Settings(Argmax.Settings):
        tie_seed: int = 0


def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["raydarts", *words])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return int(exit_.value.code or 0), capsys.readouterr().err


OPEN = {
    "in its place": ("search:\n  seed: {choice: [0, 1]}\n", 2, "search.seed", "(0, 1)"),
    "a range": ("search:\n  lr: 0.1\n  seed: {randint: [0, 9]}\n", 3, "search.seed", "(0, 9)"),
    "options above it": ("search:\n  choice:\n    - {seed: 3, lr: 0.1}\n    - {seed: 4}\n", 4, "search.seed", "(3, 4)"),
    "an option that leaves it out": (
        "search:\n  choice:\n    - lr: 0.1\n    - {lr: 0.2, seed: 7}\n",
        4,
        "search.seed",
        "(0, 7)",
    ),
    "in a member's settings": (
        f"search:\n  selection:\n    name: {__name__}:Seeded\n    tie_seed: {{grid: [1, 2]}}\n",
        4,
        "search.selection.tie_seed",
        "(1, 2)",
    ),
    "in the options of a member": (
        f"search:\n  selection:\n    choice:\n      - {__name__}:Seeded\n      - {{name: '{__name__}:Seeded', "
        "tie_seed: 5}\n",
        5,
        "search.selection.tie_seed",
        "(0, 5)",
    ),
}


@pytest.mark.parametrize("case", OPEN)
@pytest.mark.parametrize("command", ["validate", "sweep --dry-run"])
def test_an_open_seed_is_refused_with_its_line_and_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str, command: str
) -> None:
    text, line, path, shown = OPEN[case]
    spec = tmp_path / "spec.yaml"
    spec.write_text(text + OPTUNA)
    code, error = ended(monkeypatch, capsys, *command.split(), str(spec))
    assert code == 2
    assert f"{spec}:{line}: {path}: is left open {shown}" in error
    assert "would tune the seed" in error
    assert "sweep.searcher grid or random" in error
    spec.write_text(text + "sweep: {searcher: {name: random, trials: 4}}\n")
    assert load_spec(spec).search.distributions()


def test_seeds_that_no_choice_moves_are_no_fault(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    member = f"{{name: '{__name__}:Seeded', tie_seed: 5}}"
    spec.write_text(
        f"search:\n  seed: {{choice: [3]}}\n  lr: {{choice: [0.1, 0.2]}}\n  selection: {{choice: [argmax, {member}]}}\n"
        + OPTUNA
    )
    assert load_spec(spec).sweep.searcher.name == "optuna"


def test_a_searcher_from_outside_is_asked_what_it_is(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("search: {seed: {grid: [0, 1]}}\n")
    with pytest.raises(Exception, match=r"spec.yaml:1: search.seed: .*Listening fits a model"):
        load_spec(spec, [f"sweep.searcher={__name__}:Listening"])
    assert load_spec(spec, [f"sweep.searcher={__name__}:TakingNotes"]).to_plain()["model_based"] is False
    shipped = {name: member.MODEL_BASED for name, member in members("searcher").items()}  # type: ignore[attr-defined]
    assert shipped == {"grid": False, "optuna": True, "random": False}


def test_a_run_that_began_with_an_open_seed_goes_on(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("search: {seed: {grid: [0, 1]}}\nsweep: {searcher: {name: random, trials: 4}}\n")
    kept = load_spec(spec).to_plain()
    kept["sweep"]["searcher"] = {"name": "optuna", "trials": 4, "startup_trials": 2}
    assert load_plain(kept, "run.json").sweep.searcher.name == "optuna"


@pytest.mark.parametrize(
    ("path", "value"), [("evaluate.seeds", "{choice: [[0], [1]]}"), ("data.split_seed", "{grid: [0, 1]}")]
)
def test_seeds_outside_of_search_are_never_open(tmp_path: Path, path: str, value: str) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(OPTUNA)
    with pytest.raises(Exception, match=rf"{path}: a distribution \(\w+\) can only stand under search"):
        load_spec(spec, [f"{path}={value}"])
