"""Scripts of benchmarks/ and docs/ as modules. They belong to no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent


def script(path: str) -> ModuleType:
    """Runs a script, such as `benchmarks/scale.py`, anew and returns its module. Its `main` is not called.

    Its folder is where it looks for modules, as when it is run.
    """
    folder = str((ROOT / path).parent)
    if folder not in sys.path:
        sys.path.append(folder)
    name = f"script_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
