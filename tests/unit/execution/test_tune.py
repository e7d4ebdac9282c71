"""What Ray Tune imports for nothing when it runs trials."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from raydarts.cluster import gate
gate.prepare(None)
from raydarts.execution import tune
from ray.air._internal import usage
assert callable(usage.tag_callbacks), "Ray has another name for it"
tune._count_no_callbacks()
assert usage.tag_callbacks([tune._Failures(None)]) is False
print([name for name in ("wandb", "mlflow", "comet_ml", "optuna", "torch") if name in sys.modules])
"""


def test_no_tracker_is_imported_for_usage_statistics(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
