"""The HTML report without a browser: means say their n, empty and old runs are told as such, nothing is markup."""

from __future__ import annotations

import base64
import hashlib
import html as html_module
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from raydarts.errors import InputError, RunError
from raydarts.report import figures_alpha, figures_cluster, figures_epochs, html, notes
from raydarts.report.figures_cluster import draw, timeline
from raydarts.report.gather import Run, gather
from raydarts.report.html import ranking, render, write_html
from raydarts.report.limits import SHARE
from raydarts.report.stats import mean_of
from raydarts.runs.directory import RunDirectory
from tests.synthetic_run import EVIL, genotype, spec, write_run


class Page(HTMLParser):
    """Tags, ids and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts.append(data)
        else:
            self.text += data


def data_of(page: Page) -> dict[str, Any]:
    """What the page's scripts read."""
    return dict(json.loads(next(each for each in page.scripts if each.startswith("{"))))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return gather(write_run(tmp_path_factory.mktemp("runs") / "small", trials=12, top_k=6, question=EVIL))


def test_a_page_has_our_scripts_alone_no_address_and_no_id_twice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_cluster, "_DRAWN", 1)  # a drawing takes a second
    page = Page(render(run))
    assert not {"img", "iframe", "object", "foreignobject"} & set(page.tags)
    assert page.tags.count("script") == 3
    assert page.tags.count("h1") == 1
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") or link == "data:," for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert EVIL in page.text  # the question, and the error of the trial that failed
    assert "diverged <script>" in page.text


def test_values_names_and_primitives_of_a_spec_are_no_markup_in_figures_either(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_cluster, "_DRAWN", 1)
    cell = [[f"{EVIL}-->", 0], ["skip_connect", 1]]
    evil = {"normal": cell, "normal_concat": [2], "reduce": cell, "reduce_concat": [2]}
    searches = [
        replace(
            search,
            choices={**search.choices, f"search.{EVIL}": f"{EVIL}{index % 2}", "search.odd\ud800": index},
            genotype=evil,
        )
        for index, search in enumerate(run.searches)
    ]
    retrained = [replace(each, genotype=evil) for each in run.retrainings]
    text = render(replace(run, searches=searches, retrainings=retrained, name=EVIL))
    page = Page(text)
    assert "img" not in page.tags
    assert page.tags.count("script") == 3
    assert page.text.count(EVIL) > 5
    assert "Not drawn, since they are no genotypes: 1" in page.text
    assert "<script>alert" not in text.lower().replace("<script>{", "")
    (data,) = [each for each in page.scripts if each.startswith("{")]
    assert not set("<>&\u2028") & set(data)
    assert EVIL in data_of(page)["trials"]["0011"]["error"]


def test_the_policy_allows_the_page_s_own_scripts_and_styles_by_hash_and_no_others(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_cluster, "_DRAWN", 1)
    text = render(run)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    directives = dict(part.strip().split(" ", 1) for part in html_module.unescape(policy[1]).split(";"))
    assert directives["default-src"] == "'none'"

    def hashed(content: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert directives["script-src"].split() == [hashed(script) for script in scripts]
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert hashed(style) in directives["style-src-elem"].split()
    assert not re.search("unsafe-(eval|inline)", directives["script-src"] + directives["style-src-elem"])


def test_every_mean_of_the_ranking_says_spread_n_and_interval_and_best_of_n_its_name(run: Run) -> None:
    table = ranking(run)
    first = max(run.retrained_mean, key=lambda name: run.retrained_mean[name])
    mean = mean_of(run.validation[first], SHARE)
    assert mean is not None
    assert mean.std is not None
    assert mean.low is not None
    row = dict(zip(table.headers, table.rows[0], strict=True))
    assert row["genotype"] == first
    assert row["validation mean %"] == f"{100 * mean.value:.2f}"
    assert row["std"] == f"{100 * mean.std:.2f}"
    assert row["n evaluation seeds"] == "3"
    assert row["95 % interval of the mean"].startswith(f"{100 * mean.low:.2f} to ")
    assert row["best single %"].endswith("(best of 3)")
    accuracies = [float(each[2]) for each in table.rows]
    assert accuracies == sorted(accuracies, reverse=True)


def test_missing_figures_say_why(run: Run) -> None:
    bare = [
        replace(search, times=(), genotype=None, rows=[{"epoch": 1, "validation_accuracy": 0.5}])
        for search in run.searches
    ]
    old = replace(run, searches=bare, retrainings=[replace(each, times=(), genotype=None) for each in run.retrainings])
    assert timeline(old).missing == "start and end times are not recorded in this run"
    assert figures_alpha.arch_means(old).missing == "arch weights over epochs are not recorded in this run"
    assert "eigenvalue" in figures_epochs.eigenvalue(old).missing
    text = Page(render(old)).text
    assert "Not drawn: start and end times are not recorded in this run." in text
    assert "importance is computed from 20 on" in text
    assert "no genotype is known yet" in text


def test_the_timeline_counts_the_time_of_all_processes(run: Run) -> None:
    figure = timeline(run)
    rows = {row[0]: row[2] for row in figure.rows}
    spent = sum(entry["end"] - entry["start"] for search in run.searches for entry in search.times)
    gaps = sum(len(search.times) - 1 for search in run.searches)  # a second between epochs, not worth a break
    assert rows["search"] == html.duration(spent + gaps)


def test_a_run_with_nothing_in_it_has_a_page(tmp_path: Path) -> None:
    path = RunDirectory.create(tmp_path / "r", kind="sweep", spec={"sweep": None, "data": {"dataset": "digits"}}).path
    text = Page(write_html(path).read_text()).text
    assert "Nothing could be tested" in text
    assert "No genotype has been retrained" in text
    assert "The command is not recorded" in text


def test_cautions_for_one_seed_and_adaptive_searchers(run: Run) -> None:
    adaptive = spec("") | {"sweep": {"searcher": {"name": "optuna"}, "metric": "validation_accuracy", "mode": "max"}}
    searches = [replace(search, seed=3) for search in run.searches]
    changed = replace(run, searches=searches, description={**run.description, "spec": adaptive})
    lines = " ".join(notes.cautions(changed))
    assert "share search seed 3" in lines
    assert "searcher (optuna)" in lines
    assert "1 search was stopped early" in lines
    assert "1 search failed" in lines


def test_accuracies_from_a_table_are_said_to_be_no_retraining(run: Run) -> None:
    looked_up = spec("") | {"evaluate": {"seeds": [0], "table": {"file": "cells.csv.gz"}}}
    changed = replace(run, description={**run.description, "spec": looked_up})
    assert any("looked up in cells.csv.gz" in line for line in notes.cautions(changed))
    assert not any("looked up" in line for line in notes.cautions(run))


def test_drawings_of_one_page_share_no_id_and_keep_their_glyphs() -> None:
    import random

    one, two = (draw(genotype(3, random.Random(seed)), "t", f"g{seed}-") for seed in (1, 2))
    assert one is not None
    assert two is not None
    assert not set(Page(one).ids) & set(Page(two).ids)
    assert "scale(0.015625)" in one
    assert draw({"cell": []}, "t", "g-") is None


def test_bad_paths_are_input_errors(tmp_path: Path, run: Run) -> None:
    with pytest.raises(RunError, match="there is no such run"):
        write_html(tmp_path / "absent")
    with pytest.raises(InputError, match="cannot be written"):
        write_html(Path(run.path), tmp_path / "absent" / "page.html")
