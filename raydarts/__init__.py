"""raydarts: distributed hyperparameter sweeps of differentiable architecture search (DARTS) on Ray."""

import os
import sys

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    # `python -m raydarts.cli` is starting, which has put the working folder first: a `random.py` in it would take the
    # place of Python's. This comes before any import; the user's own code is searched last (`outside.py`).
    del sys.path[0]
if not sys.flags.isolated:
    # Nor does a file on PYTHONPATH take the place of one of Python's modules. It still comes before what is installed.
    _folder = os.path.dirname(os.__file__)  # noqa: PTH120 - nothing else is imported yet
    _standard = [place for place in sys.path if place in (_folder, f"{_folder}/lib-dynload")]
    sys.path[:] = [*_standard, *(place for place in sys.path if place not in _standard)]

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

UNINSTALLED = "0+unknown"
"""The version of a source tree that was never installed."""

try:
    __version__ = version("raydarts")
except PackageNotFoundError:
    __version__ = UNINSTALLED

PYTHON = ("Run", "load_genotype", "load_network", "point", "sweep")
"""The Python interface: names of `raydarts.api`. `__init__.pyi` says them to type checkers."""


def __getattr__(name: str) -> object:
    """Loads the Python interface when it is first used, so that no command waits for it."""
    if name in PYTHON:
        return getattr(import_module("raydarts.api"), name)
    raise AttributeError(f"module 'raydarts' has no attribute {name!r}")
