"""The W&B report: its spec without a network, and saving it to a stand-in on loopback."""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raydarts.cli import app
from raydarts.errors import InputError, RunError
from raydarts.report.findings import findings
from raydarts.report.gather import gather
from raydarts.runs.directory import RunDirectory
from raydarts.trackers.wandb import names
from raydarts.trackers.wandb import report as workspace_report
from raydarts.trackers.wandb.report import spec_of, title_of, write_spec
from raydarts.trackers.wandb.report_panels import literal
from raydarts.trackers.wandb.report_words import escape
from tests.synthetic_run import NOISE, Planted, write_run

pytest.importorskip("wandb_workspaces")
PLANTED = Planted(order=2.5, strength=6.0, lie=0.01, harm=0.012)
EVIL = "Why <b>not</b> [click](http://x.example)?\n\n# Heading | `code` ![x](javascript:f()) $x$ *bold* \ud800\u202e"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "planted", trials=48, planted=PLANTED, epochs=2)


def spec(path: Path) -> dict[str, Any]:
    found = spec_of(workspace_report.build(path, "ada", "darts"))
    return dict(found)


@pytest.fixture(scope="module")
def made(planted: Path) -> dict[str, Any]:
    return spec(planted)


def grids(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [block["metadata"] for block in found["spec"]["blocks"] if block["type"] == "panel-grid"]


def panels(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for grid in grids(found) for panel in grid["panelBankSectionConfig"]["panels"]]


def kinds(found: dict[str, Any]) -> list[str]:
    return [panel["viewType"] for panel in panels(found)]


def texts(found: dict[str, Any]) -> str:
    return "\n\n".join(block["content"] for block in found["spec"]["blocks"] if block["type"] == "markdown-block")


def section(found: dict[str, Any], heading: str) -> list[dict[str, Any]]:
    """The blocks under a heading."""
    blocks = found["spec"]["blocks"]
    at = [index for index, block in enumerate(blocks) if block["type"] == "heading"]
    start = next(index for index in at if blocks[index]["children"][0]["text"] == heading)
    return list(blocks[start + 1 : min((index for index in at if index > start), default=len(blocks))])


def words(found: dict[str, Any], heading: str) -> str:
    return "\n\n".join(block["content"] for block in section(found, heading) if block["type"] == "markdown-block")


def named(panel: dict[str, Any]) -> tuple[set[str], set[str]]:
    """The metrics and the config keys that a panel names."""
    config = panel["config"]
    found = [config.get(key) for key in ("xAxis", "yAxis", "targetKey", "groupBy")] + list(config.get("metrics", ()))
    found += [column["accessor"] for column in config.get("columns", ())]
    metrics, keys = set(), set()
    for name in filter(None, found):
        if name.startswith("config:") or panel["config"].get("groupBy") == name:
            keys.add(name.removeprefix("config:").replace(".value", "", 1))
        else:
            metrics.add(name.removeprefix("summary:").removesuffix(".last"))
    return metrics, keys


def test_every_panel_names_metrics_and_configs_that_its_runs_have(planted: Path, made: dict[str, Any]) -> None:
    run = RunDirectory.open(planted)
    searched = names.search_names(run)
    evaluated = names.evaluation_names(run, "validation_accuracy", gather(planted).supernet_mean)
    looked_at = 0
    for grid in grids(made):
        (filters,) = [each["filters"] for each in grid["runSets"][0]["filters"]["filters"] if "filters" in each] or [
            grid["runSets"][0]["filters"]["filters"]
        ]
        told = {each["key"]["name"]: each["value"] for each in filters}
        assert told["group"] == "planted"
        assert all(each["key"]["section"] == "run" and each["op"] == "=" for each in filters)
        own = {"search": searched, "evaluate": evaluated}[told["jobType"]]
        for panel in grid["panelBankSectionConfig"]["panels"]:
            metrics, keys = named(panel)
            looked_at += len(metrics) + len(keys)
            assert metrics <= {*own.metrics, "epoch"}, panel
            assert keys <= {key for config in own.configs for key in config}, panel
    assert looked_at > 25
    assert "project" not in grids(made)[0]["runSets"][0]


def test_report_has_the_panels_of_the_docs(made: dict[str, Any]) -> None:
    found = kinds(made)
    assert {"Parallel Coordinates Plot", "Parameter Importance", "Scatter Plot", "Run History Line Plot"} <= set(found)
    assert {"Bar Chart", "Media Browser"} <= set(found)
    (media,) = [panel["config"]["mediaKeys"] for panel in panels(made) if panel["viewType"] == "Media Browser"]
    assert media == [names.GENOTYPE]
    (columns,) = [panel["config"]["columns"] for panel in panels(made) if panel["viewType"].startswith("Parallel")]
    assert [column["accessor"] for column in columns] == [
        "config:estimator.value.name",
        "config:estimator.value.xi",
        "config:estimator.value.epsilon",
        "config:regularizers.value.beta_decay.strength",
        "config:nothing.value",
        "config:seed.value",
        "summary:validation_accuracy.last",
        "summary:skips_normal.last",
        "summary:skips_reduce.last",
        "summary:eigenvalue.last",
    ]
    assert next(column for column in columns if column["accessor"].endswith("epsilon"))["log"] is True
    collapse = [
        (panel["config"]["xAxis"], panel["config"]["yAxis"])
        for block in section(made, "Collapse against the regularizers' strength")
        if block["type"] == "panel-grid"
        for panel in block["metadata"]["panelBankSectionConfig"]["panels"]
        if panel["viewType"] == "Scatter Plot"
    ]
    assert ("config:regularizers.value.beta_decay.strength", "summary:skips_normal.last") in collapse


def test_planted_effects_are_told_in_the_findings_own_sentences(planted: Path, made: dict[str, Any]) -> None:
    claims = [finding for finding in findings(gather(planted)) if finding.claims]
    told = words(made, "What was found")
    assert {"setting", "reward"} <= {finding.kind for finding in claims}
    for finding in claims:
        assert escape(finding.sentence) in told
        assert escape(finding.evidence) in told
    assert "A higher beta_decay.strength goes with fewer skip connections" in told
    claimed = told.split("hypotheses were tested")[0]
    assert "nothing" not in claimed


def test_noise_claims_nothing(tmp_path: Path) -> None:
    told = words(spec(write_run(tmp_path / "noise", planted=NOISE, epochs=1, seed=3)), "What was found")
    assert told.startswith("No effect could be told from noise.")


def test_skips_by_strength_are_the_means_of_the_searches(planted: Path, made: dict[str, Any]) -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in words(made, "Collapse against the regularizers' strength").splitlines()
        if line.startswith("| regularizers.beta_decay.strength")
    ]
    run = gather(planted)
    units = sorted((search.choices["search.regularizers.0.strength"], search.skips) for search in run.completed)
    third = len(units) // 3
    first = [float(skips or 0) for _, skips in units[:third]]
    assert len(rows) == 3
    assert rows[0][2] == f"{sum(first) / third:.2f}"
    assert rows[0][4] == str(third)
    assert float(rows[0][2]) > float(rows[2][2]) + 1  # the planted effect is seen


