"""The command line as a user meets it: exit codes, one message on standard error, and no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.registry import FAMILIES, members
from tests.commands import WIDE, Outcome, run_here

ROOT = Path(__file__).parent.parent.parent
COMMANDS = ("sweep", "resume", "status", "report", "search", "evaluate", "show", "list", "validate", "version")
CONCAT = [2, 3, 4, 5]
V1 = {
    "normal": [
        *(["sep_conv_3x3", 1], ["sep_conv_3x3", 0]),
        *(["skip_connect", 0], ["sep_conv_3x3", 1]),
        *(["skip_connect", 0], ["sep_conv_3x3", 1]),
        *(["sep_conv_3x3", 0], ["skip_connect", 2]),
    ],
    "normal_concat": CONCAT,
    "reduce": [
        *(["max_pool_3x3", 0], ["max_pool_3x3", 1]),
        *(["skip_connect", 2], ["max_pool_3x3", 0]),
        *(["max_pool_3x3", 0], ["skip_connect", 2]),
        *(["skip_connect", 2], ["avg_pool_3x3", 0]),
    ],
    "reduce_concat": CONCAT,
}
V2 = {
    "normal": [
        *(["sep_conv_3x3", 0], ["sep_conv_3x3", 1]),
        *(["sep_conv_3x3", 0], ["sep_conv_3x3", 1]),
        *(["sep_conv_3x3", 1], ["skip_connect", 0]),
        *(["skip_connect", 0], ["dil_conv_3x3", 2]),
    ],
    "normal_concat": CONCAT,
    "reduce": [
        *(["max_pool_3x3", 0], ["max_pool_3x3", 1]),
        *(["skip_connect", 2], ["max_pool_3x3", 1]),
        *(["max_pool_3x3", 0], ["skip_connect", 2]),
        *(["skip_connect", 2], ["max_pool_3x3", 1]),
    ],
    "reduce_concat": CONCAT,
}
TINY = """
data: {dataset: digits, limit: 80, validation_fraction: 0.25}
search:
  epochs: 1
  batch_size: 16
  space: {name: darts-cnn, channels: 4, layers: 3, nodes: 1}
evaluate:
  training: {epochs: 1, batch_size: 16, network: {channels: 4, layers: 3, auxiliary_weight: 0}}
