"""A caller of the server in `load.py`: asks at fixed times whatever comes back, and tells how late each answer was.

An answer's latency counts from when its question was due, so that a server that stands still is not asked less often.
"""

import contextlib
import json
import select
import socket
import sys
import time
from typing import Final

INTERVAL_SECONDS: Final = 0.002


def main() -> None:
    """Asks until stdin ends; then prints a JSON list of (when due, latency), both in seconds of the monotonic clock."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[1])
    connection.setblocking(False)  # noqa: FBT003 - the standard library's
    answers: list[tuple[float, float]] = []
    due: list[float] = []
    sent = answered = 0
    next_due = time.monotonic() + INTERVAL_SECONDS
    ending = False
    while not ending or answered < len(due):
        ready, _, _ = select.select([connection, *([] if ending else [sys.stdin])], [], [], max(0.0, next_due - time.monotonic()))
        now = time.monotonic()
        if connection in ready:
            for _ in connection.recv(65536):
                answers.append((due[answered], now - due[answered]))
                answered += 1
        ending = ending or sys.stdin in ready
        while not ending and next_due <= now:
            due.append(next_due)
            next_due += INTERVAL_SECONDS
        with contextlib.suppress(BlockingIOError):  # a server that stands still gets the rest later, no less late for that
            sent += connection.send(b"?" * (len(due) - sent)) if sent < len(due) else 0
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
