"""docs/first-sweep.ipynb: it runs, with real Ray, and is the one of docs/make_notebook.py.

All its cells run here as they are shipped, but with fewer images and epochs, and one search at a time.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.ray]


FEWER = {
    '"limit": 600': '"limit": 160',
    '"training": {"epochs": 4': '"training": {"epochs": 2',
    '"replicates": [0, 1]}': '"replicates": [0, 1], "max_concurrent": 1}',
}


def fewer(cell: str | tuple[str]) -> str | tuple[str]:
    """The cell, or the spec's with less to do."""
    if isinstance(cell, str):
        return cell
    for shipped, here in FEWER.items():
        cell = (cell[0].replace(shipped, here),)
    return cell


def test_the_notebook_runs_and_the_shipped_one_has_its_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))  # `python3`
    import make_notebook

    shipped = nbformat.read(make_notebook.TO, as_version=4)
    sources = [cell.source for cell in make_notebook.notebook().cells]
    assert [cell.source for cell in shipped.cells] == sources
    assert all(
        cell.outputs
        for cell in shipped.cells
        if cell.cell_type == "code" and cell.source[:6] not in ("import", "spec =")
    )
    assert all(shipped in make_notebook.SPEC for shipped in FEWER)
    monkeypatch.setattr(make_notebook, "CELLS", [fewer(cell) for cell in make_notebook.CELLS])
    book = make_notebook.executed(tmp_path)
    changed = [cell.source for cell, source in zip(book.cells, sources, strict=True) if cell.source != source]
    assert [source[:6] for source in changed] == ["spec ="]
    for each in (shipped, book):
        (sweep,) = [cell for cell in each.cells if "raydarts.sweep" in cell.source]
        shown = ["".join(output["data"].get("text/plain", "")) for output in sweep.outputs]
        wanted = ("digits (the spec)", "all stages are done", "best cell")
        places = [[number for number, text in enumerate(shown) if words in text] for words in wanted]
        assert [len(found) for found in places] == [1, 1, 1], "the plan, the live progress as it ended, the answer"
        assert places == sorted(places)
    html = [
        output["data"].get("text/html", "")
        for cell in book.cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    assert any("Does second order pay on digits?" in text for text in html)
    assert (tmp_path / "runs/first/report.html").is_file()
