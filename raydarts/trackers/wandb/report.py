"""`raydarts wandb report RUN`: what a run found, as a W&B report beside the runs that were tracked.

The report is built from the run's directory alone; only `save` needs a network and an account. Uses wandb-workspaces'
`reports.v2` (0.4), whose report holds blocks of text and grids of panels.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import quote

from raydarts import __version__
from raydarts.errors import InputError
from raydarts.json_types import section
from raydarts.report.answer import answer
from raydarts.report.gather import Run, gathered
from raydarts.runs.directory import RunDirectory
from raydarts.runs.snapshot import RunSnapshot
from raydarts.storage.place import Place, place_of, write_bytes
from raydarts.study.stages import EVALUATE, SEARCH
from raydarts.terminal import complain
from raydarts.trackers.wandb import check_place, names, report_panels, report_words
from raydarts.trackers.wandb.report_words import bullets, clean, escape

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Report
    from wandb_workspaces.reports.v2.interface import BlockTypes as Block
    from wandb_workspaces.reports.v2.interface import PanelTypes as Panel

_TIMEOUT = 15  # seconds that W&B is waited for
LONGEST_TITLE = 128
"""W&B's limit, in characters."""


def workspaces() -> ModuleType:
    """`wandb_workspaces.reports.v2`. Raises `InputError` where it is not installed."""
    try:
        import wandb_workspaces.reports.v2 as wr  # noqa: PLC0415 - all else works without W&B
    except ImportError as error:
        raise InputError(
            f"a W&B report needs wandb-workspaces ({error}): pip install 'raydarts[wandb]'; "
            "`raydarts report RUN --html` needs no W&B"
        ) from error
    module: ModuleType = wr
    return module


def title_of(run: Run) -> str:
    """The run's name and question, cut at W&B's limit."""
    question = " ".join(clean(run.description.get("question") or "").split())
    whole = f"{clean(run.name)}: {question}" if question else clean(run.name)
    return whole if len(whole) <= LONGEST_TITLE else whole[: LONGEST_TITLE - 1].rstrip() + "…"


def build(path: Place, entity: str, project: str) -> Report:
    """The report of the run at `path`, a `wandb_workspaces.reports.v2.Report` that was not saved; no network.

    Raises `RunError` where `path` is no run, `InputError` where wandb-workspaces is not installed.
    """
    wr = workspaces()
    directory = RunSnapshot.open(path)
    run = gathered(directory)
    return wr.Report(
        entity=entity,
        project=project,
        title=title_of(run),
        description=f"Written by raydarts {__version__} from the run's directory.",
        blocks=_numbered(_blocks(wr, directory, run)),
        width="fluid",
    )


def _blocks(wr: ModuleType, directory: RunDirectory, run: Run) -> list[Block]:
    searched = names.search_names(directory)
    evaluated = names.evaluation_names(directory, run.metric, run.supernet_mean)
    group = names.group(directory)
    searches = (group, SEARCH, "search trials")
    evaluations = (group, EVALUATE, "retrainings")
    skips = report_words.collapse(run, report_panels.strengths(searched), report_words.configs_by_trial(run, searched))
    return [
        wr.H2("What was asked"),
        wr.P(clean(run.description.get("question") or "No question was written down.")),
        *_answer(wr, run),
        wr.H2("What was found"),
        wr.MarkdownBlock(report_words.results(run)),
        wr.H2("Hyperparameters"),
        *_grid(wr, searches, report_panels.hyperparameters(wr, run, searched) + report_panels.score(wr, run, searched)),
        wr.MarkdownBlock(report_words.importance(run)),
        wr.H2("Collapse against the regularizers' strength"),
        *_grid(wr, searches, report_panels.collapse(wr, searched)),
        wr.MarkdownBlock(skips),
        wr.H2("Ranking of the retrained genotypes"),
        wr.MarkdownBlock(report_words.ranking(run)),
        *_grid(wr, evaluations, report_panels.retrained(wr, run, evaluated)),
        *(block for name, stage in run.stages.items() for block in _stage(wr, directory, name, stage)),
        wr.H2(f"Supernet score against retrained {run.score.measure}"),
        *_grid(wr, evaluations, report_panels.misleading(wr, run, evaluated)),
        wr.MarkdownBlock(report_words.misleading(run)),
        wr.H2("Genotypes"),
        *_grid(wr, searches, report_panels.drawings(wr, run)),
        wr.MarkdownBlock(report_words.genotypes(run)),
        wr.H2("Cost"),
        wr.MarkdownBlock(report_words.cost(run)),
        wr.H2("Versions"),
        wr.MarkdownBlock(_versions(run)),
    ]


def _answer(wr: ModuleType, run: Run) -> list[Block]:
    """The answer to the question. Nothing where the run is no sweep."""
    known = answer(run)
    return [] if known is None else [wr.H2("Answer"), wr.MarkdownBlock(bullets(known.words))]


def _stage(wr: ModuleType, directory: RunDirectory, name: str, stage: Run) -> list[Block]:
    """The ranking and the panels of another retraining stage."""
    columns = names.evaluation_names(directory, stage.metric, stage.supernet_mean, name)
    runs = (names.group(directory), name, f"retrainings of {name}")
    return [
        wr.H3(f"Stage {name}"),
        wr.MarkdownBlock(report_words.ranking(stage)),
        *_grid(wr, runs, report_panels.retrained(wr, stage, columns)),
    ]


