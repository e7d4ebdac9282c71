"""Figures are Plotly objects, the same for the same run, and nothing in them misleads or is markup."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import raydarts
from raydarts.report import (
    arch,
    figures,
    figures_alpha,
    figures_cluster,
    figures_epochs,
    figures_parallel,
    figures_sweep,
    figures_together,
    fronts,
    stats,
)
from raydarts.report.figures_all import plotly_figures
from raydarts.report.findings import findings, undecided
from raydarts.report.gather import Run, gather
from raydarts.report.limits import SHARE, Limits
from raydarts.report.page import in_script
from raydarts.report.plotting import text, whiskers, wrapped
from raydarts.report.swept import members_of, named_members, short, swept
from raydarts.report.tables import full
from raydarts.study.objectives import score_named
from raydarts.terminal import CleanConsole
from tests.synthetic_run import EVIL, write_run

STRENGTH = "search.regularizers.0.strength"
HOSTILE = f'{EVIL}</script><a href="javascript:alert(1)">x</a>%{{x}}\u2028\u202e\x1b[31m'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return gather(
        write_run(tmp_path_factory.mktemp("runs") / "small", trials=18, top_k=6)
    )  # from 20 on importance is computed, which takes long


@pytest.fixture(scope="module")
def every(run: Run) -> dict[str, Any]:
    return plotly_figures(run)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from strings(each)


def test_every_figure_is_a_plotly_figure_of_valid_json_and_the_same_again(run: Run, every: dict[str, Any]) -> None:
    from plotly.graph_objects import Figure

    first = every
    names = {name.split("/")[0] for name in first}
    assert {"pareto", "parallel", "effects", "retrained-effects", "arch-heat", "stability", "retraining"} <= names
    assert {"xi-epsilon", "interaction", "misleading", "timeline", "skips", "score", "eigenvalue"} <= names
    assert all(isinstance(plot, Figure) for plot in first.values())
    api = raydarts.Run.open(run.path).figures
    assert list(api) == list(first)
    for name, plot in api.items():
        assert plot.to_json() == first[name].to_json()
    with pytest.raises(KeyError, match="pareto/parameters"):
        api["pareto"]


def test_words_of_a_run_are_no_markup_and_no_template_for_plotly(run: Run) -> None:
    searches = [
        replace(
            search,
            choices={**search.choices, f"search.{HOSTILE}": f"{HOSTILE}{index % 2}", "search.b": f"{HOSTILE}{index}"},
        )
        for index, search in enumerate(run.searches)
    ]
    hostile = replace(run, searches=searches, retrainings=[replace(r, genotype=None) for r in run.retrainings])
    of_hostile = plotly_figures(hostile)
    ours = ("<br>", "<b>", "</b>", "<extra></extra>")
    met = 0
    for plot in of_hostile.values():
        for each in strings(json.loads(plot.to_json())):
            met += "script" in each
            for tag in ours:
                each = each.replace(tag, "")  # noqa: PLW2901
            assert "<" not in each
            assert not set("\u2028\u202e\x1b") & set(each)
            if "script" in each:
                assert "%{x}" not in each
    assert met > 20


@pytest.mark.parametrize("words", ["</script><script>alert(1)", "<!--", "a&b", "\u2028", "\ud800", '"'])
def test_data_in_a_script_element_cannot_end_it(words: str) -> None:
    content = in_script({"label": words})
    assert not set("<>&\u2028") & set(content)
    assert json.loads(content) == {"label": words}


def test_a_text_for_plotly_is_shown_as_it_is() -> None:
    assert text("<b>&amp;%{x}") == "&lt;b&gt;&amp;amp;%&#123;x}"
    assert wrapped("one two three", 7) == "one two<br>three"
    assert text("x" * 500).endswith("x…")


def test_an_interval_ends_where_the_possible_ends() -> None:
    share = stats.mean_of([0.99, 1.0, 0.9], SHARE)
    count = stats.mean_of([0.0, 1.0], Limits(0.0, 8.0))
    assert share is not None
    assert count is not None
    assert share.high == 1.0
    assert (count.low, count.high) == (0.0, pytest.approx(6.853, abs=1e-3))
    assert stats.mean_of([8.0, 7.0], Limits(0.0, 8.0)).high == 8.0  # type: ignore[union-attr]


def ends(plot: Any) -> Iterator[tuple[float, float]]:
    for trace in plot.data:
        if trace.error_y.array is not None:
            for value, up, down in zip(trace.y, trace.error_y.array, trace.error_y.arrayminus, strict=True):
                if up is not None:
                    yield value - down, value + up


def test_no_whisker_and_no_table_leaves_the_possible(run: Run) -> None:
    """Accuracies near 1, and skips near 0 and near all edges, with few trials of each value."""
    searches = [
        replace(
            search,
            metric=1.0 if index % 2 else 0.97,
            skips=(0, 16)[index % 2] if index % 3 else 1,
            choices={"search.kind": "ab"[index // 2 % 2], "search.estimator": "x"},
        )
        for index, search in enumerate(run.completed[:8])
    ]
    narrow = replace(run, searches=searches)
    figure = figures_sweep.effects(narrow)
    for picture in figure.plots:
        most = 100.0 if "accuracy" in picture.name else float(sum(narrow.most_skips.values()))
        found = list(ends(picture.plot))
        assert found
        assert all(low >= -1e-3 and high <= most * (1 + 1e-4) for low, high in found), picture.name
    shown = [float(end) for row in figure.rows for end in row[-1].split(" to ")]
    assert max(shown) == 100.0
    assert min(shown) == 0.0


def test_a_mean_of_one_value_has_no_whisker() -> None:
    one, two = stats.mean_of([0.5], SHARE), stats.mean_of([0.5, 0.6], SHARE)
    assert one is not None
    assert two is not None
    assert "error_y" not in whiskers([0.0], [one], [""])
    assert whiskers([0.0, 1.0], [one, two], ["", ""])["error_y"]["array"][0] is None  # type: ignore[index]


def test_a_setting_of_a_list_item_has_the_name_of_its_member(run: Run, every: dict[str, Any]) -> None:
    assert any("beta_decay.strength" in each.label for each in findings(run, 99))
    assert "regularizers" not in " ".join(undecided(findings(run, 99)))
    (strength,) = [setting for setting in run.settings if setting.name == STRENGTH]
    assert strength.label == "beta_decay.strength"
    for plot in every.values():
        assert "regularizers.0" not in plot.to_json()
    members = members_of({"regularizers": [{"name": "a"}, "b", {"name": "a"}], "probes": ["p"]})
    assert members == {
        "search.regularizers.0": "a",
        "search.regularizers.1": "b",
        "search.regularizers.2": "a#2",
        "search.probes.0": "p",
    }
    assert named_members([{"r": ["a"]}, {"r": ["b"]}]) == {}  # trials differ: no one name holds
    assert short("search.regularizers.0") == "regularizers, item 1"
    assert short("search.regularizers.0[beta_decay].strength") == "beta_decay.strength"
    twice = swept(
        [{"search.r.0.k": 1, "search.r.1.k": 3}, {"search.r.0.k": 2, "search.r.1.k": 4}],
        {"search.r.0": "a", "search.r.1": "a#2"},
    )
    assert [setting.label for setting in twice] == ["a.k", "a#2.k"]


def test_the_heat_map_slides_over_the_recorded_epochs_and_packs_without_loss(run: Run) -> None:
    figure = figures_alpha.arch_heat(run)
    assert [picture.kind for picture in figure.plots] == ["arch-weights"] * 2
    plot = figure.plots[0].plot
    steps = plot.layout.sliders[0].steps
    assert [step.label for step in steps] == ["1", "2", "3", "4", "5", "6"]
    search = figures_alpha.recorded(run)[0]
    recorded: Any = search.rows[2]["arch_weights"]
    third = recorded["normal"]["weights"]
    assert [list(row) for row in steps[2].args[0]["z"][0]] == third
    packed: Any = arch.arch_weights(search)[0].packed()
    import base64

    import numpy as np

    codes = np.frombuffer(base64.b64decode(packed["codes"]), "<u2").reshape(6, 14, 8)
    assert packed["low"] + packed["step"] * codes[2] == pytest.approx(np.array(third), abs=1e-5)


def test_an_edge_without_a_candidate_is_blank() -> None:
    record = {"edges": [[0, 1], [0, 2]], "primitives": [["a", "b"], ["b"]], "weights": [[0.5, 0.5], [1.0]]}
    plot = figures_alpha.heat_map_of_epoch("normal", record, 3)
    assert plot.data[0].z == ([0.5, 0.5], [None, 1.0])
    assert len(plot.layout.sliders) == 0


def test_stability_counts_seeds_of_equal_settings(run: Run) -> None:
    first, second, third, *_ = run.completed
    same = [
        replace(first, seed=0, choices={"search.lr": 1}, order=0.9),
        replace(second, seed=1, choices={"search.lr": 1}, order=0.9, genotype=first.genotype),
        replace(third, seed=0, choices={"search.lr": 2}, order=0.95),
    ]
    figure = figures_alpha.stability(replace(run, searches=same))
    assert "2 search seeds of the best settings (lr 1" in figure.caption
    assert figure.note.startswith("Two of these searches share 100 % of their edges")
    assert {row[2] for row in figure.rows} == {"100"}
    alone = figures_alpha.stability(replace(run, searches=same[:1]))
    assert alone.missing == "fewer than two completed searches have a genotype"


def test_xi_and_epsilon_make_an_area_only_where_both_are_numbers(run: Run) -> None:
    table = figures_together.contour(run)
    assert {trace.type for picture in table.plots for trace in picture.plot.data} == {"heatmap"}
    assert table.rows
    under = "search.estimator[finite_difference]."
    searches = [
        replace(s, choices={**s.choices, f"{under}xi": (0.01, 0.05, 0.2, 0.5)[index % 4]})
        for index, s in enumerate(run.searches)
        if f"{under}xi" in s.choices
    ]
    area = figures_together.contour(replace(run, searches=searches))
    kinds = [[trace.type for trace in picture.plot.data] for picture in area.plots]
    assert kinds == [["contour", "scatter"]] * 2
    assert "are no measurements" in area.caption


def test_retraining_has_a_line_a_genotype_and_retrained_effects_hold_among_those(run: Run) -> None:
    figure = figures_epochs.retraining(run)
    lines = [trace for trace in figure.plots[0].plot.data if trace.customdata is not None]
    assert len(lines) == 6
    assert [len(line.x) for line in lines] == [3] * 6
    effects = figures_sweep.retrained_effects(run)
    assert "holds among those" in effects.caption
    count = sum(len(run.searches_by_genotype.get(name, [])) for name in run.retrained_mean)
    assert len(effects.plots[0].plot.data[0].x) == count


def test_the_pareto_front_has_parameters_and_flops_and_runs_nobody_s_code(run: Run) -> None:
    figure = figures.pareto(run)
    assert [picture.name for picture in figure.plots][:2] == ["parameters, millions", "FLOPs, millions"]
    foreign = [replace(r, genotype={"normal": [["evil:Op", 0]], "normal_concat": [1]}) for r in run.retrainings]
    assert "FLOPs" not in str([p.name for p in figures.pareto(replace(run, retrainings=foreign)).plots])


def test_parallel_coordinates_pass_none_where_a_setting_does_not_exist(run: Run) -> None:
    figure = figures_parallel.parallel(run)
    plot = figure.plots[0].plot
    rows = [note.text for note in plot.layout.annotations if note.text.startswith("<b>")]
    assert rows[1] == "<b>xi [finite_difference]</b>"
    for trace in plot.data:
        for index in range(0, len(trace.x), len(rows) + 1):
            search = next(s for s in run.searches if s.id == trace.customdata[index])
            has = "search.estimator[finite_difference].xi" in search.choices
            assert (trace.x[index + 1] > 0) == has


def test_the_attainable_correlation_stands_below_the_misleading_plot(run: Run) -> None:
    assert "tau" in figures.supernet_against_retrained(run).note


def test_the_front_of_a_search_has_its_members_on_a_border(run: Run) -> None:
    accuracy, size = (score_named(name, mode) for name, mode in (("validation_accuracy", "max"), ("parameters", "min")))
    score = replace(accuracy, share=True, more=(size,))
    known = [
        (name, {"validation_accuracy": value, "parameters": count}, on)
        for name, value, count, on in (("0000", 0.9, 2.0, True), ("0001", 0.8, 1.0, True), ("0002", 0.7, 3.0, False))
    ]
    border, on, beaten = fronts._picture(known, score, "trial", run).plot.data
    assert list(on.customdata) == ["0000", "0001"]
    assert (list(beaten.x), list(beaten.y)) == ([3.0], [70.0])
    assert list(zip(border.x, border.y, strict=True)) == [(1.0, 80.0), (2.0, 80.0), (2.0, 90.0)]


def test_timelines_are_linked_to_their_trials(run: Run) -> None:
    figure = figures_cluster.timeline(run)
    search, retraining = figure.plots[0].plot.data
    assert search.customdata[0] == ["0000"]
    assert all(trials for trials in retraining.customdata)


def in_terminal(run: Run, columns: int) -> list[str]:
    console = CleanConsole(width=columns, force_terminal=False)
    with console.capture() as captured:
        console.print(full(Path(run.path)))
    return captured.get().splitlines()


def test_the_report_in_a_terminal_fits_80_columns_in_whole_words(run: Run) -> None:
    lines = in_terminal(run, 80)
    assert max(map(len, lines)) <= 80
    start = next(index for index, line in enumerate(lines) if line.startswith("trial "))
    rows = lines[start + 2 :]
    first = run.searches[0]
    assert rows[0].split()[:2] == ["0000", "completed"]
    assert rows[0].endswith(str(first.genotype_id))
    end = next(index for index, row in enumerate(rows) if row.startswith("0001"))
    settings = " ".join(row[15:37].strip() for row in rows[:end])
    assert f"beta_decay.strength {first.choices[STRENGTH]:.4g}" in settings


def test_a_wide_terminal_has_a_column_for_each_setting(run: Run) -> None:
    heads = next(line for line in in_terminal(run, 260) if "genotype" in line and "status" in line)
    assert "beta_decay.strength" in heads
    assert "regularizers" not in heads
