"""Code of the user's own, named `package.module:Name`: where it lies, whether it may be loaded, and loading it.

To load a module is to run it. So three rules hold here, for every name of a member, a primitive or a builder:

- The working folder is searched last, so that no file in it takes the place of a library's (`search_last`).
- Code that lies inside a run is never loaded: a run holds data, and may come from somebody else.
- On the command line nothing is loaded that was not allowed before (`only_allowed`, `allow`): the names in a spec that
  the user gives, and the names in a run or a genotype that `runs.trust` lets pass.

`locate` says where a module lies without running anything, not even the packages around it.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from raydarts.errors import InputError

logger = logging.getLogger("raydarts")

VARIABLE = "RAYDARTS_OWN_CODE"
"""Folders that a worker of a sweep searches last, as `PYTHONPATH` lists them."""

_last: list[str] = []
_allowed: set[str] | None = None
_warned: set[str] = set()


class OutsideError(InputError):
    """A name whose code is not there, may not be loaded, or fails as it is loaded."""


def is_outside(name: str) -> bool:
    """Whether a text has the form `package.module:Name`."""
    module, colon, item = name.partition(":")
    return bool(colon) and item.isidentifier() and all(part.isidentifier() for part in module.split("."))


def names_in(value: object) -> set[str]:
    """All texts and keys of that form in nested lists and mappings: what may be loaded on behalf of `value`."""
    names: set[str] = set()
    waiting: list[object] = [value]
    while waiting:  # no recursion: a run's files may be nested deeply
        item = waiting.pop()
        if isinstance(item, str):
            if is_outside(item):
                names.add(item)
        elif isinstance(item, Mapping):
            waiting += [*item, *item.values()]
        elif isinstance(item, list | tuple):
            waiting += item
    return names


def search_last(folder: str | Path) -> None:
    """Search this folder for the user's own code, after everything else."""
    if (place := str(folder)) not in _last:
        _last.append(place)


def own_folders() -> list[str]:
    """The folders that are searched last."""
    listed = os.environ.get(VARIABLE, "").split(os.pathsep)
    return list(dict.fromkeys([*_last, *(place for place in listed if place)]))


@contextmanager
def only_allowed() -> Iterator[None]:
    """Within this block nothing is loaded but what `allow` names."""
    global _allowed  # noqa: PLW0603 - a rule for the whole process
    before, _allowed = _allowed, set()
    try:
        yield
    finally:
        _allowed = before


def restrict(names: Iterable[str]) -> None:
    """From now on this process loads nothing but these names. For a worker of a sweep."""
    global _allowed  # noqa: PLW0603
    _allowed = set(names)


def allow(names: Iterable[str]) -> None:
    """Let these names be loaded. Where nothing is restricted there is nothing to do."""
    if _allowed is not None:
        _allowed.update(names)


def load(name: str) -> Any:
    """What `package.module:Name` names. Raises `OutsideError`, said for people."""
    if not is_outside(name):
        raise OutsideError(f"'{name}' is not of the form module:Name")
    module_name, _, item = name.partition(":")
    if _allowed is not None and name not in _allowed:
        locate(module_name)  # where it is not there at all, that is what to say
        raise OutsideError(
            f"{name} is code from outside raydarts that nobody allowed here, so it is not loaded: no spec given names "
            "it, nor does the run.json of a run that is trusted"
        )
    module = sys.modules.get(module_name)
    if module is None:
        module = _import(name, module_name)
    if not hasattr(module, item):
        raise OutsideError(f"module {module_name} ({_lies(module)}) has no {item}{_hidden(module_name)}")
    if module_name not in _warned and (hidden := _hidden(module_name)):
        _warned.add(module_name)
        logger.warning("%s is loaded from %s%s", name, _lies(module), hidden)
    return getattr(module, item)


def _import(name: str, module_name: str) -> ModuleType:
    places = locate(module_name)
    for place in places:
        if (run := _run_around(place)) is not None:
            raise OutsideError(
                f"{name}: its code lies in the run {run} ({place}). A run holds data, so code in it is never run; put "
                "code of your own beside your spec, or install it"
            )
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise OutsideError(
            f"module {module_name} ({places[-1]}) fails as it is imported: {type(error).__name__}: {error}"
        ) from error


