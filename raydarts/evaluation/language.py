"""Trains a recurrent genotype's network from scratch as a language model, epoch by epoch, in plain PyTorch."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import nn

from raydarts.data.parts import batches
from raydarts.data.text import Tokens
from raydarts.data.text_splits import TextSplits
from raydarts.evaluation.averaging import averaged, averaged_sgd, set_rate, should_average, take_up
from raydarts.evaluation.divergence import blamed
from raydarts.evaluation.language_settings import LanguageSettings
from raydarts.float32 import arithmetic
from raydarts.measure import Meter, peak_memory_mb, require_finite, reset_peak_memory
from raydarts.optimizers import SGD
from raydarts.spaces import Genotype, space_of
from raydarts.states import State
from raydarts.streams import Streams
from raydarts.tasks import Batch, Loss, perplexity


class LanguageEvaluation:
    """An evaluation as a job (see `runs.job.Job`): the paper's recurrent retraining, appendix A.2.2.

    It learns from all of the training text. The validation text gives each epoch's metrics and decides when averaging
    starts. It also decides which epoch's weights are kept: those of the smallest validation loss, as in the authors'
    code. `result` reports these weights and measures the test text once, with them. An epoch starts with a hidden state
    of zeros at the text's first token, as in their code. Checkpoints lie between epochs. So neither hidden state nor
    position is part of the state.

    Differences from the authors' code (rnn/train.py):

    - Losses are means over the predicted tokens. Theirs divides by one row more.
    - The scaled learning rate acts on its own batch under averaging too (see `set_rate`).
    - A loss that is not finite ends the trial. Theirs returns to the best epoch with other draws, as often as needed.
    - Differences of the batches: see `TextBatches`.
    """

    def __init__(
        self,
        settings: LanguageSettings,
        genotype: Genotype,
        splits: TextSplits,
        seed: int,
        device: torch.device | str = "cpu",
        section: str = "evaluate",
    ) -> None:
        self.settings = settings
        self._section = section
        self.genotype = genotype
        self.splits = splits
        self.device = torch.device(device)
        self.streams = Streams(seed, self.device)
        self.task = splits.source.task
        dtype = getattr(torch, settings.precision)
        with self.streams.globally("weight_init"):
            network = space_of(genotype).network(genotype, self.task, settings.network)
        self.network: nn.Module = network.to(self.device, dtype)
        self.network.draw_from(self.streams["dropout"])  # type: ignore[operator]
        self.parts = {part: batches(splits, part, self.device, dtype, None, settings.text) for part in settings.columns}
        for part, size in settings.columns.items():
            self.parts[part].require(size)
        self.optimizer: torch.optim.Optimizer = SGD(
            self.network.parameters(), settings.lr, weight_decay=settings.weight_decay
        )
        self.epoch = 0
        self.losses: list[float] = []
        self.best: State = {}
        self.baselines: dict[str, dict[str, float]] = {}
        self.metrics: dict[str, object] = {}

    @property
    def epochs(self) -> int:
        return self.settings.epochs

    @property
    def finished(self) -> bool:
        return self.epoch >= self.epochs

    @property
    def averaging(self) -> bool:
        return isinstance(self.optimizer, torch.optim.ASGD)

    def run_epoch(self) -> dict[str, object]:
        """Runs one epoch. All its random draws come from this job's streams."""
        with self.streams.governing(), arithmetic(tf32=self.settings.tf32):
            return self._run_epoch()

    def _run_epoch(self) -> dict[str, object]:
        """Runs one pass over the training text, then measures the validation text.

        Under averaging the averaged weights are measured.
        """
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
        """Runs one pass and returns the mean loss over its tokens, without penalties."""
        self.network.train()
        meter, data = Meter(), self.parts["search"]
        passed = data.epoch(self.settings.batch_size, self.streams["order"], self.streams["augment"])
        for number, batch in enumerate(passed):
            loss = self._step(batch, number)
            meter.add(loss.data, None, loss.count)
            data.carry(loss.memory)
        return float(meter.loss or 0.0)

    def _step(self, batch: Batch, number: int) -> Loss:
        """Takes one step on the data loss and the network's penalties, at the batch's learning rate."""
        settings = self.settings
        loss = self.task.loss(self.network, batch)
        value = loss.value if loss.penalty is None else loss.value + loss.penalty
        begun = self.epoch + number > 0
        require_finite(
            value,
            "training loss",
            self.epoch + 1,
            number,
            lambda: blamed(self._section, settings, self.optimizer, batch.inputs, begun),
        )
        self.optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        if settings.grad_clip > 0:
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.grad_clip)
        set_rate(self.optimizer, settings.lr * batch.lr_scale)
        self.optimizer.step()
        return loss

    @torch.no_grad()
    def _measure(self, part: str) -> float:
        """Returns the mean loss of a part over its predicted tokens, in evaluation mode.

        The hidden state is carried through the whole part.
        """
        self.network.eval()
        meter, data = Meter(), self.parts[part]
        for batch in data.sequential(self.settings.columns[part]):
            loss = self.task.loss(self.network, batch)
            meter.add(loss.data, None, loss.count)
            data.carry(loss.memory)
        return float(meter.loss or 0.0)

    def _keep(self, loss: float) -> None:
        """Keeps the current weights if no earlier epoch had a smaller validation loss."""
        if not self.best or loss < self.best["loss"]:
            weights = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
            self.best = {"epoch": self.epoch, "loss": loss, "network": weights}

    def _maybe_average(self, loss: float) -> None:
        if should_average(self.losses, loss, self.settings.nonmonotone):
            self.optimizer = averaged_sgd(self.network, self.settings.lr, self.settings.weight_decay)
        self.losses.append(loss)

    def _baselines(self) -> dict[str, dict[str, float]]:
        """Returns validation perplexities of a unigram model, and of this network before its first step."""
        unigram = unigram_perplexity(self.splits, self.splits.validation)
        return {
            "unigram": {"validation": unigram},
            "untrained": {"validation": perplexity(self._measure("validation"))},
        }

    def result(self) -> dict[str, object]:
        """Returns the metrics of the weights with the best validation loss, with test metrics and the baselines'."""
        now = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.best["network"])
        with arithmetic(tf32=self.settings.tf32):
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

    def state_dict(self) -> State:
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

    def load_state_dict(self, state: State) -> None:
        self.epoch = state["epoch"]
        self.network.load_state_dict(state["network"])
        if state["averaging"]:
            self.optimizer = averaged_sgd(self.network, self.settings.lr, self.settings.weight_decay)
        take_up(self.optimizer, state["optimizer"])
        self.losses, self.best, self.baselines = list(state["losses"]), state["best"], state["baselines"]
        self.streams.load_state_dict(state["streams"])
        self.metrics = state["metrics"]


def unigram_perplexity(splits: TextSplits, part: Tokens) -> float:
    """Returns the perplexity of a text under the training text's token frequencies.

    One is added to each count (Laplace).
    """
    counts = np.bincount(splits.search, minlength=len(splits.source.vocabulary)) + 1.0
    return math.exp(-float(np.log(counts / counts.sum())[part].mean()))
