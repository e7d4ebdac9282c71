"""The search as a source of trials: the searcher proposes them, the scheduler decides which go on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from raydarts.config.distributions import Draw
from raydarts.config.loader import LoadedSpec
from raydarts.config.plan import longest
from raydarts.errors import SpecError
from raydarts.execution import drive
from raydarts.genotypes.genotype import describe_genotype
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.results import TrialRecord, read_trial
from raydarts.schedulers.base import Horizon, Scheduler
from raydarts.searchers.base import Outcome, Searcher
from raydarts.storage.files import plain
from raydarts.study.history import Decision, Decisions, History, Report, Trial, name_of, written
from raydarts.study.objectives import Score

logger = logging.getLogger("raydarts")


class SearchStage:
    """Stage 1. Every proposal, decision and end of a trial is an event on disk; opening a run rebuilds all from them.

    Order on disk: the ask event with the whole configuration, then trial.json, then the trial runs. After each of its
    epochs the decide event comes before the decision acts. Then come the trial's result.json and the tell event. A kill
    between any two is made good here. Nothing is decided on a trial that has run the most epochs that any runs.
    """

    def __init__(self, run: RunDirectory, loaded: LoadedSpec) -> None:
        sweep = loaded.sweep
        self._run = run
        self._loaded = loaded
        self._searcher: Searcher = sweep.searcher.build()
        self._epochs = longest(loaded.search)
        scheduler: Scheduler = sweep.scheduler.build()
        self._decider = scheduler.build(Horizon(sweep.metric, sweep.score.mode, self._epochs, sweep.seed))
        self.pauses = scheduler.PAUSES
        self.score: Score = sweep.score
        self.history = History()
        self._ready: list[TrialDirectory] = []
        self._settled: list[TrialRecord] = []
        self._searcher.start(loaded)
        self._decider.expect(self._searcher.total())
        for event in run.events():
            self._replay(event)
        self._make_good()
        self._settled.clear()
        released = self.history.released
        running = [trial for trial in self._open() if self._known(trial).last is not Decision.PAUSE]
        self._ready = [trial for trial in running if trial.id not in released]
        self._ready += [run.trial(int(name)) for name in released]

    def _replay(self, event: Mapping[str, Any]) -> None:
        """Show an event of an earlier driver to the searcher and the scheduler. Their answers are not asked for."""
        index, name = int(event["index"]), name_of(int(event["index"]))
        report = self.history.add(event)
        if event["event"] == "ask":
            draw = self._searcher.propose(index)
            if draw is None or plain(draw.choices) != event["choices"]:
                logger.warning("trial %s: the searcher now proposes otherwise; the recorded one is kept", name)
            if not self._run.trial(index).exists:
                self._run.trial(index).create(_description(event))
            self._decider.add(name, event["config"])
        elif event["event"] == "tell":
            outcome = Outcome.from_json(event["outcome"])
            self._searcher.tell(index, outcome)
            self._close(name, outcome)
        elif report is not None:
            if event["event"] == "report":  # of a run that recorded no values
                value = next((self.score.of(row) for row in self._rows(name) if row.get("epoch") == report.epoch), None)
                report = Report(name, report.epoch, value)
            answer = self._decider.decide(report)
            recorded = Decision(event.get("decision", Decision.CONTINUE)), list(event.get("others", ()))
            if (answer.decision, written(answer.others)) != recorded:
                logger.warning(
                    "trial %s, epoch %d: the scheduler would now decide otherwise (%s); the recorded decision is kept",
                    name,
                    report.epoch,
                    answer.decision,
                )

    def _rows(self, name: str) -> list[dict[str, Any]]:
        return self._run.trial(int(name)).rows()

    def _make_good(self) -> None:
        """Finish what a kill cut off: ends that nobody was told of, stops that were not carried out, and rows that
        nobody has decided on."""
        for trial in self._open():
            if trial.result() is not None:
                self.ended(read_trial(trial))
        for name in tuple(self.history.stopped):
            if self.history.trials[name].status is None:
                self._stop(self._run.trial(int(name)))
        for trial in self._open():
            for epoch, value in [(int(row.get("epoch") or 0), self.score.of(row)) for row in trial.rows()]:
                undecided = self._known(trial).epoch < epoch < self._epochs and self._known(trial).status is None
                if undecided and self.reported(trial, epoch, value) is Decision.STOP:
                    self._stop(trial)

    def _open(self) -> list[TrialDirectory]:
        return [self._run.trial(int(name)) for name, trial in self.history.trials.items() if trial.status is None]

    def _known(self, trial: TrialDirectory) -> Trial:
        return self.history.trials[trial.id]

    def total(self) -> int:
        return max(self._searcher.total(), len(self.history.trials))

    def remaining(self) -> int:
        return len(self._ready) + len(self.history.waiting()) + self.total() - len(self.history.trials)

    def next_trial(self, idle: bool = False) -> TrialDirectory | None:
        if self._ready:
            return self._ready.pop(0)
        while (draw := self._searcher.propose(len(self.history.trials))) is not None:
            trial, error = self._write_down(draw)
            if error is None:
                return trial
            drive.fail(trial, error)
            self.ended(read_trial(trial))
        if idle and (waiting := self.history.waiting()):
            return self._release(waiting[0].name)
        return None

    def _release(self, name: str) -> TrialDirectory:
        """Let a trial go on though the scheduler keeps it waiting: nothing else runs, so it would wait for ever."""
        epoch = self.history.trials[name].epoch
        logger.warning("trial %s: waits since epoch %d, and no other trial runs: it goes on", name, epoch)
        self._write({"event": "decide", "index": int(name), "epoch": epoch, "decision": str(Decision.CONTINUE)})
        return self._run.trial(int(name))

    def _write_down(self, draw: Draw) -> tuple[TrialDirectory, SpecError | None]:
        """The next trial on disk. A draw that no search can be built from is one too, and fails."""
        problem: SpecError | None = None
        try:
            config = self._loaded.settings_of(draw).model_dump(mode="json")
        except SpecError as error:
            config, problem = plain(draw.plain), error
        index = len(self.history.trials)
        event = {"event": "ask", "index": index, "choices": plain(draw.choices), "config": config}
        self._write(event)
        trial = self._run.trial(index)
        trial.create(_description(event))
        self._decider.add(trial.id, config)
        return trial, problem

    def reported(self, trial: TrialDirectory, epoch: int, value: float | None) -> Decision:
        """What is decided after an epoch. Of an epoch that is run again the decision stands."""
        if (known := self.history.decision(trial.id, epoch)) is not None:
            return known
        verdict = self._decider.decide(Report(trial.id, epoch, value))
        event = {"event": "decide", "index": int(trial.id), "epoch": epoch, "value": value}
        self._write({**event, "decision": str(verdict.decision)}, verdict.others)
        self._act(verdict.others)
        return verdict.decision

    def ended(self, record: TrialRecord) -> None:
        index = int(record.description["index"])
        reports = [
            (int(row["epoch"]), value)
            for row in record.rows
            if (value := self.score.of(row)) is not None and row.get("epoch") is not None
        ]
        outcome = Outcome(record.status, record.value(self.score), reports)
        self._searcher.tell(index, outcome)
        others = self._close(name_of(index), outcome)
        self._write({"event": "tell", "index": index, "outcome": outcome.to_json()}, others)
        self._act(others)

    def settled(self) -> list[TrialRecord]:
        """The trials that were stopped while they waited, each once."""
        settled, self._settled = self._settled, []
        return settled

    def _close(self, name: str, outcome: Outcome) -> Decisions:
        """Tell the scheduler of a trial's end, and of rows that it was not asked about; not of the last one, after
        which the trial had ended by itself."""
        reports = [Report(name, epoch, value) for epoch, value in outcome.reports]
        asked = reports if outcome.status == "stopped" else reports[:-1]
        others: Decisions = {}
        for report in asked:
            if self.history.decision(name, report.epoch) is None:
                others |= self._decider.decide(report).others
        return others | self._decider.ended(name, reports[-1] if reports else None)

    def _write(self, event: Mapping[str, Any], others: Mapping[str, Decision] | None = None) -> None:
        """An event on disk, and then in the history."""
        whole = {**event, "others": written(others)} if others else event
        self._run.append_event(whole)
        self.history.add(whole)

    def _act(self, others: Mapping[str, Decision]) -> None:
        """Carry out decisions on trials that wait."""
        for name, decision in others.items():
            trial = self._run.trial(int(name))
            if decision is Decision.STOP:
                self._settled.append(self._stop(trial))
            elif decision is Decision.CONTINUE:
                self._ready.append(trial)

    def _stop(self, trial: TrialDirectory) -> TrialRecord:
        """The end of a trial that has no process."""
        trial.claim()
        drive.stop(trial, describe_genotype)
        record = read_trial(trial)
        self.ended(record)
        return record


def _description(event: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "search", "index": event["index"], "config": event["config"], "choices": event["choices"]}
