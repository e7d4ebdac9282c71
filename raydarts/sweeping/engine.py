"""One stage of a sweep: an executor runs the trials of a source, which decides on them and is told how each ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from raydarts.config.spec import TrialsSettings
from raydarts.errors import StorageError
from raydarts.execution import drive, failures
from raydarts.execution.executor import Handler, Loss, NotNow, TrialConfig
from raydarts.execution.gpu_memory import share_of, waits_for_more
from raydarts.execution.grouping import GroupHandler
from raydarts.execution.shared_data import Copies
from raydarts.execution.tune import TuneExecutor
from raydarts.genotypes.genotype import describe_genotype
from raydarts.json_types import whole
from raydarts.runs import faults
from raydarts.runs.directory import TrialDirectory
from raydarts.runs.results import read_trial
from raydarts.storage.place import Place
from raydarts.study.history import Decided, Decision, Fork
from raydarts.study.objectives import Score
from raydarts.study.results import TrialRecord
from raydarts.sweeping.budget import BudgetSpentError, Ledger
from raydarts.sweeping.display import Display
from raydarts.sweeping.fusing import Fusing

PAUSED = "paused by the scheduler: it waits for other trials"


class Source(Protocol):
    """Where a stage's trials come from."""

    pauses: bool
    """Whether `next_trial` may give a trial after it gave none: one that waited, or one decided on meanwhile."""

    @property
    def score(self) -> Score:
        """What its trials are ranked by."""

    def total(self) -> int:
        """How many trials there are, as far as is known now."""

    def remaining(self) -> int:
        """How many trials are still to be run, or wait."""

    def next_trial(self, idle: bool) -> TrialDirectory | None:
        """The next one to run, its trial.json written; None: there is none now. `idle`: no other trial runs."""

    def reported(self, trial: TrialDirectory, epoch: int, row: Mapping[str, object]) -> Decided:
        """A trial has ended an epoch with the figures in `row`. Returns what is decided on it, which is on disk.

        A trial that is to wait, or was forked, lets its place go. `next_trial` gives it again.
        """

    def ended(self, record: TrialRecord) -> None:
        """A trial that `next_trial` gave has its result."""

    def reason(self, trial: TrialDirectory) -> str | None:
        """Why a rule of the sweep stopped a trial; None: none did."""

    def settled(self) -> list[TrialRecord]:
        """The trials that were stopped while they waited, each once."""

    def news(self) -> list[str]:
        """Sentences on what else was decided on trials, each once."""


