"""What the agent logs: constant event names with a few fields, as `key=value` on stderr. Never a key, token or payload."""

import json
import logging
import sys
import time
from enum import StrEnum
from typing import Final

_LOGGER: Final = logging.getLogger("watchword_agent")


class Event(StrEnum):
    """Every event the agent logs."""

    STARTED = "started"
    STOPPED = "stopped"
    ENROLLED = "enrolled"
    ENROLLMENT_FAILED = "enrollment_failed"
    CONNECTED = "connected"
    TRANSPORT_CHANGED = "transport_changed"
    DISCONNECTED = "disconnected"
    DRAINING = "draining"
    EVIDENCE_ACCEPTED = "evidence_accepted"
    EVIDENCE_REJECTED = "evidence_rejected"
    CHECK_CHANGED = "check_changed"
    CHECK_SET_RECEIVED = "check_set_received"
    CHECK_SET_NOT_KEPT = "check_set_not_kept"
    KEY_PENDING = "key_pending"
    KEY_ROTATED = "key_rotated"
    KEY_ROTATION_FAILED = "key_rotation_failed"
    SAID_GOODBYE = "said_goodbye"
    GOODBYE_FAILED = "goodbye_failed"
    COLLECTION_FAILED = "collection_failed"
    EVIDENCE_TOO_LARGE = "evidence_too_large"
    STORE_CHANGED = "store_changed"
    WATCH_DEGRADED = "watch_degraded"
    STORE_NOT_WATCHED = "store_not_watched"
    STATUS_NOT_WRITTEN = "status_not_written"


def debug(event: Event, **fields: object) -> None:
    """For whoever asked for it."""
    _LOGGER.debug(event, extra={"fields": fields})


def info(event: Event, **fields: object) -> None:
    """The normal course."""
    _LOGGER.info(event, extra={"fields": fields})


def warning(event: Event, **fields: object) -> None:
    """Something that an operator may have to look at."""
    _LOGGER.warning(event, extra={"fields": fields})


def configure(level: str) -> None:
    """Sends events of `level` (debug, info, warning, error) and above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LogfmtFormatter())
    _LOGGER.handlers[:] = [handler]
    _LOGGER.setLevel(level.upper())
    _LOGGER.propagate = False


def printable(text: str) -> str:
    """`text` without what could steer a terminal: words of a server or a file are not ours."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


class _LogfmtFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, object] = getattr(record, "fields", {})
        words = [f"{moment}.{int(record.msecs):03d}Z", record.levelname.lower(), record.getMessage()]
        return " ".join(words + [f"{name}={_value(value)}" for name, value in fields.items() if value is not None])


def _value(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    plain = text != "" and text.isprintable() and not any(character in ' "=' for character in text)
    return text if plain else json.dumps(printable(text), ensure_ascii=False)