def test_ranking_keeps_seeds_apart_and_says_what_is_best_of_n(made: dict[str, Any]) -> None:
    told = words(made, "Ranking of the retrained genotypes")
    header = told.splitlines()[0]
    for column in ("std", "n evaluation seeds", "95 % interval of the mean", "search seeds", "best single %"):
        assert column in header
    assert "(best of 3)" in told
    assert "the best of 8 genotypes" in told
    assert len([line for line in told.splitlines() if re.match(r"\| \d+ \|", line)]) == 8


def test_genotypes_cost_and_versions_stand_in_it_and_the_command_line_does_not(
    planted: Path, made: dict[str, Any]
) -> None:
    drawn = words(made, "Genotypes")
    run = gather(planted)
    best = max(run.retrained_mean, key=lambda name: run.retrained_mean[name])
    assert f"**{best}**" in drawn
    primitive, src = (run.searches_by_genotype[best][0].genotype or {})["normal"][0]
    assert f"| normal | 2 | {primitive} from {src}" in drawn
    assert "| retraining | 24 | 58 min 48 s | 2 min 27 s |" in words(made, "Cost")
    assert "- torch " in words(made, "Versions")
    assert "synthetic.yaml" not in json.dumps(made)  # it may hold what is nobody's business


def test_without_evaluations_no_panel_speaks_of_them(tmp_path: Path) -> None:
    found = spec(write_run(tmp_path / "early", trials=4, top_k=0, epochs=1))
    assert "Bar Chart" not in kinds(found)
    assert all(grid["runSets"][0]["name"] != "retrainings" for grid in grids(found))
    assert (
        words(found, "Ranking of the retrained genotypes")
        == "No genotype has been retrained (yet), so nothing is ranked."
    )
    assert words(found, "What was found").startswith("Nothing was tested")
    assert "Edges of the best-scored genotypes" in words(found, "Genotypes")