def locate(module_name: str) -> tuple[str, ...]:
    """The files that an import would run, those of the packages around it first. Nothing is run.

    Of a package without `__init__.py` its folders, of a module that is part of Python its name. Raises `OutsideError`
    where there is no such module.
    """
    _extend_path()
    importlib.invalidate_caches()
    path: list[str] | None = None
    places: list[str] = []
    parts = module_name.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        found = _loaded(name) or _found(name, path)
        if found is None:
            raise OutsideError(
                f"there is no module {name} where raydarts runs; put its file beside your spec and start raydarts "
                "there, or install it"
            )
        origins, path = found
        places += origins
    return tuple(places)


Found = tuple[list[str], list[str]]
"""Where a module lies, and where its submodules are searched."""


def _loaded(name: str) -> Found | None:
    module = sys.modules.get(name)
    if module is None:
        return None
    path = list(getattr(module, "__path__", ()))
    file = getattr(module, "__file__", None)
    return _absolute([file]) if file else _absolute(path) or [name], path


def _absolute(places: Iterable[str]) -> list[str]:
    return [os.path.abspath(place) for place in places]  # noqa: PTH100 - keeps links, and takes `..` out


def _found(name: str, path: list[str] | None) -> Found | None:
    for finder in sys.meta_path:
        if finder is PathFinder:
            spec = _on_path(name, sys.path if path is None else path)
        else:
            find = getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path)
        if spec is not None:
            inside = list(spec.submodule_search_locations or ())
            return _absolute([spec.origin] if spec.has_location and spec.origin else inside) or [name], inside
    return None


def _on_path(name: str, path: Iterable[str]) -> ModuleSpec | None:
    """What Python's own search finds. That search needs the packages around a module to be imported; this does not."""
    folders: list[str] = []
    for entry in path:
        importer = pkgutil.get_importer(entry or os.getcwd())  # noqa: PTH109
        spec: ModuleSpec | None = None if importer is None else importer.find_spec(name)
        if spec is not None and spec.loader is not None:
            return spec
        if spec is not None:
            folders += spec.submodule_search_locations or ()
    if not folders:
        return None
    found = ModuleSpec(name, None, is_package=True)
    found.submodule_search_locations = folders
    return found


def _extend_path() -> None:
    for place in own_folders():
        if place not in sys.path:
            sys.path.append(place)


def _lies(module: object) -> str:
    return str(getattr(module, "__file__", None) or "a part of Python")


def _hidden(module_name: str) -> str:
    """Words on a file of the user's own that another module of the same name hides; nothing where there is none."""
    top = module_name.partition(".")[0]
    module = sys.modules.get(top)
    spec = _on_path(top, own_folders())
    if module is None or spec is None or not spec.has_location:
        return ""
    own = str(spec.origin)
    file = getattr(module, "__file__", None)
    if file and same_file(file, own):
        return ""
    return f"; it hides your own {own}, which has the same name: give your file another"


def same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two paths lead to one file or folder."""
    try:
        return Path(one).samefile(other)
    except OSError:
        return Path(one).resolve() == Path(other).resolve()


def lies_in(place: str, folder: Path) -> bool:
    """Whether a file lies in a folder, as it is named or as its links lead."""
    return any(parent == folder or same_file(parent, folder) for parent in _around(place))


def _around(place: str) -> list[Path]:
    """A file or folder and all the folders that it lies in, as it is named and as its links lead."""
    named, real = Path(os.path.abspath(place)), Path(place).resolve()  # noqa: PTH100 - keeps links, and takes `..` out
    return list(dict.fromkeys([named, *named.parents, real, *real.parents]))


def _run_around(place: str) -> Path | None:
    """The run that a file lies in, if any."""
    return next((folder for folder in _around(place) if _is_run(folder)), None)


def _is_run(folder: Path) -> bool:
    file = folder / "run.json"
    try:
        if not file.is_file():
            return False
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and {"format", "kind", "spec"} <= set(value)
