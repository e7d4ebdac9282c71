"""What a process logs and prints while it works on trials goes to their logs too."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, TextIO

from raydarts.runs.log import TrialLog

_SOON = 1.0
"""Seconds after which lines are written. A process that is killed loses no more than the last ones."""
_MUCH = 32_768


class Capture:
    """While it is entered, what this process logs, warns of and prints is written to these logs, and shown as before.

    Lines of several trials that are computed together go to the log of each. Captures may be nested: the inner one's
    lines go to its own logs alone.
    """

    def __init__(self, logs: Iterable[TrialLog]) -> None:
        self._logs = list(logs)
        self._lock = threading.RLock()
        self._held: list[str] = []
        self._size = 0
        self._timer: threading.Timer | None = None

    def add(self, text: str) -> None:
        """Take a text in. It is written a moment later."""
        with self._lock:
            self._held.append(text)
            self._size += len(text)
            if self._size > _MUCH:
                self._flush(whole_lines=True)
            elif self._timer is None:
                self._timer = threading.Timer(_SOON, self._flush, kwargs={"whole_lines": True})
                self._timer.daemon = True
                self._timer.start()

    def _flush(self, *, whole_lines: bool) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            text = "".join(self._held)
            end = text.rfind("\n") + 1 if whole_lines and len(text) <= _MUCH else len(text)
            self._held = [text[end:]] if text[end:] else []
            self._size = len(text) - end
            for log in self._logs:
                log.write(text[:end])

    def __enter__(self) -> Capture:
        self._before: tuple[TextIO, TextIO] = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = _Tee(self._before[0], self), _Tee(self._before[1], self)
        self._outer = [each for each in logging.root.handlers if isinstance(each, _Handler)]
        for handler in self._outer:
            logging.root.removeHandler(handler)
        self._handler = _Handler(self)
        logging.root.addHandler(self._handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        logging.root.removeHandler(self._handler)
        for handler in self._outer:
            logging.root.addHandler(handler)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, _Tee):
                stream.let_go()  # who kept it writes on, past the log
        sys.stdout, sys.stderr = self._before
        self._flush(whole_lines=False)


class _Tee(io.TextIOBase):
    """A stream that shows what is written, and gives it to a capture."""

    def __init__(self, shown: TextIO, capture: Capture) -> None:
        self._shown = shown.shown if isinstance(shown, _Tee) else shown
        self._capture: Capture | None = capture

    @property
    def shown(self) -> TextIO:
        """Where it is shown."""
        return self._shown

    def let_go(self) -> None:
        self._capture = None

    def write(self, text: str) -> int:
        # rich draws its bars in a thread of its own: they are the terminal's, and no trial's.
        if self._capture is not None and not type(threading.current_thread()).__module__.startswith("rich."):
            self._capture.add(text)
        return self._shown.write(text)

    def flush(self) -> None:
        self._shown.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._shown.isatty()

    def fileno(self) -> int:
        return self._shown.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._shown.encoding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shown, name)


class _Handler(logging.Handler):
    """Gives records to a capture. Where no other handler shows a warning, it is shown as Python does by itself."""

    def __init__(self, capture: Capture) -> None:
        super().__init__(logging.NOTSET)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._capture = capture

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._capture.add(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)
            return
        if logging.lastResort is not None and record.levelno >= logging.lastResort.level and self._alone(record.name):
            stream = sys.stderr
            shown = stream.shown if isinstance(stream, _Tee) else stream
            shown.write(f"{record.getMessage()}\n")

    def _alone(self, name: str) -> bool:
        """Whether no other handler hears of a logger's records."""
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return True
