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
    *("genotypes", "misleading", "pareto", "retraining", "stability"),
    *("parallel", "importance", "effects", "retrained-effects", "interaction", "xi-epsilon"),
    *("skips", "health", "eigenvalue", "score", "arch-heat", "arch-weights", "timeline"),
)
SIZES = [(1400, 900), (390, 844)]
DRAWN = """
[...document.querySelectorAll('figure')].map(figure => ({
  id: figure.id,
  pictures: [...figure.querySelectorAll('.plot, .drawing')].map(picture => {
    const box = picture.getBoundingClientRect();
    const svg = picture.querySelector('svg');
    const named = picture.classList.contains('plot') ? picture : svg;
    return {width: box.width, height: box.height, named: (named.getAttribute('aria-label') || '').length > 10,
            marks: picture.querySelectorAll('path, circle, rect, image').length,
            cut: [...picture.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()])
              .filter(([, at]) => at.width && (at.left < box.left - 1 || at.right > box.right + 1))
              .map(([text]) => text)};
  }),
  table: figure.querySelectorAll('table tbody tr').length,
}))
"""
SHOWN = "[...document.querySelectorAll('#trial-table tbody tr')].filter(row => !row.hidden)"
COLUMN = f"(column => {SHOWN}.map(row => row.cells[column].textContent))"
# Where the parallel coordinates' axis of this name lies in the window, after scrolling there.
AXIS = """(name => {
  const plot = document.querySelector('[data-kind=parallel]');
  plot.scrollIntoView();
  const area = plot.querySelector('.nsewdrag').getBoundingClientRect();
  const note = [...plot.querySelectorAll('.annotation-text')].find(each => each.textContent === name);
  return {left: area.left, width: area.width, y: note.getBoundingClientRect().bottom + 7};
})"""
# What is shown, at which size, for print or not, and whether trials are filtered in it.
PLACE = """[location.href, innerWidth, innerHeight, matchMedia('print').matches,
  Boolean(document.documentElement.dataset.filtered)]"""
# What a test may leave: an open trial, words in the filter of the trials, a script, a place far down.
AS_BEFORE = """{
  document.querySelectorAll('dialog[open]').forEach(dialog => dialog.close());
  const box = document.getElementById('trial-filter');
  box.value = '';
  box.dispatchEvent(new Event('input'));
  document.getElementById('put-into')?.remove();
  scrollTo(0, 0);
}"""
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


@pytest.fixture
def page(made: Made, browser: Browser) -> Iterator[Browser]:
    """The page at a desktop's size, drawn. Drawing takes seconds: what an earlier test left there is used again."""
    shown(browser, made.page, *SIZES[0])
    yield browser
    browser.evaluate(AS_BEFORE)


def shown(browser: Browser, page: Path, width: int, height: int) -> None:
    """Waits until the page is drawn at this size. Loads it only where the browser shows another one, or another size.

    What stood on the console by then is the business of the test that loaded it.
    """
    at = browser.evaluate(PLACE)
    if at != [page.as_uri(), width, height, False, False]:
        browser.open(page, width, height)
    browser.until("document.documentElement.dataset.drawn")
    browser.events.clear()


def test_two_hundred_trials_are_reported_in_under_30_seconds_and_7_megabytes(made: Made) -> None:
    assert made.seconds < 30
    assert 4_900_000 < made.page.stat().st_size < 7e6


@needs_browser
@pytest.mark.parametrize(("width", "height"), SIZES, ids=["desktop", "phone"])
def test_every_figure_is_drawn_quietly_and_fits(
    made: Made, browser: Browser, tmp_path: Path, width: int, height: int
) -> None:
    browser.open(made.page, width, height)
    browser.until("document.documentElement.dataset.drawn")
    figures: list[dict[str, Any]] = browser.evaluate(DRAWN)
    assert [figure["id"] for figure in figures] == [f"figure-{name}" for name in FIGURES]
    for figure in figures:
        assert figure["pictures"], figure
        for picture in figure["pictures"]:
            assert picture["width"] >= 250, figure
            assert picture["height"] >= 100, figure
            assert picture["marks"] >= 3, figure
            assert picture["named"], figure
            assert picture["cut"] == [], figure
        assert figure["table"] or figure["id"] == "figure-parallel"  # its numbers are the table of all trials
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    cut = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth + 1).length"
    assert browser.evaluate(cut) == 0
    assert browser.requested() == [made.page.as_uri()]
    assert browser.complaints() == []
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 50_000