def _grid(wr: ModuleType, runs: tuple[str, str, str], panels: Sequence[Panel]) -> list[Block]:
    """A grid of panels over these runs; none of no panels."""
    return [wr.PanelGrid(runsets=[report_panels.runset(wr, *runs)], panels=list(panels))] if panels else []


def _versions(run: Run) -> str:
    """What ran it. The command line and the spec's text stay on disk: they may hold what is nobody's business."""
    versions = section(run.description.get("versions"))
    facts = [f"commit {run.description.get('git_commit') or 'unknown: not in a git checkout'}"]
    facts += [f"{name} {version or 'not installed'}" for name, version in versions.items()]
    note = "The command line and the spec are in the run's directory; raydarts report RUN --html shows them."
    return f"{bullets(facts)}\n\n{escape(note)}"


def _numbered(blocks: list[Block]) -> list[Block]:
    """Ids in order where the library draws them at random: the same run gives the same spec."""
    panels = runsets = 0
    for block in blocks:
        for each in getattr(block, "panels", ()):
            panels += 1
            each._id = f"raydarts{panels:04d}"
        for each in getattr(block, "runsets", ()):
            runsets += 1
            each._id = f"raydartsruns{runsets:02d}"
    return blocks


def spec_of(report: Report) -> dict[str, object]:
    """What saving sends: title, description, entity, project, and W&B's `spec` of all blocks and panels."""
    model = report._to_model()
    return {
        "title": model.display_name,
        "description": model.description,
        "entity": model.project.entity_name,
        "project": model.project.name,
        "spec": json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True)),
    }


def write_spec(path: Place, entity: str | None, project: str, out: Place | None = None) -> Place:
    """Write the report's spec as JSON; `out` defaults to wandb-report.json in the run's directory. No network.

    Raises `InputError` where `out` cannot be written.
    """
    check_place(entity, project)
    target = place_of(path) / "wandb-report.json" if out is None else out
    if not target.parent.is_dir() or target.is_dir():
        RunDirectory.open(path)
        raise InputError(f"{target}: the spec cannot be written: its folder must exist, and it must be a file")
    spec = spec_of(build(path, entity or "", project))
    try:
        write_bytes(target, (json.dumps(spec, indent=2) + "\n").encode())
    except OSError as error:
        raise InputError(f"{target}: the spec cannot be written: {error.strerror or error}") from error
    return target


def save(path: Place, entity: str | None, project: str) -> str:
    """Save the report of the run at `path` to W&B; a project that is not there is made. Returns the report's address.

    `entity`: a user or team, by default the API key's own. Every call makes a new report. Raises `RunError` where
    `path` is no run, `InputError` where wandb-workspaces is missing or W&B cannot be reached or refuses.
    """
    workspaces()
    RunDirectory.open(path)  # before anything is asked of a server
    check_place(entity, project)
    default_entity = _connect()
    if not (entity or default_entity):
        raise InputError("W&B tells no default entity for this API key: say whose the report is to be with --entity")
    report = build(path, entity or str(default_entity), project)
    try:
        _quietly(report.save)
        return address_of(report)
    except Exception as error:  # what the library raises has no base class of its own (WandbApiFailedError, ValueError)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"W&B did not take the report into {report.entity}/{project}: {reason}. Check --entity and --project and "
            "that you may write there; --dry-run writes the report's spec without W&B"
        ) from error


def _quietly(call: Callable[[], object]) -> None:
    """Without the library's line about the address, which it does not quote; its warnings come through."""
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        try:
            call()
        finally:
            lines = [line for line in printed.getvalue().splitlines() if "Saved report to" not in line]
    for line in lines:
        complain(line)


def address_of(report: Report) -> str:
    """A saved report's address. The library leaves `?` and `#` of a title as they are, which cuts the id off."""
    title = report.title.replace(" ", "-")
    return str(report.url).replace(f"{title}--", f"{quote(title, safe='')}--")


def _connect() -> str | None:
    """The default entity of the API key (None: it has none), once W&B has answered and taken the key."""
    import wandb  # noqa: PLC0415 - all else works without W&B

    address = os.environ.get("WANDB_BASE_URL") or str(wandb.setup().settings.base_url)
    _reach(address)
    try:
        entity = wandb.Api(timeout=_TIMEOUT).default_entity
        return None if entity is None else str(entity)
    except (wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"W&B at {address} did not let us in: {reason}. Log in with `wandb login` or set WANDB_API_KEY (a key may "
            "have expired); where the key is right, try again later. --dry-run needs no account"
        ) from error
    except Exception as error:  # as in `save`
        raise InputError(f"W&B at {address}: {error}. Try again later; --dry-run needs no W&B") from error


def _reach(address: str) -> None:
    """Raise `InputError` where nothing answers; wandb would report that as a key that is not taken."""
    if not address.startswith(("http://", "https://")):
        raise InputError(f"WANDB_BASE_URL {address}: must begin with http:// or https://")
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT):  # noqa: S310 - the scheme was looked at
            return
    except urllib.error.HTTPError:
        return  # an answer, whichever
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return  # wandb has certificates of its own
        raise InputError(
            f"W&B at {address} cannot be reached: {reason}. Check the network and WANDB_BASE_URL; --dry-run writes "
            "the report's spec without W&B"
        ) from error
