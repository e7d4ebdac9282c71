"""What a file brings to the terminal: nothing in it is obeyed, by the terminal or by rich."""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from raydarts import cli
from raydarts.errors import InputError, Problem, SpecError
from raydarts.study.objectives import Score
from raydarts.study.results import TrialRecord
from raydarts.sweeping.display import Display
from raydarts.terminal import CleanConsole, clean, complain, in_lines, line, paragraph
from tests.commands import run_here

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b2J \u202eevil\u2066 \u200b\ufeff \r\x08 [red]markup[/red] :smile: \ud800"
OBEYED = ["\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\u200b", "\ufeff", "\r", "\x08", "\ud800"]


def is_harmless(text: str) -> bool:
    return not any(each in text for each in OBEYED)


def test_control_characters_are_shown_as_escapes() -> None:
    assert clean("a\x1b[2Jb\nc\x9b\u202e\ud800") == r"a\x1b[2Jb\nc\x9b\u202e\ud800"


@pytest.mark.parametrize("text", ["Größe, naïve — 日本語 한국어", "می‌خواهم", "± ░ ┃ 👩‍🔬", "a\u00a0b"])
def test_text_of_any_language_stays(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize("make", [str, Text, line, paragraph, lambda text: in_lines([text, text])])
def test_console_prints_no_control_characters(make) -> None:
    file = io.StringIO()
    console = CleanConsole(file=file, width=60, force_terminal=True, color_system=None)
    table = Table(title=HOSTILE, caption=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(make(HOSTILE))
    console.print(make(HOSTILE), table)
    written = file.getvalue()
    assert is_harmless(written)
    assert "[red]markup[/red]" in written
    assert ":smile:" in written


def test_live_panel_prints_no_control_characters() -> None:
    file = io.StringIO()
    console = CleanConsole(file=file, width=60, force_terminal=True, color_system=None)
    with Live(console=console, auto_refresh=False) as live:
        live.update(Text("\u202eevil\x9b"), refresh=True)
    assert "\u202e" not in file.getvalue()
    assert "\x9b" not in file.getvalue()
    assert r"\u202eevil\x9b" in file.getvalue()


def test_the_display_of_a_sweep_is_clean() -> None:
    file = io.StringIO()
    display = Display(Score("metric\x9b", "max", False), console=None)
    display._console = type(display._console)(file=file, width=200)
    display.finished(TrialRecord("0001", "failed", {}, [], {"error": f"{HOSTILE}\nraydarts: all is well"}))
    assert is_harmless(file.getvalue())
    assert len(file.getvalue().splitlines()) == 1


def test_a_table_with_hostile_cells_keeps_its_width() -> None:
    file = io.StringIO()
    table = Table()
    table.add_column("a\x1b")
    table.add_column("b")
    table.add_row("x\x1b[31m", "y\u202e")
    CleanConsole(file=file, width=60).print(table)
    assert len({len(each) for each in file.getvalue().splitlines()}) == 1


def test_an_error_forges_no_line_and_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    complain(InputError(f"{HOSTILE}\nspec.yaml:1: all is well\n{'x' * 30_000}"), "failed: ")
    told = capsys.readouterr().err
    assert is_harmless(told)
    assert told.startswith("failed: ")
    assert "\n  spec.yaml:1: all is well\n" in told
    assert len(told) < 4000
    assert "30,002 characters in all" in told


def test_each_problem_of_a_spec_is_one_line_and_many_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    complain(SpecError([Problem("s.yaml", number, "k" * 5000, f"a\n\x1bb{'v' * 9000}") for number in range(1, 301)]))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 101
    assert told[0].startswith("s.yaml:1: kkk")
    assert r"a\n\x1bbvvv" in told[0]
    assert max(map(len, told)) < 2000
    assert told[-1] == "and 200 more"


SPEC = """
name: hostile
question: "first \\e[31m line\\nfailed: trial 0000: forged \\u202e [bold]x[/bold]"
search:
  epochs: 1
  regularizers:
    choice:
      - []
      - [{name: beta_decay, strength: 1}]
  lr: {choice: [0.1, 0.2]}
"""


def test_a_hostile_question_in_a_spec_is_one_harmless_paragraph(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SPEC)
    result = CliRunner().invoke(cli.app, ["validate", str(tmp_path / "s.yaml")])
    assert result.exit_code == 0
    assert is_harmless(result.output)
    assert not any(each.startswith("failed:") for each in result.output.splitlines())
    assert "[bold]x[/bold]" in result.output


def test_a_hostile_label_in_a_spec_is_harmless(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text('search: {precision: {choice: [float32, "\\e]0;x\\a\\u202e[red]"]}}\n')
    result = _main(["validate", str(tmp_path / "s.yaml")])
    assert is_harmless(result)
    assert r"\x1b]0;x\x07\u202e[red]" in result


def _main(arguments: list[str]) -> str:
    file, old, argv = io.StringIO(), sys.stderr, sys.argv
    sys.stderr, sys.argv = file, ["raydarts", *arguments]
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
    finally:
        sys.stderr, sys.argv = old, argv
    return file.getvalue()


@pytest.mark.parametrize("columns", [50, 300, 70])
def test_a_command_takes_the_width_that_the_terminal_has_when_it_starts(tmp_path: Path, columns: int) -> None:
    (tmp_path / "s.yaml").write_text("search: {lr: {grid: [0.1, 0.2]}}\nevaluate: {}\n")
    told = run_here("validate", "s.yaml", cwd=tmp_path, columns=columns)
    table = [each for each in told.out.splitlines() if each.startswith(("┏", "└"))]
    assert table
    assert (max(map(len, table)) > 100) == (columns == 300)
    assert columns == 300 or max(map(len, table)) <= columns


def test_lines_about_the_data_are_lines_of_their_own_and_paths_stay_whole(tmp_path: Path) -> None:
    file = tmp_path / ("a" * 120) / "mine.npz"
    file.parent.mkdir()
    labels = np.arange(40) % 4
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), dtype=np.uint8)
    np.savez(file, train_images=images, train_labels=labels, test_images=images[:8], test_labels=labels[:8], more=1)
    (tmp_path / "s.yaml").write_text(f"data: {{dataset: {{name: npz, file: {file}}}}}\n")
    told = run_here("validate", "s.yaml", cwd=tmp_path, columns=50)
    assert told.code == 0, told.err
    assert f"  {file}: not read: more" in told.out.splitlines()
    assert "\\n" not in told.out


def test_json_stays_json(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SPEC)
    result = CliRunner().invoke(cli.app, ["validate", "--json", str(tmp_path / "s.yaml")])
    assert is_harmless(result.output)
    assert json.loads(result.output)[0]["question"].startswith("first \x1b[31m line\nfailed:")


def test_warnings_that_are_logged_are_clean(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _main(["validate", str(tmp_path / "absent.yaml")])
    handlers = logging.getLogger("raydarts").handlers
    record = logging.LogRecord("raydarts", logging.WARNING, "f", 1, "%s is not tracked", ("\x1b[2J\u202e",), None)
    assert [handler.format(record) for handler in handlers] == [r"\x1b[2J\u202e is not tracked"]
