"""Whose code a run or a genotype names, and whether it may be loaded.

A run names code where its spec chooses a member `module:Class` (a tracker too), where its genotypes name a space or a
primitive so, and where run.json names a `builder`. Whoever resumes a run of somebody else's would run that code. So
a run's code is
loaded without a question only where this user made the run. The user's own state folder holds a note of that
(`$XDG_STATE_HOME/raydarts/made/`, else `~/.local/state/raydarts/made/`): the digest of the run.json and the files of
each name. Where there is no such note (the run is somebody else's, or its run.json was changed), or the code now lies
elsewhere, the user is asked, and after a yes there is a note. Code that lies in the run or in the folder of runs is
refused whatever the user says; only a run that was made here may have it in the folder of runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from raydarts import outside
from raydarts.errors import InputError, RunError
from raydarts.runs.directory import RunDirectory
from raydarts.storage.place import Place

logger = logging.getLogger("raydarts")

Ask = Callable[[str], bool]
"""Shows a text that ends with a question. True: yes."""

_NAMING = ("data", "search", "sweep", "evaluate", "rungs", "transfer", "builder", "outside", "genotypes")
_FLAG = "--trust"


def never(text: str) -> bool:
    """The answer where there is nobody to ask."""
    return False


def spec_names(spec: Mapping[str, object]) -> set[str]:
    """The names of outside code in the sections of a spec that choose members. Texts for people are left out.

    Of `track` only the keys choose: its values hold texts for people, such as tags.
    """
    track = spec.get("track")
    trackers = list(track) if isinstance(track, Mapping) else []
    return outside.names_in([*(spec[key] for key in _NAMING if key in spec), trackers])


def names_of(description: Mapping[str, object]) -> set[str]:
    """The names of outside code in a run.json."""
    spec = description.get("spec")
    inside = spec_names(spec) if isinstance(spec, Mapping) else set()
    return inside | spec_names({key: value for key, value in description.items() if key != "spec"})


def kept_names(names: Iterable[str]) -> dict[str, object]:
    """What a new run.json keeps of code from outside raydarts; nothing where there is none."""
    listed = sorted(names)
    return {"outside": listed} if listed else {}


def remember(run: RunDirectory) -> None:
    """Note that this user made the run, so that its resume asks nothing. A run without outside code needs no note.

    Where the note cannot be written the user is told that the resume will ask.
    """
    description = run.description()
    if origins := _origins(names_of(description)):
        _note(run, description, origins)


def admit(run: RunDirectory, ask: Ask = never) -> None:
    """Allow the code that a run names, where this user made the run or says yes. Raises `RunError` where not."""
    description = run.description()
    origins = _origins(names_of(description))
    if not origins:
        return
    if inside := _lying(origins, run.path):
        raise RunError(_refused(run.path, inside, "in the run itself"))
    if _record(description) != origins:
        if inside := _lying(origins, run.path.parent):
            raise RunError(_refused(run.path, inside, f"in {run.path.parent}, the folder of the runs"))
        text = (
            f"{run.path}: this run was not made here by you, or its run.json was changed since, and it names code:\n"
            f"{_listed(origins)}\nTo resume it is to run this code with your rights."
        )
        if not ask(text):
            raise RunError(
                f"{text} If you know the code and whoever made the run: add {_FLAG} ('raydarts resume RUN {_FLAG}', "
                f"'raydarts submit --resume RUN {_FLAG}')"
            )
        _note(run, description, origins)
    outside.allow(origins)


def admit_genotype(names: Iterable[str], where: str, ask: Ask = never) -> None:
    """Allow the code that a genotype names, where this user has run it before from the same files, or says yes.

    Raises `InputError` where not. `names`: those that the user's own spec does not name.
    """
    origins = _origins(names)
    if not _known(origins):
        text = f"{where}: names code:\n{_listed(origins)}\nTo build its network is to run this code with your rights."
        if not ask(text):
            raise InputError(
                f"{text} A genotype may come from anybody. If you know the code: add {_FLAG}, or give a spec that "
                "names it"
            )
    outside.allow(origins)


Origins = dict[str, list[str]]
"""Of each name the files that loading it runs, those of the packages around it first."""


def _origins(names: Iterable[str]) -> Origins:
    """Where the code lies. A name whose module is not there is left out: nothing of it can be run."""
    origins: Origins = {}
    for name in sorted(names):
        with contextlib.suppress(outside.OutsideError):
            origins[name] = list(outside.locate(name.partition(":")[0]))
    return origins


def _listed(origins: Origins) -> str:
    return "\n".join(f"  {name}, from {places[-1]}" for name, places in origins.items())


def _lying(origins: Origins, folder: Place) -> list[str]:
    """The names of code that lies in this folder; nothing can lie in an object store."""
    if not isinstance(folder, Path):
        return []
    return [name for name, places in origins.items() if any(outside.lies_in(place, folder) for place in places)]


def _refused(run: Place, names: list[str], where: str) -> str:
    return (
        f"{run}: names {', '.join(names)}, whose code lies {where}. A run holds data, so this code is never run; if it "
        "is yours, put it beside your spec or install it"
    )


def _folder() -> Path:
    """Where notes lie. Raises `OSError` where this user has no home."""
    state_home = os.environ.get("XDG_STATE_HOME", "")
    if state_home and Path(state_home).is_absolute():
        return Path(state_home) / "raydarts" / "made"
    try:
        return Path.home() / ".local" / "state" / "raydarts" / "made"
    except RuntimeError as error:
        raise OSError(str(error)) from error


def _digest(description: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def _note(run: RunDirectory, description: Mapping[str, object], origins: Origins) -> None:
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = folder / f".{uuid.uuid4().hex}.tmp"
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps({"run": str(run.path), "code": origins}, indent=2), encoding="utf-8")
        temporary.replace(folder / f"{_digest(description)}.json")
    except OSError as error:
        logger.warning("cannot note that you made %s (%s): its resume will ask for %s", run.path, error, _FLAG)


def _read(file: Path) -> Origins | None:
    try:
        code = json.loads(file.read_bytes())["code"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return code if isinstance(code, dict) else None


def _record(description: Mapping[str, object]) -> Origins | None:
    """What is noted of a run: the file of each name; None where nothing is."""
    try:
        return _read(_folder() / f"{_digest(description)}.json")
    except OSError:
        return None


def _known(origins: Origins) -> bool:
    """Whether each name was run before from the same file, in a run that this user made."""
    try:
        records = [code for file in _folder().glob("*.json") if (code := _read(file)) is not None]
    except OSError:
        return False
    return all(any(record.get(name) == origin for record in records) for name, origin in origins.items())
