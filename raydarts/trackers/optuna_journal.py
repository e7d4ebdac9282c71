"""An Optuna study beside the run, in a journal file: optuna-dashboard shows the sweep while it goes on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raydarts.config.distributions import Tree
from raydarts.config.parsing import stored_tree
from raydarts.errors import InputError
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import run_of, stage_of
from raydarts.storage.place import Place
from raydarts.study.objectives import SearchScore, search_score_of
from raydarts.study.results import TrialRecord
from raydarts.study.stages import SEARCH
from raydarts.trackers.base import Tracker, TrialObserver
from raydarts.trackers.optuna_form import Recorded

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

FILE = "optuna.log"
TRIAL = "raydarts.trial"
"""The attribute of an Optuna trial that names ours."""


class OptunaJournal(Tracker):
    """The searches as an Optuna study in `RUN/optuna.log`. `optuna-dashboard RUN/optuna.log` shows it live."""

    NAME = "optuna_journal"
    SOURCE = "Akiba et al. 2019, KDD (arXiv 1907.10902): JournalStorage; optuna-dashboard"

    def check(self, place: Place) -> None:
        if not isinstance(place, Path):
            raise InputError(
                f"track.optuna_journal: writes a file on a disk, and {place} is none; leave it out, or use a folder"
            )

    def begin(self, run: RunDirectory) -> str | None:
        file = _file(run)
        with_trials = _study(file, run)
        _conclude(with_trials, run)  # trials of an earlier driver that a scheduler stopped
        return f"Optuna: a study in {file}; 'optuna-dashboard {file}' shows it"

    def observer(self, trial: TrialDirectory) -> TrialObserver | None:
        return Journal(trial) if stage_of(trial) == SEARCH else None

    def conclude(self, run: RunDirectory) -> str | None:
        _conclude(_study(_file(run), run), run)
        return None


def _file(run: RunDirectory) -> Path:
    if not isinstance(run.path, Path):
        raise TypeError(f"{run.path}: a journal is written on a disk alone")
    return run.path / FILE


def _storage(file: Path) -> BaseStorage:
    from optuna import logging  # noqa: PLC0415 - half a second
    from optuna.storages import JournalStorage  # noqa: PLC0415
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

    logging.set_verbosity(logging.ERROR)
    return JournalStorage(JournalFileBackend(str(file)))


def _study(file: Path, run: RunDirectory, storage: BaseStorage | None = None) -> Study:
    """Returns the run's study. It is made if it is not there."""
    import optuna  # noqa: PLC0415

    description = run.description()
    score = search_score_of(description)
    names = [each.name or each.metric for each in score.each]
    study = optuna.create_study(
        storage=_storage(file) if storage is None else storage,
        study_name=run.name,
        directions=["maximize" if each.mode == "max" else "minimize" for each in score.each],
        load_if_exists=True,
    )
    if "raydarts.run" not in study.user_attrs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls it experimental
            study.set_metric_names(names)
        study.set_user_attr("question", str(description.get("question") or ""))
        study.set_user_attr("raydarts.run", str(description.get("id")))
    return study


class Journal(TrialObserver):
    """One search. A search that goes on goes on in its Optuna trial. A value of an epoch is written once."""

    def __init__(self, trial: TrialDirectory) -> None:
        self._trial = trial

    def open(self) -> None:
        run = run_of(self._trial)
        description = run.description()
        self._score = search_score_of(description)
        self._study = _study(_file(run), run)
        known = _known(self._study, self._trial.id)
        if known is None:
            search = stored_tree(description)
            record = results.read_trial(self._trial)
            template = _frozen(search, record, self._score, running=True)
            self._id = self._study._storage.create_new_trial(self._study._study_id, template)
            self._epoch, self._open = 0, True
        else:
            self._id, self._open = known._trial_id, not known.state.is_finished()
            self._epoch = max(known.intermediate_values, default=0)

    def epoch(self, row: Mapping[str, object]) -> None:
        number, value = int(str(row["epoch"])), self._score.of(row)
        if not self._open or number <= self._epoch:
            return
        self._epoch = number
        if value is not None:
            self._study._storage.set_trial_intermediate_value(self._id, number, value)

    def finished(self, result: Mapping[str, object]) -> None:
        if self._open:
            _end(self._study, self._id, results.read_trial(self._trial), self._score)
            self._open = False


