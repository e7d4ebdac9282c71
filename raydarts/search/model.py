"""What a search trains: the supernet, alpha, and their optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from raydarts.errors import InputError
from raydarts.optimizers import SGD, Adam
from raydarts.search.architect import Architect
from raydarts.search.moments import Tuning
from raydarts.search.objective import Objective
from raydarts.search.regularizers.base import Regularizer
from raydarts.search.relaxations.base import Relaxation
from raydarts.search.selection.base import Selection
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Space
from raydarts.spaces.drawn import draw_from
from raydarts.spaces.transform import Mixed
from raydarts.states import State
from raydarts.streams import Streams
from raydarts.tasks import Task

OPTIMIZER_SETTINGS = ("weight_decay", "arch_weight_decay", "lr", "arch_lr")


def optimizer_settings(settings: SearchSettings, regularizers: Sequence[Regularizer]) -> dict[str, float]:
    """Returns the optimizers' settings after the remedies' overrides.

    Raises `InputError` if two remedies replace the same setting.
    """
    asked = {name: float(getattr(settings, name)) for name in OPTIMIZER_SETTINGS}
    taken: dict[str, str] = {}
    final = dict(asked)
    for regularizer in regularizers:
        for name, value in regularizer.optimizer_overrides(asked).items():
            if name in taken:
                raise InputError(f"{taken[name]} and {regularizer.registered} both set {name}: choose one of them")
            taken[name], final[name] = regularizer.registered, value
    return final


class Parts:
    """The parts of a search that all stages share: settings, remedies, relaxation, selection, streams, task."""

    def __init__(
        self,
        settings: SearchSettings,
        streams: Streams,
        task: Task,
    ) -> None:
        self.settings = settings
        self.streams = streams
        self.task = task
        self.dtype: torch.dtype = getattr(torch, settings.precision)
        self.regularizers: list[Regularizer] = [component.build() for component in settings.regularizers]
        self.relaxation: Relaxation = settings.relaxation.build()
        self.selection: Selection = settings.selection.build()
        self.optimizers = optimizer_settings(settings, self.regularizers)
        self.relaxation.generator = streams["relaxation"] if self.relaxation.RANDOM else None
        for member in (*self.regularizers, self.selection):
            member.bind(streams)


class SearchModel:
    """A supernet of `space` with its alpha, objective and optimizers, for `epochs` epochs.

    `stage` numbers the supernets of one search. Each supernet draws its weights and alpha from its own streams.
    """

    def __init__(self, parts: Parts, space: Space, epochs: int, stage: int = 0) -> None:
        self.parts, self.space, self.epochs, self.stage = parts, space, epochs, stage
        self.regularizers = parts.regularizers
        streams, settings = parts.streams, parts.settings
        suffix = f"-{stage}" if stage else ""
        for regularizer in self.regularizers:
            regularizer.on_stage_start(stage)
        self.transforms = [transform for r in self.regularizers if (transform := r.transform()) is not None]
        with streams.globally(f"weight_init{suffix}"):
            supernet = space.supernet(parts.task, self.transforms)
        self.supernet = supernet.to(streams.device, parts.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        draw_from(self.supernet, streams["dropout"])
        generator = streams[f"alpha_init{suffix}"]
        self.alphas = {name: self._initial_alpha(cell.alpha_shape, generator) for name, cell in space.cells.items()}
        further = [
            {
                name: nn.Parameter(value.to(streams.device, parts.dtype))
                for name, value in regularizer.arch_parameters(
                    space, streams[f"{regularizer.NAME}_init{suffix}"]
                ).items()
            }
            for regularizer in self.regularizers
        ]
        self.objective = Objective(
            self.supernet, parts.task, self.alphas, parts.relaxation, self.regularizers, streams, further,
            parts.selection.project, settings.amp,
        )  # fmt: skip
        self.tuning: Tuning | None = None
        self._make_weight_optimizer(parts.optimizers["lr"], settings.lr_min, epochs)
        alpha_optimizer = Adam(
            self.objective.alphas,
            parts.optimizers["arch_lr"],
            settings.arch_betas,
            weight_decay=parts.optimizers["arch_weight_decay"],
        )
        self.architect = Architect(
            self.objective, settings.estimator.build(), self.regularizers, alpha_optimizer, self.weight_optimizer
        )
        for regularizer in self.regularizers:
            regularizer.attach(space, self.objective)

    def _initial_alpha(self, shape: tuple[int, int], generator: torch.Generator) -> nn.Parameter:
        draws = torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float64)
        return nn.Parameter((self.parts.settings.alpha_init * draws).to(self.parts.dtype))

    def _make_weight_optimizer(self, lr: float, lr_min: float, epochs: int) -> None:
        self.weight_optimizer = SGD(
            self.supernet.parameters(),
            lr,
            self.parts.settings.momentum,
            weight_decay=self.parts.optimizers["weight_decay"],
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.weight_optimizer, max(1, epochs), lr_min)

    def begin_tuning(self, tuning: Tuning, epochs: int) -> None:
        """Makes a new weight optimizer for the epochs in which the selection decides. Weight decay stays as it is.

        Candidates that the selection has rejected have arch weight 0. Every pass leaves them out.
        """
        for module in self.supernet.modules():
            if isinstance(module, Mixed):
                module.skips_zeros = True
        decay = self.weight_optimizer.param_groups[0]["weight_decay"]
        self.tuning = tuning
        self._make_weight_optimizer(tuning.lr, tuning.lr_min, epochs)
        self.weight_optimizer.param_groups[0]["weight_decay"] = decay
        self.architect.weight_optimizer = self.weight_optimizer

    def override(self, settings: Mapping[str, float]) -> None:
        """Replaces optimizer settings (`OPTIMIZER_SETTINGS`) from now on. A new `lr` rescales its schedule."""
        for name, value in settings.items():
            optimizer = self.architect.optimizer if name.startswith("arch_") else self.weight_optimizer
            key = name.removeprefix("arch_")
            for group in optimizer.param_groups:
                if name == "lr":
                    group["lr"] *= value / group["initial_lr"]
                    group["initial_lr"] = value
                    self.schedule.base_lrs = [value]
                else:
                    group[key] = value

    @torch.no_grad()
    def arch_weights(self) -> dict[str, Tensor]:
        """Returns the expected arch weights without a graph."""
        return self.objective.arch_weights(expected=True)

    def state_dict(self) -> State:
        return {
            "supernet": self.supernet.state_dict(),
            "alpha": {name: alpha.detach() for name, alpha in self.alphas.items()},
            "arch_parameters": [
                {name: value.detach() for name, value in parameters.items()}
                for parameters in self.objective.arch_parameters
            ],
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "alpha_optimizer": self.architect.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        self.supernet.load_state_dict(state["supernet"])
        with torch.no_grad():
            for name, alpha in self.alphas.items():
                alpha.copy_(state["alpha"][name])
            for parameters, saved in zip(self.objective.arch_parameters, state["arch_parameters"], strict=True):
                for name, value in parameters.items():
                    value.copy_(saved[name])
        self.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.architect.optimizer.load_state_dict(state["alpha_optimizer"])
        self.schedule.load_state_dict(state["schedule"])


def copied(state: State) -> State:
    """Returns a state with its tensors copied to the CPU."""
    return {key: _copied(value) for key, value in state.items()}


def _copied(value: object) -> object:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
