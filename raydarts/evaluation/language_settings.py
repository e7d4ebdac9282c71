"""Settings of one evaluation on text: a recurrent genotype's network trained from scratch.

The defaults are the DARTS paper's on the Penn Treebank (appendix A.2.2) and, where it is silent, the authors' code
(rnn/train.py); docs/presets.md names both.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from raydarts.registry import Settings
from raydarts.runs.score import PERPLEXITY, Score


class LanguageNetworkSettings(Settings):
    """Size and dropouts of the discrete network: probabilities with which a unit is zero, the rest scaled up.

    `hidden`: units of the embedding and of the cell, whose output layer is the embedding's transpose. `drop_words`
    drops whole words of the embedding, `drop_input` units of the embedded words, `drop_cell_input` and `drop_hidden`
    units of what enters the cell (one mask a sequence), `drop_output` units of what leaves it.
    """

    hidden: int = Field(850, ge=1)
    drop_words: float = Field(0.1, ge=0, lt=1)
    drop_input: float = Field(0.2, ge=0, lt=1)
    drop_cell_input: float = Field(0.75, ge=0, lt=1)
    drop_hidden: float = Field(0.25, ge=0, lt=1)
    drop_output: float = Field(0.75, ge=0, lt=1)


class LanguageSettings(Settings):
    """Training of a recurrent genotype's network: SGD without momentum, then averaged SGD.

    `batch_size`: columns the training text is cut into. `bptt`: the middle of the random window lengths (see
    `Columns.random`), by which the learning rate of a step is scaled, lr * length / bptt. `grad_clip`: largest L2
    norm of the gradient (0: none). `activation_penalty` times the mean square of the dropped outputs, and
    `slowness_penalty` times the mean square of their change from step to step, are added to the loss. `nonmonotone`:
    averaging begins after an epoch whose validation loss is above the least of all but the last so many before it;
    null: never. `validation_columns` and `test_columns`: columns the held-out texts are cut into.
    """

    SCORE: ClassVar[Score] = PERPLEXITY

    name: Literal["language"] = "language"
    epochs: int = Field(8000, ge=1)
    batch_size: int = Field(64, ge=1)
    lr: float = Field(20.0, gt=0)
    weight_decay: float = Field(8e-7, ge=0)
    grad_clip: float = Field(0.25, ge=0)
    bptt: int = Field(35, ge=1)
    activation_penalty: float = Field(0.0, ge=0)
    slowness_penalty: float = Field(1e-3, ge=0)
    nonmonotone: int | None = Field(5, ge=1)
    validation_columns: int = Field(10, ge=1)
    test_columns: int = Field(1, ge=1)
    precision: Literal["float32", "float64"] = "float32"
    network: LanguageNetworkSettings = LanguageNetworkSettings()
