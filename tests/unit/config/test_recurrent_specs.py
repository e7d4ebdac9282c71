"""What does not fit together in specs of recurrent searches: told when the spec is read, at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydarts.config.loader import load_spec
from raydarts.errors import SpecError

TEXT = "data: {dataset: pydoc_topics}\nsweep: {objective: healthy_perplexity}\nsearch:\n  space: darts-rnn\n"

# name: (the spec, the line, the dotted path, what the message must hold)
BAD: dict[str, tuple[str, int, str, list[str]]] = {
    "a recurrent space on images": (
        "data: {dataset: digits}\nsearch:\n  epochs: 1\n  space: darts-rnn\n",
        4,
        "search.space",
        ["darts-rnn is for text data", "digits is image", "darts-cnn"],
    ),
    "a convolutional space on text": (
        "data: {dataset: pydoc_topics}\nsearch:\n  space: {name: nasbench201}\n",
        3,
        "search.space",
        ["nasbench201 is for image data", "spaces for text: darts-rnn"],
    ),
    "one of several swept spaces": (
        "data: {dataset: digits}\nsearch:\n  space:\n    choice: [darts-cnn, darts-rnn]\n",
        3,
        "search.space",
        ["darts-rnn is for text data"],
    ),
    "augmented text": (TEXT + "  augment: {flip: true}\n", 5, "search.augment", ["is for image", "leave augment out"]),
    "bptt of images": ("search:\n  text:\n    bptt: 20\n", 2, "search.text", ["is for text", "leave text out"]),
    "an accuracy of text": (
        TEXT.replace("perplexity", "accuracy"),
        2,
        "sweep.objective",
        ["healthy_accuracy reads 'validation_accuracy', which is not reported", "validation_perplexity"],
    ),
    "a perplexity of images": (
        "sweep: {objective: validation_perplexity}\n",
        1,
        "sweep.objective",
        ["is not reported", "validation_accuracy"],
    ),
    "channels of a vector": (
        TEXT + "  regularizers:\n    - beta_decay\n    - partial_channels\n",
        7,
        "search.regularizers.1",
        ["partial_channels cannot be combined with the space darts-rnn", "have no channels"],
    ),
    "layers of a cell": (
        TEXT + "  epochs: 6\n  regularizers:\n    - progressive\n",
        7,
        "search.regularizers.0",
        ["darts-rnn has no number of layers to change", "set layers: null"],
    ),
    "a convolution of vectors": (
        TEXT + "  regularizers:\n    - {name: auxiliary_skip, operation: conv1}\n",
        6,
        "search.regularizers.0",
        ["vectors", "choose skip"],
    ),
    "two edges a node": (
        TEXT + "  selection: {name: argmax, edges_per_node: 2}\n",
        5,
        "search.selection",
        ["every node of space darts-rnn has 1 edge, not 2"],
    ),
    "nodes without an edge": (
        TEXT + "  relaxation: sigmoid\n  selection: threshold\n",
        6,
        "search.selection",
        ["leaves nodes without any", "argmax"],
    ),
    "all is dropped": (
        TEXT.replace("darts-rnn", "{name: darts-rnn, cell_dropout: 1}"),
        4,
        "search.space.cell_dropout",
        ["less than 1"],
    ),
    "a clip below zero": (
        TEXT + "  estimator: {name: exact_hvp, grad_clip: -1}\n",
        5,
        "search.estimator.grad_clip",
        ["at least 0"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_spec_is_refused_at_its_line(name: str, tmp_path: Path) -> None:
    text, line, path, words = BAD[name]
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    found = [problem for problem in caught.value.problems if problem.path == path]
    assert found, caught.value
    assert found[0].line == line
    for word in words:
        assert word in found[0].message


def test_a_sound_recurrent_spec_is_read(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(TEXT + "  estimator: {name: finite_difference, grad_clip: 0.25}\n  text: {bptt: 20}\n")
    settings = load_spec(file).settings_of(load_spec(file).search.materialise(None))
    assert settings.space.name == "darts-rnn"
    assert settings.estimator.settings.grad_clip == 0.25
    assert settings.text.bptt == 20
