"""Trains a genotype's network from scratch, epoch by epoch, in plain PyTorch."""

from __future__ import annotations

import time
from typing import cast

import torch
from torch import Tensor, nn

from raydarts.data.batches import PreparedImages
from raydarts.data.parts import batches
from raydarts.data.splits import Splits
from raydarts.evaluation.acceleration import Acceleration
from raydarts.evaluation.divergence import blamed
from raydarts.evaluation.parallel import Team
from raydarts.evaluation.schedule import learning_rate
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.float32 import arithmetic
from raydarts.measure import Meter, peak_memory_mb, require_finite, reset_peak_memory, setting_of
from raydarts.optimizers import SGD
from raydarts.spaces import Genotype, space_of
from raydarts.states import State
from raydarts.streams import Streams
from raydarts.tasks import Batch


class Evaluation:
    """An evaluation as a job (see `runs.job.Job`): the paper's retraining, appendix A.2.

    It learns from every training image that is not held out. The held-out images give each epoch's validation metrics.
    Test images are measured once, in `result`, after the last epoch. They choose no epoch, setting or genotype.

    If torch.distributed has a process group, all its processes build this job with equal arguments, except the device.
    They call its methods together. Each learns from and measures its share (see `parallel`).
    """

    def __init__(
        self,
        settings: EvaluationSettings,
        genotype: Genotype,
        splits: Splits,
        seed: int,
        device: torch.device | str = "cpu",
        section: str = "evaluate",
    ) -> None:
        self.settings = settings
        self._section = section
        self.genotype = genotype
        self.device = torch.device(device)
        self.dtype = getattr(torch, settings.precision)
        self.streams = Streams(seed, self.device)
        self.team, self.acceleration = Team(), Acceleration(settings, self.device)
        with self.streams.globally("weight_init"):
            network = space_of(genotype).network(genotype, splits.source.task, settings.network)
        self.network = self.acceleration.place(network, self.dtype)
        self.network.draw_from(self.streams["dropout"])  # type: ignore[operator]
        self.network.drop_path.share = self.team.share  # type: ignore[union-attr]
        self.team.prepare(self.network, settings.sync_batch_norm)
        self.runner = self.acceleration.runner(self.network)
        self.parts = {
            part: cast(
                PreparedImages,
                batches(splits, part, self.device, self.dtype, settings.augment if part == "search" else None),
            )
            for part in ("search", "validation", "test")
            if len(getattr(splits, part))
        }
        self.team.require_divisible(min(settings.batch_size, len(self.parts["search"])))
        self.optimizer = SGD(
            self.network.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay
        )
        self.epoch = 0
        self.metrics: dict[str, object] = {}

    @property
    def epochs(self) -> int:
        return self.settings.epochs

    @property
    def finished(self) -> bool:
        return self.epoch >= self.epochs

    def run_epoch(self) -> dict[str, object]:
        """Runs one epoch. All its random draws come from this job's streams."""
        with self.streams.governing(), arithmetic(tf32=self.settings.tf32):
            return self._run_epoch()

    def _run_epoch(self) -> dict[str, object]:
        """Runs one pass over the training part, then measures the held-out part. Accuracies are in [0, 1]."""
        started = time.perf_counter()
        reset_peak_memory(self.device)
        lr = learning_rate(self.settings, self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        drop_path = self.settings.drop_path * self.epoch / self.epochs
        self.network.drop_path.probability = drop_path  # type: ignore[union-attr]
        self.network.train()
        meter = Meter()
        data = self.parts["search"]
        passed = data.epoch(
            self.settings.batch_size, self.streams["order"], self.streams["augment"], share=self.team.share
        )
        for number, batch in enumerate(passed):
            self._step(batch, number, meter)
        meter = self.team.total(meter, self.device)
        self.epoch += 1
        validation = self._measure("validation")
        self.metrics = {
            "epoch": self.epoch,
            "train_loss": meter.loss,
            "train_accuracy": meter.accuracy,
            "validation_loss": validation.loss,
            "validation_accuracy": validation.accuracy,
            "lr": lr,
            "drop_path": drop_path,
            "memory_mb": peak_memory_mb(self.device),
            "seconds": time.perf_counter() - started,
        }
        return dict(self.metrics)

    def _step(self, batch: Batch, number: int, meter: Meter) -> None:
        """Takes one SGD step on cross entropy plus `auxiliary_weight` times the auxiliary head's cross entropy."""
        settings = self.settings
        with self.acceleration.autocast():
            logits, auxiliary = self.runner(self.acceleration.inputs(batch.inputs))
            loss = self._cross_entropy(logits, batch.targets)
            if auxiliary is not None:
                loss = loss + settings.network.auxiliary_weight * self._cross_entropy(auxiliary, batch.targets)
        # The mean over the processes, so that all stop if one must.
        require_finite(
            self.team.mean(loss), "training loss", self.epoch + 1, number, lambda: self._blamed(batch, number, logits)
        )
        weights = list(self.network.parameters())
        self.acceleration.backward(loss, self.optimizer)
        self.team.sum_gradients(weights)
        self.acceleration.unscale(self.optimizer)
        if settings.grad_clip > 0:
            nn.utils.clip_grad_norm_(weights, settings.grad_clip)
        self.acceleration.step(self.optimizer)
        meter.add(loss, (logits.detach().argmax(1) == batch.targets).sum(), len(batch.targets))

    def _blamed(self, batch: Batch, number: int, logits: Tensor) -> str:
        """Returns the setting to look at after a loss was not finite."""
        weight = self.settings.network.auxiliary_weight
        if weight > 1 and bool(torch.isfinite(self._cross_entropy(logits, batch.targets))):
            return setting_of(f"{self._section}.training.network", "auxiliary_weight", weight)
        return blamed(self._section, self.settings, self.optimizer, batch.inputs, self.epoch + number > 0)

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, targets, label_smoothing=self.settings.label_smoothing)

    @torch.no_grad()
    def _measure(self, part: str) -> Meter:
        """Returns loss (without smoothing) and accuracy of a part in evaluation mode.

        The meter is empty if there is no such part.
        """
        meter = Meter()
        if part in self.parts:
            self.network.eval()
            self.team.agree_on_buffers(self.network)
            for batch in self.parts[part].sequential(4 * self.settings.batch_size, self.team.share):
                with self.acceleration.autocast():
                    logits = self.network(self.acceleration.inputs(batch.inputs))[0]
                    loss = nn.functional.cross_entropy(logits, batch.targets)
                meter.add(loss, (logits.argmax(1) == batch.targets).sum(), len(batch.targets))
        return self.team.total(meter, self.device)

    def result(self) -> dict[str, object]:
        """Returns the last epoch's metrics, the test metrics, and the number of parameters.

        The auxiliary head is not counted.
        """
        with arithmetic(tf32=self.settings.tf32):
            test = self._measure("test")
        return self.metrics | {
            "test_loss": test.loss,
            "test_accuracy": test.accuracy,
            "parameters": sum(
                parameter.numel()
                for name, parameter in self.network.named_parameters()
                if not name.startswith("auxiliary")
            ),
        }

    def state_dict(self) -> State:
        return {
            "kind": "evaluation",
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.acceleration.scaler.state_dict(),
            "streams": self.streams.state_dict(),
            "metrics": self.metrics,
        }

    def load_state_dict(self, state: State) -> None:
        self.epoch = state["epoch"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.acceleration.scaler.load_state_dict(state["scaler"])
        self.streams.load_state_dict(state["streams"])
        self.metrics = state["metrics"]
