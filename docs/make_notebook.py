"""Writes docs/first-sweep.ipynb, executed: python docs/make_notebook.py"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TO = Path(__file__).parent / "first-sweep.ipynb"
SPEC = """spec = {
    "name": "digits",
    "question": "Does second order pay on digits?",
    "data": {"dataset": "digits", "validation_fraction": 0.2, "limit": 600},
    "search": {
        "epochs": 2,
        "batch_size": 32,
        "space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 2},
        "estimator": {"choice": ["first_order", "finite_difference"]},
    },
    "sweep": {"replicates": [0, 1]},
    "evaluate": {
        "top_k": 2,
        "seeds": [0, 1],
        "random_cells": 1,
        "training": {"epochs": 4, "batch_size": 64, "network": {"channels": 4, "layers": 3, "auxiliary_weight": 0}},
    },
}"""
CELLS = [
    "# A sweep in a notebook\nSearches and retrainings on scikit-learn's digits: two cores, a minute, no download.",
    ("import raydarts",),
    (SPEC,),
    ('run = raydarts.sweep(spec, storage="runs", name="first")',),
    "The run, in a few words:",
    ("run",),
    "## The frames\nEvery search and retraining, every epoch, the ranking, and every decision.",
    ('run.trials[["stage", "id", "status", "choice.search.estimator", "metric.validation_accuracy"]]',),
    ("run.ranking",),
    ('run.decisions[["stage", "id", "decision", "reason"]]',),
    "## The figures\nPlotly objects, the same as in the report.",
    ("sorted(run.figures)[:8]",),
    "## The winner\nIts network has the weights of its retraining, and the accuracy that was reported.",
    ("network = run.load_network()\nnetwork.about.figures",),
    ("run.best.genotype.to_json()",),
]


def notebook() -> nbformat.NotebookNode:
    """Returns the notebook, not yet executed. Texts are explanations, code stands in tuples."""
    make = nbformat.v4
    cells = [make.new_markdown_cell(cell) if isinstance(cell, str) else make.new_code_cell(*cell) for cell in CELLS]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return make.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def executed(folder: Path, seconds: int = 600) -> nbformat.NotebookNode:
    """Returns the notebook with its outputs, run in a folder. Raises if a cell fails."""
    book = notebook()
    NotebookClient(book, timeout=seconds, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)  # when it ran
        if cell.cell_type == "code":  # what libraries log is of this machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return book


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(Path(folder)), TO)