class StageHandler:
    """Gives a source's trials to an executor, and writes the result of those that are stopped or lost for good."""

    def __init__(
        self,
        source: Source,
        display: Display,
        ledger: Ledger,
        constants: TrialConfig,
        fusing: Fusing | None = None,
    ) -> None:
        self._ledger = ledger
        self._halted: dict[str, str] = {}
        self._paused: set[str] = set()
        self._forked: set[str] = set()
        self._source = source
        self._display = display
        self._constants = constants
        self._live: dict[str, TrialDirectory] = {}
        self._growing = constants["out_of_memory"] is not None
        self._fusing = fusing
        self._waiting: list[tuple[TrialDirectory, str | None]] = []
        """Trials that the source gave and that do not run yet, each with its kind."""
        self.stranded: list[str] = []
        """Trials that the storage failed more often than `max_failures` allows. They have no result."""

    def start(self, key: str, like: str | None = None) -> TrialConfig | NotNow:
        """The next trial; with `like`, the next one of that kind."""
        spent = (self._waiting or self._source.remaining() > 0) and self._ledger.deny()
        trial, kind = (None, None) if spent else self._next(like)
        self._show_settled()
        if trial is None:
            more = self._growing or self._source.pauses  # a trial that runs now may have to be given again
            return NotNow.LATER if more and self._live else NotNow.NEVER
        self._live[key] = trial
        self._display.started(trial.id, trial.description())
        config: TrialConfig = {"id": trial.id, "directory": str(trial.path), **self._constants, "kind": kind}
        if self._growing:
            config["gpus"] = share_of(trial, self._constants["gpus"])
        return config

    def _next(self, like: str | None) -> tuple[TrialDirectory | None, str | None]:
        """The next trial and its kind. Trials of other kinds that the source gives meanwhile wait."""
        for number, (_, kind) in enumerate(self._waiting):
            if like in (None, kind):
                return self._waiting.pop(number)
        while like is None or (self._fusing is not None and len(self._waiting) < self._fusing.ahead):
            trial = self._source.next_trial(idle=not self._live and not self._waiting)
            kind = None if trial is None else self._kind(trial)
            if trial is None or like in (None, kind):
                return trial, kind
            self._waiting.append((trial, kind))
        return None, None

    def _kind(self, trial: TrialDirectory) -> str | None:
        """What trials have in common that one process can run together, its share of a GPU included."""
        kind = None if self._fusing is None else self._fusing.kind(trial)
        return kind if kind is None or not self._growing else f"{share_of(trial, self._constants['gpus']):g} {kind}"

    def reported(self, key: str, row: Mapping[str, object]) -> bool:
        """A trial does not go on if the budget is spent, if the epoch was its last one, or if the source says so."""
        trial, epoch = self._live.get(key), whole(row.get("epoch"))
        if trial is None:
            return True
        if self._halts(key, trial) or row["done"]:
            return False
        if epoch == 0:
            return True
        self._display.epoch(trial.id, epoch, row)
        decision = self._source.reported(trial, epoch, row)
        if decision is Decision.PAUSE:
            self._paused.add(key)
        elif isinstance(decision, Fork):
            self._forked.add(key)
        self._show_settled()
        return decision is Decision.CONTINUE

    def _halts(self, key: str, trial: TrialDirectory) -> bool:
        """Charges an epoch. Returns whether the trial must not go on, the budget being spent."""
        self._ledger.charge(trial)
        reason = None if trial.result() is not None else self._ledger.deny()
        if reason is not None:
            self._halted[key] = reason
        return reason is not None

    def lost(self, key: str, loss: Loss, again: bool) -> None:
        trial = self._live.get(key)
        if trial is None:
            return
        what = failures.note(trial, loss, self._constants["workers"])
        if again:
            return
        self._live.pop(key)
        if trial.result() is None:
            if what == faults.STORAGE:
                self.stranded.append(trial.id)
                return
            trial.claim()
            counted = [entry for entry in trial.failures() if entry["what"] in faults.COUNTED]
            drive.fail(trial, faults.given_up(counted, self._constants["max_failures"]))
        self._concluded(trial)

    def ended(self, key: str) -> None:
        trial = self._live.pop(key, None)
        if trial is None:
            return
        if key in self._paused:
            self._paused.remove(key)
            trial.claim()
            trial.halt(PAUSED, paused=True)
            self._display.paused(trial.id)
            return
        if key in self._forked:
            self._forked.remove(key)
            self._display.forked(trial.id)
            return
        if key in self._halted and trial.result() is None:
            trial.halt(self._halted[key])
            self._display.halted(trial.id)
            return
        if self._growing and waits_for_more(trial):
            self._waiting.append((trial, self._kind(trial)))
            return
        if trial.result() is None:
            trial.claim()
            drive.stop(trial, describe_genotype, self._source.reason(trial))
        self._concluded(trial)

    def _concluded(self, trial: TrialDirectory) -> None:
        """A trial has its result."""
        record = read_trial(trial)
        self._source.ended(record)
        self._show(record)
        self._show_settled()

    def _show(self, record: TrialRecord) -> None:
        self._display.finished(record)

    def _show_settled(self) -> None:
        self._display.grow(self._source.total())
        for sentence in self._source.news():
            self._display.tell(sentence)
        for record in self._source.settled():
            self._show(record)


def common_config(settings: TrialsSettings) -> TrialConfig:
    """What the `SweepTrial` config of all trials of a stage has in common."""
    resources, rule = settings.resources, settings.out_of_memory
    return {
        "cpus": resources.cpus,
        "gpus": resources.gpus,
        "custom": resources.custom,
        "workers": resources.processes,
        "max_failures": settings.max_failures,
        "epoch_timeout": settings.epoch_timeout,
        "out_of_memory": None if rule is None else {"grow": rule.grow, "retries": rule.retries},
        "checkpoint_every": settings.checkpoint_every,
    }


def run_stage(
    source: Source,
    display: Display,
    ledger: Ledger,
    folder: Place,
    settings: TrialsSettings,
    concurrent: int,
    own_code: Sequence[str] = (),
    fusing: Fusing | None = None,
    data: Callable[[], Copies] | None = None,
) -> None:
    """Run a source's trials to their ends, in at most `concurrent` processes at a time. These load no code but
    `own_code` from outside raydarts. `fusing`: which trials share a process. None: none do. `data`: puts the trials'
    data where all can take them (`shared_data`). None: each process loads them for itself.

    Raises `BudgetSpentError` where the budget did not allow that, `StorageError` where the storage kept some from it.
    """
    remaining = source.remaining()
    if remaining == 0:
        return
    rule = settings.out_of_memory
    constants: TrialConfig = {**common_config(settings), "own_code": list(own_code)}
    handler = StageHandler(source, display, ledger, constants, fusing)
    most = None if source.pauses else remaining * (1 if rule is None else 1 + rule.retries)
    giving: Handler[TrialConfig] = handler
    if fusing is not None:
        giving, most = GroupHandler(handler, fusing.run, fusing.lanes, fusing.most), None
    TuneExecutor(folder, data).run(giving, concurrent, most, settings.max_failures)
    if handler.stranded:
        raise StorageError(
            f"{folder.parent.parent}: the storage failed {len(handler.stranded)} trial(s) on their nodes more often "
            f"than max_failures allows: {', '.join(handler.stranded)}. They keep what they reported; when it is "
            "mended, go on with: raydarts resume RUN"
        )
    if ledger.denied:
        raise BudgetSpentError(ledger.over())
