"""The search as a source of trials: a `Study` decides, and this module puts its trials and events on disk."""

from __future__ import annotations

from collections.abc import Mapping

from raydarts.config.beforehand import Earlier
from raydarts.config.distributions import Draw
from raydarts.config.loader import LoadedSpec
from raydarts.config.plan import longest
from raydarts.errors import CheckpointError, DamagedError, SpecError
from raydarts.execution import drive, forking
from raydarts.genotypes.genotype import describe_genotype
from raydarts.json_types import whole
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.results import read_trial
from raydarts.runs.segments import segments_of
from raydarts.searchers.base import Searcher
from raydarts.storage.files import plain
from raydarts.study.history import Decided, Decision, Event
from raydarts.study.objectives import SearchScore
from raydarts.study.results import TrialRecord
from raydarts.study.study import Outcome, Proposal
from raydarts.sweeping.strategy import forks, outcome_of, study_of


class Configured:
    """A searcher whose draws are configurations. A draw that no search can be built from has a `problem`.

    `earlier`: results of earlier runs that the searcher learns from first. The configurations of `sweep.points` are the
    first trials.
    """

    def __init__(self, searcher: Searcher, loaded: LoadedSpec, earlier: Earlier | None = None) -> None:
        self._searcher = searcher
        self._loaded = loaded
        searcher.start(loaded)
        if earlier is not None:
            searcher.recall(earlier.outcomes)

    def total(self) -> int:
        return self._searcher.total()

    def propose(self, index: int) -> Proposal | None:
        if index < len(self._loaded.points):
            draw: Draw | None = self._loaded.points[index]
            self._searcher.accept(index, self._loaded.points[index])
        else:
            draw = self._searcher.propose(index)
        return None if draw is None else self._proposal(draw)

    def _proposal(self, draw: Draw) -> Proposal:
        choices = plain(draw.choices)
        try:
            return Proposal(choices, self._loaded.settings_of(draw).model_dump(mode="json"))
        except SpecError as error:
            return Proposal(choices, plain(draw.plain), error)

    def tell(self, index: int, outcome: Outcome) -> None:
        self._searcher.tell(index, outcome)


class SearchStage:
    """Stage 1, as a `Source` of trials.

    Order on disk: the ask event with the whole configuration, then trial.json, then the trial runs. After each of its
    epochs the decide event comes before the decision acts. Then come the trial's result.json and the tell event. A kill
    between any two is made good here.
    """

    def __init__(self, run: RunDirectory, loaded: LoadedSpec) -> None:
        sweep = loaded.sweep
        self._run = run
        self.score: SearchScore = sweep.score
        self._forks = forks(sweep)
        self._settled: list[TrialRecord] = []
        kept = run.description().get("earlier")
        try:
            earlier = None if kept is None else Earlier.from_json(kept, loaded.search)
        except (KeyError, ValueError) as error:
            raise DamagedError(
                f"{run.path}/run.json: damaged: earlier: no configuration of this space: {error}"
            ) from error
        self._news: list[str] = []
        configured = Configured(sweep.searcher.build(), loaded, earlier)
        self.study, self.pauses = study_of(sweep, configured, loaded.search, longest(loaded.search), run.append_event)
        for event in run.events():
            if event["event"] == "ask" and not run.trial(int(event["index"])).exists:
                run.trial(int(event["index"])).create(_description(event))
            self.study.replay(event, lambda name: run.trial(int(name)).rows())
        self._make_good()
        self._settled.clear()
        self._news.clear()
        self.study.rebuilt()

    def _make_good(self) -> None:
        """Finish what a kill cut off: forks that were not carried out, ends that nobody was told of, stops that were
        not carried out, and rows that nobody has decided on. Forks come first: the checkpoint that a trial goes on from
        is there until the other trial runs on.
        """
        study = self.study
        for each in study.open():
            if len(each.segments) > len(segments_of(self._run.trial(int(each.name)).description())):
                self._fork(self._run.trial(int(each.name)))
        for trial in self._open():
            if trial.result() is not None:
                self.ended(read_trial(trial))
        for name in tuple(study.history.stopped):
            if study.history.trials[name].status is None:
                self._stop(self._run.trial(int(name)))
        for trial in self._open():
            for row in trial.rows():
                epoch = whole(row.get("epoch"))
                if self._forks and not forking.is_kept(trial, epoch):
                    continue  # it is run again, and decided on then: others may go on from its checkpoint
                if study.undecided(trial.id, epoch) and self.reported(trial, epoch, row) is Decision.STOP:
                    self._stop(trial)

    def _open(self) -> list[TrialDirectory]:
        return [self._run.trial(int(trial.name)) for trial in self.study.open()]

    def total(self) -> int:
        return self.study.total()

    def remaining(self) -> int:
        return self.study.remaining()

    def next_trial(self, idle: bool = False) -> TrialDirectory | None:
        if (name := self.study.next_ready()) is not None:
            return self._run.trial(int(name))
        while (asked := self.study.ask()) is not None:
            name, proposal = asked
            trial = self._run.trial(int(name))
            trial.create(_description(proposal.asked(int(name))))
            if proposal.problem is None:
                return trial
            drive.fail(trial, proposal.problem)
            self.ended(read_trial(trial))
        released = self.study.release() if idle else None
        return None if released is None else self._run.trial(int(released))

    def reported(self, trial: TrialDirectory, epoch: int, row: Mapping[str, object]) -> Decided:
        """What is decided after an epoch. Of an epoch that is run again the decision stands."""
        decision = self.study.reported(trial.id, epoch, row)
        self._settle()
        return decision

    def ended(self, record: TrialRecord) -> None:
        outcome = outcome_of(self.study, record.id, record.status, record.rows, record.judged)
        self.study.ended(record.id, outcome)
        self._settle()

    def reason(self, trial: TrialDirectory) -> str | None:
        """Why a rule of the sweep stopped a trial; None: none did."""
        return self.study.history.trials[trial.id].reason

    def settled(self) -> list[TrialRecord]:
        """The trials that were stopped while they waited, each once."""
        settled, self._settled = self._settled, []
        return settled

    def news(self) -> list[str]:
        news, self._news = self._news, []
        return news

    def _settle(self) -> None:
        """Carry out forks, and end the trials that were stopped while they waited."""
        while self.study.to_fork:
            self._fork(self._run.trial(int(self.study.to_fork.pop(0))))
        while self.study.to_stop:
            self._settled.append(self._stop(self._run.trial(int(self.study.to_stop.pop(0)))))

    def _fork(self, trial: TrialDirectory) -> None:
        """Let a trial go on from another's checkpoint. It fails where that is missing or damaged."""
        segments = self.study.history.trials[trial.id].segments
        try:
            forking.fork(trial, segments)
        except CheckpointError as error:
            drive.fail(trial, error)
            record = read_trial(trial)
            self.ended(record)
            self._settled.append(record)
        else:
            self._news.append(f"trial {trial.id} {segments[-1].origin}")

    def _stop(self, trial: TrialDirectory) -> TrialRecord:
        """The end of a trial that has no process."""
        trial.claim()
        drive.stop(trial, describe_genotype, self.reason(trial))
        record = read_trial(trial)
        self.ended(record)
        return record


def _description(ask: Event) -> dict[str, object]:
    """The trial.json of a trial that is asked for."""
    keys = ("index", "configuration", "replicate", "config", "choices")
    return {"kind": "search", **{key: value for key in keys if (value := ask.get(key)) is not None}}
