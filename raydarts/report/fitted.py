"""A table of trials for a terminal: swept settings have columns of their own if the terminal is wide enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table

from raydarts.report.swept import named_members, short
from raydarts.report.wording import number

_WIDEST = 10_000


@dataclass
class TrialTable:
    """`names` are the swept settings, as trials have them in `choices`. `members` are the names of list items."""

    title: str
    before: Sequence[str]
    names: Sequence[str]
    after: Sequence[str]
    members: Mapping[str, str]
    rows: list[tuple[Sequence[str], Mapping[str, object], Sequence[str]]] = field(default_factory=list)

    def add(self, before: Sequence[str], choices: Mapping[str, object], after: Sequence[str]) -> None:
        self.rows.append((before, choices, after))

    def _labels(self) -> list[str]:
        """Returns the settings' short names, or their whole ones where two would be equal."""
        labels = [short(name, self.members) for name in self.names]
        return [
            name.removeprefix("search.") if labels.count(label) > 1 else label
            for name, label in zip(self.names, labels, strict=True)
        ]

    def _wide(self) -> Table:
        table = Table(title=self.title)
        for column in (*self.before, *self._labels(), *self.after):
            table.add_column(column, overflow="fold")
        for before, choices, after in self.rows:
            settings = (_shown(choices[name]) if name in choices else "-" for name in self.names)
            table.add_row(*before, *settings, *after)
        return table

    def _narrow(self) -> Table:
        """Returns the same with the settings that a trial has in one column."""
        table = Table(title=self.title, box=box.SIMPLE_HEAD, padding=0, show_edge=False, pad_edge=False)
        for column in self.before:
            table.add_column(column, overflow="fold")
        table.add_column("settings", overflow="fold", min_width=20)
        for column in self.after:
            table.add_column(column.replace("_", " "), overflow="fold", max_width=11)
        labels = dict(zip(self.names, self._labels(), strict=True))
        for before, choices, after in self.rows:
            chosen = {name: choices[name] for name in self.names if name in choices}
            brief = [labels[name].split(" [")[0] for name in chosen]  # the option stands there too: estimator ...
            shown = [
                f"{label if brief.count(label) == 1 else labels[name]} {_shown(value)}"
                for label, (name, value) in zip(brief, chosen.items(), strict=True)
            ]
            table.add_row(*before, "; ".join(shown) or "-", *after)
        return table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = self._wide()
        natural = Measurement.get(console, options.update_width(_WIDEST), wide).maximum
        yield wide if natural <= options.max_width else self._narrow()


def _shown(value: object) -> str:
    return number(value, 4)


def members(configs: Sequence[Mapping[str, object] | None]) -> dict[str, str]:
    """Returns the names of list items in trials' settings."""
    return named_members([config for config in configs if config])
