"""The spec's `track:` section: the trackers that show the run elsewhere while it goes on. Absent: none."""

from __future__ import annotations

from collections.abc import Iterator

from raydarts.registry import Around, ByName, Idle


class TrackSettings(ByName):
    """Each key is a tracker: `wandb: {mode: offline}`, `tensorboard: true`, `my_module:MyTracker: {folder: here}`."""

    FAMILY = "tracker"

    def idle(self, around: Around) -> Iterator[Idle]:
        if not self.chosen:
            yield Idle("", "names no tracker; write wandb: {} or tensorboard: true below it, or leave track out")
