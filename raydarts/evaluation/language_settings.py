"""Settings of one evaluation on text: a recurrent genotype's network is trained from scratch.

The defaults are the DARTS paper's on the Penn Treebank (appendix A.2.2). Where it is silent they are those of the
authors' code (rnn/train.py). docs/presets.md names both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from raydarts.data.settings import TextSettings
from raydarts.float32 import require_float32
from raydarts.registry import Around, Idle, Settings
from raydarts.spaces.regularization import RecurrentNetworkSettings
from raydarts.study.objectives import PERPLEXITY, Score
from raydarts.units import Columns, Epochs, Unit


class EvaluationTextSettings(TextSettings):
    """As in the search, except that the length of training batches varies by default."""

    bptt_deviation: Annotated[float, Unit("tokens")] = Field(
        5.0, ge=0, description="Standard deviation of a training batch's length. 0 does not vary it."
    )


class LanguageSettings(Settings):
    """Training of a recurrent genotype's network: SGD without momentum, then averaged SGD."""

    SCORE: ClassVar[Score] = PERPLEXITY

    name: Literal["language"] = Field("language", description="Training of a language model.")
    epochs: Epochs = Field(8000, ge=1, description="How often training goes over the training text.")
    batch_size: Columns = Field(64, ge=1, description="Columns that the training text is cut into.")
    lr: float = Field(20.0, gt=0, description="Learning rate of SGD and averaged SGD.")
    weight_decay: float = Field(8e-7, ge=0, description="Weight decay.")
    grad_clip: float = Field(0.25, ge=0, description="Largest L2 norm of the gradient. 0 does not clip.")
    nonmonotone: Epochs | None = Field(
        5,
        ge=1,
        description="Averaging begins when the validation loss is above the least loss of all epochs but the "
        "last this many. `null` never averages.",
    )
    test_columns: Columns = Field(1, ge=1, description="Columns that the test text is cut into.")
    precision: Literal["float32", "float64"] = Field("float32", description="Type of all numbers.")
    tf32: bool = Field(False, description="Whether a GPU may round float32 numbers to TF32 when it multiplies.")
    text: EvaluationTextSettings = Field(EvaluationTextSettings(), description="How text is cut into batches.")
    network: RecurrentNetworkSettings = Field(
        RecurrentNetworkSettings(), description="Size and dropout of the network."
    )

    def idle(self, around: Around) -> Iterator[Idle]:
        if self.tf32 and around.gpus == 0:
            yield Idle("tf32", "is for GPUs, and a trial is given none (resources.gpus is 0); leave it out")
        # Averaging starts after epoch nonmonotone + 2 at the earliest. It acts in later epochs.
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
        """Returns how many columns each part of the text is cut into."""
        return {"search": self.batch_size, "validation": self.text.measured_columns, "test": self.test_columns}
