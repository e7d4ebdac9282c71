"""MLflow: each trial and each retraining as a run of an MLflow experiment."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from raydarts import registry
from raydarts.errors import InputError
from raydarts.json_types import section
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import run_of, stage_of
from raydarts.storage.place import Place
from raydarts.trackers.aside import scrub
from raydarts.trackers.base import Tracker, TrialObserver, scalars

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRIAL, EPOCH, GENOTYPE = "raydarts.trial", "raydarts.epoch", "raydarts.genotype"
"""Tags of a run: which trial it is, the last epoch it has, the genotype's JSON."""
_LONGEST = 5000  # characters of a tag, and of a parameter 6000: MLflow's limits


class MLflow(Tracker):
    """Each trial and each retraining is a run of an MLflow experiment, on a tracking server or in a database."""

    NAME = "mlflow"
    SOURCE = "Zaharia et al. 2018, IEEE Data Eng. Bull. 41(4); mlflow.org"
    seconds = 30.0  # a new database takes ten

    class Settings(registry.Settings):
        uri: str | None = Field(
            None,
            description="The tracking server, `http://HOST:PORT`, or a database, `sqlite:///FILE`. `null`: "
            "`MLFLOW_TRACKING_URI` of the environment. User and password stand in `MLFLOW_TRACKING_USERNAME` and "
            "`MLFLOW_TRACKING_PASSWORD`, never here.",
        )
        experiment: str | None = Field(None, description="Name of the experiment. `null`: the run's name.")

        @field_validator("uri")
        @classmethod
        def _no_secret(cls, value: str | None) -> str | None:
            if value is not None and "@" in urlsplit(value).netloc:
                raise ValueError(
                    "holds a user or a password, and a run keeps its spec for all to read; set "
                    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
                )
            return value

    @property
    def uri(self) -> str | None:
        return self.settings.uri or os.environ.get("MLFLOW_TRACKING_URI")

    def check(self, place: Place) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise InputError(
                "track.mlflow: mlflow is not installed: pip install 'raydarts[mlflow]', or leave track.mlflow out"
            )
        if self.uri is None:
            raise InputError(
                "track.mlflow: no tracking server is named; write uri: http://HOST:PORT or uri: sqlite:///FILE, or set "
                "MLFLOW_TRACKING_URI"
            )

    def client(self) -> MlflowClient:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a thread waits here, and the run does not
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient  # noqa: PLC0415 - seconds, and only where it is asked for

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)

        return MlflowClient(tracking_uri=self.uri)

    def begin(self, run: RunDirectory) -> str | None:
        name = self._experiment(run)
        _experiment_id(self.client(), name)
        return f"MLflow: experiment {name} at {self.uri}"

    def observer(self, trial: TrialDirectory) -> TrialObserver:
        return MLflowRun(trial, self)

    def _experiment(self, run: RunDirectory) -> str:
        return str(self.settings.experiment or run.name)

    def experiment_of(self, trial: TrialDirectory) -> str:
        return self._experiment(run_of(trial))


def _experiment_id(client: MlflowClient, name: str) -> str:
    """Returns the id of an experiment. It is made if it is not there, by whoever comes first."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    known = client.get_experiment_by_name(name)
    if known is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            known = client.get_experiment_by_name(name)
            if known is None:
                raise
    return str(known.experiment_id)


class MLflowRun(TrialObserver):
    """One trial. A trial that goes on goes on in its run. An epoch that the run has is not sent again."""

    def __init__(self, trial: TrialDirectory, tracker: MLflow) -> None:
        self._trial, self._tracker = trial, tracker
        self._ended = False

    def open(self) -> None:
        self._client = client = self._tracker.client()
        run, stage = run_of(self._trial), stage_of(self._trial)
        experiment = _experiment_id(client, self._tracker.experiment_of(self._trial))
        mark = f"{run.description().get('id')}/{stage}/{self._trial.id}"
        known = client.search_runs([experiment], f"tags.`{TRIAL}` = '{mark}'", max_results=1)
        if known:
            self._id, self._epoch = known[0].info.run_id, int(known[0].data.tags.get(EPOCH, 0))
            client.update_run(self._id, status="RUNNING")
            return
        tags = {TRIAL: mark, "raydarts.run": run.name, "raydarts.stage": stage, "mlflow.runName": self._trial.id}
        self._id, self._epoch = client.create_run(experiment, tags=tags, run_name=self._trial.id).info.run_id, 0
        self._send(params=dict(_params(self._trial.description())))

    def _send(
        self,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Sends all in one request, so that either all of an epoch is there or nothing."""
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415

        self._client.log_batch(
            self._id,
            [Metric(key, value, 0, self._epoch) for key, value in (metrics or {}).items()],
            [Param(key, value[:_LONGEST]) for key, value in (params or {}).items()],
            [RunTag(key, value[:_LONGEST]) for key, value in (tags or {}).items()],
        )

    def epoch(self, row: Mapping[str, object]) -> None:
        number = int(str(row["epoch"]))
        if number <= self._epoch:
            return
        self._epoch = number
        self._send(_numbers(row), tags={EPOCH: str(number)})

    def finished(self, result: Mapping[str, object]) -> None:
        final = {f"final.{key}": value for key, value in _numbers(section(result.get("result"))).items()}
        told = {"raydarts.status": str(result.get("status"))}
        if genotype := result.get("genotype"):
            told |= {f"{GENOTYPE}_id": str(result.get("genotype_id")), GENOTYPE: json.dumps(genotype)}
        if error := result.get("error"):
            told["raydarts.error"] = scrub(str(error))[:300]
        self._send(final, tags=told)
        self._ended = True
        self._client.set_terminated(self._id, "FAILED" if result.get("status") == "failed" else "FINISHED")

    def close(self) -> None:
        if not self._ended:  # stopped by a scheduler, or it goes on later
            self._client.set_terminated(self._id, "KILLED")


def _numbers(row: Mapping[str, object]) -> dict[str, float]:
    return {
        key: float(value) for key, value in scalars(row).items() if key != "epoch" and not isinstance(value, str | bool)
    }


def _params(what: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields what a trial is: the swept settings, the configuration's number, the seeds."""
    for key, value in section(what.get("choices")).items():
        yield _key(key), value if isinstance(value, str) else json.dumps(value)
    for key in ("configuration", "replicate", "genotype_id", "seed"):
        if what.get(key) is not None:
            yield key, str(what[key])
    if "seed" in (config := section(what.get("config"))) and "search.seed" not in section(what.get("choices")):
        yield "search.seed", str(config["seed"])


def _key(name: str) -> str:
    """Returns a name in the characters that MLflow takes."""
    return "".join(character if character.isalnum() or character in "_-. /" else "/" for character in name).rstrip("/")
