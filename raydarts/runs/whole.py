"""Whether a run is whole: asked before it is gone on with, when nothing has been written yet.

A report may leave out what is damaged. Whoever goes on with a run may not: a lost event, row or time would change what
is run, stopped or counted, and nobody would see it.
"""

from __future__ import annotations

from collections.abc import Sequence

from raydarts.errors import DamagedError
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import jobs, read_allocation, read_promotion
from raydarts.runs.reading import Damage
from raydarts.runs.results import untimed
from raydarts.runs.segments import segments_of
from raydarts.storage.objects import ObjectPlace
from raydarts.storage.place import FilePlace, Place, entries
from raydarts.study.history import Event, ForkEntry, OtherEntry, SegmentEntry
from raydarts.study.results import TrialEntry
from raydarts.study.stages import EVALUATE, GIVEN, SEARCH, stages_of

_RUN = ("status.json", "plan.json", "budget.json", "drivers.json")
_SHOWN = 20


def open_whole(path: str | Place, *, replayed: bool = True) -> RunDirectory:
    """An existing run of which every file is sound. Raises `DamagedError` that names all that are not.

    `replayed`: its events will be replayed, so they must be those of its trials.
    """
    run = RunDirectory.open(path)
    if problems := damage_of(run.path, replayed).problems:
        more = f"\n... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DamagedError(
            "\n".join(problems[:_SHOWN]) + f"{more}\n{run.path}: is damaged there, so nothing was started and nothing "
            "changed. Put back what these held. status.json and owner.json may be removed: they are written anew. A "
            "trial's whole folder may be moved away to have it run again. "
            f"'raydarts report {run.path}' shows what is whole"
        )
    return run


def damage_of(path: Place, replayed: bool = True) -> Damage:
    """All that is wrong with the files of a run."""
    damage = Damage()
    run = RunDirectory.open(path, damage)
    description = run.description()
    for name in _RUN:
        run.read(name)
    run.in_use()
    trials = jobs(run, description)
    for trial in trials:
        _check_trial(trial, damage)
    for stage in stages_of(description):
        read_promotion(run, stage.name)
        if stage.name == EVALUATE:
            read_allocation(run)
        if description.get("stage") == stage.name and stage.source == GIVEN and not description.get("genotypes"):
            damage.note(run.files / "run.json", DamagedError(f"{run.path / 'run.json'}: damaged: genotypes missing"))
    if replayed and description["kind"] == "sweep" and description.get("stage") in (None, SEARCH):
        _check_events(run, damage)
    _check_folders(run, trials, damage)
    return damage


def _check_trial(trial: TrialDirectory, damage: Damage) -> None:
    """Each file of a trial, and that its result fits its rows. Without a trial.json it is written again on resume."""
    if trial.exists:
        trial.description()
    result = trial.result()
    rows = trial.rows()
    if lost := untimed(trial, rows, result):
        damage.note(trial.files / "times.jsonl", DamagedError(f"{trial.path / 'times.jsonl'}: {lost}"))
    trial.failures()
    trial.halted()
    trial.owner()
    file = trial.files / "metrics.jsonl"
    if result is not None and result.get("epochs", 0) > len(rows) and not damage.at(file):
        missing = f"{file}: lacks {result['epochs'] - len(rows)} of the {result['epochs']} epochs that were reported"
        damage.note(file, DamagedError(missing))


def _check_events(run: RunDirectory, damage: Damage) -> None:
    """Whether the events are those of these trials: they are replayed, and each must have been asked for in order."""
    file = run.files / "events.jsonl"
    trials = run.trials()  # before the events: of a run that goes on, what was asked is there before its folder
    events = run.events()
    asked = {event["index"]: event for event in events if event["event"] == "ask"}
    others = {other["index"] for event in events for other in event.get("others", ())}
    parents = {fork["parent"] for event in events for each in _decided(event) if (fork := each.get("fork"))}
    unknown = sorted(({event["index"] for event in events} | others | parents) - set(asked))
    missing = sorted(set(range(max(asked, default=-1) + 1)) - set(asked))
    missing += [index for trial in trials if (index := int(trial.id)) not in asked and index not in missing]
    for index in sorted({*unknown, *missing}):
        damage.note(file, DamagedError(f"{file}: damaged: says nowhere what was asked of trial {index:04d}"))
    forks: dict[int, list[ForkEntry]] = {}
    for event in events:
        for each in _decided(event):
            if (fork := each.get("fork")) is not None:
                forks.setdefault(each["index"], []).append(fork)
    for trial in trials:
        ask = asked.get(int(trial.id))
        if ask is None or not trial.exists:
            continue
        description = trial.description()
        if description and not _is_asked_for(description, ask, forks.get(int(trial.id), [])):
            problem = f"{trial.path / 'trial.json'}: damaged: is not what events.jsonl says was asked of this trial"
            damage.note(trial.files / "trial.json", DamagedError(problem))


def _decided(event: Event) -> list[Event | OtherEntry]:
    """An event, and what it holds on other trials."""
    return [event, *event.get("others", ())]


def _is_asked_for(description: TrialEntry, ask: Event, forks: Sequence[ForkEntry]) -> bool:
    """Whether a trial.json holds the settings that were asked of the trial, first and after each of its forks.

    It may lack the last fork: that is an event before it is in trial.json.
    """
    wanted: list[SegmentEntry] = [{"config": ask["config"], "choices": ask["choices"], "parent": None}]
    wanted += [
        {
            "config": fork["config"],
            "choices": fork["choices"],
            "parent": {"trial": fork["parent"], "epoch": fork["epoch"]},
        }
        for fork in forks
    ]
    segments = [segment.to_json() for segment in segments_of(description)]
    newest = segments[-1]
    if (description.get("config"), description.get("choices")) != (newest["config"], newest["choices"]):
        return False
    return segments == wanted[: len(segments)]


def _check_folders(run: RunDirectory, trials: list[TrialDirectory], damage: Damage) -> None:
    """The folders that are written to, by raydarts or by other libraries, which follow links."""
    if isinstance(run.path, ObjectPlace):
        return
    of_trials = [place for trial in trials for place in _folders_of(trial)]
    of_ray = [run.files / "ray", run.files / "ray/train"]
    for folder in [*of_trials, *of_ray, run.files / "stages", run.files / "groups"]:
        try:
            for entry in entries(folder):
                if folder in of_ray and entry.instead == "a link":
                    damage.note(
                        entry.place, DamagedError(f"{entry.place}: is a link, which Ray would follow; remove it")
                    )
        except (DamagedError, OSError) as error:
            damage.note(folder, error)


def _folders_of(trial: TrialDirectory) -> list[FilePlace]:
    """The checkpoints and the folders of trackers in a trial's folder; names without a suffix are folders' names."""
    checkpoints = trial.files / "checkpoints"
    try:
        inside = entries(trial.files)
    except (DamagedError, OSError):
        return [checkpoints]  # looking into it meets the same error, which is noted there
    others = [entry.place for entry in inside if entry.is_folder or (entry.instead and "." not in entry.place.name)]
    return [checkpoints, *(place for place in others if place != checkpoints)]
