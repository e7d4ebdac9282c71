"""Whose code a run names: loaded without a question only where this user made the run."""

from __future__ import annotations

import json
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raydarts import outside
from raydarts.errors import InputError, RunError
from raydarts.runs.directory import RunDirectory
from raydarts.runs.trust import admit, admit_genotype, names_of, remember


class Asked:
    """Somebody who is asked, and what they were shown."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.shown: list[str] = []

    def __call__(self, text: str) -> bool:
        self.shown.append(text)
        return self.answer


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder of this user with code in it; nothing is allowed yet."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(outside, "_last", [str(folder)])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = list(sys.path)
    with outside.only_allowed():
        yield folder
    sys.path[:] = path


def module(folder: Path) -> str:
    """A module of its own that notes that it was run."""
    name = f"mine_{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text("from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\nX = 1\n")
    return name


def run_with(place: Path, name: str, **more: Any) -> RunDirectory:
    spec = {"search": {"space": {"name": name}}, "question": "colour:shape", "track": {"tags": ["a:b"]}}
    return RunDirectory.create(place, kind="sweep", spec=spec, more=more)


def loads(name: str) -> bool:
    try:
        outside.load(name)
    except outside.OutsideError:
        return False
    return True


def test_all_that_a_run_can_load_is_named_and_texts_for_people_are_not() -> None:
    description = {
        "spec": {
            "search": {"space": {"name": "a:Space"}, "probes": [{"choice": ["skip_counts", "b:Probe"]}]},
            "data": {"dataset": {"name": "c:Data"}},
            "sweep": {"searcher": "d:Searcher"},
            "question": "x:y",
            "track": {"wandb": {"tags": ["exp:one"]}},
        },
        "builder": "e:build",
        "outside": ["f:Operation"],
        "genotypes": {"candidates": [{"genotype": {"normal": [["g:Edge", 0]], "space": "h:Space"}}]},
        "command": ["i:J"],
    }
    found = {"a:Space", "b:Probe", "c:Data", "d:Searcher", "e:build", "f:Operation", "g:Edge", "h:Space"}
    assert names_of(description) == found


@pytest.mark.parametrize("spec", [None, 3, [], {"search": None}, {"search": [[[]]]}])
def test_damaged_descriptions_name_nothing(spec: Any) -> None:
    assert names_of({"spec": spec, "outside": 3, "builder": None}) == set()


def test_user_who_made_a_run_is_not_asked_for_trust(project: Path) -> None:
    name = f"{module(project)}:X"
    run = run_with(project / "runs" / "r", name)
    remember(run)
    asked = Asked(False)
    admit(run, asked)
    assert asked.shown == []
    assert loads(name)


def test_a_run_of_somebody_elses_is_asked_about_and_nothing_runs_before(project: Path) -> None:
    name = f"{module(project)}:X"
    run = run_with(project / "runs" / "r", name)
    with pytest.raises(RunError, match=r"not made here by you(.|\n)*--trust(.|\n)*submit --resume"):
        admit(run)
    asked = Asked(False)
    with pytest.raises(RunError, match="not made here"):
        admit(run, asked)
    assert name in asked.shown[0]
    assert f"{project}/{name.partition(':')[0]}.py" in asked.shown[0]
    assert list(project.glob("*.ran")) == []
    assert not loads(name)


def test_a_yes_is_remembered(project: Path) -> None:
    run = run_with(project / "runs" / "r", f"{module(project)}:X")
    admit(run, Asked(True))
    admit(run, asked := Asked(False))
    assert asked.shown == []


def test_a_changed_run_is_asked_about_again(project: Path) -> None:
    run = run_with(project / "runs" / "r", f"{module(project)}:X")
    remember(run)
    file = run.path / "run.json"
    file.write_text(file.read_text().replace('"name": "mine', '"size": 1, "name": "mine'))
    with pytest.raises(RunError, match=r"run\.json was changed"):
        admit(run)


def test_code_that_now_lies_elsewhere_is_asked_about_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = module(project)
    run = run_with(project / "runs" / "r", f"{name}:X")
    remember(run)
    other = project.parent / "other"
    other.mkdir()
    shutil.copy(project / f"{name}.py", other)
    monkeypatch.syspath_prepend(other)
    with pytest.raises(RunError, match=f"from {other}/{name}.py"):
        admit(run)


def test_another_users_note_does_not_count(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with(project / "runs" / "r", f"{module(project)}:X")
    remember(run)
    monkeypatch.setenv("XDG_STATE_HOME", str(project.parent / "another"))
    with pytest.raises(RunError, match="not made here"):
        admit(run)


@pytest.mark.parametrize("where", ["the run", "the folder of runs"])
@pytest.mark.parametrize("way", ["dotted", "link", "search path", "linked storage"])
def test_code_in_a_run_or_beside_runs_is_refused_whatever_is_said(
    project: Path, where: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = project / f"runs_{uuid.uuid4().hex[:8]}"
    folder = storage / "friend" if where == "the run" else storage
    place = storage / "friend"
    if way == "linked storage":
        (project / "link").symlink_to(storage)
        place = project / "link" / "friend"
    name = f"mine_{uuid.uuid4().hex[:8]}"
    inside = ".".join([*folder.relative_to(project).parts, name]) if way in ("dotted", "linked storage") else name
    storage.mkdir()
    run = run_with(place, f"{inside}:X")
    (folder / f"{name}.py").write_text("from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\nX = 1\n")
    if way == "link":
        (project / f"{name}.py").symlink_to(folder / f"{name}.py")
    elif way == "search path":
        monkeypatch.syspath_prepend(folder)
    asked = Asked(True)
    with pytest.raises(RunError, match="whose code lies in"):
        admit(run, asked)
    assert asked.shown == []
    assert list(project.rglob("*.ran")) == []


def test_runs_may_lie_in_the_folder_of_ones_own_code(project: Path) -> None:
    name = f"{module(project)}:X"
    run = run_with(project / "r", name)
    remember(run)
    admit(run)
    assert loads(name)


def test_a_run_without_outside_code_leaves_no_note_and_is_not_asked_about(project: Path) -> None:
    run = run_with(project / "r", "darts-cnn")
    remember(run)
    admit(run)
    assert not (project.parent / "state").exists()


def test_user_is_warned_when_the_trust_note_cannot_be_written(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (project / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "file"))
    run = run_with(project / "runs" / "r", f"{module(project)}:X")
    remember(run)
    assert "its resume will ask for --trust" in caplog.text


def test_a_damaged_note_is_none(project: Path) -> None:
    run = run_with(project / "runs" / "r", f"{module(project)}:X")
    remember(run)
    (note,) = (project.parent / "state" / "raydarts" / "made").glob("*.json")
    assert note.stat().st_mode & 0o077 == 0
    for text in ("", "null", "[]", '{"code": 3}', json.dumps({"code": {"a:B": ["/x"]}})):
        note.write_text(text)
        with pytest.raises(RunError, match="not made here"):
            admit(run)


def test_a_genotypes_code_is_loaded_where_it_was_run_before(project: Path) -> None:
    name = f"{module(project)}:X"
    with pytest.raises(InputError, match=r"best\.json: names code(.|\n)*--trust"):
        admit_genotype([name], "best.json")
    assert not loads(name)
    remember(run_with(project / "runs" / "r", name))
    admit_genotype([name], "best.json")
    assert loads(name)
