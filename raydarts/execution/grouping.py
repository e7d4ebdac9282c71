"""Trials of like structure share a process: the handler of an executor that gives it groups of trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from raydarts.execution.executor import Handler, Loss, NotNow, TrialConfig
from raydarts.json_types import section
from raydarts.runs import faults
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.groups import end_group, end_groups, write_group

_PARTED = "parted"
"""The kind of a group that takes in no more trials. No trial is of it."""


class TrialHandler(Handler[TrialConfig], Protocol):
    """A handler that can be asked for a trial of a given kind."""

    def start(self, key: str, like: str | None = None) -> TrialConfig | NotNow:
        """The next trial, with its `kind`. `like`: the kind it must be of; None: any."""


@dataclass
class _Group:
    """What one process runs.

    `lanes`: the config of each trial by the key of its giving. `given`: how many it was given. `lost`: how often its
    process was lost.
    """

    kind: str | None
    lanes: dict[str, TrialConfig] = field(default_factory=dict)
    given: int = 0
    lost: int = 0


class GroupHandler:
    """Gives an executor groups of up to `lanes` trials of one kind, and trials that run alone as they are.

    `handler` hears of each trial as if each had a process of its own. A trial that must not go on leaves its group at
    once. Its place goes to a waiting trial of the same kind, if there is one. A group ends when all its trials have
    ended or left.

    A lost process counts as a lost attempt of each trial that it ran. One trial may be to blame. So when half of the
    attempts are used up, the trials of the group go on alone.

    `most`: how many trials run at a time at most, over all groups. None: no limit.
    """

    def __init__(self, handler: TrialHandler, run: RunDirectory, lanes: int, most: int | None = None) -> None:
        self._handler = handler
        self._run = run
        self._most_lanes = lanes
        self._most = most
        self._groups: dict[str, _Group] = {}
        self._left: dict[str, TrialConfig] = {}
        """Trials whose group was given up, and which may still be tried: in another group."""
        end_groups(run)

    def start(self, key: str) -> TrialConfig | NotNow:
        group = _Group(None)
        first = self._next(key, group, None)
        if isinstance(first, NotNow):
            return NotNow.LATER if self._groups else first
        self._groups[key] = group
        group.kind = first["kind"]
        if group.kind is None:
            return first
        self._fill(key, group)
        self._write(key, group)
        names = [config["id"] for config in group.lanes.values()]
        whole: TrialConfig = {**first, "id": f"{names[0]}-of-{len(names)}", "run": str(self._run.path), "group": key}
        del whole["directory"], whole["kind"]
        return whole

    def _next(self, key: str, group: _Group, like: str | None) -> TrialConfig | NotNow:
        """Give a group one more trial."""
        if self._most is not None and sum(len(each.lanes) for each in self._groups.values()) >= self._most:
            return NotNow.LATER
        for lane, waiting in self._left.items():
            if like in (None, waiting["kind"]):
                group.lanes[lane] = self._left.pop(lane)
                return waiting
        lane = f"{key}.{group.given}"
        config = self._handler.start(lane, like)
        if not isinstance(config, NotNow):
            group.lanes[lane] = config
            group.given += 1
        return config

    def _fill(self, key: str, group: _Group) -> None:
        most = 1 if group.kind == _PARTED else self._most_lanes
        while len(group.lanes) < most and not isinstance(self._next(key, group, group.kind), NotNow):
            pass

    def _write(self, key: str, group: _Group) -> None:
        write_group(self._run, key, {lane: config["id"] for lane, config in group.lanes.items()})

    def reported(self, key: str, row: Mapping[str, object]) -> bool:
        """The trials of a group have ended an epoch each. Those that must not go on have left when this returns."""
        group = self._groups[key]
        if group.kind is None:
            return self._handler.reported(next(iter(group.lanes)), row)
        before = dict(group.lanes)
        for lane, report in section(row["lanes"]).items():
            row_of_lane = section(report)
            if lane in group.lanes and (not self._handler.reported(lane, row_of_lane) or row_of_lane["done"]):
                del group.lanes[lane]
                self._handler.ended(lane)
        if row["done"] or not group.lanes:
            return False
        self._fill(key, group)
        if group.lanes.keys() != before.keys():
            self._write(key, group)
        return True

    def lost(self, key: str, loss: Loss, again: bool) -> None:
        """An attempt is lost, and with it one of each trial of the group."""
        group = self._groups[key]
        for lane, config in tuple(group.lanes.items()):
            if again or group.kind is None or loss.what in ("", faults.STORAGE):
                self._handler.lost(lane, loss, again)
            else:
                self._given_up(lane, config, loss)
        if not again:
            self._end(key)
        elif group.kind is not None and loss.what in faults.COUNTED:
            self._part(key, group)

    def _part(self, key: str, group: _Group) -> None:
        """Let the trials of a group go on alone, if it was lost too often. The first one keeps its process."""
        group.lost += 1
        first, *others = group.lanes
        if 2 * group.lost < group.lanes[first]["max_failures"] or not others:
            return
        for lane in others:
            self._left[lane] = {**group.lanes.pop(lane), "kind": None}
        group.kind = _PARTED
        self._write(key, group)

    def _given_up(self, lane: str, config: TrialConfig, loss: Loss) -> None:
        """A group was lost too often. A trial that came into it later was lost less often, and is tried again."""
        self._handler.lost(lane, loss, again=True)
        if faults.too_many(TrialDirectory(config["directory"]), config["max_failures"]) is None:
            self._left[lane] = config
        else:
            self._handler.lost(lane, Loss("", loss.message), again=False)

    def ended(self, key: str) -> None:
        group = self._groups[key]
        if group.kind is None:
            for lane in group.lanes:
                self._handler.ended(lane)
        else:
            self._left |= group.lanes  # the process had not seen yet that they had come
        self._end(key)

    def _end(self, key: str) -> None:
        if self._groups.pop(key).kind is not None:
            end_group(self._run, key)