@needs_browser
def test_the_page_is_ready_in_three_seconds(made: Made, browser: Browser) -> None:
    """In the page's own time: this machine may be busy with other tests."""
    browser.open(made.page, 1400, 900)
    browser.until("document.documentElement.dataset.ready")
    assert browser.thread_seconds() < 3


@needs_browser
def test_text_from_a_run_stays_text(page: Browser) -> None:
    assert page.evaluate("document.images.length") == 0
    assert page.evaluate("[...document.scripts].map(script => script.type)") == ["application/json", "", ""]
    assert EVIL in page.evaluate("document.querySelector('.question').textContent")
    assert EVIL in page.evaluate("document.querySelector('#failures').textContent")
    page.evaluate("document.querySelector('#trial-table tr[data-trial=\"0199\"] button').click()")
    assert EVIL in page.evaluate("document.querySelector('dialog pre').textContent")
    assert page.evaluate("document.querySelectorAll('dialog script, dialog img').length") == 0
    assert page.complaints() == []


@needs_browser
def test_a_script_that_is_put_into_the_page_does_not_run(page: Browser) -> None:
    page.evaluate(
        "{ const script = document.createElement('script'); script.id = 'put-into';"
        " script.textContent = 'window.ran = 1'; document.body.append(script); }"
    )
    assert page.evaluate("window.ran") is None
    assert any("Content Security Policy" in complaint for complaint in page.complaints())


@needs_browser
def test_brushing_an_axis_filters_the_table_and_the_other_figures(page: Browser) -> None:
    axis = page.evaluate(f"{AXIS}('beta_decay.strength')")
    start, middle = (axis["left"] + share * axis["width"] for share in (0.0, 0.5))
    page.drag((start + 2, axis["y"]), (middle, axis["y"]))
    page.until("document.documentElement.dataset.filtered")
    strengths = [float(value) for value in page.evaluate(f"{COLUMN}(6)")]
    assert 60 < len(strengths) < 140
    assert max(strengths) < 0.52
    count = page.evaluate("document.getElementById('kept-count').textContent")
    assert count == f"{len(strengths)} of 198 trials kept."
    selected = (
        "[...document.querySelectorAll('#figure-effects .plot')].flatMap(plot => plot.data)"
        ".filter(trace => trace.selectedpoints).map(trace => trace.selectedpoints.length)"
    )
    assert max(page.evaluate(selected)) == len(strengths)
    lines = (
        "new Set(document.querySelector('#figure-score .plot').data.filter(trace => trace.mode === 'lines')"
        ".flatMap(trace => (trace.customdata || []).filter((trial, i) => trial && trace.y[i] !== null))).size"
    )
    assert 0 < page.evaluate(lines) < 100
    page.click(middle + 40, axis["y"])  # on the axis: undone
    page.until(f"{SHOWN}.length === 200")
    page.until("document.documentElement.dataset.filtered === ''")
    assert page.evaluate(selected) == []
    assert page.evaluate(lines) == 100
    assert page.complaints() == []


@needs_browser
def test_a_finger_brushes_across_and_scrolls_up_and_down(made: Made) -> None:
    with Browser() as phone:
        phone.open(made.page, *SIZES[1])
        phone.until("document.documentElement.dataset.drawn")
        axis = phone.evaluate(f"{AXIS}('beta_decay.strength')")
        left, width, y = axis["left"], axis["width"], axis["y"]
        phone.swipe((left + 2, y), *((left + share * width, y) for share in (0.1, 0.2, 0.3, 0.4, 0.5)))
        phone.until("document.documentElement.dataset.filtered")
        strengths = [float(value) for value in phone.evaluate(f"{COLUMN}(6)")]
        assert 40 < len(strengths) < 160
        assert max(strengths) < 0.6
        assert not phone.evaluate("document.getElementById('trial').open")
        scrolled = phone.evaluate("scrollY")
        phone.swipe((left + 0.7 * width, y), *((left + 0.7 * width, y - step) for step in (20, 60, 120, 180)))
        phone.until(f"scrollY > {scrolled} + 50")
        assert len(phone.evaluate(f"{COLUMN}(6)")) == len(strengths), "what scrolls brushes nothing"
        phone.until("window.before === scrollY || (window.before = scrollY, false)")  # a tap while it scrolls stops it
        axis = phone.evaluate(f"{AXIS}('beta_decay.strength')")
        phone.swipe((axis["left"] + 0.8 * axis["width"], axis["y"]))  # a tap on the axis undoes it
        phone.until(f"{SHOWN}.length === 200")
        assert phone.complaints() == []