"""


def process(*arguments: object, cwd: Path) -> Outcome:
    """As `run_here` in a process of its own, as a user's shell starts it."""
    command = [sys.executable, "-m", "raydarts.cli", *map(str, arguments)]
    environment, began = {**os.environ, "COLUMNS": str(WIDE)}, time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False, env=environment)
    return Outcome(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def one_by_one(commands: list[list[object]], cwd: Path) -> list[Outcome]:
    return [run_here(*arguments, cwd=cwd) for arguments in commands]


def refused(done: Outcome, *words: str) -> None:
    """Exit code 2, nothing on standard output, the message on standard error, and no traceback."""
    assert done.code == 2, done.out + done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.strip()
    for word in words:
        assert word in done.err


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_every_command_has_help(tmp_path: Path) -> None:
    general = process("--help", cwd=tmp_path)
    each = one_by_one([[command, "--help"] for command in COMMANDS], tmp_path)
    assert general.code == 0, general.err
    for command, done in zip(COMMANDS, each, strict=True):
        assert command in general.out
        assert done.code == 0, done.err
        assert f"raydarts {command}" in done.out
    assert list(tmp_path.iterdir()) == []


def test_every_shipped_spec_is_sound(tmp_path: Path) -> None:
    specs = sorted((ROOT / "sweeps").glob("*.yaml"))
    assert specs
    done = run_here("validate", *specs, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    plans = json.loads(done.out)
    assert [plan["file"] for plan in plans] == list(map(str, specs))
    assert all(plan["stages"][0]["jobs"] > 0 for plan in plans)
    quick = next(plan for plan in plans if plan["name"] == "quick")
    assert [(stage["name"], stage["jobs"]) for stage in quick["stages"]] == [("search", 15), ("evaluate", 8)]


def test_a_dry_run_starts_nothing(tmp_path: Path) -> None:
    done = run_here("sweep", ROOT / "sweeps" / "quick.yaml", "--dry-run", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "search.estimator[finite_difference].xi" in done.out
    assert list(tmp_path.iterdir()) == []


def test_bad_specs_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    write(tmp_path / "bad.yaml", "search:\n  epochs: 0\n  epoch: 2\n")
    write(
        tmp_path / "open.yaml",
        TINY.replace("epochs: 1\n  batch", "epochs: {grid: [1, 2]}\n  seed: {grid: [0, 1]}\n  batch"),
    )
    commands: list[list[object]] = [
        ["validate", "bad.yaml"],
        ["sweep", "bad.yaml", "--name", "run"],
        ["search", "bad.yaml", "--name", "run"],
        ["search", "open.yaml", "--name", "run"],
        ["sweep", "open.yaml", "--name", "../run"],
        ["validate", "none.yaml"],
    ]
    *bad, left_open, name, none = one_by_one(commands, tmp_path)
    bad.append(process("validate", "bad.yaml", cwd=tmp_path))
    for done in bad:
        refused(done, "bad.yaml:2: search.epochs: must be at least 1", "bad.yaml:3: search.epoch: unknown key")
        assert len(done.err.splitlines()) == 2
    refused(left_open, "search.epochs", "search.seed", "--set search.epochs=VALUE")
    refused(name, "--name ../run")
    refused(none, "none.yaml: there is no such file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.yaml", "open.yaml"]


def test_validate_tells_the_sound_from_the_bad(tmp_path: Path) -> None:
    write(tmp_path / "bad.yaml", "search:\n  epochs: 0\n")
    write(tmp_path / "good.yaml", TINY)
    done = run_here("validate", "good.yaml", "bad.yaml", cwd=tmp_path)
    assert done.code == 2
    assert "good.yaml" in done.out
    assert done.err.splitlines() == ["bad.yaml:2: search.epochs: must be at least 1, got 0"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    quick = ROOT / "sweeps" / "quick.yaml"
    write(tmp_path / "tiny.yaml", TINY)
    swept, searched = one_by_one(
        [["sweep", quick, "--set", "sweep.resources.gpus=1"], ["search", "tiny.yaml", "--gpu"]], tmp_path
    )
    assert swept.code == 2, swept.out + swept.err
    assert "GPU" in swept.err
    assert "Traceback" not in swept.err
    refused(searched, "--gpu", "no GPU")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_list_covers_the_families(tmp_path: Path) -> None:
    everything, one, nonsense = one_by_one(
        [["list", "--json"], ["list", "estimators", "--json"], ["list", "estimater"]], tmp_path
    )
    assert everything.code == 0, everything.err
    rows = json.loads(everything.out)
    assert {(row["family"], row["name"]) for row in rows} == {
        (family, name) for family in FAMILIES for name in members(family)
    }
    assert all(row["source"] and isinstance(row["defaults"], dict) for row in rows)
    assert [row for row in rows if row["family"] == "estimator"] == json.loads(one.out)
    refused(nonsense, "no family 'estimater'", "did you mean 'estimator'", "searcher")


def test_list_of_nonsense_names_the_families(tmp_path: Path) -> None:
    refused(run_here("list", "nonsense", cwd=tmp_path), "no family 'nonsense'", *FAMILIES)


def test_show_counts_the_papers_networks_and_draws(tmp_path: Path) -> None:
    write(tmp_path / "v1.json", V1)
    write(tmp_path / "v2.json", V2)
    first, second, drawn = one_by_one(
        [["show", "v1.json", "--json"], ["show", "v2.json", "--json"], ["show", "v1.json", "--title", "V1"]], tmp_path
    )
    assert first.code == second.code == drawn.code == 0, drawn.err
    assert json.loads(first.out)["parameters"] == 3169414
    assert json.loads(second.out)["parameters"] == 3349342
    assert (tmp_path / "v1.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert not (tmp_path / "v2.png").exists()


def test_broken_genotypes_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "text.json", '{\n"normal": [')
    write(tmp_path / "part.json", {key: V1[key] for key in ("normal", "normal_concat")})
    strange = [["sep_conv_9x9", 1], *V1["normal"][1:]]
    write(tmp_path / "strange.json", {**V1, "normal": strange})
    text, part, other, none = one_by_one(
        [
            ["show", "text.json"],
            ["show", "part.json"],
            ["evaluate", "strange.json", "--name", "run"],
            ["show", "none.json"],
        ],
        tmp_path,
    )
    refused(text, "text.json:2: not JSON")
    refused(part, "part.json", "reduce, reduce_concat missing")
    refused(other, "sep_conv_9x9")
    refused(none, "none.json", "cannot be read")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part.json", "strange.json", "text.json"]


def test_folder_without_a_run_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    commands: list[list[object]] = [
        [command, place] for command in ("report", "status", "resume") for place in ("folder", "nowhere")
    ]
    for command, done in zip(commands, one_by_one(commands, tmp_path), strict=True):
        refused(done, str(command[1]))
    assert list(tmp_path.rglob("*")) == [tmp_path / "folder"]


def test_a_search_and_the_evaluation_of_what_it_found(tmp_path: Path) -> None:
    write(tmp_path / "tiny.yaml", TINY)
    searched = run_here("search", "tiny.yaml", "--storage", "runs", "--name", "searched", cwd=tmp_path)
    assert searched.code == 0, searched.out + searched.err
    genotype = tmp_path / "runs" / "searched" / "genotype.json"
    assert {"normal", "reduce"} <= set(json.loads(genotype.read_text()))
    evaluated = run_here("evaluate", genotype, "--spec", "tiny.yaml", "--seed", 3, "--name", "evaluated", cwd=tmp_path)
    assert evaluated.code == 0, evaluated.out + evaluated.err
    assert "test_accuracy" in evaluated.out
    again, of_search, of_evaluation = one_by_one(
        [
            ["search", "tiny.yaml", "--name", "searched"],
            ["report", "runs/searched", "--json"],
            ["report", "runs/evaluated", "--json"],
        ],
        tmp_path,
    )
    refused(again, "searched")
    assert of_search.code == of_evaluation.code == 0, of_search.err + of_evaluation.err
    (trial,) = json.loads(of_search.out)["trials"]
    assert trial["status"] == "completed"
    found = json.loads(of_evaluation.out)
    assert json.dumps(found).count('"seed": 3') >= 1


def test_a_single_run_resumes_by_itself_and_takes_no_cluster(tmp_path: Path) -> None:
    """The device is the run's own, and an option that would change nothing is refused."""
    write(tmp_path / "tiny.yaml", TINY)
    done = run_here("search", "tiny.yaml", "--storage", ".", "--name", "one", cwd=tmp_path)
    assert done.code == 0, done.err
    again = run_here("resume", "one", cwd=tmp_path)
    assert again.code == 0, again.err
    done = run_here("resume", "one", "--address", "127.0.0.1:1", cwd=tmp_path)
    refused(done, "--address")


def test_a_single_search_that_diverges_fails_and_is_no_bad_input(tmp_path: Path) -> None:
    write(tmp_path / "tiny.yaml", TINY)
    done = run_here(
        "search", "tiny.yaml", "--storage", ".", "--name", "one", "--set", "search.lr=1e30", "--set",
        "search.grad_clip=0", "--set", "search.epochs=3", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 1, done.err
    assert "not finite" in done.err
    assert "Traceback" not in done.err
