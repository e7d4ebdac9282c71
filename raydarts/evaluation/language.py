"""A recurrent genotype's network trained from scratch as a language model, epoch by epoch, on plain PyTorch."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raydarts.data.columns import Columns, Window
from raydarts.data.text import Tokens
from raydarts.data.text_splits import TextSplits
from raydarts.evaluation.averaging import averaged, averaged_sgd, set_rate, should_average, take_up
from raydarts.evaluation.language_settings import LanguageSettings
from raydarts.measure import peak_memory_mb, perplexity, require_finite, reset_peak_memory
from raydarts.spaces import Genotype, space_of
from raydarts.streams import Streams


class LanguageEvaluation:
    """An evaluation as a job (see `runs.job.Job`): the paper's recurrent retraining, appendix A.2.2.

    Learns from all of the training text; the validation text gives each epoch's figures, decides when averaging
    begins, and which epoch's weights are kept: those of the least validation loss, as in the authors' code. `result`
    tells of these, and looks at the test text once, with them. An epoch begins with a hidden state of zeros at the
    text's first token, as theirs does, and checkpoints lie between epochs, so neither is part of the state.

    Differs from the authors' code (rnn/train.py): losses are means over the tokens predicted (theirs divides by one
    row more); the scaled learning rate acts on its own window under averaging too (see `set_rate`); a loss that is
    not finite ends the trial (theirs goes back to the best epoch, with other draws, for as long as it takes).
    """

    def __init__(
        self,
        settings: LanguageSettings,
        genotype: Genotype,
        splits: TextSplits,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.settings = settings
        self.genotype = genotype
        self.splits = splits
        self.device = torch.device(device)
        self.streams = Streams(seed, self.device)
        words = len(splits.source.vocabulary)
        with self.streams.globally("weight_init"):
            network = space_of(genotype).language_network(genotype, words, settings.network)
        self.network: nn.Module = network.to(self.device, getattr(torch, settings.precision))
        self.network.draw_from(self.streams["dropout"])
        self.columns = {part: self._columns(part, count) for part, count in self._counts.items()}
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
            self.network.parameters(), settings.lr, weight_decay=settings.weight_decay
        )
        self.epoch = 0
        self.losses: list[float] = []
        self.best: dict[str, Any] = {}
        self.baselines: dict[str, dict[str, float]] = {}
        self.metrics: dict[str, Any] = {}

    @property
    def _counts(self) -> dict[str, int]:
        settings = self.settings
        return {
            "search": settings.batch_size,
            "validation": settings.validation_columns,
            "test": settings.test_columns,
        }

    def _columns(self, part: str, count: int) -> Columns:
        names = {
            "search": ("training", "batch_size"),
            "validation": ("validation", "validation_columns"),
            "test": ("test", "test_columns"),
        }
        text, setting = names[part]
        what = f"the {text} text of {self.splits.source.name}"
        return Columns(getattr(self.splits, part), count, self.device, what, f"evaluate.training.{setting}")

    @property
    def epochs(self) -> int:
        return self.settings.epochs

    @property
    def finished(self) -> bool:
        return self.epoch >= self.epochs

    @property
    def averaging(self) -> bool:
        return isinstance(self.optimizer, torch.optim.ASGD)

    def run_epoch(self) -> dict[str, Any]:
        """One epoch, all of whose draws are this job's own."""
        with self.streams.governing():
            return self._run_epoch()

    def _run_epoch(self) -> dict[str, Any]:
        """One pass over the training text, then the validation figures, under averaging with the averaged weights."""
        started = time.perf_counter()
        reset_peak_memory(self.device)
        if not self.baselines:
            self.baselines = self._baselines()
        averaging = self.averaging
        loss = self._train()
        self.epoch += 1
        with averaged(self.optimizer):
            validation = self._measure("validation")
            self._keep(validation)
        if not averaging:
            self._maybe_average(validation)
        self.metrics = {
            "epoch": self.epoch,
            "train_loss": loss,
            "train_perplexity": perplexity(loss),
            "validation_loss": validation,
            "validation_perplexity": perplexity(validation),
            "lr": self.settings.lr,
            "averaged": averaging,
            "memory_mb": peak_memory_mb(self.device),
            "seconds": time.perf_counter() - started,
        }
        return dict(self.metrics)

    def _train(self) -> float:
        """One pass; the mean loss over its tokens, without penalties."""
        self.network.train()
        hidden = self.network.initial_state(self.settings.batch_size)
        total, count = torch.zeros((), dtype=torch.float64, device=self.device), 0
        for number, window in enumerate(self.columns["search"].random(self.settings.bptt, self.streams["order"])):
            loss, hidden = self._step(window, hidden, number)
            total += loss.double() * window.targets.numel()
            count += window.targets.numel()
        return float(total) / count

    def _step(self, window: Window, hidden: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """One step on a window, the hidden state carried in but not learned through; the loss without penalties."""
        settings = self.settings
        found = self.network(window.inputs, hidden)
        data = _cross_entropy(found.logits, window.targets)
        loss = data + settings.slowness_penalty * (found.outputs[1:] - found.outputs[:-1]).pow(2).mean()
        if settings.activation_penalty > 0:
            loss = loss + settings.activation_penalty * found.dropped.pow(2).mean()
        require_finite(loss, "training loss", self.epoch + 1, number, "evaluate.training.lr")
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if settings.grad_clip > 0:
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.grad_clip)
        set_rate(self.optimizer, settings.lr * window.length / settings.bptt)
        self.optimizer.step()
        return data.detach(), found.hidden.detach()

    @torch.no_grad()
    def _measure(self, part: str) -> float:
        """Mean loss of a part over its predicted tokens, in evaluation mode, the hidden state carried throughout."""
        columns = self.columns[part]
        self.network.eval()
        hidden = self.network.initial_state(self._counts[part])
        total, count = torch.zeros((), dtype=torch.float64, device=self.device), 0
        for window in columns.sequential(self.settings.bptt):
            found = self.network(window.inputs, hidden)
            hidden = found.hidden
            total += _cross_entropy(found.logits, window.targets).double() * window.targets.numel()
            count += window.targets.numel()
        return float(total) / count

    def _keep(self, loss: float) -> None:
        """Remember the weights as they stand, where no epoch had a smaller validation loss."""
        if not self.best or loss < self.best["loss"]:
            weights = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
            self.best = {"epoch": self.epoch, "loss": loss, "network": weights}

    def _maybe_average(self, loss: float) -> None:
        if should_average(self.losses, loss, self.settings.nonmonotone):
            self.optimizer = averaged_sgd(self.network, self.settings.lr, self.settings.weight_decay)
        self.losses.append(loss)

    def _baselines(self) -> dict[str, dict[str, float]]:
        """Validation perplexities of a unigram model, and of this network before its first step."""
        unigram = unigram_perplexity(self.splits, self.splits.validation)
        return {
            "unigram": {"validation": unigram},
            "untrained": {"validation": perplexity(self._measure("validation"))},
        }

    def result(self) -> dict[str, Any]:
        """The figures of the best epoch's weights by validation loss, test figures among them, and the baselines'."""
        now = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.best["network"])
        test = self._measure("test")
        self.network.load_state_dict(now)
        unigram = self.baselines["unigram"] | {"test": unigram_perplexity(self.splits, self.splits.test)}
        return self.metrics | {
            "validation_loss": self.best["loss"],
            "validation_perplexity": perplexity(self.best["loss"]),
            "best_epoch": self.best["epoch"],
            "test_loss": test,
            "test_perplexity": perplexity(test),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "baselines": self.baselines | {"unigram": unigram},
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "kind": "language",
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "averaging": self.averaging,
            "optimizer": self.optimizer.state_dict(),
            "losses": list(self.losses),
            "best": self.best,
            "baselines": self.baselines,
            "streams": self.streams.state_dict(),
            "metrics": self.metrics,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        self.network.load_state_dict(state["network"])
        if state["averaging"]:
            self.optimizer = averaged_sgd(self.network, self.settings.lr, self.settings.weight_decay)
        take_up(self.optimizer, state["optimizer"])
        self.losses, self.best, self.baselines = list(state["losses"]), state["best"], state["baselines"]
        self.streams.load_state_dict(state["streams"])
        self.metrics = state["metrics"]


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the tokens of a window; logits `(rows, columns, vocabulary)`."""
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def unigram_perplexity(splits: TextSplits, part: Tokens) -> float:
    """Perplexity of a text under the training text's token frequencies, one added to each count (Laplace)."""
    counts = np.bincount(splits.search, minlength=len(splits.source.vocabulary)) + 1.0
    return math.exp(-float(np.log(counts / counts.sum())[part].mean()))
