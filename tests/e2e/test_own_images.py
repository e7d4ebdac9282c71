"""docs/own-images.md, as a new user follows it: every block and every command of the page, in order."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import run_here
from tests.here import sweeps_run_here

pytestmark = pytest.mark.slow
PAGE = (Path(__file__).parents[2] / "docs" / "own-images.md").read_text()
MAKE, LOAD = re.findall(r"```python\n(.*?)```", PAGE, re.S)
(SPEC,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
COMMANDS = re.findall(r"^    raydarts (.*)$", PAGE, re.M)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    assert "size: 16" in SPEC
    (folder / "mine.yaml").write_text(SPEC.replace("size: 16", "size: 8"))  # a quarter of the page's pixels
    subprocess.run([sys.executable, "-c", MAKE], cwd=folder, check=True, timeout=120)
    return folder


def test_the_page_leads_from_a_folder_of_images_to_a_ranked_cell_and_its_network(project: Path) -> None:
    assert [command.split()[0] for command in COMMANDS] == ["validate", "sweep", "show", "report", "export"]
    outputs = {}
    with sweeps_run_here():
        for command in COMMANDS:
            done = run_here(*command.split(), cwd=project)
            assert done.code == 0, f"{command}: {done.err}"
            outputs[command.split()[0]] = done.out
    assert "3 classes (training + test images)" in outputs["validate"]
    for word in ("question", "answer", "best cell", "cost", "report", "winner"):
        assert re.search(rf"^{word} ", outputs["sweep"], re.M), word
    assert "random healthy cells" in outputs["sweep"]
    assert "parameters" in outputs["show"]
    assert (project / "runs/first/report.html").is_file()
    report = json.loads(run_here("report", "runs/first", "--json", cwd=project).out)
    assert len(report["ranking"]) == 2
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=project, check=True, timeout=120, capture_output=True, text=True
    ).stdout
    assert loaded.startswith("('0', '1', '2') {'validation_accuracy': ")
