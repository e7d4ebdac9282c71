"""Sweeps and runs from Python: `raydarts.sweep`, `raydarts.Run`, `raydarts.load_network`, `raydarts.point`.

import raydarts

run = raydarts.sweep("sweeps/quick.yaml", set={"search.epochs": 2})
run.best.genotype
run.trials.groupby("choice.search.estimator").mean(numeric_only=True)
network = run.load_network()
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raydarts import outside
from raydarts.cli_paths import given_file, given_genotype, given_genotypes, given_place, given_run
from raydarts.errors import InputError, RaydartsError
from raydarts.genotypes.genotype import Genotype
from raydarts.loading import loading
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.runs.reading import Damage
from raydarts.runs.snapshot import RunSnapshot
from raydarts.runs.winner import Winner, chosen, winner
from raydarts.storage.place import Place
from raydarts.study.stages import EVALUATE
from raydarts.terminal import complain, console, say

if TYPE_CHECKING:
    import pandas

    from raydarts.execution.trained import Trained
    from raydarts.report.figures_all import Figures
    from raydarts.runs.trust import Ask

Spec = str | Path | Mapping[str, Any]
"""A spec: its file, or what a YAML file would hold."""


@dataclass(frozen=True)
class Best:
    """The best genotype of a run. See `runs.winner.Winner`.

    `mean`, `std` and `n` are of its held-out score over evaluation seeds. Where nothing was retrained, `mean` is the
    supernet's figure and `n` is 0.
    """

    id: str
    genotype: Genotype
    stage: str
    mean: float | None
    std: float | None
    n: int
    trials: tuple[str, ...]
    against: tuple[str, ...]

    @classmethod
    def of(cls, best: Winner) -> Best:
        ranked = best.ranked
        return cls(
            best.id,
            Genotype.from_json(best.genotype),
            best.stage,
            best.value,
            None if ranked is None else ranked["validation_std"],
            0 if ranked is None else ranked["n"],
            best.trials,
            best.against,
        )


class Run:
    """A run on disk or in an object store. It is read anew at each access, so a running one may be watched.

    Damaged files are left out and named in `damage`.
    """

    def __init__(self, place: str | Place) -> None:
        self.damage = Damage()
        self._directory = RunDirectory.open(given_place(place), self.damage)

    @classmethod
    def open(cls, place: str | Place) -> Run:
        """Opens a run directory. Raises `RunError` if there is none."""
        return cls(place)

    @property
    def path(self) -> Place:
        return self._directory.path

    @property
    def name(self) -> str:
        return self._directory.name

    @property
    def question(self) -> str:
        return str(self._directory.description().get("question") or "")

    @property
    def spec(self) -> Mapping[str, Any]:
        """The resolved spec, with every default."""
        spec: Mapping[str, Any] = self._directory.description()["spec"]
        return spec

    @property
    def status(self) -> str:
        """pending, running, interrupted, halted, completed, or failed."""
        return results.run_status(self._directory)

    @property
    def trials(self) -> pandas.DataFrame:
        """A row for each search and each retraining."""
        from raydarts.report import frames  # noqa: PLC0415 - pandas

        return frames.trials(self._directory)

    @property
    def epochs(self) -> pandas.DataFrame:
        """A row for each epoch of each trial."""
        from raydarts.report import frames  # noqa: PLC0415

        return frames.epochs(self._directory)

    @property
    def ranking(self) -> pandas.DataFrame:
        """A row for each retrained genotype of each stage, best first."""
        from raydarts.report import frames  # noqa: PLC0415

        return frames.ranked(self._directory)

    @property
    def decisions(self) -> pandas.DataFrame:
        """A row for each decision: stops, pauses, forks, halts, promotions, with the reason."""
        from raydarts.report import frames  # noqa: PLC0415

        return frames.decisions(self._directory)

    @property
    def best(self) -> Best | None:
        """The best genotype. None: no search has ended."""
        best = winner(self._directory)
        return None if best is None else Best.of(best)

    @property
    def findings(self) -> list[str]:
        """What the run shows, as sentences. Each is a test that was significant after Holm's correction."""
        from raydarts.report.findings import findings  # noqa: PLC0415 - scipy
        from raydarts.report.gather import gather  # noqa: PLC0415

        return [each.sentence for each in findings(gather(self.path, self.damage)) if each.claims]

    @property
    def figures(self) -> Figures:
        """The report's Plotly figures by name: `run.figures["parallel"]`. `list(run.figures)` has all names."""
        from raydarts.report.figures_all import Figures  # noqa: PLC0415 - plotly
        from raydarts.report.gather import gather  # noqa: PLC0415

        return Figures(gather(self.path, self.damage))

    def genotype(self, name: str | None = None) -> Genotype:
        """Returns the genotype whose id begins with `name`. None: the best one."""
        return chosen(self._directory, name)[1]

    def load_network(
        self, genotype: str | None = None, *, stage: str = EVALUATE, seed: int | None = None, trust: bool = False
    ) -> Trained:
        """Returns a retrained network in evaluation mode. See `load_network`."""
        from raydarts.execution.trained import of_run  # noqa: PLC0415 - torch

        name, _ = chosen(self._directory, genotype)
        return of_run(self._directory, name, stage, seed, _answer(trust))

    def report(self, out: str | Path | None = None) -> Place:
        """Writes the HTML report, into the run's folder if `out` is None. Returns where it lies."""
        from raydarts.report.html import write_html  # noqa: PLC0415

        return write_html(self.path, None if out is None else given_place(out), self.damage)

    def resume(self, *, address: str | None = None, set: Mapping[str, Any] | None = None, trust: bool = False) -> Run:
        """Goes on with an interrupted or halted sweep. `set` may change its budget. Returns this run."""
        with outside.only_allowed():
            resume_run(self.path, address, assignments(set), _answer(trust))
        return self

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the question, the status, the best genotype and the ranking."""
        best, ranking = self.best, self.ranking
        lines = [f"<h3>{html.escape(self.name)}</h3>"]
        if self.question:
            lines.append(f"<p><i>{html.escape(self.question)}</i></p>")
        lines.append(f"<p>{html.escape(self.status)}; {html.escape(str(self.path))}</p>")
        if best is not None:
            lines.append(f"<p>best: <b>{html.escape(best.id)}</b> ({html.escape(self._figure(best))})</p>")
        if len(ranking):
            lines.append(ranking.to_html(index=False, escape=True))
        return "\n".join(lines)

    def _figure(self, best: Best) -> str:
        mean = "no figure" if best.mean is None else f"{best.mean:.4f}"
        spread = "" if best.std is None else f" ± {best.std:.4f}"
        of = f"n = {best.n} evaluation seeds" if best.n else "of the supernet; nothing was retrained"
        return f"{best.stage}: {mean}{spread}, {of}"


def sweep(
    spec: Spec,
    *,
    set: Mapping[str, Any] | None = None,
    storage: str | Place = "runs",
    name: str | None = None,
    address: str | None = None,
    stage: str | None = None,
    genotypes: Sequence[str] = (),
    trust: bool = False,
) -> Run:
    """Runs a sweep to its end, as `raydarts sweep` does, and returns its run.

    Args:
        spec: a spec's file, or the mapping that it would hold.
        set: values of the spec to replace, by their dotted paths: `{"search.epochs": 10}`.
        storage: what holds runs: a folder, `s3://BUCKET/PREFIX` or `gs://...`.
        name: the run's name. None: the spec's name and the time.
        address: a running Ray cluster. None: this machine.
        stage: run this stage alone, with `genotypes`: runs, `RUN:ID`, or genotype files.
        trust: run code that `genotypes` name.

    Raises `InputError` with every problem of the spec, and `StorageError` where the storage failed. An interrupt from
    the keyboard ends the sweep. Its run has the status `interrupted` then, and `Run.resume` goes on with it.
    """
    given = [given_genotypes(each) for each in genotypes]
    with outside.only_allowed():
        _, place = run_sweep(spec, assignments(set), given_place(storage), name, address, stage, given, _answer(trust))
    return Run(place)


def run_sweep(
    spec: Spec,
    overrides: Sequence[str],
    storage: Place,
    name: str | None,
    address: str | None,
    stage: str | None,
    genotypes: Sequence[Any],
    ask: Ask,
    command: Sequence[str] | None = None,
) -> tuple[int, Place]:
    """Prints the plan, runs the sweep, and prints what it came to. Returns the exit code of `raydarts sweep` and the
    run's place. `command`: what run.json keeps as the command. None: that of this process.
    """
    from raydarts.cluster import gate  # noqa: PLC0415 - before the spec's own modules, which may import Ray

    gate.prepare(address)
    with loading():
        from raydarts.cluster.resources import check_resources, here  # noqa: PLC0415
        from raydarts.config.loader import load_spec  # noqa: PLC0415
        from raydarts.config.plan import plan, render  # noqa: PLC0415
        from raydarts.config.retraining import check_inputs  # noqa: PLC0415
        from raydarts.sweeping import memory  # noqa: PLC0415
        from raydarts.sweeping.genotype_sources import genotypes_for  # noqa: PLC0415
        from raydarts.sweeping.runner import start_sweep  # noqa: PLC0415

        loaded = load_spec(spec if isinstance(spec, Mapping) else given_file(spec), overrides)
    candidates = genotypes_for(loaded, stage, genotypes, ask)
    planned = plan(loaded, stage, None if candidates is None else len(candidates["candidates"]))
    available = check_resources(loaded, address, stage)  # before data are loaded, which may be a download
    held = check_inputs(loaded.stages, loaded.data, stage, load=address is None)
    place = run_path(storage, name, loaded.name)
    console().print(render(planned))
    say(console(), held)
    needed = memory.told(loaded, available, address, stage)
    loaded = needed.loaded
    if address is None:
        say(console(), here(loaded, stage).lines())
    say(console(), needed.lines)
    code = start_sweep(
        loaded,
        place.parent,
        place.name,
        address=address,
        stage=stage,
        genotypes=candidates,
        command=command,
        planned=[asdict(each) for each in planned.stages],
    )
    conclude(code, place)
    return code, place


def resume_run(place: Place, address: str | None, overrides: Sequence[str], ask: Ask) -> int:
    """Goes on with a sweep, and prints what it came to. Returns the exit code of `raydarts resume`."""
    from raydarts.cluster import gate  # noqa: PLC0415 - before the run's own modules, which may import Ray

    gate.prepare(address)
    from raydarts.sweeping.runner import resume_sweep  # noqa: PLC0415

    code = resume_sweep(place, address=address, overrides=overrides, ask=ask)
    conclude(code, place)
    return code


def conclude(code: int, place: Place) -> None:
    """Writes the report of a sweep that ended, and prints its answer."""
    from raydarts.report.gather import gathered  # noqa: PLC0415
    from raydarts.report.html import write_page  # noqa: PLC0415
    from raydarts.report.tables import summary  # noqa: PLC0415

    if code in (0, 1, 3):
        run = RunSnapshot.open(place, Damage())  # the page and the summary are made from one reading
        read = gathered(run)
        try:
            write_page(read, place / "report.html")
        except (RaydartsError, OSError) as error:  # the run is whole without it
            complain(error, "report.html: ")
        console().print(summary(place, run, read))


def run_path(storage: Place, name: str | None, default: str) -> Place:
    """Returns where a new run lies. Raises `InputError` if `name` cannot be a folder's."""
    from raydarts.config.spec import check_name  # noqa: PLC0415 - pydantic

    return storage / (check_name(name) if name is not None else f"{default}-{datetime.now():%Y%m%d-%H%M%S}")


