"""The table of exit codes, the help and the code name the same ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from raydarts import cli
from raydarts.cli_results import DIFFERS
from raydarts.cluster.head import HEAD_LOST
from raydarts.errors import DataError, StorageError, TrialError
from raydarts.report import tables
from raydarts.sweeping.runner import BUDGET_SPENT, INTERRUPTED
from tests.commands import run_here

ROOT = Path(__file__).parents[2]


def test_the_table_and_the_help_name_every_code() -> None:
    table = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == set(cli.EXIT_CODES)
    assert {BUDGET_SPENT, HEAD_LOST, DIFFERS, INTERRUPTED} == {3, 5, 6, 130}
    shown = run_here("--help").out
    for code, text in cli.EXIT_CODES.items():
        assert re.search(rf"^ +{code} +{re.escape(text)} *$", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DataError("bad"), 2, "bad"),
        (TrialError("bad"), 1, "failed: bad"),
        (StorageError("bad"), 4, "storage: bad"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_each_error_ends_a_command_with_its_code(
    error: BaseException, code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(tables, "full", fail)
    done = run_here("report", tmp_path)
    assert done.code == code
    assert words in done.err
