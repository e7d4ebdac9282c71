"""One trial as one W&B run, written from what lies on disk. Every call here may raise or hang: see `aside.py`."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from raydarts.errors import InputError
from raydarts.json_types import section
from raydarts.runs.checkpoints import CheckpointStore
from raydarts.runs.directory import FINAL, RunDirectory, TrialDirectory
from raydarts.runs.segments import newest_folder
from raydarts.storage.inside import Inside
from raydarts.storage.objects import ObjectPlace
from raydarts.storage.place import entries, read_bytes, write_bytes
from raydarts.trackers.base import scalars
from raydarts.trackers.wandb import WandbSettings, names, payload, state

if TYPE_CHECKING:
    import wandb

_FAILED = 1
_DRAWN = "drawn_at_epoch"
"""The summary's key of the epoch for which the last pictures were made."""


def wandb_module() -> ModuleType:
    """`wandb`. Raises `InputError` where it is not installed."""
    os.environ.setdefault("WANDB_SILENT", "true")  # before the import: it prints on the progress bar's lines
    if "wandb" not in sys.modules:
        # A parent's W&B service would be used, which holds the run of a killed trial and refuses its id to the retry.
        os.environ.pop("WANDB_SERVICE", None)
    try:
        import wandb  # noqa: PLC0415 - all else works without W&B
    except ImportError as error:
        raise InputError(
            f"track.wandb needs wandb ({error}): pip install 'raydarts[wandb]', or leave track.wandb out"
        ) from error
    module: ModuleType = wandb
    return module


