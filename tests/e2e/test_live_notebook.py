"""The live progress of a sweep in a notebook: a real kernel, a real small sweep, and what is sent to the browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
CELL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import raydarts, raydarts.live
from tests.here import sweeps_run_here

raydarts.live.CELL_SECONDS = 0.2  # the sweep is short
spec = {{
    "name": "small",
    "question": "Does it show how far it is?",
    "data": {{"dataset": "digits", "validation_fraction": 0.2, "limit": 200}},
    "search": {{
        "epochs": 2,
        "batch_size": 32,
        "space": {{"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1}},
        "estimator": {{"choice": ["first_order", "finite_difference"]}},
    }},
}}
with sweeps_run_here():
    run = raydarts.sweep(spec, storage="runs", name="small")
"""


def executed(folder: Path, source: str) -> tuple[Any, list[dict[str, Any]]]:
    """Runs one cell with a kernel. Returns the cell, and all that the kernel sent while it ran."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    sent: list[dict[str, Any]] = []

    class Client(nbclient.NotebookClient):  # type: ignore[misc, name-defined]
        def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
            sent.append(msg)
            return super().process_message(msg, cell, cell_index)

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    Client(book, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return book.cells[0], sent


def plain(output: Any) -> str:
    """What an output says, without colours and with single spaces."""
    text = output.get("data", {}).get("text/plain", "")
    return re.sub(r" +", " ", re.sub(r"\x1b\[[0-9;]*m", "", text))


def test_a_cell_shows_how_far_the_sweep_is_and_ends_with_the_answer(tmp_path: Path) -> None:
    cell, sent = executed(tmp_path, CELL)
    drawn = [msg["content"] for msg in sent if msg["msg_type"] == "update_display_data"]
    assert len(drawn) >= 3
    assert len({content["transient"]["display_id"] for content in drawn}) == 1, "one place, written anew"
    counts = [re.search(r"(\d)/2", plain(content)) for content in drawn]
    ended = [int(match[1]) for match in counts if match]
    assert ended == sorted(ended)
    assert ended[0] < 2
    assert ended[-1] == 2
    running = re.compile(r"0000 .*estimator first_order.* 1/2 ")
    assert any(running.search(plain(content)) for content in drawn), "a row for a trial that runs"
    assert any("time left: " in plain(content) for content in drawn)
    assert all("<pre" in content["data"]["text/html"] for content in drawn)

    (last,) = [output for output in cell.outputs if "elapsed" in plain(output)]
    assert last["data"] == drawn[-1]["data"], "the cell keeps the last drawing, and no other"
    assert "all stages are done" in plain(last)
    assert not [output for output in cell.outputs if "completed:" in plain(output)], "no lines beside the drawing"
    answer = cell.outputs[-1]
    assert "question Does it show how far it is?" in plain(answer)
    assert "best cell" in plain(answer)
    assert "ipywidgets" not in str(cell.outputs), "nobody is asked to install what is not needed"