def load_network(source: str | Path, *, stage: str = EVALUATE, seed: int | None = None, trust: bool = False) -> Trained:
    """Returns a retrained network in evaluation mode.

    Args:
        source: `RUN` (its best genotype), `RUN:ID`, or a file that `raydarts export RUN:ID --weights FILE` wrote.
        stage: the stage of retraining. Of a run alone.
        seed: the evaluation seed. None: the smallest one that was completed. Of a run alone.
        trust: whether to run code that the genotype names.

    A network of images maps images `(n, channels, height, width)`, bytes or numbers from 0 to 1, to logits
    `(n, classes)`. A language model maps token numbers `(T, B)` to logits and its hidden state. `about` says what it
    is.
    """
    from raydarts.execution.trained import of_run, read_weights  # noqa: PLC0415 - torch

    file = given_file(source)
    if file.is_file():
        if seed is not None or stage != EVALUATE:
            raise InputError(f"{file}: a file of weights holds one network: leave stage and seed out")
        return read_weights(file, _answer(trust))
    place, name = given_run(str(source))
    run = RunDirectory.open(place)
    return of_run(run, chosen(run, name)[0], stage, seed, _answer(trust))


def point(spec: Spec, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `sweep.points` takes for a configuration of the search space that `raydarts export --space` writes.

    `values`: by the names of the open settings, as ConfigSpace or a program that uses it proposes them. Raises
    `InputError` where the spec allows no such configuration.
    """
    from raydarts.config.configspace import point as point_of  # noqa: PLC0415 - torch
    from raydarts.config.loader import load_spec  # noqa: PLC0415

    with outside.only_allowed():
        loaded = load_spec(spec if isinstance(spec, Mapping) else given_file(spec), absent_data=True)
        return point_of(loaded.search, values)


def load_genotype(source: str) -> Genotype:
    """Returns the genotype of a file, of `FILE:NAME`, or of `RUN[:ID]`."""
    return Genotype.from_file(given_genotype(source))


def assignments(values: Mapping[str, Any] | None) -> list[str]:
    """Returns values by dotted path as `--set` takes them."""
    return [f"{path}={json.dumps(value)}" for path, value in (values or {}).items()]


def _answer(trust: bool) -> Callable[[str], bool]:
    return lambda _: trust
