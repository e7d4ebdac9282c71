"""What is loaded when: libraries that take seconds, or that not everybody has, only where they are needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.synthetic_run import write_run

ALONE = """
import contextlib, io, sys
import raydarts
from raydarts.cli import main

def loaded(command, *names):
    sys.argv = ["raydarts", *command]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main()
        except SystemExit as end:
            assert not end.code, (command, end.code)
    assert out.getvalue(), command
    slow = set(names) & set(sys.modules)
    assert not slow, (command, slow)

never = ["plotly", "sklearn", "tensorboardX", "mlflow", "wandb", "wandb_workspaces", "ConfigSpace", "IPython"]
never += ["torchvision", "scipy.stats", "pandas", "pyarrow", "matplotlib", "ray", "optuna", "torch._dynamo"]
loaded(["--help"], *never, "torch", "numpy")
loaded(["status", RUN], *never, "torch", "scipy", "jinja2")
loaded(["validate", "sweeps/quick.yaml"], *never)

for name in ("ray", "optuna", "wandb", "wandb_workspaces"):
    assert name not in sys.modules
    sys.modules[name] = None  # an import of it now raises ImportError
import raydarts.search.search, raydarts.evaluation.evaluation, raydarts.config.loader, raydarts.single
from raydarts.catalogue import catalogue
assert {"grid", "random", "optuna"} <= {row["name"] for row in catalogue("searcher")}
assert {"fifo", "asha"} <= {row["name"] for row in catalogue("scheduler")}
print("good")
"""


def test_help_status_and_validate_load_no_library_that_they_do_not_use(tmp_path: Path) -> None:
    """Each process of a trial loads what `validate` loads, and more: torchvision alone takes 3 seconds.

    A single search or evaluation needs neither Ray nor Optuna nor W&B: they are not even importable then.
    """
    run = write_run(tmp_path / "one", trials=4, top_k=1)
    code = f"RUN = {str(run)!r}\n{ALONE}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
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
