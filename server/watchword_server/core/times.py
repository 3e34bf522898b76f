"""Instants for people and logs."""

import datetime as dt

from watchword_server.core.model.names import Instant


def rfc3339(instant: Instant | None) -> str | None:
    """`2026-11-23T12:00:00.123Z`; None stays None."""
    if instant is None:
        return None
    return dt.datetime.fromtimestamp(instant, tz=dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
