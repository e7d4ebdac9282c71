"""Code of the user's own: where it lies, what may be loaded, and that nothing runs before that is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from raydarts import outside
from raydarts.outside import OutsideError, is_outside, load, locate, names_in

MARKING = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\nclass X: pass\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, searched last, as the command line has it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outside, "_last", [str(tmp_path)])
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def unique(stem: str) -> str:
    """A module's name that no other test has loaded."""
    return f"{stem}_{uuid.uuid4().hex[:8]}"


def write(path: Path, text: str = MARKING) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def ran(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.ran"))


@pytest.mark.parametrize("name", ["a:B", "a.b.c:D", "_a:_B", "größe:Räume"])
def test_valid_names_of_outside_code(name: str) -> None:
    assert is_outside(name)


@pytest.mark.parametrize("name", ["a", "a:", ":B", "a:b.c", "../a:B", ".a:B", "a b:C", "s3://a:B", "a:B:C", "1a:B", ""])
def test_invalid_names_of_outside_code(name: str) -> None:
    assert not is_outside(name)
    with pytest.raises(OutsideError, match="module:Name"):
        load(name)


def test_names_are_met_wherever_they_stand_and_however_deep() -> None:
    deep: list[object] = ["m:Deep"]
    for _ in range(5000):
        deep = [deep]
    assert names_in({"a": {"name": "m:A"}, "b": [["x", "m:B"], 3, None], "c": deep}) == {"m:A", "m:B", "m:Deep"}


def test_a_module_is_located_without_running_it_or_its_packages(folder: Path) -> None:
    package, plain = unique("package"), unique("plain")
    init, inner = write(folder / package / "__init__.py"), write(folder / package / "inner.py")
    deep = write(folder / plain / "deep" / "evil.py")
    assert locate(f"{package}.inner") == (str(init), str(inner))
    assert locate(f"{plain}.deep.evil") == (str(folder / plain), str(folder / plain / "deep"), str(deep))
    with pytest.raises(OutsideError, match="there is no module"):
        locate(f"{package}.other")
    assert ran(folder) == []


def test_loads_the_located_file(folder: Path) -> None:
    name = unique("mine")
    write(folder / name / "inner.py")
    cls = load(f"{name}.inner:X")
    assert sys.modules[cls.__module__].__file__ == locate(f"{name}.inner")[-1]


@pytest.mark.parametrize("way", ["namespace", "package", "link", "search path", "relative search path", "dots"])
def test_code_in_a_run_is_never_loaded(folder: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, evil = unique("runs"), unique("evil")
    run = folder / storage / "friend"
    write(run / "run.json", json.dumps({"format": 1, "kind": "sweep", "spec": {}}))
    file = write(run / f"{evil}.py")
    name = f"{storage}.friend.{evil}"
    if way == "package":
        write(folder / storage / "__init__.py", "")
        write(run / "__init__.py")
    elif way == "link":
        (folder / f"{evil}.py").symlink_to(file)
        name = evil
    elif way == "search path":
        monkeypatch.syspath_prepend(run)
        name = evil
    elif way == "relative search path":
        monkeypatch.setattr(sys, "path", [f"{storage}/friend", *sys.path])
        name = evil
    elif way == "dots":
        (folder / "other").mkdir()
        monkeypatch.setattr(sys, "path", [f"{folder}/other/../{storage}/friend", *sys.path])
        name = evil
    with pytest.raises(OutsideError, match="lies in the run"):
        load(f"{name}:X")
    assert ran(folder) == []


def test_only_what_is_allowed_is_loaded(folder: Path) -> None:
    name = unique("mine")
    write(folder / f"{name}.py")
    with outside.only_allowed():
        with pytest.raises(OutsideError, match="nobody allowed"):
            load(f"{name}:X")
        assert ran(folder) == []
        outside.allow([f"{name}:X"])
        assert load(f"{name}:X").__name__ == "X"
    assert load(f"{name}:X").__name__ == "X"


def test_a_file_that_a_library_hides_is_named(folder: Path) -> None:
    write(folder / "random.py")
    with pytest.raises(OutsideError, match=rf"has no X; it hides your own {folder}/random.py"):
        load("random:X")
    assert ran(folder) == []


def test_a_module_that_fails_is_named_with_its_reason(folder: Path) -> None:
    name = unique("broken")
    write(folder / f"{name}.py", "raise RuntimeError('no luck')")
    with pytest.raises(OutsideError, match=rf"{name}.py\) fails as it is imported: RuntimeError: no luck"):
        load(f"{name}:X")


def test_started_as_a_module_the_working_folder_is_not_searched_first(tmp_path: Path) -> None:
    for name in ("random", "typing", "numpy", "email"):
        write(tmp_path / f"{name}.py", "raise RuntimeError('of the working folder')")
    done = subprocess.run(
        [sys.executable, "-m", "raydarts.cli", "version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
