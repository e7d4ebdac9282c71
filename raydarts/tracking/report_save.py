"""Saving a report to W&B: the one part of it that needs a network and an account."""

from __future__ import annotations

import contextlib
import io
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from raydarts.config.track import check_place
from raydarts.errors import InputError
from raydarts.runs.directory import RunDirectory
from raydarts.storage.place import Place
from raydarts.terminal import complain
from raydarts.tracking.workspace_report import build, workspaces

_TIMEOUT = 15  # seconds that W&B is waited for


def save(path: Place, entity: str | None, project: str) -> str:
    """Save the report of the run at `path` to W&B; a project that is not there is made. Returns the report's address.

    `entity`: a user or team, by default the API key's own. Every call makes a new report. Raises `RunError` where
    `path` is no run, `InputError` where wandb-workspaces is missing or W&B cannot be reached or refuses.
    """
    workspaces()
    RunDirectory.open(path)  # before anything is asked of a server
    check_place(entity, project)
    own = _connect()
    if not (entity or own):
        raise InputError("W&B tells no default entity for this API key: say whose the report is to be with --entity")
    report = build(path, entity or str(own), project)
    try:
        _quietly(report.save)
        return address_of(report)
    except Exception as error:  # what the library raises has no base class of its own (WandbApiFailedError, ValueError)
        told = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"W&B did not take the report into {report.entity}/{project}: {told}. Check --entity and --project and "
            "that you may write there; --dry-run writes the report's spec without W&B"
        ) from error


def _quietly(call: Callable[[], Any]) -> None:
    """Without the library's line about the address, which it does not quote; its warnings come through."""
    with contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            call()
        finally:
            lines = [line for line in told.getvalue().splitlines() if "Saved report to" not in line]
    for line in lines:
        complain(line)


def address_of(report: Any) -> str:
    """A saved report's address. The library leaves `?` and `#` of a title as they are, which cuts the id off."""
    title = report.title.replace(" ", "-")
    return str(report.url).replace(f"{title}--", f"{quote(title, safe='')}--")


def _connect() -> Any:
    """The default entity of the API key (None: it has none), once W&B has answered and taken the key."""
    import wandb  # noqa: PLC0415 - all else works without W&B

    address = os.environ.get("WANDB_BASE_URL") or str(wandb.setup().settings.base_url)
    _reach(address)
    try:
        return wandb.Api(timeout=_TIMEOUT).default_entity
    except (wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
        told = " ".join(str(error).split())
        raise InputError(
            f"W&B at {address} did not let us in: {told}. Log in with `wandb login` or set WANDB_API_KEY (a key may "
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
