"""The drawing of a genotype: every edge labelled, nothing overlapping, three formats, clear errors."""

from __future__ import annotations

import json
import time
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch

from raydarts.errors import InputError
from raydarts.report.drawing import build_figure, draw_genotype
from raydarts.spaces import Genotype
from tests.commands import run_here

CNN: dict[str, Any] = {
    "normal": [
        *(["sep_conv_3x3", 0], ["sep_conv_5x5", 1], ["dil_conv_3x3", 0], ["dil_conv_5x5", 1]),
        *(["sep_conv_3x3", 1], ["skip_connect", 0], ["skip_connect", 0], ["my_own_op", 2]),
    ],
    "normal_concat": [2, 3, 4, 5],
    "reduce": [["max_pool_3x3", 0], ["avg_pool_3x3", 0], ["skip_connect", 2], ["max_pool_3x3", 1]],
    "reduce_concat": [2, 3],
}
RNN: dict[str, Any] = {
    "recurrent": [["sigmoid", 0], ["relu", 1], ["relu", 1], ["identity", 1], ["tanh", 2]],
    "concat": [1, 2, 3, 4, 5],
}
TINY: dict[str, Any] = {"recurrent": [["tanh", 0]], "concat": [1]}
LABELS = [
    Counter({"sep 3x3": 2, "sep 5x5": 1, "dil 3x3": 1, "dil 5x5": 1, "skip": 2, "my own op": 1}),
    Counter({"max pool": 2, "avg pool": 1, "skip": 1}),
]


def labels(axes: Any) -> list[Any]:
    return [text for text in axes.texts if text.get_bbox_patch() is not None]


def test_every_edge_is_drawn_and_labelled() -> None:
    figure = build_figure(CNN, "found")
    drawn = [Counter(text.get_text() for text in labels(axes)) for axes in figure.axes]
    arrows = [sum(isinstance(p, FancyArrowPatch) for p in axes.patches) for axes in figure.axes]
    assert drawn == LABELS
    assert arrows == [8 + 4, 4 + 2]
    assert [text.get_text() for text in figure.texts] == ["found", "normal cell", "reduction cell"]


def test_the_recurrent_cell_is_one_picture() -> None:
    figure = build_figure(RNN)
    assert [text.get_text() for text in figure.texts] == ["recurrent cell"]
    assert sorted(t.get_text() for t in labels(figure.axes[0])) == ["identity", "relu", "relu", "sigmoid", "tanh"]


def test_nested_lists_are_the_same_cell() -> None:
    pairs = CNN["normal"]
    nested = {**CNN, "normal": [pairs[i : i + 2] for i in range(0, len(pairs), 2)]}
    flat_labels, nested_labels = (
        [(t.get_text(), t.get_position()) for axes in build_figure(g).axes for t in labels(axes)] for g in (CNN, nested)
    )
    assert flat_labels == nested_labels


def test_a_cell_of_nasbench201_is_drawn_with_all_its_edges() -> None:
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
    figure = build_figure(Genotype.from_json(text).to_json())
    assert [text.get_text() for text in figure.texts] == ["cell"]
    found = Counter(text.get_text() for text in labels(figure.axes[0]))
    assert found == Counter({"none": 2, "nor 3x3": 1, "nor 1x1": 1, "skip": 1, "avg pool": 1})


def test_parallel_edges_are_drawn_apart() -> None:
    pairs = [["sep_conv_3x3", 0], ["skip_connect", 0]]
    cell = {"normal": pairs, "normal_concat": [2], "reduce": pairs, "reduce_concat": [2]}
    first, second = [p for p in build_figure(cell).axes[0].patches if isinstance(p, FancyArrowPatch)][:2]
    middles = [p.get_path().interpolated(20).vertices.mean(axis=0) for p in (first, second)]
    assert abs(middles[0] - middles[1]).max() > 0.1


@pytest.mark.parametrize("genotype", [CNN, RNN], ids=["cnn", "rnn"])
def test_no_label_touches_a_node_or_another_label(genotype: dict[str, Any]) -> None:
    figure = build_figure(genotype)
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [text.get_bbox_patch().get_window_extent() for text in labels(axes)]
        nodes = [p.get_window_extent() for p in axes.patches if not isinstance(p, FancyArrowPatch)]
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
        # A node's own square is a little larger than its circle, so leave the corners out.
        assert not any(box.overlaps(node.expanded(0.8, 0.8)) for box in boxes for node in nodes)


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_writes_png_svg_and_pdf(tmp_path: Path, suffix: str, magic: bytes) -> None:
    path = tmp_path / f"cell{suffix}"
    draw_genotype(TINY, path, "a_$_title")
    assert path.read_bytes().startswith(magic)


def test_other_suffixes_and_missing_folders_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.png, \.svg or \.pdf"):
        draw_genotype(TINY, tmp_path / "cell.gif")
    with pytest.raises(InputError, match="cannot write"):
        draw_genotype(TINY, tmp_path / "absent" / "cell.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "genotype",
    [
        {},
        {"normal": [["skip_connect", 0]] * 3, "normal_concat": [2, 3]},
        {"normal": [["skip_connect", 0], ["skip_connect", 2]], "normal_concat": [2]},
        {"normal": [["skip_connect", 0], ["skip_connect", 1]]},
        {"recurrent": [["tanh", 0]], "concat": [2]},
        {"recurrent": [[0, "tanh"]], "concat": [1]},
    ],
)
def test_invalid_genotype_is_an_input_error(genotype: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="genotype"):
        build_figure(genotype)


def large(nodes: int) -> dict[str, Any]:
    """A genotype with two edges a node, from random sources."""
    random = np.random.default_rng(0)
    names = ["sep_conv_3x3", "dil_conv_5x5", "skip_connect", "max_pool_3x3"]
    chosen = [sorted(random.choice(node + 2, 2, replace=False).tolist()) for node in range(nodes)]
    pairs = [[names[int(random.integers(4))], src] for sources in chosen for src in sources]
    concat = list(range(2, nodes + 2))
    return {"normal": pairs, "normal_concat": concat, "reduce": pairs, "reduce_concat": concat}


@pytest.mark.parametrize("nodes", [8, 40, 100])
def test_cells_of_tens_of_nodes_are_drawn_in_seconds(nodes: int) -> None:
    began = time.process_time()
    figure = build_figure(large(nodes))
    assert time.process_time() - began < 5
    assert [len(labels(axes)) for axes in figure.axes] == [2 * nodes, 2 * nodes]


def test_show_says_why_a_genotype_of_very_many_edges_is_not_drawn(tmp_path: Path) -> None:
    (tmp_path / "g.json").write_text(json.dumps(large(101)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raydarts.genotype_facts.facts", lambda found, where: {"id": found.id})
        asked = run_here("show", "g.json", "--json", "--out", "g.svg", cwd=tmp_path)
    assert asked.code == 2
    assert "the cells have 606 edges, and at most 600 are drawn" in asked.err
    assert [path.name for path in tmp_path.iterdir()] == ["g.json"]
