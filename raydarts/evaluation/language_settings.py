"""Settings of one evaluation on text: a recurrent genotype's network trained from scratch.

The defaults are the DARTS paper's on the Penn Treebank (appendix A.2.2) and, where it is silent, the authors' code
(rnn/train.py); docs/presets.md names both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from raydarts.data.settings import TextSettings
from raydarts.float32 import require_float32
from raydarts.registry import Around, Idle, Settings
from raydarts.spaces.regularization import RecurrentNetworkSettings
from raydarts.study.objectives import PERPLEXITY, Score


class EvaluationTextSettings(TextSettings):
    """As in the search, but for the lengths of training batches, which are drawn about `bptt`."""

    bptt_deviation: float = Field(5.0, ge=0)


class LanguageSettings(Settings):
    """Training of a recurrent genotype's network: SGD without momentum, then averaged SGD.

    `batch_size`: columns the training text is cut into, `test_columns` those of the test text; `text`: how long a
    batch is, by which a step's learning rate is scaled. `grad_clip`: largest L2 norm of the gradient (0: none).
    `nonmonotone`: averaging begins after an epoch whose validation loss is above the least of all but the last so
    many before it; null: never. `tf32`: see `float32.arithmetic`.
    """

    SCORE: ClassVar[Score] = PERPLEXITY

    name: Literal["language"] = "language"
    epochs: int = Field(8000, ge=1)
    batch_size: int = Field(64, ge=1)
    lr: float = Field(20.0, gt=0)
    weight_decay: float = Field(8e-7, ge=0)
    grad_clip: float = Field(0.25, ge=0)
    nonmonotone: int | None = Field(5, ge=1)
    test_columns: int = Field(1, ge=1)
    precision: Literal["float32", "float64"] = "float32"
    tf32: bool = False
    text: EvaluationTextSettings = EvaluationTextSettings()
    network: RecurrentNetworkSettings = RecurrentNetworkSettings()

    def idle(self, around: Around) -> Iterator[Idle]:
        if self.tf32 and around.gpus == 0:
            yield Idle("tf32", "is for GPUs, and a trial is given none (resources.gpus is 0); leave it out")
        # Averaging begins after epoch nonmonotone + 2 at the earliest, and acts in the epochs after it.
        if self.nonmonotone is not None and self.nonmonotone + 2 >= self.epochs:
            yield Idle(
                "nonmonotone",
                f"is {self.nonmonotone}, and in {self.epochs} epochs averaging never begins; write "
                f"{f'{self.epochs - 3} or less, or ' if self.epochs > 3 else ''}null",
            )

    @field_validator("tf32")
    @classmethod
    def _rounds_float32(cls, value: bool, info: ValidationInfo) -> bool:
        require_float32(value, info.data.get("precision"))
        return value

    @property
    def columns(self) -> dict[str, int]:
        """How many columns each part of the text is cut into."""
        return {"search": self.batch_size, "validation": self.text.measured_columns, "test": self.test_columns}
