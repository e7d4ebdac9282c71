"""How sharp the validation loss is in alpha."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from raydarts import registry
from raydarts.registry import Around, Idle
from raydarts.search.moments import EpochReport
from raydarts.search.probes.base import Probe
from raydarts.units import Epochs


class Eigenvalue(Probe):
    """Largest eigenvalue of the alpha Hessian of L_val on a fixed alpha-batch.

    It is measured every `every` epochs. In other epochs it is null.
    """

    NAME = "eigenvalue"
    SOURCE = "RobustDARTS (Zela et al. 2020, arXiv 1909.09656), section 4"
    METRICS = ("eigenvalue",)

    class Settings(registry.Settings):
        every: Epochs = Field(1, ge=1, description="Epochs from one measurement to the next.")

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        epochs = around.section.total_epochs
        if self.settings.every > epochs:
            what = f"is {self.settings.every}, and a search has {epochs} epochs: it is never measured"
            yield Idle("every", f"{what}; write at most {epochs}")

    def needs_eigenvalue(self, epoch: int) -> bool:
        return bool(epoch % self.settings.every == 0)

    def measure(self, report: EpochReport) -> dict[str, float | int | None]:
        return {"eigenvalue": report.dominant_eigenvalue() if self.needs_eigenvalue(report.epoch) else None}