class WandbRun:
    """A trial's run in W&B. Its id follows from the run's directory, its step is the epoch.

    Of a run that is already there only what it lacks is sent: W&B says which step comes next (`starting_step`), so a
    trial that was killed and restored continues its own run, with each epoch once. An offline file is written whole,
    from the first epoch, in place of any this trial wrote before.
    """

    def __init__(self, run: RunDirectory, trial: TrialDirectory, settings: WandbSettings, *, offline: bool) -> None:
        self._run = run
        self._trial = trial
        self._settings = settings
        self.offline = offline
        self._description = run.description()
        self._what = trial.description()
        self._next = 0
        self._known: set[str] = set()
        self._newest: int | None = None  # the last epoch logged here
        self._drawn: int | None = None
        self.id = names.run_id(run, trial)
        self.url: str | None = None
        self._wandb = wandb_module()
        if offline and isinstance(trial.path, ObjectPlace):
            raise InputError(f"{run.path}: W&B's offline files lie on a disk; 'raydarts wandb sync' sends without them")
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._handle: Any = None

    @property
    def _folder(self) -> Path:
        """Where wandb writes: the trial's folder; of one in an object store a folder that goes when all is sent."""
        if isinstance(self._trial.path, Path):
            return self._trial.path
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="raydarts-wandb-", ignore_cleanup_errors=True)
        return Path(self._scratch.name)

    def open(self) -> None:
        """`wandb.init`, then every epoch that lies on disk and W&B has not."""
        os.environ.pop("WANDB_SWEEP_ID", None)  # with it wandb ignores project and id
        if isinstance(self._trial.files, Inside):  # wandb would follow a link
            entries(self._trial.files / "wandb")
        if self.offline:
            for old in (self._folder / "wandb").glob(f"offline-run-*-{self.id}"):
                state.check(self._trial)
                shutil.rmtree(old)
        self._handle = self._wandb.init(
            id=self.id,
            name=names.title(self._trial),
            project=self._settings.project,
            entity=self._settings.entity,
            group=names.group(self._run),
            job_type=payload.job_type(self._what),
            tags=[*self._settings.tags, payload.job_type(self._what)],
            config=payload.config(self._run, self._description, self._what),
            dir=str(self._folder),
            mode="offline" if self.offline else "online",
            resume="allow",
            reinit="create_new",  # a run that hangs must not be waited for by the next one
            allow_val_change=True,
            settings=self._wandb_settings(),
        )
        self.url = None if self.offline else self._handle.url
        self._next = int(self._handle.starting_step)
        self._handle.define_metric(names.STEP)
        for row in self._trial.rows():
            self.epoch(row)

    def _wandb_settings(self) -> wandb.Settings:
        """Nothing of the machine, the command line, the sources or the installed packages is collected."""
        single = self._description["kind"] != "sweep" or payload.is_evaluation(self._what)
        sweep = None if single else state.read_sweep(self._run).id or names.sweep_id(self._run)
        return self._wandb.Settings(
            sweep_id=sweep,
            console="off",
            silent=True,
            program="raydarts",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            init_timeout=self._settings.init_seconds,
            finish_timeout=self._settings.finish_seconds,
            finish_timeout_raises=True,
        )

    def epoch(self, row: Mapping[str, object]) -> None:
        """Log one epoch, unless W&B has it."""
        number = row.get(names.STEP)
        if not isinstance(number, int) or number < self._next:
            return
        figures = scalars(row)
        for key in figures:
            if key != names.STEP and key not in self._known:
                self._known.add(key)
                self._handle.define_metric(key, step_metric=names.STEP, summary=names.SUMMARY)
        every = self._settings.media_every
        if every and number % every == 0:
            figures |= self._heat_maps(row)
            self._drawn = number
        self._handle.log(figures, step=number)
        self._newest, self._next = number, number + 1

    def _heat_maps(self, row: Mapping[str, object]) -> dict[str, wandb.Plotly]:
        epoch = row.get(names.STEP)
        maps = payload.heat_maps(section(row.get("arch_weights")), epoch if isinstance(epoch, int) else 0)
        return {f"arch_weights/{cell}": self._wandb.Plotly(plot) for cell, plot in maps.items()}

    def finish(self, result: Mapping[str, object]) -> None:
        """Media, artifacts and summary; then the run is closed."""
        rows = self._trial.rows()
        if result.get("status") in FINAL:
            self._media(rows[-1] if rows else {}, result)
        self._commit()
        for key, value in payload.summary(self._what, rows, result).items():
            self._handle.summary[key] = value
        if result.get("status") in FINAL:
            self._handle.summary[_DRAWN] = rows[-1][names.STEP] if rows else 0
        if self._settings.artifacts and result.get("status") in FINAL:
            self._artifacts(result)
        self._handle.finish(exit_code=_FAILED if result.get("status") == "failed" else 0)

    def _media(self, last: Mapping[str, object], result: Mapping[str, object]) -> None:
        """The last arch weights and the genotype, in the last epoch's step, which is open until the next begins.

        A step of their own would be one that a trial which goes on after all could not use for its next epoch.
        """
        if self._handle.summary.get(_DRAWN) == last.get(names.STEP):
            return  # by an earlier process
        maps = {} if self._drawn == last.get(names.STEP) else self._heat_maps(last)
        media = {**maps, **self._drawing(result)}
        if media:
            self._handle.log(media, step=self._next if self._newest is None else self._newest)

    def _commit(self) -> None:
        """Close the open step: what it holds would else be written over the summary at the very end."""
        if self._newest is not None:
            self._handle.log({}, step=self._newest, commit=True)

    def _drawing(self, result: Mapping[str, object]) -> dict[str, wandb.Image]:
        genotype = self._genotype(result)
        return {names.GENOTYPE: self._wandb.Image(payload.drawing(genotype))} if genotype else {}

    def _genotype(self, result: Mapping[str, object]) -> Mapping[str, object] | None:
        genotype = self._what.get("genotype") or result.get("genotype")
        return genotype if isinstance(genotype, Mapping) else None

    def _artifacts(self, result: Mapping[str, object]) -> None:
        """The genotype: a search's output, an evaluation's input, one version since the bytes are equal."""
        genotype, genotype_id = self._genotype(result), self._what.get("genotype_id") or result.get("genotype_id")
        if genotype and genotype_id:
            path = self._folder / "wandb" / "genotype.json"
            write_bytes(path, json.dumps(genotype, sort_keys=True).encode())
            artifact = self._artifact(names.genotype_artifact(str(genotype_id)), "genotype", path)
            if payload.is_evaluation(self._what) and self.offline:  # `use_artifact` refuses to work offline
                self._handle._log_artifact(artifact, is_user_created=True, use_after_commit=True)
            elif payload.is_evaluation(self._what):
                self._handle.use_artifact(artifact)
            else:
                self._handle.log_artifact(artifact)
        if (
            self._settings.checkpoints
            and result.get("status") == "completed"
            and payload.best_so_far(self._run, self._trial.id, self._what, self._description)
        ):
            newest = CheckpointStore(newest_folder(self._trial), {}).files()[:1]
            for place in newest:
                path = self._folder / place.name
                if isinstance(place, Inside):
                    path = place.path
                else:
                    path.write_bytes(read_bytes(place))
                name = names.checkpoint_artifact(self._run, payload.job_type(self._what))
                self._handle.log_artifact(self._artifact(name, "checkpoint", path), aliases=["best", self._trial.id])

    def _artifact(self, name: str, kind: str, path: Path) -> wandb.Artifact:
        artifact = self._wandb.Artifact(name, type=kind)
        artifact.add_file(str(path), name="checkpoint.pt" if kind == "checkpoint" else path.name, policy="immutable")
        return artifact
