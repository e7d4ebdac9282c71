"""The documentation as a site."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    """No broken link, no page outside the navigation, no name that the reference does not find."""
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={"NO_MKDOCS_2_WARNING": "1", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "site/api/index.html").read_text()
    assert "load_network" in reference
    assert not re.search(r'<(?:script|link)[^>]+(?:src|href)="https?://', (tmp_path / "site/index.html").read_text())
