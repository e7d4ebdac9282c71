"""Retrained networks, for use outside raydarts: out of a run's last checkpoint, or out of a file of weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from raydarts.config.spec import EvaluateSettings
from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.data.text_splits import TextSplits
from raydarts.errors import InputError, RunError
from raydarts.evaluation.acceleration import Acceleration
from raydarts.evaluation.language_settings import LanguageSettings
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.json_types import number
from raydarts.runs.checkpoints import CheckpointStore, Refused
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import retrainings
from raydarts.runs.identity import identity
from raydarts.runs.trust import Ask, admit_genotype, never
from raydarts.spaces import Genotype, space_of
from raydarts.storage.place import write_bytes
from raydarts.study.objectives import score_of
from raydarts.study.stages import EVALUATE, data_of, section_of
from raydarts.tasks import Classification, LanguageModelling, Task

KEY = "raydarts"
"""The entry of a weights file's metadata that holds `About`."""


class ImageFacts(BaseModel):
    """What a network of images must know of its data. `mean` and `std`: of pixels from 0 to 1, for each channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["image"] = "image"
    shape: tuple[int, int, int]
    num_classes: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def task(self) -> Task:
        return Classification(self.shape, self.num_classes)


class TextFacts(BaseModel):
    """What a language model must know of its data: each token's text, by its number."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["text"] = "text"
    vocabulary: tuple[str, ...]

    @property
    def task(self) -> Task:
        return LanguageModelling(len(self.vocabulary))


class About(BaseModel):
    """What a retrained network is: its genotype and training, its data, and the figures that its retraining reported.

    `figures` holds the validation and test score by the names of the run's metrics, and the parameters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = 1
    run: str
    stage: str
    seed: int
    genotype: dict[str, Any]
    training: Annotated[EvaluationSettings | LanguageSettings, Field(discriminator="name")]
    data: Annotated[ImageFacts | TextFacts, Field(discriminator="kind")]
    dataset: str
    figures: dict[str, float]


class Trained(nn.Module):
    """A retrained network in evaluation mode, with `about`: what it is."""

    def __init__(self, network: nn.Module, about: About) -> None:
        super().__init__()
        self.network = network
        self.about = about
        self.eval()

    @property
    def genotype(self) -> Genotype:
        return Genotype.from_json(self.about.genotype)


class ImageNetwork(Trained):
    """A network of images. `classes` are the names of its outputs."""

    def __init__(self, network: nn.Module, about: About, facts: ImageFacts, training: EvaluationSettings) -> None:
        super().__init__(network, about)
        self.classes = facts.classes
        self._training = training
        dtype = getattr(torch, training.precision)
        for name in ("mean", "std"):  # as in training: of pixels from 0 to 255
            values = (torch.tensor(getattr(facts, name), dtype=dtype) * 255).view(1, -1, 1, 1)
            self.register_buffer(f"_{name}", values, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits `(n, classes)`.

        Args:
            images: `(n, channels, height, width)`: bytes (uint8), or numbers from 0 to 1. They are normalised here, as
                in training.
        """
        mean, std = self.get_buffer("_mean"), self.get_buffer("_std")
        values = images.to(mean.dtype) if images.dtype == torch.uint8 else images.to(mean.dtype) * 255
        acceleration = Acceleration(self._training, mean.device)
        inputs = values.sub(mean).div(std).contiguous(memory_format=torch.channels_last)
        with acceleration.autocast():
            logits: Tensor = self.network(acceleration.inputs(inputs))[0]
        return logits


