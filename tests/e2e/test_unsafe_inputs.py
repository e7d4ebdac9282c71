"""What a file of somebody else's may not do, through the command line, without Ray."""

from __future__ import annotations

import io
import json
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy

from raydarts.errors import ClusterError
from raydarts.search.search import Search
from raydarts.sweeping import runner
from tests.commands import run_here

FINISHED = Path(__file__).parent.parent / "fuzz" / "finished"
SECRET = "the password of somebody else is 12345"
TINY = """
data: {dataset: digits, limit: 64, validation_fraction: 0.25}
search: {epochs: 1, batch_size: 16, space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}}
"""
EVIL = "import pathlib\npathlib.Path(__file__).with_name('it-was-run').touch()\nclass X: pass\nbuild = X\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run in `kept_runs/` of the working folder, beside a secret; what would start Ray ends at once."""

    def no_ray(*_arguments: object) -> bool:
        raise ClusterError("this test starts no Ray")

    monkeypatch.setattr(runner, "connected", no_ray)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text(SECRET)
    path = tmp_path / "kept_runs" / "friend"  # not "runs": tests/fuzz/runs.py is a module of that name
    shutil.copytree(FINISHED, path)
    return path


@pytest.mark.parametrize("key", ["space", "builder"])
def test_a_resume_runs_no_code_that_lies_in_the_run(key: str, run: Path) -> None:
    (run / "evil.py").write_text(EVIL)
    description = json.loads((run / "run.json").read_text())
    if key == "space":
        description["spec"]["search"]["space"] = "kept_runs.friend.evil:X"
    else:
        description["builder"] = "kept_runs.friend.evil:build"
    (run / "run.json").write_text(json.dumps(description))
    shutil.rmtree(run / "trials" / "0003")
    resumed = run_here("resume", run)
    assert not (run / "it-was-run").exists()
    assert resumed.code == 2
    assert "kept_runs.friend.evil:" in resumed.err
    assert "whose code lies in" in resumed.err


def test_a_run_that_was_not_made_here_runs_no_code_unasked(run: Path, tmp_path: Path) -> None:
    (tmp_path / "code_beside_runs.py").write_text(EVIL)
    description = json.loads((run / "run.json").read_text())
    description["spec"]["search"]["space"] = "code_beside_runs:X"
    (run / "run.json").write_text(json.dumps(description))
    resumed = run_here("resume", run)
    assert not (tmp_path / "it-was-run").exists()
    assert resumed.code == 2
    assert f"code_beside_runs:X, from {tmp_path}/code_beside_runs.py" in resumed.err
    assert "--trust" in resumed.err


def link(file: Path, target: Path) -> None:
    file.unlink(missing_ok=True)
    file.symlink_to(target)


def test_a_lock_that_is_a_link_leaves_its_target_as_it_was(run: Path, tmp_path: Path) -> None:
    link(run / "lock", tmp_path / "secret")
    resumed = run_here("resume", run)
    assert (tmp_path / "secret").read_text() == SECRET
    assert resumed.code == 2
    assert f"{run}/lock: is a link" in resumed.err


def test_a_spec_that_is_a_link_is_not_shown_in_a_report(run: Path, tmp_path: Path) -> None:
    link(run / "spec.yaml", tmp_path / "secret")
    reported = run_here("report", run, "--html", "--out", tmp_path / "report.html")
    assert SECRET not in (tmp_path / "report.html").read_text()
    assert f"{run}/spec.yaml: is a link" in reported.err


