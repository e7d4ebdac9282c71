"""The JSON schema of a spec, as an editor uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import test_bad_specs
import test_presets
import test_recurrent_specs
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML, YAMLError

from raydarts.cli_spec import SCHEMA, schema_text
from raydarts.config.schema import spec_schema
from tests.commands import run_here

ROOT = Path(__file__).parents[3]
SHIPPED = sorted([*ROOT.glob("sweeps/*.yaml"), *ROOT.glob("benchmarks/*.yaml")])
SECOND = {"name": "finite_difference", "xi": {"grid": [0.1, "lr"]}}
DECAY = {"name": "beta_decay", "strength": {"uniform": [0, 1]}}
BAD = {**test_bad_specs.BAD, **test_presets.BAD, **test_recurrent_specs.BAD}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = spec_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def read(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_each_shipped_sweep_is_accepted(file: Path, validator: Draft202012Validator) -> None:
    assert [error.message[:200] for error in validator.iter_errors(read(file.read_text()))] == []


@pytest.mark.parametrize("file", sorted(ROOT.glob("sweeps/*.yaml")), ids=lambda file: file.stem)
def test_the_first_line_of_each_shipped_sweep_points_an_editor_at_it(file: Path) -> None:
    assert file.read_text().splitlines()[0] == f"# yaml-language-server: $schema={SCHEMA}"


def test_the_shipped_schema_is_the_present_one() -> None:
    """Else: `raydarts schema --out sweeps/sweep.schema.json`."""
    assert (ROOT / "sweeps" / SCHEMA).read_text() == schema_text()


def test_it_refuses_most_bad_specs(validator: Draft202012Validator) -> None:
    refused = []
    for name, (text, *_) in BAD.items():
        try:
            spec = read(text)
        except YAMLError:
            continue
        if not validator.is_valid(spec):
            refused.append(name)
    assert len(refused) >= 40
    assert {"unknown section", "unknown estimator"} & set(refused)


@pytest.mark.parametrize(
    ("spec", "valid"),
    [
        ({"search": {"lr": {"loguniform": [0.001, 0.1]}}}, True),
        ({"search": {"lr": {"loguniform": [0.001]}}}, False),
        ({"search": {"lr": "fast"}}, False),
        ({"search": {"estimator": {"choice": ["first_order", SECOND]}}}, True),
        ({"search": {"estimator": {"name": "finite_difference", "zeta": 1}}}, False),
        ({"search": {"estimator": "mine:Estimator"}}, True),
        ({"search": {"estimator": {"name": "mine:Estimator", "anything": [1]}}}, True),
        ({"search": {"regularizers": {"grid": [[], ["oles"], [DECAY]]}}}, True),
        ({"search": {"preset": "darts-cifar10"}}, True),
        ({"search": {"preset": "no-such"}}, False),
        ({"sweep": {"scheduler": {"name": "asha", "grace_period": 1}}}, True),
        ({"sweep": {"objective": ["healthy_accuracy", {"name": "parameters"}]}}, True),
        ({"sweep": {"objective": ["no_such"]}}, False),
        ({"sweep": {"lr": {"uniform": [0, 1]}}}, False),
        ({"data": {"dataset": "digits"}, "evaluate": {"training": {"preset": "darts-cifar10"}}}, True),
        ({"evaluate": {"training": {"nonmonotone": 2}}}, True),
        ({"track": {"tensorboard": True, "wandb": {"mode": "offline"}}}, True),
        ({"track": {"tensorbord": True}}, False),
        ({"search": None, "evaluate": None}, True),
    ],
)  # fmt: skip
def test_it_knows_the_language(spec: Any, valid: bool, validator: Draft202012Validator) -> None:
    assert validator.is_valid(spec) is valid


def test_init_lists_templates_and_copies_one_with_its_schema(tmp_path: Path) -> None:
    listed = run_here("init", cwd=tmp_path)
    assert all(file.stem in listed.out for file in ROOT.glob("sweeps/*.yaml"))
    assert list(tmp_path.iterdir()) == []
    done = run_here("init", "quick", "--out", "mine.yaml", cwd=tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "mine.yaml").read_text() == (ROOT / "sweeps/quick.yaml").read_text()
    assert (tmp_path / SCHEMA).read_text() == schema_text()
    assert run_here("validate", "mine.yaml", cwd=tmp_path).code == 0
    again = run_here("init", "quick", "--out", "mine.yaml", cwd=tmp_path)
    assert (again.code, again.err) == (2, "mine.yaml: is there already; give another --out\n")
    wrong = run_here("init", "quik", cwd=tmp_path)
    assert wrong.code == 2
    assert "did you mean 'quick'?" in wrong.err
