"""A remedy of one's own: skip connections are free up to a budget, and cost alpha beyond it."""

from pydantic import Field

from raydarts import registry
from raydarts.search.regularizers.base import Regularizer


class SkipBudget(Regularizer):
    """Adds strength * (mean arch weight of skips above `budget`) to the loss that alpha descends."""

    NAME = "skip_budget"
    SOURCE = "docs/remedies.md"
    NEUTRAL = {"strength": 0.0}
    FORMULA = "L_val + strength * mean over edges of max(0, w_skip - budget)"

    class Settings(registry.Settings):
        strength: float = Field(1.0, ge=0, description="Factor on the penalty.")
        budget: float = Field(0.1, ge=0, le=1, description="Arch weight that costs nothing.")

    def attach(self, space, objective):
        self.columns = {name: [row.index(space.SKIP) for row in cell.candidates] for name, cell in space.cells.items()}

    def penalty(self, alphas, arch_weights):
        if self.settings.strength == 0:
            return None
        excess = [
            (weights[edge, column] - self.settings.budget).clamp_min(0)
            for name, weights in arch_weights.items()
            for edge, column in enumerate(self.columns[name])
        ]
        return self.settings.strength * sum(excess) / len(excess)
