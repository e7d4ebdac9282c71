"""A trial's log.txt: what its process logged and printed, over all attempts, at most 1 MiB of it."""

from __future__ import annotations

import logging
import os
import platform
import re
import time

from raydarts.runs.directory import TrialDirectory
from raydarts.storage.place import append, read_appended, replace_appended
from raydarts.terminal import clean

logger = logging.getLogger("raydarts")

MOST = 1 << 20
"""Bytes of a log. Where it would become longer, its middle is left out: the beginning and the newest lines stay."""
_HEAD, _TAIL = MOST // 4, MOST // 2
NAME = "log.txt"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LEFT_OUT = "[... {:,} bytes are left out here: a log keeps its beginning and its newest lines ...]\n"


def as_lines(text: str) -> str:
    """A text as it is kept: without colours, and nothing in it that a terminal obeys. A bar keeps its last state."""
    lines = _COLOURS.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(clean(line.rstrip("\r").rsplit("\r", 1)[-1], keep="\t") for line in lines)


class TrialLog:
    """The log of one trial. Writing never raises: a trial is worth more than its log. After an error it is given up."""

    def __init__(self, trial: TrialDirectory) -> None:
        self._trial = trial
        self._place = trial.files / NAME
        self._size: int | None = None
        self._gone = False

    def head(self, epoch: int) -> None:
        """A line that an attempt begins."""
        at = time.strftime("%Y-%m-%d %H:%M:%S")
        self.write(f"--- {at}: an attempt on {platform.node()}, process {os.getpid()}, from epoch {epoch} on\n")

    def write(self, text: str) -> None:
        """Append lines."""
        if self._gone or not text:
            return
        content = as_lines(text if text.endswith("\n") else f"{text}\n").encode("utf-8", "backslashreplace")
        try:
            self._append(content)
        except Exception as error:
            self._gone = True
            logger.warning("%s: %s cannot be written: %s", self._trial.id, NAME, error)

    def _append(self, content: bytes) -> None:
        if self._size is None:
            self._size = len(read_appended(self._place))
        if self._size + len(content) <= MOST:
            append(self._place, content)
            self._size += len(content)
            return
        self._trial.check()  # an attempt that was replaced must not take the newer one's lines away
        shorter = shortened(read_appended(self._place) + content)
        replace_appended(self._place, shorter)
        self._size = len(shorter)


def shortened(content: bytes) -> bytes:
    """A log without its middle: whole lines of its beginning and of its end."""
    head = content[:_HEAD]
    head = head[: head.rfind(b"\n") + 1]
    tail = content[-_TAIL:]
    tail = tail[tail.find(b"\n") + 1 :]
    return head + _LEFT_OUT.format(len(content) - len(head) - len(tail)).encode() + tail


def read_log(trial: TrialDirectory) -> str:
    """What the log holds; empty where there is none."""
    return read_appended(trial.files / NAME).decode("utf-8", "replace")
