"""raydarts: distributed hyperparameter sweeps of differentiable architecture search (DARTS) on Ray."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("raydarts")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
