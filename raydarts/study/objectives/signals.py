"""Figures of a search by name: plain objectives, constraints and reasons to stop. None of them looks at health."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from raydarts import registry
from raydarts.study.objectives.base import Direction, Objective


class Column(Objective):
    """Any column of the rows, such as one that a probe of your own writes."""

    NAME = "column"
    SOURCE = "ours"

    class Settings(registry.Settings):
        column: str = Field(min_length=1, description="The column of the rows.")
        direction: Literal["max", "min"] = Field(description="Whether a larger or a smaller figure is better.")

    @property
    def column(self) -> str:
        return str(self.settings.column)


class Either(Objective):
    """A figure of which nobody knows for all uses which way is better."""

    class Settings(registry.Settings):
        direction: Literal["max", "min"] | None = Field(
            None, description="Whether a larger or a smaller figure is better. `null`: as the objective says."
        )


class ValidationAccuracy(Objective):
    """The supernet's accuracy on held-out data."""

    NAME = "validation_accuracy"
    SOURCE = "Liu, Simonyan, Yang 2018 (arXiv 1806.09055)"
    COLUMN = "validation_accuracy"
    UNIT = "share"


class ValidationLoss(Objective):
    """The supernet's loss on held-out data."""

    NAME = "validation_loss"
    SOURCE = "Liu, Simonyan, Yang 2018 (arXiv 1806.09055)"
    COLUMN = "validation_loss"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "nats"


class ValidationPerplexity(Objective):
    """The supernet's perplexity on held-out data."""

    NAME = "validation_perplexity"
    SOURCE = "Liu, Simonyan, Yang 2018 (arXiv 1806.09055)"
    COLUMN = "validation_perplexity"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "perplexity"


class AlphaAccuracy(Objective):
    """The supernet's accuracy on alpha's half of the data, on which alpha learns."""

    NAME = "alpha_accuracy"
    SOURCE = "Liu, Simonyan, Yang 2018 (arXiv 1806.09055)"
    COLUMN = "alpha_accuracy"
    UNIT = "share"


class AlphaLoss(Objective):
    """The supernet's loss on alpha's half of the data, on which alpha learns."""

    NAME = "alpha_loss"
    SOURCE = "Liu, Simonyan, Yang 2018 (arXiv 1806.09055)"
    COLUMN = "alpha_loss"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "nats"


class AlphaPerplexity(Objective):
    """The supernet's perplexity on alpha's half of the data, on which alpha learns."""

    NAME = "alpha_perplexity"
    SOURCE = "Liu, Simonyan, Yang 2018 (arXiv 1806.09055)"
    COLUMN = "alpha_perplexity"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "perplexity"


class WeightAccuracy(Objective):
    """The supernet's accuracy on the weights' half of the data, on which the weights learn."""

    NAME = "weight_accuracy"
    SOURCE = "Liu, Simonyan, Yang 2018 (arXiv 1806.09055)"
    COLUMN = "weight_accuracy"
    UNIT = "share"


class WeightLoss(Objective):
    """The supernet's loss on the weights' half of the data, on which the weights learn."""

    NAME = "weight_loss"
    SOURCE = "Liu, Simonyan, Yang 2018 (arXiv 1806.09055)"
    COLUMN = "weight_loss"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "nats"


class WeightPerplexity(Objective):
    """The supernet's perplexity on the weights' half of the data, on which the weights learn."""

    NAME = "weight_perplexity"
    SOURCE = "Liu, Simonyan, Yang 2018 (arXiv 1806.09055)"
    COLUMN = "weight_perplexity"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "perplexity"


class TrainValidGap(Either):
    """Held-out loss minus the loss on the weights' half. By default a smaller gap is better."""

    NAME = "train_valid_gap"
    SOURCE = "ours"
    COLUMN = "train_valid_gap"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "nats"
    PROBE = "train_valid_gap"


class Parameters(Either):
    """Parameters of the genotype's standard network. By default fewer are better."""

    NAME = "parameters"
    SOURCE = "ours"
    COLUMN = "parameters"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "parameters"
    PROBE = "network_cost"


class Flops(Either):
    """FLOPs of the genotype's standard network for one input, two per multiply-add. By default fewer are better."""

    NAME = "flops"
    SOURCE = "ours"
    COLUMN = "flops"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "FLOPs"
    PROBE = "network_cost"


class SearchSeconds(Objective):
    """Seconds that the search has trained and measured."""

    NAME = "search_seconds"
    SOURCE = "ours"
    COLUMN = "search_seconds"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "s"
    PROBE = "search_seconds"


class Skips(Either):
    """Skip connections of all cell types together. By default fewer are better."""

    NAME = "skips"
    SOURCE = "DARTS+ (arXiv 1909.06035)"
    COLUMN = "skips"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "edges"
    PROBE = "skips"


class SkipShare(Either):
    """Share of skip connections in the judged cell. By default fewer are better."""

    NAME = "skip_share"
    SOURCE = "ours"
    COLUMN = "skip_share"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "share"
    PROBE = "cell_facts"


class ParameterFreeShare(Either):
    """Share of the judged cell's edges without parameters. By default fewer are better."""

    NAME = "parameter_free_share"
    SOURCE = "ours"
    COLUMN = "parameter_free_share"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "share"
    PROBE = "cell_facts"


class Entropy(Either):
    """Mean entropy of the arch weights over cell types. By default less (more decided) is better."""

    NAME = "entropy"
    SOURCE = "Shannon entropy"
    COLUMN = "entropy_mean"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "nats"
    PROBE = "entropy_mean"


class Eigenvalue(Objective):
    """Largest eigenvalue of the alpha Hessian of the validation loss."""

    NAME = "eigenvalue"
    SOURCE = "RobustDARTS (arXiv 1909.09656), section 4"
    COLUMN = "eigenvalue"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "1"
    PROBE = "eigenvalue"


class EigenvalueRatio(Objective):
    """The eigenvalue's running mean divided by that of some epochs ago."""

    NAME = "eigenvalue_ratio"
    SOURCE = "RobustDARTS (arXiv 1909.09656), section 4.3"
    COLUMN = "eigenvalue_ratio"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "1"
    PROBE = "eigenvalue_ratio"


class GenotypeStability(Either):
    """For how many epochs the genotype has not changed. By default longer is better."""

    NAME = "genotype_stability"
    SOURCE = "DARTS+ (arXiv 1909.06035), criterion 2"
    COLUMN = "genotype_stability"
    UNIT = "epochs"
    PROBE = "genotype_stability"


class DiscretisationGap(Objective):
    """Held-out loss of the derived cell with the supernet's weights, minus the supernet's."""

    NAME = "discretisation_gap"
    SOURCE = "after DARTS-PT (arXiv 2108.04392), section 3"
    COLUMN = "discretisation_gap"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "nats"
    PROBE = "discretisation_gap"


class ShortRetrain(Objective):
    """Score of the derived cell after a short training from scratch: accuracy, on text -loss."""

    NAME = "short_retrain"
    SOURCE = "ours; annealed short training as in NAS-Bench-201 (arXiv 2001.00326)"
    COLUMN = "short_retrain"
    UNIT = "1"
    PROBE = "short_retrain"