def test_an_id_that_leads_out_of_the_run_is_refused(run: Path) -> None:
    decisions = json.loads((run / "promotion.json").read_text())
    decisions[0]["id"] = "../../x"
    (run / "promotion.json").write_text(json.dumps(decisions))
    for command, code in (("report", 1), ("resume", 2)):
        outcome = run_here(command, run)
        assert outcome.code == code
        assert f"{run}/promotion.json: damaged: 0.id: is no name" in outcome.err


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("name", "there"), [("metrics.jsonl", False), ("metrics.jsonl", True), ("times.jsonl", True)])
def test_lines_that_are_a_link_are_not_appended_to(
    name: str, there: bool, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search is interrupted after one of two epochs, so that a resume has a row to write."""
    (tmp_path / "spec.yaml").write_text(TINY.replace("epochs: 1", "epochs: 2"))
    run_epoch, begun = Search.run_epoch, []

    def interrupted(search: Search) -> Any:
        begun.append(search)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return run_epoch(search)

    monkeypatch.setattr(Search, "run_epoch", interrupted)
    assert run_here("search", "spec.yaml", "--storage", tmp_path / "runs", "--name", "mine").code == 130
    mine, another = tmp_path / "runs" / "mine", tmp_path / "another.jsonl"
    lines = mine / "trials" / "0000" / name
    if there:
        lines.rename(another)
    link(lines, another)
    before = another.read_bytes() if there else None
    resumed = run_here("resume", mine)
    assert (another.read_bytes() if another.exists() else None) == before
    assert resumed.code == 2
    assert f"{lines}: is a link" in resumed.err


ESCAPES = "\\e[31mred\\e]0;title\\a\\u202e"


@pytest.mark.parametrize(
    "text",
    [
        f'question: "{ESCAPES}"\nsearch: {{lr: {{choice: [0.1, 0.2]}}}}\n',
        f'search: {{precision: {{choice: [float32, "{ESCAPES}"]}}}}\n',
        f'search: {{lr: "{ESCAPES}"}}\n',
        f'search: {{"{ESCAPES}": 1}}\n',
    ],
    ids=["question", "label", "value in an error", "key in an error"],
)
def test_escapes_of_a_spec_do_not_reach_the_terminal(text: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(text)
    outcome = run_here("validate", tmp_path / "spec.yaml")
    told = outcome.out + outcome.err
    assert not any(each in told for each in ("\x1b", "\x07", "\u202e"))
    assert r"\x1b[31mred" in told


@pytest.mark.parametrize("text", ["search: {{estimator: {}}}", "search: {{preset: {}}}", "name: {}", "{}: 1"])
def test_a_value_of_twenty_thousand_letters_is_cut_in_the_message(text: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(text.format("x" * 20_000))
    outcome = run_here("validate", tmp_path / "spec.yaml")
    assert outcome.code == 2
    assert len(outcome.err) < 2500


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_a_spec_three_thousand_deep_is_refused_at_once(opening: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("search:\n  lr: " + opening * 3000)
    began = time.process_time()
    outcome = run_here("validate", tmp_path / "spec.yaml")
    assert time.process_time() - began < 4
    assert outcome.code == 2
    assert f"{tmp_path}/spec.yaml:2: " in outcome.err


def test_a_set_of_an_item_that_is_no_digit_ends_in_words(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("search: {regularizers: [beta_decay]}\n")
    outcome = run_here("validate", tmp_path / "spec.yaml", "--set", "search.regularizers.²=true")
    assert outcome.code == 2
    assert "has no item '²'" in outcome.err


def test_an_array_that_promises_37_gib_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    arrays = {name: np.zeros((8, 4, 4), np.uint8) for name in ("train_images", "test_images")}
    arrays |= {name: np.arange(8) % 2 for name in ("train_labels", "test_labels")}
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (37 * 2**20, 32, 32)})
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(f"{name}.npy", (header if name == "train_images" else content).getvalue())
    (tmp_path / "spec.yaml").write_text("search: {epochs: 1}\n")
    data = f"data.dataset={{name: npz, file: {tmp_path}/mine.npz}}"
    outcome = run_here("search", tmp_path / "spec.yaml", "--storage", tmp_path, "--set", data)
    assert outcome.code == 2
    assert "mine.npz: train_images cannot be read: its header says" in outcome.err
