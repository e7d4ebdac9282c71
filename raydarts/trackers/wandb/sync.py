"""`raydarts wandb sync RUN`: make W&B hold what the run's directory holds, whatever was tracked before, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pydantic import ValidationError

from raydarts.errors import InputError
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import jobs
from raydarts.runs.whole import open_whole
from raydarts.storage.place import Place
from raydarts.trackers import track_of
from raydarts.trackers.aside import words
from raydarts.trackers.wandb import WandbSettings, names, settings_of, state, sweeps
from raydarts.trackers.wandb.writer import WandbRun, wandb_module

Tell = Callable[[str], None]


def sync(path: Place, tell: Tell, *, again: bool = False, **options: str | None) -> int:
    """Send every trial and evaluation that W&B lacks or has an older state of. Returns how many were sent.

    `given`: what is to differ from the run's own `track.wandb` (mode, project, entity); `again`: those known to be
    sent too. Doing it twice sends nothing twice: W&B says of each run which epochs it has. Raises `RunError` where
    `path` is no run, `InputError` where wandb is missing or W&B cannot be reached or refuses: what was sent stays.
    """
    run = open_whole(path, replayed=False)
    description = run.description()
    settings = _settings(run, options)
    wandb_module()
    waiting = [trial for trial in _ended(run) if again or not _is_there(trial, settings)]
    offline = settings.mode == "offline"
    if not waiting:
        tell("nothing to send: W&B has every trial that ended" if not offline else "every trial has its file")
        return 0
    try:
        if description["kind"] == "sweep" and not offline and not _same_place(run, settings):
            tell(f"sweep {sweeps.create(run, settings, _prior(run))}")
        for number, trial in enumerate(waiting, 1):
            tell(f"{number}/{len(waiting)} {trial.id}: {_send(run, trial, settings, offline=offline)}")
    except InputError:
        raise
    except Exception as error:  # whatever W&B raises
        raise InputError(
            f"W&B: {words(error)}. Log in with `wandb login` or set WANDB_API_KEY, check --project and --entity, and "
            "run this again: it goes on where it ended"
        ) from error
    if not offline:
        state.end_outage(run)
    return len(waiting)


def _settings(run: RunDirectory, options: dict[str, str | None]) -> WandbSettings:
    recorded = settings_of(track_of(run.description())) or WandbSettings()
    changed = {key: value for key, value in options.items() if value is not None}
    base = {**recorded.model_dump(), "mode": "online", "init_seconds": 60.0, "finish_seconds": 600.0}
    try:
        return WandbSettings.model_validate({**base, **changed})
    except ValidationError as error:
        problems = "; ".join(
            f"--{each['loc'][0]}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors(include_input=False)
        )
        raise InputError(problems) from None  # the cause would show the value, which may be a key


def _ended(run: RunDirectory) -> Iterator[TrialDirectory]:
    """Searches first: evaluations use what they log. While a driver holds the run, only those with a result."""
    busy = run.in_use()
    for trial in jobs(run):
        if trial.result() is not None or (not busy and trial.rows()):
            yield trial


def _place(settings: WandbSettings) -> state.Destination:
    return state.Destination(project=settings.project, entity=settings.entity)


def _is_there(trial: TrialDirectory, settings: WandbSettings) -> bool:
    """Whether W&B (or an offline file) has the trial as it is now."""
    known = state.read_trial(trial)
    wanted = {state.SENT} if settings.mode == "online" else {state.SENT, state.OFFLINE}
    result = trial.result() or {"status": "interrupted"}
    same = known.status == result["status"] and known.epochs == len(trial.rows())
    elsewhere = known.place is not None and known.place != _place(settings)
    return known.state in wanted and same and not elsewhere


def _same_place(run: RunDirectory, settings: WandbSettings) -> bool:
    known = state.read_sweep(run)
    return known.created and (known.project, known.entity) == (settings.project, settings.entity)


def _prior(run: RunDirectory) -> list[str]:
    """Searches that W&B has, but not in a sweep of its own."""
    return [names.run_id(run, trial) for trial in run.trials() if state.read_trial(trial).state == state.SENT]


def _send(run: RunDirectory, trial: TrialDirectory, settings: WandbSettings, *, offline: bool) -> str:
    result = trial.result() or {"status": "interrupted"}
    writer = WandbRun(run, trial, settings, offline=offline)
    writer.open()
    writer.finish(result)
    reached = state.OFFLINE if offline else state.SENT
    tracked = state.Tracked(
        state=reached,
        reason=None,
        id=writer.id,
        url=writer.url,
        status=result["status"],
        epochs=len(trial.rows()),
        place=_place(settings),
    )
    state.write_trial(trial, tracked)
    return str(writer.url or "file written")
