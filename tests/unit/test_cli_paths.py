"""`~` and `$NAME` in the paths of the command line, where no shell expands them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from raydarts import cli
from raydarts.cli_paths import given_file, given_genotype, given_genotypes, given_place
from raydarts.errors import InputError
from raydarts.genotypes.source import NamedGenotype
from raydarts.storage.objects import ObjectPlace
from tests.synthetic_run import write_run

GENOTYPE = '{"normal": [["skip_connect", 0]], "normal_concat": [2], "reduce": [["none", 0]], "reduce_concat": [2]}'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a spec, a genotype and a finished run; the working folder is another."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "s.yaml").write_text("search: {epochs: 1}\n")
    (home / "g.json").write_text(GENOTYPE)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SOMEWHERE", str(home))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return home


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """Exit code and all output of a command through the entry point."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["raydarts", *arguments])
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", out)
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


@pytest.mark.parametrize("written", ["~/{}", "$HOME/{}", "${{SOMEWHERE}}/{}", "$SOMEWHERE/{}"])
def test_paths_are_expanded(written: str, home: Path) -> None:
    assert given_file(written.format("x")) == home / "x"
    assert given_place(written.format("x")) == home / "x"
    assert given_genotype(written.format("g.json")) == home / "g.json"
    assert given_genotype(written.format("g.json:A")) == NamedGenotype(home / "g.json", "A")
    assert given_genotypes(written.format("g.json")) == home / "g.json"


def test_a_variable_in_a_uri_is_expanded_and_a_tilde_is_not(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "mine")
    place = given_place("s3://$BUCKET/~x")
    assert isinstance(place, ObjectPlace)
    assert str(place) == "s3://mine/~x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("$NOT_SET_AT_ALL/x", r"the variable \$NOT_SET_AT_ALL is not set"),
        ("s3://${NOT_SET_AT_ALL}/x", r"the variable \$\{NOT_SET_AT_ALL\} is not set"),
        ("~no-such-user/x", r"no home folder of ~no-such-user is known; .* write \./~no-such-user"),
        ("a\0b", "NUL"),
    ],
)
def test_path_that_cannot_be_expanded_is_refused(text: str, words: str, home: Path) -> None:
    with pytest.raises(InputError, match=words):
        given_place(text)


def test_a_file_that_is_there_as_written_wins(home: Path) -> None:
    for name in ("a$HOME.yaml", "~x.yaml", "$NOT_SET.yaml", "g.json:A"):
        Path(name).write_text(GENOTYPE)
        assert given_file(name) == Path(name)
    assert given_genotype("g.json:A") == Path("g.json:A")
    Path("~").mkdir()
    assert given_place("~/x") == home / "x"


def test_every_command_takes_a_path_that_begins_with_a_tilde(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(home / "runs" / "r")
    commands = [
        ["validate", "~/s.yaml"],
        ["sweep", "~/s.yaml", "--dry-run", "--storage=~/runs"],
        ["show", "~/g.json", "--out=~/drawn.png"],
        ["status", "~/runs/r"],
        ["report", "$HOME/runs/r", "--html", "--out=~/report.html"],
        ["export", "~/runs/r", "--to=~/table.csv"],
        ["compare", "~/runs/r", "${HOME}/runs/r"],
        ["wandb", "report", "~/runs/r", "--dry-run", "--out=~/wandb.json"],
    ]
    for command in commands:
        code, told = run(monkeypatch, *command)
        assert code == 0, f"{command}: {told}"
    assert {path.name for path in home.iterdir()} >= {"drawn.png", "report.html", "table.csv", "wandb.json"}
    assert list(Path.cwd().iterdir()) == []


def test_a_storage_under_a_variable_that_is_not_set_makes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told = run(monkeypatch, "search", "~/s.yaml", "--storage=$NOT_SET_AT_ALL/runs")
    assert code == 2
    assert (
        told == "$NOT_SET_AT_ALL/runs: the variable $NOT_SET_AT_ALL is not set; set it, or write the path without it\n"
    )
    assert list(Path.cwd().iterdir()) == []
