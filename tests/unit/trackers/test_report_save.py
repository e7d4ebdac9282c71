"""Saving a report to a stand-in for W&B on loopback: what it is sent, and what is said where it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from raydarts.errors import InputError, RunError
from raydarts.trackers.wandb.report import build, save, spec_of
from tests.synthetic_run import write_run
from tests.unit.trackers.report_server import KEY, Server, serving

pytest.importorskip("wandb_workspaces")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "small", trials=3, top_k=1, epochs=1, question="Is #1 real?")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as found:
        monkeypatch.setenv("WANDB_BASE_URL", found.address)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield found


def test_the_spec_that_dry_run_writes_is_what_is_saved(
    run: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    address = save(run, None, "raydarts")
    (sent,) = server.saved
    assert json.loads(sent["spec"]) == spec_of(build(run, "ada", "raydarts"))["spec"]
    assert (sent["entityName"], sent["projectName"]) == ("ada", "raydarts")
    assert (sent["displayName"], sent["type"], sent["id"]) == ("small: Is #1 real?", "runs", None)
    assert address == f"{server.address}/ada/raydarts/reports/small%3A-Is-%231-real%3F--VmlldzoxMjM="
    assert "Saved report to" not in capsys.readouterr().err


def test_a_project_that_is_not_there_is_made(run: Path, server: Server) -> None:
    save(run, "team", "new")
    assert server.projects == ["raydarts", "new"]
    assert server.saved[0]["entityName"] == "team"


def test_wandb_refusal_is_reported_with_advice(run: Path, server: Server) -> None:
    server.denied = "permission denied"
    with pytest.raises(InputError, match=r"ada/raydarts: .*permission denied.*Check --entity and --project"):
        save(run, None, "raydarts")


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_taken_is_told(run: Path, server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(InputError, match=r"did not let us in.*wandb login.*WANDB_API_KEY"):
        save(run, None, "raydarts")
    assert server.saved == []


def test_a_key_without_entity_needs_one_named(run: Path, server: Server) -> None:
    server.entity = None
    with pytest.raises(InputError, match="--entity"):
        save(run, None, "raydarts")


def test_unreachable_address_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as gone:
        address = gone.address
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with pytest.raises(InputError, match=rf"{address} cannot be reached.*refused.*--dry-run"):
        save(run, None, "raydarts")


def test_bad_names_and_absent_runs_are_refused_before_wandb_is_asked(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "ftp://nowhere")
    with pytest.raises(InputError, match="--project: 'a/b' is no W&B project: 1 to 128 characters"):
        save(run, None, "a/b")
    with pytest.raises(RunError, match="no such run"):
        save(tmp_path / "absent", None, "a")
    with pytest.raises(InputError, match="must begin with http"):
        save(run, None, "a")
