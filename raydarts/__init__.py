"""raydarts: distributed hyperparameter sweeps of differentiable architecture search (DARTS) on Ray."""

import sys

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    # `python -m raydarts.cli` is starting, which has put the working folder first: a `random.py` in it would take the
    # place of Python's. This comes before any import; the user's own code is searched last (`outside.py`).
    del sys.path[0]

from importlib.metadata import PackageNotFoundError, version

UNINSTALLED = "0+unknown"
"""The version of a source tree that was never installed."""

try:
    __version__ = version("raydarts")
except PackageNotFoundError:
    __version__ = UNINSTALLED
