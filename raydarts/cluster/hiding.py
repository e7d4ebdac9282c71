"""Files on the way to Python's modules that have the name of one: a usual reason why Ray's processes do not start."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path


def hiding_files() -> list[str]:
    """A line for each of them."""
    names = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()}
    places = dict.fromkeys([*os.environ.get("PYTHONPATH", "").split(os.pathsep), os.getcwd()])  # noqa: PTH109
    installed = ("site-packages", "dist-packages", sys.base_prefix + "/lib")
    hiding = [
        path
        for place in places
        if place and not any(part in place for part in installed)
        for path in sorted([*Path(place).glob("*.py"), *Path(place).glob("*/__init__.py")])
        if (name := path.parent.name if path.stem == "__init__" else path.stem) in names and not _is_the_one(name, path)
    ]
    return [
        f"{path} hides a module of Python or of a package, which has the same name: rename it" for path in hiding[:5]
    ]


def _is_the_one(name: str, path: Path) -> bool:
    """Whether the driver itself uses the module from there: then it hides no other."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and Path(file) == path