def _known(study: Study, name: str) -> FrozenTrial | None:
    trials = study.get_trials(deepcopy=False)
    return next((trial for trial in trials if trial.user_attrs.get(TRIAL) == name), None)


def _frozen(search: Tree, record: TrialRecord, score: SearchScore, *, running: bool) -> FrozenTrial:
    """Returns a search as an Optuna trial: its parameters, and if it is not `running` how it ended."""
    import optuna  # noqa: PLC0415

    choices = record.description.get("choices") or {}
    recorded = Recorded(search, choices, searched=False)  # type: ignore[arg-type]
    attributes: dict[str, Any] = {TRIAL: record.id}
    if record.configuration is not None:
        attributes |= {"configuration": record.configuration, "search seed": record.search_seed}
    state, values = (optuna.trial.TrialState.RUNNING, None) if running else _state(record, score)
    epochs = {} if running else {int(str(row["epoch"])): score.of(row) for row in record.rows}
    return optuna.trial.create_trial(
        state=state,
        values=values,
        params=recorded.params,
        distributions=recorded.distributions,
        user_attrs=attributes if running else attributes | _told(record),
        intermediate_values={epoch: value for epoch, value in epochs.items() if value is not None},
    )


def _state(record: TrialRecord, score: SearchScore) -> tuple[Any, list[float] | None]:
    """Returns Optuna's state of a search that ended, and its values."""
    from optuna.trial import TrialState  # noqa: PLC0415

    figures = score.figures(record.judged)
    if record.status == "completed" and figures is not None:
        return TrialState.COMPLETE, list(figures)
    return (TrialState.PRUNED if record.status == "stopped" else TrialState.FAIL), None


def _told(record: TrialRecord) -> dict[str, Any]:
    """Returns what is said of a search that ended, beside its values."""
    told = {"genotype": record.genotype_id, "skips": record.skips, "reason": record.result.get("reason")}
    return {key: value for key, value in told.items() if value}


def _end(study: Study, number: int, record: TrialRecord, score: SearchScore) -> None:
    storage = study._storage
    for key, value in _told(record).items():
        storage.set_trial_user_attr(number, key, value)
    state, values = _state(record, score)
    storage.set_trial_state_values(number, state, values)


def _conclude(study: Study, run: RunDirectory) -> None:
    """Ends the Optuna trials of searches that a scheduler stopped: their processes were not told so."""
    score = search_score_of(run.description())
    ended = {record.id: record for record in results.trials(run) if record.result}
    for trial in study.get_trials(deepcopy=False):
        record = ended.get(str(trial.user_attrs.get(TRIAL)))
        if record is not None and not trial.state.is_finished():
            _end(study, trial._trial_id, record, score)


def export_study(run: RunDirectory, to: Path) -> int:
    """Writes a run's searches as an Optuna study: a database (`.db`), or a journal (`.log`). Returns their number."""
    from optuna.storages import RDBStorage  # noqa: PLC0415 - sqlalchemy

    if to.exists():
        raise InputError(f"{to}: is there already; give another file, or move it away")
    if not to.parent.is_dir():
        raise InputError(f"{to}: cannot be written: there is no such folder")
    description = run.description()
    if description["kind"] != "sweep":
        raise InputError(f"{run.path}: is a {description['kind']}; a study is made of a sweep's searches")
    score = search_score_of(description)
    search = stored_tree(description)
    storage = RDBStorage(f"sqlite:///{to.absolute()}") if to.suffix.lower() == ".db" else None
    study = _study(to, run, storage)
    ended = [record for record in results.trials(run) if record.result]
    study.add_trials([_frozen(search, record, score, running=False) for record in ended])
    return len(ended)
