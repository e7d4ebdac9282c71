"""Figures that an objective, a constraint or a stop may name. A probe is switched on where a spec names its figure."""

from __future__ import annotations

import math
from statistics import fmean

from pydantic import Field

from raydarts import registry
from raydarts.genotype_facts import network_cost
from raydarts.search.moments import EpochReport
from raydarts.search.probes.base import Probe
from raydarts.search.probes.entropy import Entropy
from raydarts.search.short_training import ShortTraining
from raydarts.states import State
from raydarts.units import Channels, Entries, Epochs, StackedCells

Metrics = dict[str, float | int | None]


class Skips(Probe):
    """Number of the genotype's edges that are skip connections, in all cell types together."""

    NAME = "skips"
    SOURCE = "DARTS+ (arXiv 1909.06035)"
    METRICS = ("skips",)

    def measure(self, report: EpochReport) -> Metrics:
        return {"skips": sum(report.genotype.skips(report.space.SKIP).values())}


class EntropyMean(Entropy):
    """Mean entropy of the arch weights in nats over all cell types."""

    NAME = "entropy_mean"
    METRICS = ("entropy_mean",)

    def measure(self, report: EpochReport) -> Metrics:
        return {"entropy_mean": fmean(float(value or 0.0) for value in super().measure(report).values())}


class TrainValidGap(Probe):
    """Held-out loss minus the loss on the weights' half, in nats. It is null if nothing is held out."""

    NAME = "train_valid_gap"
    SOURCE = "ours"
    METRICS = ("train_valid_gap",)

    def measure(self, report: EpochReport) -> Metrics:
        held, learned = report.metrics.get("validation_loss"), report.metrics.get("weight_loss")
        known = isinstance(held, int | float) and isinstance(learned, int | float)
        return {"train_valid_gap": held - learned if known else None}  # type: ignore[operator]


class NetworkCost(Probe):
    """Parameters and FLOPs of the genotype's standard evaluation network, as `raydarts show` counts them."""

    NAME = "network_cost"
    SOURCE = "ours: raydarts.genotype_facts"
    METRICS = ("parameters", "flops")

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._known: dict[str, tuple[int, int]] = {}

    def measure(self, report: EpochReport) -> Metrics:
        genotype = report.genotype
        if genotype.id not in self._known:
            self._known[genotype.id] = network_cost(report.space, genotype)
        parameters, flops = self._known[genotype.id]
        return {"parameters": parameters, "flops": flops}


class SearchSeconds(Probe):
    """Seconds that the epochs of the search have taken so far, without what is measured after this probe."""

    NAME = "search_seconds"
    SOURCE = "ours"
    METRICS = ("search_seconds",)

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._total = 0.0

    def measure(self, report: EpochReport) -> Metrics:
        self._total += report.seconds
        return {"search_seconds": self._total}

    def state_dict(self) -> State:
        return {"total": self._total}

    def load_state_dict(self, state: State) -> None:
        self._total = state["total"]


class GenotypeStability(Probe):
    """For how many epochs in turn the genotype has been the same. 1: it has just changed."""

    NAME = "genotype_stability"
    SOURCE = "DARTS+ (arXiv 1909.06035), criterion 2"
    METRICS = ("genotype_stability",)

    def measure(self, report: EpochReport) -> Metrics:
        last = report.genotype.id
        changed = next((n for n, each in enumerate(reversed(report.genotypes)) if each.id != last), None)
        return {"genotype_stability": len(report.genotypes) if changed is None else changed}


