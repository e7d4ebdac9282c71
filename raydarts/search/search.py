"""One bilevel search: the paper's Algorithm 1, epoch by epoch, on plain PyTorch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from raydarts.data.batches import Batch
from raydarts.data.parts import batches
from raydarts.data.splits import Splits
from raydarts.errors import InputError
from raydarts.measure import Meter, peak_memory_mb, require_finite, reset_peak_memory
from raydarts.search.architect import Architect
from raydarts.search.estimators.base import constant
from raydarts.search.objective import Loss, Objective
from raydarts.search.regularizers.base import EpochReport, Regularizer, Stop
from raydarts.search.selection.base import Selection
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Genotype, Space
from raydarts.spaces.primitives import draw_from
from raydarts.streams import Streams


def optimizer_settings(settings: SearchSettings, regularizers: Sequence[Regularizer]) -> dict[str, float]:
    """The optimizers' settings after the remedies' overrides. Two remedies that replace one setting: `InputError`."""
    asked = {name: float(getattr(settings, name)) for name in ("weight_decay", "arch_weight_decay", "lr", "arch_lr")}
    taken: dict[str, str] = {}
    final = dict(asked)
    for regularizer in regularizers:
        for name, value in regularizer.optimizer_overrides(asked).items():
            if name in taken:
                raise InputError(f"{taken[name]} and {regularizer.NAME} both set {name}: choose one of them")
            taken[name], final[name] = regularizer.NAME, value
    return final


class Search:
    """A search as a job: `run_epoch` until `finished`, then `result`. See `runs.job.Job`.

    Weights learn from one part of the training data and alpha from another, disjoint one. Differs from
    the authors' code where it leaves values open: alpha-batches are a shuffled pass (they draw with
    replacement), and passes of the architect leave batch-norm statistics alone.
    """

    def __init__(self, settings: SearchSettings, splits: Splits, device: torch.device | str = "cpu") -> None:
        self.settings = settings
        self.device = torch.device(device)
        self.dtype = getattr(torch, settings.precision)
        self.streams = Streams(settings.seed, self.device)
        self.space: Space = settings.space.build()
        self.regularizers: list[Regularizer] = [component.build() for component in settings.regularizers]
        for regularizer in self.regularizers:
            regularizer.bind(self.streams)
        self.selection: Selection = settings.selection.build()
        self.selection.check(self.space)
        self.probes = [component.build() for component in settings.probes]
        self.data = {
            part: batches(splits, part, self.device, self.dtype, settings.augment if part != "validation" else None)
            for part in ("weight", "alpha", "validation")
            if len(getattr(splits, part))
        }
        self._build(splits)
        self.epoch = 0
        self.stop: Stop | None = None
        self.genotypes: list[Genotype] = []
        self.metrics: dict[str, Any] = {}

    def _build(self, splits: Splits) -> None:
        """Supernet, alpha, objective, optimizers."""
        settings = self.settings
        transforms = [transform for r in self.regularizers if (transform := r.transform()) is not None]
        with self.streams.globally("weight_init"):
            supernet = self.space.supernet(splits.source.image_shape, splits.source.num_classes, transforms)
        self.supernet = supernet.to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        draw_from(self.supernet, self.streams["dropout"])
        self.alphas = {name: self._initial_alpha(cell.alpha_shape) for name, cell in self.space.cells.items()}
        self.objective = Objective(
            self.supernet, self.alphas, settings.relaxation.build(), self.regularizers, self.streams
        )
        final = optimizer_settings(settings, self.regularizers)
        self.weight_optimizer = torch.optim.SGD(
            self.supernet.parameters(), final["lr"], settings.momentum, weight_decay=final["weight_decay"]
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.weight_optimizer, settings.epochs, settings.lr_min
        )
        alpha_optimizer = torch.optim.Adam(
            self.alphas.values(), final["arch_lr"], settings.arch_betas, weight_decay=final["arch_weight_decay"]
        )
        self.architect = Architect(
            self.objective, settings.estimator.build(), self.regularizers, alpha_optimizer, self.weight_optimizer
        )

    def _initial_alpha(self, shape: tuple[int, int]) -> nn.Parameter:
        generator = self.streams["alpha_init"]
        draws = torch.randn(shape, generator=generator, device=self.device, dtype=torch.float64)
        return nn.Parameter((self.settings.alpha_init * draws).to(self.dtype))

    @property
    def epochs(self) -> int:
        return self.settings.epochs

    @property
    def finished(self) -> bool:
        return self.stop is not None or self.epoch >= self.epochs

    @property
    def genotype(self) -> Genotype:
        """The genotype of the current alpha."""
        return self.selection(self.space, self._arch_weights())

    @torch.no_grad()
    def _arch_weights(self) -> Mapping[str, Tensor]:
        return self.objective.arch_weights()

    def run_epoch(self) -> dict[str, Any]:
        """One epoch, all of whose draws are this job's own."""
        with self.streams.governing():
            return self._run_epoch()

    def _run_epoch(self) -> dict[str, Any]:
        """Algorithm 1 over one pass of the weight half."""
        started = time.perf_counter()
        reset_peak_memory(self.device)
        lr = self.weight_optimizer.param_groups[0]["lr"]
        for regularizer in self.regularizers:
            regularizer.on_epoch_start(self.epoch, self.epoch / max(1, self.epochs - 1))
        meters = {"weight": Meter(), "alpha": Meter()}
        self.supernet.train()
        for number, (weight_batch, alpha_batch) in enumerate(self._batches()):
            # 1. Update alpha by descending dL_val(w - xi dL_train(w, alpha)/dw, alpha)/dalpha.
            alpha_loss = self.architect.gradient(weight_batch, alpha_batch)
            self._require_finite(alpha_loss, list(self.alphas.values()), "alpha", number)
            self.architect.step()
            # 2. Update w by descending dL_train(w, alpha)/dw.
            weight_loss = self._weight_gradient(weight_batch)
            self._require_finite(weight_loss, [], "weight", number)
            self.weight_optimizer.step()
            for name, loss in (("alpha", alpha_loss), ("weight", weight_loss)):
                meters[name].add(loss.data, loss.correct, loss.count)
        self.schedule.step()
        self.epoch += 1
        self.metrics = self._measure(meters) | {"lr": lr, "memory_mb": peak_memory_mb(self.device)}
        self._maybe_stop()
        self.metrics["seconds"] = time.perf_counter() - started
        return dict(self.metrics)

    def _batches(self) -> Iterator[tuple[Batch, Batch]]:
        """Pairs of a weight-batch and an alpha-batch; the alpha half is begun anew where it is shorter."""
        size = self.settings.batch_size
        alpha = (
            batch
            for _ in count()
            for batch in self.data["alpha"].epoch(size, self.streams["alpha_order"], self.streams["alpha_augment"])
        )
        weight = self.data["weight"].epoch(size, self.streams["weight_order"], self.streams["weight_augment"])
        return zip(weight, alpha, strict=False)

    def _weight_gradient(self, batch: Batch) -> Loss:
        """Puts dL_train/dw, clipped, into the weights' `.grad`; returns the loss."""
        weights = list(self.supernet.parameters())
        with constant(self.objective.alphas):
            loss = self.objective.perturbed_weight_loss(batch)
        gradients = torch.autograd.grad(loss.value, weights)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        for regularizer in self.regularizers:
            extra = regularizer.weight_gradient(weights, (self.objective, batch))
            if extra is not None:
                torch._foreach_add_([weight.grad for weight in weights], list(extra))
        if self.settings.grad_clip > 0:
            nn.utils.clip_grad_norm_(weights, self.settings.grad_clip)
        return loss

    def _require_finite(self, loss: Loss, alphas: Sequence[Tensor], side: str, batch: int) -> None:
        setting = "search.lr" if side == "weight" else "search.arch_lr, search.estimator or a penalty's strength"
        require_finite(loss.value, f"{side} loss", self.epoch + 1, batch, setting)
        for alpha in alphas:
            if alpha.grad is not None:
                require_finite(alpha.grad.sum(), "gradient of alpha", self.epoch + 1, batch, setting)

    def _measure(self, meters: Mapping[str, Meter]) -> dict[str, Any]:
        """The epoch's metrics; accuracies in [0, 1]."""
        arch_weights, genotype = self._arch_weights(), self.genotype
        self.genotypes.append(genotype)
        metrics: dict[str, Any] = {"epoch": self.epoch}
        for name, meter in meters.items():
            metrics |= {f"{name}_loss": meter.loss, f"{name}_accuracy": meter.accuracy}
        metrics |= self._validate()
        for probe in self.probes:
            metrics |= probe.measure(self.space, arch_weights, genotype)
        return metrics | {"genotype": genotype.to_json()}

    def _validate(self) -> dict[str, float | None]:
        """Held-out loss and accuracy of the supernet in evaluation mode (None where nothing is held out)."""
        if "validation" not in self.data:
            return {"validation_loss": None, "validation_accuracy": None}
        meter = Meter()
        self.supernet.eval()
        for batch in self.data["validation"].sequential(4 * self.settings.batch_size):
            loss = self.objective.measure(batch)
            meter.add(loss.data, loss.correct, loss.count)
        self.supernet.train()
        return {"validation_loss": meter.loss, "validation_accuracy": meter.accuracy}

    def _maybe_stop(self) -> None:
        report = EpochReport(self.epoch, self.metrics, tuple(self.genotypes))
        for regularizer in self.regularizers:
            if self.stop is None:
                self.stop = regularizer.should_stop(report)

    def result(self) -> dict[str, Any]:
        """The last epoch's metrics with the chosen genotype, its skips, alpha, and why it stopped early, if it did."""
        kept = self.genotypes[self.stop.epoch - 1] if self.stop and self.stop.epoch else self.genotypes[-1]
        return self.metrics | {
            "genotype": kept.to_json(),
            "genotype_id": kept.id,
            "skips": kept.skips(self.space.SKIP),
            "alpha": {name: alpha.detach().double().cpu().tolist() for name, alpha in self.alphas.items()},
            "stopped_early": self.stop.reason if self.stop else None,
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "kind": "search",
            "epoch": self.epoch,
            "supernet": self.supernet.state_dict(),
            "alpha": {name: alpha.detach() for name, alpha in self.alphas.items()},
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "alpha_optimizer": self.architect.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "streams": self.streams.state_dict(),
            "regularizers": [regularizer.state_dict() for regularizer in self.regularizers],
            "genotypes": [genotype.to_json() for genotype in self.genotypes],
            "metrics": self.metrics,
            "stop": None if self.stop is None else {"reason": self.stop.reason, "epoch": self.stop.epoch},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        self.supernet.load_state_dict(state["supernet"])
        with torch.no_grad():
            for name, alpha in self.alphas.items():
                alpha.copy_(state["alpha"][name])
        self.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.architect.optimizer.load_state_dict(state["alpha_optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.streams.load_state_dict(state["streams"])
        for regularizer, saved in zip(self.regularizers, state["regularizers"], strict=True):
            regularizer.load_state_dict(saved)
        self.genotypes = [Genotype.from_json(genotype, "checkpoint") for genotype in state["genotypes"]]
        self.metrics = state["metrics"]
        self.stop = None if state["stop"] is None else Stop(**state["stop"])