def test_a_metric_that_no_run_has_gets_no_panel(tmp_path: Path) -> None:
    path = write_run(tmp_path / "plain", trials=4, top_k=0, epochs=1)
    for rows in path.glob("trials/*/metrics.jsonl"):
        kept = [json.loads(line) for line in rows.read_text().splitlines()]
        for row in kept:
            for key in ("eigenvalue", "skips_normal", "skips_reduce"):
                del row[key]
        rows.write_text("".join(json.dumps(row) + "\n" for row in kept))
    found = json.dumps(spec(path))
    assert "eigenvalue" not in found
    assert "skips_normal" not in found


def test_a_run_that_has_not_begun_is_reported_without_panels(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "new", kind="sweep", spec={"sweep": {}, "data": {"dataset": "digits"}}, question="")
    found = spec(tmp_path / "new")
    assert kinds(found) == []
    assert found["title"] == "new"
    assert "No question was written down." in json.dumps(found)


def test_the_title_is_cut_at_what_wandb_takes(tmp_path: Path) -> None:
    path = write_run(tmp_path / "long", trials=1, top_k=0, epochs=1, question="Is it " + "very " * 60 + "long?")
    title = title_of(gather(path))
    assert 120 < len(title) <= 128
    assert title.startswith("long: Is it very very")
    assert title.endswith("…")
    assert spec(path)["title"] == title


def test_a_question_and_names_stay_text(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a = 'b' <x>", trials=3, top_k=1, epochs=1, question=EVIL)
    for trial in path.glob("trials/*/trial.json"):
        described = json.loads(trial.read_text())
        described["choices"]["search.<img src=x>|*a*"] = f"[x](y) {trial.parent.name}"
        described["config"]["<img src=x>"] = "`"
        trial.write_text(json.dumps(described))
    found = spec(path)
    told = texts(found)
    assert "<" not in told.replace("&lt;", "")
    assert not re.search(r"(?<!\\)[\[\]`$]", told)
    asked = section(found, "What was asked")[0]
    assert asked["type"] == "paragraph"  # plain text, in which nothing is markup
    assert "<b>not</b>" in asked["children"][0]["text"]
    assert "\u202e" not in json.dumps(found, ensure_ascii=False)
    group = grids(found)[0]["runSets"][0]["filters"]["filters"][0]
    assert group["value"] == "a = 'b' <x>"


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("a_b sep_conv_3x3", "a_b sep_conv_3x3"),
        ("_a_ **b**", r"\_a\_ \*\*b\*\*"),
        ("<script>&amp;", "&lt;script&gt;&amp;amp;"),
        ("1. one", r"1\. one"),
        ("- one", r"\- one"),
        ("a|b\nc", r"a\|b c"),
        ("see http://x.y and www.z.org", r"see http\://x.y and www\.z.org"),
        ("0.85 (95 % interval -0.2 to 0.3)", "0.85 (95 % interval -0.2 to 0.3)"),
    ],
)
def test_markdown_is_escaped_where_it_would_be_markup(text: str, markdown: str) -> None:
    assert escape(text) == markdown


@pytest.mark.parametrize(
    "name", ["quick-1", "it's", 'a="b"', "a < b and Metric('x') within_last 5 days", "日本\U0001f600"]
)
def test_a_filters_text_comes_through_the_filter_language(name: str) -> None:
    from wandb_workspaces import expr

    found = expr.expr_to_filters(f"Metric('Group') = {literal(name)}")
    assert (found.op, found.value) == ("=", name)


def test_dry_run_writes_the_same_spec_each_time_and_refuses_what_it_cannot_write(planted: Path, tmp_path: Path) -> None:
    first = write_spec(planted, None, "darts", tmp_path / "a.json").read_bytes()
    assert write_spec(planted, None, "darts", tmp_path / "b.json").read_bytes() == first
    assert json.loads(first)["project"] == "darts"
    with pytest.raises(InputError, match="its folder must exist"):
        write_spec(planted, None, "darts", tmp_path / "absent" / "a.json")
    with pytest.raises(RunError, match="no such run"):
        write_spec(tmp_path / "absent", None, "darts")


def test_without_wandb_workspaces_the_error_says_what_to_install(
    planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(InputError, match=r"pip install 'raydarts\[wandb\]'"):
        write_spec(planted, None, "darts")


def test_the_command_needs_no_account(planted: Path, tmp_path: Path) -> None:
    out = tmp_path / "spec.json"
    command = ["wandb", "report", str(planted), "--out", str(out)]
    done = CliRunner().invoke(app, [*command, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert done.output.strip() == str(out)
    assert json.loads(out.read_text())["title"] == "planted: Why?"
    with pytest.raises(InputError, match="add --dry-run"):
        CliRunner().invoke(app, command, catch_exceptions=False)
