"""The HTML report of 200 trials in headless Chromium, at a desktop's and a phone's width."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from raydarts.report.html import write_html
from tests.e2e.browser import Browser, installed
from tests.synthetic_run import EVIL, write_run

FIGURES = (
    *("genotypes", "misleading", "pareto", "importance", "effects", "interaction", "parallel"),
    *("skips", "health", "eigenvalue", "score", "arch-weights", "timeline"),
)
DRAWN = """
[...document.querySelectorAll('figure')].map(figure => ({
  id: figure.id,
  pictures: [...figure.querySelectorAll('svg')].map(svg => {
    const box = svg.getBoundingClientRect();
    return {width: box.width, height: box.height, named: (svg.getAttribute('aria-label') || '').length > 10,
            marks: svg.querySelectorAll('polyline, polygon, circle, rect, path').length,
            inside: [...svg.querySelectorAll('*')].every(mark => {
              const at = mark.getBoundingClientRect();
              return !at.width || (at.left >= box.left - 40 && at.right <= box.right + 40);
            })};
  }),
  cut: [...figure.querySelectorAll('.pictures > div')].some(box => box.scrollWidth > box.clientWidth + 1),
  table: figure.querySelectorAll('table tbody tr').length,
}))
"""
needs_browser = pytest.mark.skipif(installed() is None, reason="this machine has no Chromium")


@dataclass(frozen=True)
class Made:
    page: Path
    seconds: float


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("report")
    run = write_run(folder / "synthetic", trials=200, top_k=12, epochs=20, question=f"Is it real? {EVIL}")
    begun = time.process_time()
    page = write_html(run)
    return Made(page, time.process_time() - begun)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


def test_two_hundred_trials_are_reported_in_under_30_seconds_and_15_megabytes(made: Made) -> None:
    assert made.seconds < 30
    assert 100_000 < made.page.stat().st_size < 15e6


@needs_browser
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)], ids=["desktop", "phone"])
def test_every_figure_is_drawn_quietly_and_fits(
    made: Made, browser: Browser, tmp_path: Path, width: int, height: int
) -> None:
    browser.open(made.page, width, height)
    figures: list[dict[str, Any]] = browser.evaluate(DRAWN)
    assert [figure["id"] for figure in figures] == [f"figure-{name}" for name in FIGURES]
    for figure in figures:
        assert figure["pictures"], figure
        assert width < 1000 or not figure["cut"], figure  # a phone scrolls wide pictures within their figures
        for picture in figure["pictures"]:
            assert picture["width"] >= 250, figure
            assert picture["height"] >= 100, figure
            assert picture["marks"] >= 3, figure
            assert picture["named"], figure
            assert picture["inside"], figure
        assert figure["table"] or figure["id"] == "figure-parallel"  # its numbers are the table of all trials
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.requested() == [made.page.as_uri()]
    assert browser.complaints() == []
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 50_000


@needs_browser
def test_text_from_a_run_stays_text(made: Made, browser: Browser) -> None:
    browser.open(made.page, 1280, 900)
    assert browser.evaluate("document.scripts.length + document.images.length") == 0
    assert EVIL in browser.evaluate("document.querySelector('.question').textContent")
    assert EVIL in browser.evaluate("document.querySelector('#failures').textContent")
    assert browser.complaints() == []


@needs_browser
def test_the_keyboard_reaches_the_findings_and_every_hidden_table(made: Made, browser: Browser) -> None:
    browser.open(made.page, 1280, 900)
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.textContent") == "Skip to the findings"
    browser.press("Enter")
    assert browser.evaluate("location.hash") == "#findings"
    headings = browser.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    links = "[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.getAttribute('href')))"
    assert browser.evaluate(links)


@needs_browser
def test_print_shows_what_lies_folded(made: Made, browser: Browser) -> None:
    shown = "document.querySelector('#trials table').checkVisibility()"
    browser.open(made.page, 800, 1100)
    assert not browser.evaluate(shown)
    browser.open(made.page, 800, 1100, media="print")
    assert browser.evaluate(shown)
    assert browser.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert browser.evaluate("document.documentElement.scrollWidth") <= 800