@needs_browser
def test_the_table_of_trials_sorts_and_filters(page: Browser) -> None:
    header = "document.querySelectorAll('#trial-table th')[{}]"
    for column, read in ((8, lambda text: float(text.split(" ")[0])), (5, float), (0, str)):
        for direction in ("ascending", "descending"):
            page.evaluate(f"{header.format(column)}.firstElementChild.click()")
            assert page.evaluate(f"{header.format(column)}.getAttribute('aria-sort')") == direction
            texts = page.evaluate(f"{COLUMN}({column})")
            known = [read(text) for text in texts if text != "-"]
            assert known == sorted(known, reverse=direction == "descending")
            assert texts[len(known) :] == ["-"] * (len(texts) - len(known))  # what is absent comes last
    page.evaluate(
        "{ const box = document.getElementById('trial-filter'); box.value = 'first_order c';"
        " box.dispatchEvent(new Event('input')); }"
    )
    rows = page.evaluate(f"{COLUMN}(3)")
    assert 0 < len(rows) < 200
    assert set(rows) == {"first_order"}
    assert (
        page.evaluate("document.getElementById('trial-count').textContent") == f"{len(rows)} of 200 trials are shown."
    )


@needs_browser
def test_a_trial_opens_its_curves_and_cell(page: Browser) -> None:
    page.evaluate("document.querySelector('#trial-table tr[data-trial=\"0003\"] button').click()")
    page.until("document.querySelectorAll('dialog .plot').length >= 5")
    assert page.evaluate("document.getElementById('trial-heading').textContent") == "Trial 0003"
    assert page.evaluate("document.querySelectorAll('dialog svg.cell').length") == 2
    edges = page.evaluate("document.querySelector('dialog svg.cell').querySelectorAll('path').length")
    assert edges == 8
    curve = page.evaluate("document.querySelector('dialog .plot').data[0].y.length")
    assert curve == 20
    page.evaluate("document.querySelector('dialog .close').click()")
    mark = (
        "(() => { const plot = document.querySelector('#figure-misleading .plot'); plot.scrollIntoView();"
        " const at = plot.querySelector('path.point').getBoundingClientRect();"
        " return [at.left + at.width / 2, at.top + at.height / 2]; })()"
    )
    at = page.evaluate(mark)
    page.click(*at)
    page.until("document.getElementById('trial').open")
    first = "document.querySelector('#figure-misleading .plot').data[0].customdata[0]"
    trial = page.evaluate(first)
    assert page.evaluate("document.getElementById('trial-heading').textContent") == f"Trial {trial[0]}"
    assert page.complaints() == []


@needs_browser
def test_the_heat_map_of_arch_weights_shows_another_trial_and_another_epoch(page: Browser) -> None:
    plots = "[...document.querySelectorAll('[data-kind=arch-weights]')]"
    assert page.evaluate(f"{plots}.length") == 2
    page.evaluate(
        "{ const select = document.getElementById('arch-trial'); select.selectedIndex = select.options.length - 1;"
        " select.dispatchEvent(new Event('change')); }"
    )
    trial = page.evaluate("document.getElementById('arch-trial').value")
    page.until(f"{plots}[1].layout.title.text === 'reduce cell, trial {trial}'")
    last = page.evaluate(f"{plots}[0].data[0].z[0][6]")
    assert last == pytest.approx(0.6, abs=1e-4)  # the synthetic run's skip connection after its last epoch
    track = page.evaluate(
        f"(() => {{ {plots}[0].scrollIntoView(); const box = {plots}[0].querySelector('.slider-rail-touch-rect')"
        ".getBoundingClientRect(); return [box.left + 4, box.top + box.height / 2]; })()"
    )
    page.click(*track)
    page.until(f"Math.abs({plots}[0].data[0].z[0][6] - 0.6) > 0.1")
    page.until(f"Math.abs({plots}[1].data[0].z[0][6] - 0.6) > 0.1")  # the other cell type follows
    assert page.complaints() == []


@needs_browser
def test_print_shows_what_lies_folded(made: Made, page: Browser) -> None:
    browser, table = page, "document.querySelector('#figure-effects table').checkVisibility()"
    assert not browser.evaluate(table)
    browser.open(made.page, 800, 1100, media="print")
    browser.until("document.documentElement.dataset.drawn")
    assert browser.evaluate(table)
    assert browser.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert browser.evaluate("document.documentElement.scrollWidth") <= 800


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
def test_without_scripts_the_tables_are_there(made: Made, browser: Browser) -> None:
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(made.page, 800, 1100, media="print")
        assert browser.evaluate("document.querySelector('noscript').checkVisibility()")
        assert browser.evaluate("document.querySelector('#trials table').checkVisibility()")
        assert browser.evaluate("[...document.querySelectorAll('figure table')].every(each => each.checkVisibility())")
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)
