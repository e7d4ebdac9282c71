"""The commands that help to write a spec: init, schema."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from raydarts.cli_paths import given_file
from raydarts.errors import InputError
from raydarts.registry import nearest
from raydarts.terminal import console, say

TEMPLATES = Path(__file__).parent / "templates"
"""The sweeps that are shipped: a link to `sweeps/`, and in an installed package a copy."""
SCHEMA = "sweep.schema.json"
"""Each shipped sweep names this file, beside it, in its first line. Editors read it there."""


def schema_text() -> str:
    """Returns the JSON schema of a spec, as a file holds it."""
    from raydarts.config.schema import spec_schema

    return json.dumps(spec_schema(), separators=(",", ":")) + "\n"


def schema(
    out: Annotated[
        Path | None,
        typer.Option(help="Write it there. Default: print it.", parser=given_file, metavar="FILE", show_default=False),
    ] = None,
) -> None:
    """The JSON schema of a spec, for editors: every key, its type and bounds, what it means."""
    text = schema_text()
    if out is None:
        sys.stdout.write(text)
    else:
        _write(out, text)
        say(console(), [f"{out}: begin a spec with the line  # yaml-language-server: $schema={out.name}"])


def init(
    template: Annotated[
        str | None,
        typer.Argument(help="A shipped sweep, such as quick or cnn. Default: list them.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The new spec. Default: TEMPLATE.yaml here.", parser=given_file, metavar="FILE", show_default=False
        ),
    ] = None,
) -> None:
    """Begin a spec of your own from a shipped one. The JSON schema for editors is put beside it."""
    known = {file.stem: file for file in sorted(TEMPLATES.glob("*.yaml"))}
    if template is None:
        if out is not None:
            raise InputError("--out is where a template is copied to: name one, for example raydarts init quick")
        say(console(), [f"{name:<16}{_question(file)}" for name, file in known.items()])
        say(console(), ["Begin one with: raydarts init NAME"])
        return
    if template not in known:
        raise InputError(f"no template '{template}'{nearest(template, list(known))} (templates: {', '.join(known)})")
    target = out or Path(f"{template}.yaml")
    if target.exists():
        raise InputError(f"{target}: is there already; give another --out")
    _write(target, known[template].read_text(encoding="utf-8"))
    beside = target.parent / SCHEMA
    _write(beside, schema_text())
    say(
        console(),
        [
            f"{target}: a copy of the shipped sweep {template}",
            f"{beside}: the schema, for editors",
            f"look at it: raydarts validate {target}",
            f"run it:     raydarts sweep {target}",
        ],
    )


def _question(file: Path) -> str:
    """Returns what a shipped sweep asks, which its first comment says."""
    lines = [line.removeprefix("#").strip() for line in file.read_text(encoding="utf-8").splitlines()[:6]]
    start = next(number for number, text in enumerate(lines) if text.startswith("Question:"))
    end = next(number for number in range(start + 1, len(lines)) if ":" in lines[number].split(" ")[0])
    return " ".join(lines[start:end]).removeprefix("Question:").strip()


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror or error}") from error


COMMANDS = (init, schema)
