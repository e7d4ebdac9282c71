"""What things are called in W&B. Whoever logs a run and whoever reads it (panels, filters) take the names from here.

A trial's group is its run, its job type its stage's name.

W&B takes a dot in a config key for nesting: of a key that holds one its filters find nothing (wandb issues 2819 and
3087), and wandb-workspaces addresses `estimator.xi` as `xi` inside `estimator`. So a config is named by flat dotted
keys, as W&B's own tables show it, and handed to `wandb.init` as `nested(flat)`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from raydarts.json_types import section
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import stage_of
from raydarts.storage.place import read_bytes
from raydarts.study.random_cells import is_random, mark
from raydarts.study.results import TrialRecord
from raydarts.study.stages import EVALUATE, SEARCH

STEP = "epoch"
"""The metric that is every other metric's step axis (`define_metric(name, step_metric=STEP, summary=SUMMARY)`)."""
SUMMARY = "last,min,max"
CONFIGURATION = "configuration"
"""The config key of a search's configuration, in a run with replicates. W&B can group the seeds' runs by it."""
GENOTYPE = "genotype"
"""The media key under which a search logs the drawing of its genotype; a metrics row's key of the genotype itself."""
_ONE = ("space", "relaxation", "estimator", "selection")
_SEVERAL = ("regularizers", "probes")
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9._-]+")


def flat_config(config: Mapping[str, object]) -> dict[str, object]:
    """A trial's config by dotted keys, values as they are: `estimator.xi`, `regularizers.beta_decay.strength`.

    A component given by its name alone is written like one with settings (`estimator: first_order` is
    `estimator.name`); those of a list go by name, and `regularizers.names` lists them in order. No key is another's
    beginning, so that `nested` can undo the dots. A dot within a key or name becomes `_`.
    """
    flat: dict[str, object] = {}
    for key, value in config.items():
        if key in _ONE and isinstance(value, str):
            flat[f"{key}.name"] = value
        elif key in _SEVERAL and isinstance(value, list | tuple):
            _components(_part(key), value, flat)
        else:
            _flatten(_part(key), value, flat)
    return flat


def _part(key: object) -> str:
    return str(key).replace(".", "_")


def _flatten(prefix: str, value: object, flat: dict[str, object]) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _flatten(f"{prefix}.{_part(key)}", item, flat)
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        for index, item in enumerate(value):
            _flatten(f"{prefix}.{index}", item, flat)
    else:
        flat[prefix] = list(value) if isinstance(value, tuple) else value


def _components(prefix: str, components: Sequence[object], flat: dict[str, object]) -> None:
    met: dict[str, int] = {}
    names = []
    for each in components:
        settings = dict(each) if isinstance(each, Mapping) else {"name": each}
        name = _part(settings.pop("name", "unnamed"))
        names.append(name)
        met[name] = met.get(name, 0) + 1
        distinct = name if met[name] == 1 else f"{name}#{met[name]}"
        for key, value in settings.items():
            _flatten(f"{prefix}.{distinct}.{_part(key)}", value, flat)
    flat[f"{prefix}.names"] = ", ".join(names) or "none"


def search_config(what: Mapping[str, object]) -> dict[str, object]:
    """A search's config, of its trial.json: its settings, and with replicates its configuration."""
    of = {} if what.get(CONFIGURATION) is None else {CONFIGURATION: what[CONFIGURATION]}
    return {**section(what.get("config")), **of}


def nested(
    flat: Mapping[str, object], hold: Callable[[dict[str, object]], dict[str, object]] = dict
) -> dict[str, object]:
    """`flat` as `wandb.init(config=...)` is to have it: W&B then shows it under exactly these names.

    `hold`: makes of a part what stands under its name.
    """
    below: dict[str, dict[str, object]] = {}
    whole: dict[str, object] = {}
    for name, value in flat.items():
        first, _, rest = name.partition(".")
        if rest:
            below.setdefault(first, {})[rest] = value
        whole[first] = None if rest else value  # in the order of the names
    return whole | {first: hold(nested(inner, hold)) for first, inner in below.items()}


def supernet_key(metric: str) -> str:
    """The config key of an evaluation that holds what the supernet said of its genotype."""
    return f"supernet_{metric}"


