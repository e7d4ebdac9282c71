"""How sharp the validation loss is in alpha."""

from __future__ import annotations

from pydantic import Field

from raydarts import registry
from raydarts.search.moments import EpochReport
from raydarts.search.probes.base import Probe


class Eigenvalue(Probe):
    """Largest eigenvalue of the alpha Hessian of L_val on a fixed alpha-batch, every `every` epochs; null between."""

    NAME = "eigenvalue"
    SOURCE = "RobustDARTS (Zela et al. 2020, arXiv 1909.09656), section 4"
    METRICS = ("eigenvalue",)

    class Settings(registry.Settings):
        every: int = Field(1, ge=1)

    def measure(self, report: EpochReport) -> dict[str, float | int | None]:
        due = report.epoch % self.settings.every == 0
        return {"eigenvalue": report.dominant_eigenvalue() if due else None}
