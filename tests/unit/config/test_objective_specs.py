"""What a spec says of its objective, health, constraints and stops: defaults, and errors with what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydarts.config.loader import LoadedSpec, load_plain, load_spec
from raydarts.errors import SpecError
from raydarts.registry import members
from raydarts.search.moments import EpochReport
from raydarts.search.probes.base import Probe
from tests.commands import run_here


class Mine(Probe):
    """A probe of the user's own."""

    SOURCE = "ours"
    METRICS = ("mine",)

    def measure(self, report: EpochReport) -> dict[str, float | int | None]:
        return {"mine": 1.0}


TEXT = "data: {dataset: pydoc_topics}\nsearch: {space: darts-rnn}\n"


def load(folder: Path, text: str) -> LoadedSpec:
    file = folder / "spec.yaml"
    file.write_text(text)
    return load_spec(file)


def problems(folder: Path, text: str) -> str:
    with pytest.raises(SpecError) as raised:
        load(folder, text)
    return str(raised.value)


def test_healthy_first_is_the_default_on_images_and_on_text(tmp_path: Path) -> None:
    images, text = load(tmp_path, "search: {}\n").sweep, load(tmp_path, TEXT).sweep
    assert (images.objective.name, images.score.mode, images.score.share) == ("healthy_accuracy", "max", True)
    assert (text.objective.name, text.score.mode, text.score.unit) == ("healthy_perplexity", "min", "perplexity")
    assert {bar.name: bar.most for bar in images.score.health} == {
        "disconnected": 0,
        "noise_edges": 0,
        "parameter_free_share": 0.7,
        "skip_share": 0.5,
    }


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("metric: validation_accuracy", "write objective: healthy_accuracy (healthy cells first), or objective: valid"),
        ("metric: alpha_loss", "write objective: alpha_loss"),
        ("metric: my_score", "write objective: {name: column, column: my_score, direction: max}"),
        ("metric: my_score\n  mode: min", "write objective: {name: column, column: my_score, direction: min}"),
    ],
)
def test_a_metric_is_refused_at_its_line_with_the_line_to_write(tmp_path: Path, keys: str, told: str) -> None:
    message = problems(tmp_path, f"search: {{epochs: 3}}\nsweep:\n  {keys}\n")
    assert "spec.yaml:3: sweep.metric: " in message
    assert told in message
    if "mode" in keys:
        assert "spec.yaml:4: sweep.mode: is no key any more" in message


