"""The commands that read a run, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raydarts.cli import app
from raydarts.errors import InputError
from raydarts.report import html
from tests.synthetic_run import write_run


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_run(tmp_path_factory.mktemp("runs") / "one", trials=6, top_k=2))


def typed(*words: str) -> str:
    found = CliRunner().invoke(app, list(words))
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.output


def test_html_is_written_to_the_given_path(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "render", lambda run: f"<p>{run.name}")
    assert typed("report", path, "--html").strip() == f"{path}/report.html"
    typed("report", path, "--html", "--out", str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").read_text() == Path(f"{path}/report.html").read_text() == "<p>one"


def test_export_compare_and_status(path: str, tmp_path: Path) -> None:
    assert typed("export", path, "--to", str(tmp_path / "all.csv")).endswith("all.csv: 12 rows\n")
    assert json.loads(typed("compare", path, path, "--json"))["paired"]["pairs"] == 4
    assert "no difference" in typed("compare", path, path)
    assert "one: completed" in typed("status", path, "--watch")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["report", "RUN", "--json", "--html"], "choose one"),
        (["report", "RUN", "--html", "--certificate"], "choose one"),
        (["report", "RUN", "--out", "page.html"], "add --html"),
        (["report", "RUN", "--check", "c.json"], "add --certificate"),
        (["report", "RUN", "--certificate", "--check", "c.json", "--out", "d.json"], "leave --out out"),
        (["report", "RUN", "--certificate", "--out", "c.html"], "must end in .json"),
        (["report", "RUN", "--certificate", "--check", "absent.json"], "there is no such certificate"),
        (["status", "RUN", "--json", "--watch"], "leave --watch out"),
        (["export", "RUN", "--to", "all.xls"], r"\.csv or \.parquet"),
    ],
)
def test_invalid_arguments_are_refused(path: str, words: list[Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        typed(*[path if word == "RUN" else word for word in words])