class LanguageNetwork(Trained):
    """A language model. `vocabulary` are the texts of its tokens."""

    def __init__(self, network: nn.Module, about: About, facts: TextFacts) -> None:
        super().__init__(network, about)
        self.vocabulary = facts.vocabulary

    def forward(self, tokens: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns logits `(T, B, tokens)` of the next tokens, and the hidden state after the last.

        Args:
            tokens: token numbers `(T, B)`.
            memory: the hidden state before the first token. None: zeros.
        """
        output = self.network(tokens, memory=memory)
        return output.logits, output.memory


def of_run(
    run: RunDirectory, genotype_id: str, stage: str = EVALUATE, seed: int | None = None, ask: Ask = never
) -> Trained:
    """Returns a network that a run has retrained, out of its last checkpoint.

    Args:
        run: the run.
        genotype_id: which genotype.
        stage: in which stage of retraining.
        seed: with which evaluation seed. None: the smallest one whose retraining was completed.
        ask: whether to run code that the genotype names.

    The data are loaded, because the network's inputs are normalised by them. Raises `InputError` or `RunError` if there
    is no such network.
    """
    trial = _retraining(run, genotype_id, stage, seed)
    about, state = _about(run, trial, stage), _weights(trial)
    return _built(about, state, str(trial.path), ask)


def _retraining(run: RunDirectory, genotype_id: str, stage: str, seed: int | None) -> TrialDirectory:
    completed = {}
    for trial in retrainings(run, stage):
        what, result = trial.description(), trial.result()
        if what.get("genotype_id") == genotype_id and result is not None and result["status"] == "completed":
            completed[int(what["seed"])] = trial
    if seed is None and completed:
        return completed[min(completed)]
    if seed is not None and seed in completed:
        return completed[seed]
    done = f"it was with seeds {', '.join(map(str, sorted(completed)))}" if completed else "it was with none"
    with_seed = "" if seed is None else f" with evaluation seed {seed}"
    raise InputError(f"{run.path}: {genotype_id} was not retrained{with_seed} in stage {stage}; {done}")


def _about(run: RunDirectory, trial: TrialDirectory, stage: str) -> About:
    description, what = run.description(), trial.description()
    settings = EvaluateSettings.model_validate(
        {
            key: value
            for key, value in section_of(description["spec"], stage).items()
            if key in EvaluateSettings.model_fields
        }
    )
    if settings.table is not None:
        raise InputError(f"{trial.path}: was looked up in a table, so it has no weights")
    data = DataSettings.model_validate(data_of(description["spec"], stage))
    splits, score = load_splits(data), score_of(description)
    outcome = dict((trial.result() or {}).get("result") or {})
    figures = {key: number(outcome.get(key)) for key in (score.metric, score.test, "parameters")}
    facts: ImageFacts | TextFacts
    if isinstance(splits, TextSplits):
        facts = TextFacts(vocabulary=splits.source.vocabulary)
    else:
        source = splits.source
        names = source.classes or tuple(map(str, range(source.num_classes)))
        facts = ImageFacts(
            shape=source.image_shape,
            num_classes=source.num_classes,
            classes=names,
            mean=tuple(source.mean),
            std=tuple(source.std),
        )
    return About(
        run=run.name,
        stage=stage,
        seed=int(what["seed"]),
        genotype=dict(what["genotype"]),
        training=settings.training,
        data=facts,
        dataset=data.dataset.name,
        figures={key: value for key, value in figures.items() if value is not None},
    )


def _weights(trial: TrialDirectory) -> dict[str, Tensor]:
    """Returns the weights by which the retraining was judged: the last epoch's, of a language model the best ones."""
    epochs = (trial.result() or {}).get("epochs")
    store = CheckpointStore(trial.checkpoints, identity(trial))
    for path in store.files():
        if store.epoch(path) == epochs:
            try:
                state = store.read(path)
            except Refused as reason:
                raise RunError(f"{path}: {reason}; the network's weights are lost") from reason
            weights: dict[str, Tensor] = (state["best"] if state.get("kind") == "language" else state)["network"]
            return weights
    raise RunError(f"{trial.checkpoints}: holds no checkpoint of epoch {epochs}, the last: the weights are lost")


def _built(about: About, weights: Mapping[str, Tensor], where: str, ask: Ask) -> Trained:
    genotype = Genotype.from_json(about.genotype, where)
    admit_genotype(genotype.outside_names(), where, ask)
    network = space_of(genotype, where).network(genotype, about.data.task, about.training.network)
    network = network.to(getattr(torch, about.training.precision), memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise InputError(f"{where}: its weights do not fit its network: {str(error).splitlines()[0]}") from None
    if isinstance(about.data, ImageFacts) and isinstance(about.training, EvaluationSettings):
        return ImageNetwork(network, about, about.data, about.training)
    if isinstance(about.data, TextFacts) and isinstance(about.training, LanguageSettings):
        return LanguageNetwork(network, about, about.data)
    raise InputError(f"{where}: training {about.training.name} is not for {about.data.kind} data")


def write_weights(trained: Trained, file: Path) -> None:
    """Writes the weights as safetensors. Its metadata hold all that `read_weights` needs. Raises `InputError`."""
    from safetensors.torch import save  # noqa: PLC0415 - for this alone

    weights = {name: value.detach().contiguous().clone() for name, value in trained.network.state_dict().items()}
    try:
        write_bytes(file, save(weights, {KEY: trained.about.model_dump_json()}))
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror or error}") from error


def read_weights(file: Path, ask: Ask = never) -> Trained:
    """Returns the network of a file that `write_weights` wrote. Nothing in the file is executed.

    Raises `InputError` if the file is damaged or another's.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    try:
        with safe_open(file, "pt") as opened:
            metadata = (opened.metadata() or {}).get(KEY)
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise InputError(f"{file}: there is no such file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: no file of weights: {error}") from error
    if metadata is None:
        raise InputError(f"{file}: holds weights, but was not written by 'raydarts export RUN --weights FILE'")
    try:
        about = About.model_validate(json.loads(metadata))
    except (ValidationError, ValueError) as error:
        raise InputError(f"{file}: what it says of its network is damaged: {str(error).splitlines()[0]}") from None
    return _built(about, weights, str(file), ask)