def test_the_command_line_refuses_it_too(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("search: {epochs: 2}\n")
    done = run_here("validate", tmp_path / "spec.yaml", "--set", "sweep.metric=validation_loss")
    assert done.code == 2
    assert "write objective: validation_loss" in done.err


def test_a_run_of_before_keeps_its_plain_figure_and_halts_nothing(tmp_path: Path) -> None:
    plain = load(tmp_path, "search: {epochs: 3}\n").to_plain()
    for key in ("objective", "health", "halt", "constraints", "stop"):
        del plain["sweep"][key]
    plain["sweep"] |= {"metric": "validation_loss", "mode": "min"}
    sweep = load_plain(plain, "run.json").sweep
    assert (sweep.objective.name, sweep.halt) == ("validation_loss", False)
    plain["sweep"] |= {"metric": "mine", "mode": "max"}
    plain["search"]["probes"] = [{"name": f"{__name__}:Mine"}]
    sweep = load_plain(plain, "run.json").sweep
    assert (sweep.score.metric, sweep.score.mode) == ("mine", "max")


def test_objective_of_run_json_is_read_back(tmp_path: Path) -> None:
    text = (
        "search: {epochs: 5}\nsweep:\n  health: {skip_share: {most: 0.25}, noise_edges: false}\n"
        "  constraints: [{signal: parameters, most: 4000000}]\n  stop: [{signal: eigenvalue_ratio, above: 1.3}]\n"
    )
    loaded = load(tmp_path, text)
    again = load_plain(loaded.to_plain(), "run.json")
    assert again.sweep == loaded.sweep
    assert [bar.name for bar in again.sweep.score.health] == ["disconnected", "parameter_free_share", "skip_share"]
    assert again.to_plain() == loaded.to_plain()


def test_a_halt_acts_where_health_ranks_unless_it_is_switched_off(tmp_path: Path) -> None:
    def halts(sweep: str) -> list[str]:
        return [rule.name for rule in load(tmp_path, f"search: {{epochs: 9}}\nsweep: {sweep}\n").sweep.rules().rules]

    assert halts("{}") == ["collapse"]
    assert halts("{halt: false}") == []
    assert halts("{objective: validation_accuracy}") == []
    assert halts("{objective: validation_accuracy, halt: {patience: 3}}") == ["collapse"]
    assert halts("{objective: validation_loss, stop: [{signal: entropy, below: 0.1}]}") == ["stop.0"]


@pytest.mark.parametrize(
    ("sweep", "probe"),
    [
        ("{objective: parameters}", "network_cost"),
        ("{objective: eigenvalue}", "eigenvalue"),
        ("{constraints: [{signal: flops, most: 1}]}", "network_cost"),
        ("{stop: [{signal: {name: genotype_stability}, above: 3}]}", "genotype_stability"),
        ("{objective: discretisation_gap}", "discretisation_gap"),
        ("{objective: short_retrain}", "short_retrain"),
    ],
)
@pytest.mark.parametrize("written", ["", ", probes: [entropy]"])
def test_a_signal_that_is_not_free_switches_on_its_probe(tmp_path: Path, sweep: str, probe: str, written: str) -> None:
    loaded = load(tmp_path, f"search: {{epochs: 3{written}}}\nsweep: {sweep}\n")
    names = [each.name for each in loaded.drawn[0].probes]
    assert probe in names
    assert "cell_facts" in names
    assert len(names) == len(set(names))
    assert "entropy" in names


def test_each_of_several_searches_gets_the_probe(tmp_path: Path) -> None:
    text = "search:\n  choice:\n    - &a {epochs: 3}\n"
    text += "    - {<<: *a, probes: [entropy], lr: {choice: [0.1, 0.2]}}\n    - *a\n"
    loaded = load(tmp_path, text + "sweep: {searcher: grid, objective: flops}\n")
    names = [[probe.name for probe in settings.probes] for settings in loaded.drawn]
    assert [each.count("network_cost") for each in names] == [1] * len(names)


def test_every_objective_is_reported_by_some_search(tmp_path: Path) -> None:
    """A signal whose probe does not write its column would be refused here."""
    for name in members("objective"):
        if name != "column":
            text = TEXT if "perplexity" in name else "search: {epochs: 3}\n"
            assert load(tmp_path, f"{text}sweep: {{objective: {name}}}\n").sweep.objective.name == name


@pytest.mark.parametrize(
    ("sweep", "place", "told"),
    [
        ("constraints: [{signal: parameters}]", "sweep.constraints.0", "needs most, or least"),
        ("stop: [{signal: entropy}]", "sweep.stop.0", "needs above, or below"),
        ("stop: [{signal: entrpy, below: 1}]", "sweep.stop.0.signal", "did you mean 'entropy'"),
        ("health: {skip_shares: {most: 1}}", "sweep.health.skip_shares", "did you mean 'skip_share'"),
        ("health: {skip_share: {most: 2}}", "sweep.health.skip_share.most", "must be at most 1"),
        ("health: {skip_share: 0.4}", "sweep.health.skip_share", "must be true, false or a mapping"),
        ("halt: {patience: 0}", "sweep.halt", "must be at least 1"),
        (
            "objective: {name: column, column: weight_loss, direction: max}",
            "sweep.objective",
            "max would promote the worst",
        ),
    ],
)
def test_objective_without_its_column_is_refused_at_its_line(tmp_path: Path, sweep: str, place: str, told: str) -> None:
    message = problems(tmp_path, f"search: {{epochs: 3}}\nsweep:\n  {sweep}\n")
    assert f"spec.yaml:3: {place}" in message
    assert told in message
