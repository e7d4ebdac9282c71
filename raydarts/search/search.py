"""One bilevel search as a job: epochs, stages, early stops, the selection, and everything a checkpoint holds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from raydarts.data.batches import Batches
from raydarts.data.parts import batches
from raydarts.data.splits import AnySplits
from raydarts.errors import InputError
from raydarts.float32 import arithmetic
from raydarts.measure import Meter, peak_memory_mb, reset_peak_memory
from raydarts.search.architect import Architect
from raydarts.search.composition import require_composable, require_fitting
from raydarts.search.loop import Loop
from raydarts.search.measuring import Measuring, recorded
from raydarts.search.model import Parts, SearchModel, copied
from raydarts.search.moments import EpochReport, Moment, Stop
from raydarts.search.objective import Objective
from raydarts.search.phases import carried, moment, narrowed, plan_stages, strongest
from raydarts.search.restating import restated
from raydarts.search.settings import SearchSettings
from raydarts.search.short_training import trained_shortly
from raydarts.spaces import Genotype, Space
from raydarts.states import State
from raydarts.streams import Streams


class Search:
    """A search as a job: call `run_epoch` until `finished`, then `result`. See `runs.job.Job`.

    Weights learn from one part of the training data, alpha from another, disjoint part. Two things differ from the
    authors' code: alpha-batches are a shuffled pass (theirs draw with replacement), and the architect's passes do not
    change batch-norm statistics.

    `epoch` counts the epochs run. `position` is the position in Algorithm 1. It is smaller than `epoch` after a remedy
    has returned to an earlier epoch. It is larger than `settings.epochs` while the selection decides.
    """

    def __init__(self, settings: SearchSettings, splits: AnySplits, device: torch.device | str = "cpu") -> None:
        require_composable(settings)
        self.settings = settings
        self.device = torch.device(device)
        self.streams = Streams(settings.seed, self.device)
        self.space: Space = settings.space.build()
        task = splits.source.task
        require_fitting(settings, task.KIND, splits.source.name)
        self.parts = Parts(settings, self.streams, task)
        self.regularizers, self.selection = self.parts.regularizers, self.parts.selection
        self.probes = [component.build() for component in settings.probes]
        self.data: dict[str, Batches] = {
            part: batches(
                splits,
                part,
                self.device,
                self.parts.dtype,
                settings.augment if part != "validation" else None,
                settings.text,
            )
            for part in ("weight", "alpha", "validation")
            if len(getattr(splits, part))
        }
        for part, data in self.data.items():
            data.require(data.measured_size(settings.batch_size) if part == "validation" else settings.batch_size)
        self.loop = Loop(settings, self.data, self.streams)
        self.measuring = Measuring(self.data, settings.batch_size)
        self.stages = plan_stages(self.regularizers, settings.epochs)
        self.candidates: dict[str, tuple[tuple[str, ...], ...]] | None = None
        self._build(0)
        remembered = max((regularizer.remembers() for regularizer in self.regularizers), default=0)
        self._past: deque[tuple[int, State]] = deque(maxlen=remembered)
        self.epoch = self.position = 0
        self.stop: Stop | None = None
        self.genotypes: list[Genotype] = []
        self.metrics: dict[str, object] = {}
        self._rate = 0.0

    def _build(self, stage: int) -> None:
        """Builds the supernet of a stage with the remaining `candidates`."""
        plan = self.stages[stage]
        self.model = SearchModel(self.parts, narrowed(self.space, self.candidates, plan.layers), plan.epochs, stage)

    @property
    def supernet(self) -> nn.Module:
        supernet: nn.Module = self.model.supernet
        return supernet

    @property
    def alphas(self) -> dict[str, nn.Parameter]:
        return self.model.alphas

    @property
    def objective(self) -> Objective:
        return self.model.objective

    @property
    def architect(self) -> Architect:
        return self.model.architect

    @property
    def weight_optimizer(self) -> torch.optim.Optimizer:
        return self.model.weight_optimizer

    @property
    def epochs(self) -> int:
        """Returns the number of all epochs: the search's, the selection's, and those that a remedy repeated."""
        return self._last + self.epoch - self.position

    @property
    def _last(self) -> int:
        return self.settings.epochs + self.selection.epochs(self.space)

    @property
    def finished(self) -> bool:
        return self.stop is not None or self.position >= self._last

    @property
    def genotype(self) -> Genotype:
        """Returns the genotype of the current alpha."""
        return self.space.marked(self.selection(self.model.space, self.model.arch_weights()))

    def run_epoch(self) -> dict[str, object]:
        """Runs one epoch. All its random draws come from this job's streams."""
        started = time.perf_counter()
        return self.finish_epoch(self.begin_epoch(), started)

    def begin_epoch(self) -> bool:
        """Prepares everything for the next epoch. Returns whether alpha is trained in it."""
        with self.streams.governing():
            train_alpha = self._begin_epoch() if self.searching else self._begin_selection_epoch()
        self._rate = self.weight_optimizer.param_groups[0]["lr"]
        return train_alpha

    def finish_epoch(self, train_alpha: bool, started: float) -> dict[str, object]:
        """Runs the epoch that has begun, at the time `started`. Returns its metrics."""
        with self.streams.governing(), arithmetic(tf32=self.settings.tf32):
            reset_peak_memory(self.device)
            meters = self.loop.epoch(self.model, self.epoch + 1, train_alpha=train_alpha)
            measuring = self.measuring
            return self.end_epoch(
                meters, lambda: time.perf_counter() - started, measuring.validation, measuring.eigenvalue
            )

    @property
    def needs_eigenvalue(self) -> bool:
        """Whether a probe or a remedy asks for the eigenvalue after the epoch that is run now."""
        asked = [*self.probes, *(self.regularizers if self.searching else ())]
        return any(each.needs_eigenvalue(self.position + 1) for each in asked)

    @property
    def searching(self) -> bool:
        """Whether the next epoch is one of the search. Else the selection decides."""
        return self.position < self.settings.epochs

    def end_epoch(
        self,
        meters: Mapping[str, Meter],
        seconds: Callable[[], float],
        validation: Callable[[SearchModel], dict[str, float | None]],
        eigenvalue: Callable[[SearchModel], float],
    ) -> dict[str, object]:
        """Measures the epoch that the loop has run. Returns its metrics.

        Args:
            meters: of the parts `weight` and `alpha`.
            seconds: returns the time that the epoch has taken so far.
            validation: returns the figures of the held-out part.
            eigenvalue: returns the dominant eigenvalue. It is called where a probe or a remedy asks for it.
        """
        searching = self.searching
        self.epoch += 1
        self.position += 1
        if not searching and self.position == self._last:
            self._decide(self.selection.epochs(self.space))
        self._measure(meters, seconds, validation, eigenvalue)
        self.metrics |= {"lr": self._rate, "memory_mb": peak_memory_mb(self.device)}
        self.metrics["seconds"] = seconds()
        return dict(self.metrics)

    def _begin_epoch(self) -> bool:
        """Enters a new stage if one starts, and anneals. Returns whether alpha is trained."""
        now = moment(self.stages, self.position)
        if now.stage != self.model.stage:
            self.enter(now.stage)
        return self._anneal(now)

    def _anneal(self, now: Moment) -> bool:
        """Starts the epoch and applies overrides. Returns whether alpha is trained."""
        self.parts.relaxation.on_epoch_start(now)
        overrides = []
        for regularizer in self.regularizers:
            regularizer.on_epoch_start(now)
            overrides.append((regularizer.registered, regularizer.epoch_overrides(now)))
        cutouts = {name: changes["cutout"] for name, changes in overrides if "cutout" in changes}
        if len(cutouts) > 1:
            raise InputError(f"{' and '.join(cutouts)} both set the cutout: choose one of them")
        for share, probability in cutouts.values():
            for part in ("weight", "alpha"):
                self.data[part].cut_out(share, probability)
        return all(changes.get("train_alpha", True) for _, changes in overrides)

    def enter(self, stage: int) -> None:
        """Builds a new supernet of the strongest candidates."""
        plan, before = self.stages[stage], self.model
        if plan.candidates is not None:
            self.candidates = strongest(before.space, before.arch_weights(), plan.candidates)
        self._build(stage)
        if plan.keep_alpha:
            with torch.no_grad():
                for name, alpha in carried(before.space, before.alphas, self.model.space).items():
                    self.alphas[name].copy_(alpha)
                for new, old in zip(self.objective.arch_parameters, before.objective.arch_parameters, strict=True):
                    for name, value in new.items():
                        if value.shape == old[name].shape:
                            value.copy_(old[name])
        self._past.clear()

    def _begin_selection_epoch(self) -> bool:
        """Lets the selection decide and prepares the weights' training. Returns whether alpha is trained."""
        tuning = self.selection.tuning(self.parts.optimizers["lr"])
        number, epochs = self.position - self.settings.epochs, self.selection.epochs(self.space)
        if self.model.tuning is None:
            self.model.begin_tuning(tuning, epochs)
        self._decide(number)
        return tuning.train_alpha

    def _decide(self, number: int) -> None:
        self.selection.decide(number, self.model.space, self.model.arch_weights(), self._judge)

    def _judge(self, arch_weights: Mapping[str, Tensor]) -> float:
        return self.measuring.judged(self.model, arch_weights)

    def _measure(
        self,
        meters: Mapping[str, Meter],
        seconds: Callable[[], float],
        validation: Callable[[SearchModel], dict[str, float | None]],
        eigenvalue: Callable[[SearchModel], float],
    ) -> None:
        """Computes the epoch's metrics, then asks the remedies whether to stop or go back."""
        self.genotypes.append(self.genotype)
        self.metrics = {"epoch": self.epoch}
        if self.position != self.epoch:
            self.metrics["position"] = self.position
        for name, meter in meters.items():
            self.metrics |= self.parts.task.figures(name, meter)
        self.metrics |= validation(self.model)
        report = EpochReport(
            self.position,
            self.settings.epochs,
            self.model.space,
            self.model.arch_weights(),
            self.metrics,
            tuple(self.genotypes),
            lambda: eigenvalue(self.model),
            self.parts.relaxation.SIMPLEX,
            seconds(),
            lambda: self.measuring.discretisation_gap(self.model, self.genotypes[-1]),
            lambda settings: trained_shortly(
                settings, self.space, self.genotypes[-1], self.parts, self.data, self.settings.batch_size
            ),
            lambda asked: self.measuring.estimators(self.model, asked, self.epoch, self._rate),
        )
        for probe in self.probes:
            self.metrics |= probe.measure(report)
        self.metrics["genotype"] = self.genotypes[-1].to_json()
        self.metrics["arch_weights"] = recorded(self.model.space, report.arch_weights)
        if self.position <= self.settings.epochs:
            self._maybe_stop(report)

    def _maybe_stop(self, report: EpochReport) -> None:
        asked = [regularizer.should_stop(report) for regularizer in self.regularizers]  # every remedy sees every epoch
        first = next((index for index, answer in enumerate(asked) if answer is not None), None)
        stop = None if first is None else asked[first]
        if first is not None and stop is not None and stop.go_on_with is not None:
            self._go_back(stop, first)
        else:
            self.stop = stop
        if self._past.maxlen:
            self._past.append((self.position, copied(self._changing())))

    def _changing(self) -> State:
        """Returns everything that an epoch changes: the model and the remedies' memory."""
        remembered = [regularizer.state_dict() for regularizer in self.regularizers]
        return {**self.model.state_dict(), "regularizers": remembered}

    def _go_back(self, stop: Stop, asking: int) -> None:
        """Returns to the state at the end of `stop.epoch` and continues with other settings.

        Random draws are not reset. The remedy that asked keeps its memory.
        """
        past = dict(self._past)
        to = self.position if stop.epoch is None else stop.epoch
        if to != self.position:
            self.model.load_state_dict(past[to])
            for index, (regularizer, saved) in enumerate(zip(self.regularizers, past[to]["regularizers"], strict=True)):
                if index != asking:
                    regularizer.load_state_dict(saved)
        while self._past and self._past[-1][0] >= to:
            self._past.pop()
        self.position = to
        del self.genotypes[to:]
        self.model.override(stop.go_on_with or {})
        self.metrics |= {"returned_to": to, "returned_because": stop.reason}

    def result(self) -> dict[str, object]:
        """Returns the last epoch's metrics with the chosen genotype, its skip connections and alpha.

        If the search stopped early, the result says why.
        """
        kept = self.genotypes[self.stop.epoch - 1] if self.stop and self.stop.epoch else self.genotypes[-1]
        result = self.metrics | {
            "genotype": kept.to_json(),
            "genotype_id": kept.id,
            "skips": kept.skips(self.space.SKIP),
            "alpha": {name: alpha.detach().double().cpu().tolist() for name, alpha in self.alphas.items()},
            "stopped_early": self.stop.reason if self.stop else None,
        }
        return result if self.candidates is None else result | {"candidates": self.candidates}

    def state_dict(self) -> State:
        return {
            "kind": "search",
            "epoch": self.epoch,
            "position": self.position,
            "stage": self.model.stage,
            "candidates": self.candidates,
            "tuning": self.model.tuning is not None,
            **self._changing(),
            "past": list(self._past),
            "streams": self.streams.state_dict(),
            "selection": self.selection.state_dict(),
            "probes": [probe.state_dict() for probe in self.probes],
            "genotypes": [genotype.to_json() for genotype in self.genotypes],
            "metrics": self.metrics,
            "stop": None if self.stop is None else {"reason": self.stop.reason, "epoch": self.stop.epoch},
        }

    def restated(self, state: State, before: Mapping[str, object]) -> State:
        """Returns the state of a search with the settings `before` for this one. See `execution.job.ForkableJob`."""
        return restated(state, SearchSettings.model_validate(before), self.settings)

    def load_state_dict(self, state: State) -> None:
        self.epoch, self.position = state["epoch"], state["position"]
        self.candidates = state["candidates"]
        if state["tuning"]:  # no epoch of the search follows that would set the annealing
            self._anneal(moment(self.stages, self.settings.epochs - 1))
        for regularizer, saved in zip(self.regularizers, state["regularizers"], strict=True):
            regularizer.load_state_dict(saved)
        self.selection.load_state_dict(state["selection"])
        for probe, saved in zip(self.probes, state["probes"], strict=True):
            probe.load_state_dict(saved)
        self._build(state["stage"])
        if state["tuning"]:
            self.model.begin_tuning(
                self.selection.tuning(self.parts.optimizers["lr"]), self.selection.epochs(self.space)
            )
        self.model.load_state_dict(state)
        self._past.clear()
        self._past.extend((position, past) for position, past in state["past"])
        self.streams.load_state_dict(state["streams"])
        self.genotypes = [Genotype.from_json(genotype, "checkpoint") for genotype in state["genotypes"]]
        self.metrics = state["metrics"]
        self.stop = None if state["stop"] is None else Stop(**state["stop"])