def evaluation_config(description: Mapping[str, object], metric: str, supernet: float | None) -> dict[str, object]:
    """An evaluation's config. `supernet`: the sweep's `metric`, averaged over the trials that found the genotype.

    It stands here because a plot of W&B takes both its axes from the same runs.
    """
    config = {"genotype_id": description["genotype_id"], "evaluation_seed": description["seed"], **mark(description)}
    return config if supernet is None else {**config, supernet_key(metric): supernet}


def group(run: RunDirectory) -> str:
    """The W&B group of all searches and evaluations of a run."""
    return run.name


def run_id(run: RunDirectory, trial: TrialDirectory) -> str:
    """The id of a trial's or evaluation's W&B run, the same whenever it is asked for.

    Two runs of one name in one project differ by their run.json, and a run that was moved keeps its ids. W&B allows
    64 characters without `/`, `#`, `?`, `%`, `:` and the backslash.
    """
    stage = {SEARCH: "t", EVALUATE: "e"}.get(stage_of(trial), stage_of(trial))
    whole = hashlib.sha256(read_bytes(run.files / "run.json") + f"{stage}/{trial.id}".encode()).hexdigest()[:12]
    readable = _NOT_IN_AN_ID.sub("_", f"{run.name}-{stage}-{trial.id}")[:51]
    return f"{readable}-{whole}"


def title(trial: TrialDirectory) -> str:
    """What a trial's W&B run is called for people."""
    stage, what = stage_of(trial), trial.description()
    name = f"{ {SEARCH: 'trial', EVALUATE: 'evaluation'}.get(stage, stage) } {trial.id}"
    if is_random(what):
        return f"{name} (random cell)"
    if (configuration := what.get("configuration")) is None:
        return name
    return f"{name} (configuration {configuration:04d}, search seed {what['replicate']})"


def sweep_id(run: RunDirectory) -> str:
    """What a run's sweep is called until W&B has given it an id of its own."""
    return hashlib.sha256(read_bytes(run.files / "run.json") + b"sweep").hexdigest()[:8]


def genotype_artifact(genotype_id: str) -> str:
    """The artifact that holds a genotype, whichever run found it."""
    return f"genotype-{_NOT_IN_AN_ID.sub('_', genotype_id)}"


def checkpoint_artifact(run: RunDirectory, job_type: str) -> str:
    """The artifact whose versions are the best checkpoints of a run's stage, the best one last."""
    return f"checkpoint-{job_type}-{run_id_prefix(run)}"


def run_id_prefix(run: RunDirectory) -> str:
    """A run's name and what tells it from others of the same name, as far as ids and artifacts allow."""
    return f"{_NOT_IN_AN_ID.sub('_', run.name)[:60]}-{sweep_id(run)}"


def last(metric: str) -> str:
    """The summary key of a metric's last value, which `summary=SUMMARY` makes."""
    return f"{metric}.last"


@dataclass(frozen=True)
class Names:
    """What the runs of one job type hold: `metrics` in the order met, `configs` one for each run."""

    metrics: Sequence[str]
    configs: Sequence[Mapping[str, object]]

    def values(self, key: str) -> list[object]:
        """The values of a config key, over the runs that have it."""
        return [config[key] for config in self.configs if key in config]

    @property
    def varying(self) -> list[str]:
        """Config keys that differ between runs, or that only some runs have."""
        keys = dict.fromkeys(key for config in self.configs for key in config)
        absent = object()
        return [key for key in keys if len({repr(config.get(key, absent)) for config in self.configs}) > 1]


def metric_names(records: Iterable[TrialRecord]) -> list[str]:
    """The keys of the metrics rows that ever hold a number, the epoch left out."""
    met: dict[str, None] = {}
    for record in records:
        for row in record.rows:
            for key, value in row.items():
                if key != STEP and isinstance(value, int | float) and not isinstance(value, bool):
                    met[key] = None
    return list(met)


def search_names(run: RunDirectory) -> Names:
    """Of the search trials."""
    records = results.trials(run)
    return Names(metric_names(records), [flat_config(search_config(record.description)) for record in records])


def evaluation_names(run: RunDirectory, metric: str, supernet: Mapping[str, float], stage: str = EVALUATE) -> Names:
    """Of a stage's retrainings; `supernet`: genotype id to the mean of the sweep's `metric`."""
    records = results.retrained(run, stage)
    configs = [
        evaluation_config(record.description, metric, supernet.get(record.description["genotype_id"]))
        for record in records
    ]
    return Names(metric_names(records), configs)
