"""The decision log and the posture log: JSON objects, one a line, in files that are rotated by size.

Writing never waits: a bounded queue feeds one thread, and what does not fit is counted and dropped. A decision must not depend on
a disk.
"""

import json
import logging
import logging.handlers
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from watchword_server import events

_log = structlog.get_logger(__name__)

_STOP: Final = None


@dataclass(frozen=True, slots=True)
class LogLimits:
    """A log holds at most `(backups + 1) * max_bytes`."""

    max_bytes: int = 64 * 1024 * 1024
    backups: int = 4
    queue_length: int = 20_000


class JsonLinesLog:
    """One log file. `dropped` counts lines that were lost to a full queue, a failing disk, or a fault of ours."""

    def __init__(self, path: Path, limits: LogLimits = LogLimits()) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self.dropped = 0
        self._handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=limits.max_bytes, backupCount=limits.backups, encoding="utf-8"
        )
        path.chmod(0o600)
        self._queue: queue.Queue[Mapping[str, object] | Callable[[], Mapping[str, object]] | None] = queue.Queue(
            limits.queue_length
        )
        self._thread = threading.Thread(target=self._run, name=f"log-{path.stem}", daemon=True)
        self._thread.start()

    def write(self, event: Mapping[str, object] | Callable[[], Mapping[str, object]]) -> None:
        """Takes the event, or what makes it in the log's own thread, without waiting."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Writes what is queued and ends."""
        self._queue.put(_STOP)
        self._thread.join(timeout=10)
        self._handler.close()

    def _run(self) -> None:
        while (event := self._queue.get()) is not _STOP:
            try:
                line = json.dumps(event() if callable(event) else event, separators=(",", ":"), default=str)
            except Exception:  # noqa: BLE001 - one event that cannot be told must not be the last
                self.dropped += 1
                _log.exception(events.LOG_LINE_FAILED, log=self.path.stem)
                continue
            record = logging.LogRecord("log", logging.INFO, "", 0, line, None, None)
            try:
                if self._handler.shouldRollover(record):
                    self._handler.doRollover()
                if self._handler.stream is None:
                    self._handler.stream = self._handler._open()  # noqa: SLF001 - as the handler's own emit does
                self._handler.stream.write(line + "\n")
                if self._queue.empty():
                    self._handler.stream.flush()
            except (OSError, ValueError):
                self.dropped += 1