class EigenvalueRatio(Probe):
    """The mean of the last eigenvalues divided by that of some evaluations ago. Null until there are enough."""

    NAME = "eigenvalue_ratio"
    SOURCE = "RobustDARTS (Zela et al. 2020, arXiv 1909.09656), section 4.3"
    METRICS = ("eigenvalue_ratio",)

    class Settings(registry.Settings):
        every: Epochs = Field(2, ge=1, description="Epochs from one eigenvalue to the next.")
        window: int = Field(5, ge=1, description="How many eigenvalues each mean covers.")
        lag: int = Field(4, ge=1, description="How many eigenvalues lie between the two means.")

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._values: list[float] = []

    def needs_eigenvalue(self, epoch: int) -> bool:
        return bool(epoch % self.settings.every == 0)

    def measure(self, report: EpochReport) -> Metrics:
        if not self.needs_eigenvalue(report.epoch):
            return {"eigenvalue_ratio": None}
        self._values.append(report.dominant_eigenvalue())
        window, before = self.settings.window, len(self._values) - self.settings.lag
        if before < 1:
            return {"eigenvalue_ratio": None}
        then = fmean(self._values[max(0, before - window) : before])
        ratio = fmean(self._values[-window:]) / then if then > 0 else math.nan
        return {"eigenvalue_ratio": ratio if math.isfinite(ratio) else None}

    def state_dict(self) -> State:
        return {"values": list(self._values)}

    def load_state_dict(self, state: State) -> None:
        self._values = list(state["values"])


class DiscretisationGap(Probe):
    """Held-out loss of the genotype's cell with the supernet's weights, minus the supernet's loss, in nats.

    It costs two passes over the held-out data. In other epochs than every `every`-th it is null.
    """

    NAME = "discretisation_gap"
    SOURCE = "after DARTS-PT (Wang et al. 2021, arXiv 2108.04392), section 3"
    METRICS = ("discretisation_gap",)

    class Settings(registry.Settings):
        every: Epochs = Field(1, ge=1, description="Epochs from one measurement to the next.")

    def measure(self, report: EpochReport) -> Metrics:
        if report.epoch % self.settings.every and report.epoch < report.epochs:
            return {"discretisation_gap": None}
        if report.measure_discretisation is None:
            raise ValueError("this report knows no supernet")
        gap = report.measure_discretisation()
        return {"discretisation_gap": gap if math.isfinite(gap) else None}


class ShortRetrain(Probe):
    """Score of a small network of the genotype after a short training from scratch: accuracy, on text minus the loss.

    It is trained on the weights' half and measured on held-out data, after every `every`-th epoch and the last one.
    """

    NAME = "short_retrain"
    SOURCE = "ours; NAS-Bench-201 (arXiv 2001.00326) has such trainings of 12 epochs"
    METRICS = ("short_retrain",)

    class Settings(registry.Settings):
        every: Epochs = Field(1, ge=1, description="Epochs from one training to the next.")
        epochs: Epochs = Field(3, ge=1, description="Epochs of each training. The learning rate falls to 0.")
        channels: Channels = Field(8, ge=2, description="Channels of a network of images.")
        layers: StackedCells = Field(6, ge=3, description="Cells of a network of images.")
        units: Entries = Field(64, ge=1, description="Units of a recurrent network.")
        lr: float | None = Field(
            None, gt=0, description="Learning rate of the first epoch. `null` is 0.025 on images, 20 on text."
        )

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._last: tuple[str, float] | None = None

    def measure(self, report: EpochReport) -> Metrics:
        chosen = self.settings
        if report.epoch % chosen.every and report.epoch < report.epochs:
            return {"short_retrain": None}
        if report.train_shortly is None:
            raise ValueError("this report knows no data")
        if self._last is None or self._last[0] != report.genotype.id:  # equal genotypes train alike
            training = ShortTraining(chosen.epochs, chosen.lr, chosen.channels, chosen.layers, chosen.units)
            self._last = (report.genotype.id, report.train_shortly(training))
        score = self._last[1]
        return {"short_retrain": score if math.isfinite(score) else None}

    def state_dict(self) -> State:
        return {"last": None if self._last is None else list(self._last)}

    def load_state_dict(self, state: State) -> None:
        self._last = None if state["last"] is None else (state["last"][0], state["last"][1])
