"""What is loaded when: libraries that take seconds, or that not everybody has, only where they are needed."""

from __future__ import annotations

import subprocess
import sys

ALONE = """
import sys
sys.argv = ["raydarts", "validate", "sweeps/quick.yaml"]
from raydarts.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
names = {"torchvision", "sklearn", "scipy.stats", "pandas", "matplotlib", "ray", "optuna", "torch._dynamo"}
slow = names & set(sys.modules)
assert not slow, slow

for name in ("ray", "optuna", "wandb", "wandb_workspaces"):
    assert name not in sys.modules
    sys.modules[name] = None  # an import of it now raises ImportError
import raydarts.search.search, raydarts.evaluation.evaluation, raydarts.config.loader, raydarts.single
from raydarts.catalogue import catalogue
assert {"grid", "random", "optuna"} <= {row["name"] for row in catalogue("searcher")}
assert {"fifo", "asha"} <= {row["name"] for row in catalogue("scheduler")}
print("good")
"""


def test_a_spec_is_validated_without_libraries_that_take_seconds_and_nothing_alone_needs_ray_optuna_or_wandb() -> None:
    """Each process of a trial loads what `validate` loads, and more: torchvision alone takes 3 seconds.

    A single search or evaluation needs neither Ray nor Optuna nor W&B: they are not even importable then.
    """
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip().endswith("good"), done.stderr


LIGHT = """
import sys
import raydarts.execution.trainable
assert "torch" not in sys.modules
from raydarts.spaces import Space
assert "torch" in sys.modules and Space.__module__ == "raydarts.spaces.base"
print("good")
"""


def test_a_trials_process_loads_torch_only_with_its_job() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "good", done.stderr
