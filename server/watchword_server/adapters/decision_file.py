"""Reading the decision log back: one decision, or the newest that fit. Files are read from their end."""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from watchword_server.errors import NotFoundError
from watchword_server.ports.decisions import DecisionPage, DecisionQuery

_BLOCK: Final = 1 << 20
_MAX_LINES: Final = 200_000  # looked at for one page


def find_decision(path: Path, decision_id: str) -> Mapping[str, object] | None:
    """The record of a decision, if the log still has it."""
    needle = f'"id":"{decision_id}"'.encode()
    with _lines(path) as lines:
        for line in lines:
            if needle in line and (record := _record(line)) is not None and record["id"] == decision_id:
                return record
    return None


def find_decisions(path: Path, query: DecisionQuery) -> DecisionPage:
    """The newest decisions that fit, behind `before`. Raises `NotFoundError` if the log has no decision `before`.

    One page looks at 200,000 lines at most: with fewer records than asked for there may still be a next one.
    """
    needles = [
        f'"{name}":{json.dumps(value)}'.encode()
        for name, value in (
            ("decision", query.decision),
            ("reason", query.reason),
            ("caller", query.caller),
            ("host", query.host),
            ("user_email", query.user_email),
            ("id", query.device_id),
        )
        if value is not None
    ]
    found: list[Mapping[str, object]] = []
    behind = query.before is None
    start = b"" if query.before is None else f'"id":"{query.before}"'.encode()
    looked_at, last = 0, None
    with _lines(path) as lines:
        for line in lines:
            if not behind:
                behind = start in line and (_record(line) or {}).get("id") == query.before
                continue
            looked_at += 1
            if looked_at > _MAX_LINES:
                return DecisionPage(found, last)
            if not all(needle in line for needle in needles):
                if looked_at == _MAX_LINES and (record := _record(line)) is not None:
                    last = str(record["id"])
                continue
            record = _record(line)
            if record is None:
                continue
            last = str(record["id"])
            if query.since_text is not None and str(record["at"]) < query.since_text:
                return DecisionPage(found, None)
            if _fits(record, query):
                found.append(record)
                if len(found) == query.limit:
                    return DecisionPage(found, last)
    if not behind:
        raise NotFoundError(f"no decision `{query.before}` in the decision log that is kept: begin again without `before`")
    return DecisionPage(found, None)


def _fits(record: Mapping[str, Any], query: DecisionQuery) -> bool:
    wanted = (
        (query.decision, record["decision"]),
        (query.reason, record["reason"]),
        (query.caller, record["caller"]),
        (query.host, record["request"]["host"]),
        (query.user_email, record["user_email"]),
        (query.device_id, record["device"]["id"]),
    )
    return (
        all(value is None or value == told for value, told in wanted)
        and (query.rule is None or any(query.rule in (rule["id"], rule["name"]) for rule in record["rules"]))
        and (query.until_text is None or record["at"] < query.until_text)
    )


def _record(line: bytes) -> Mapping[str, Any] | None:
    """None for a line that was cut off, as by a full disk."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "id" in record else None


@contextlib.contextmanager
def _lines(path: Path) -> Iterator[Iterator[bytes]]:
    """The lines of a log and of its older files, the newest first. All are open at once: a rotation hides none of them."""
    with contextlib.ExitStack() as opened:
        files: list[BinaryIO] = []
        for file in sorted(path.parent.glob(f"{path.name}*"), key=lambda found: (len(found.name), found.name)):
            with contextlib.suppress(FileNotFoundError):
                files.append(opened.enter_context(file.open("rb")))
        yield (line for file in files for line in _backwards(file))


def _backwards(file: BinaryIO) -> Iterator[bytes]:
    position = file.seek(0, io.SEEK_END)
    rest = b""
    while position > 0:
        length = min(_BLOCK, position)
        position -= length
        file.seek(position)
        first, *lines = (file.read(length) + rest).split(b"\n")
        yield from reversed([line for line in lines if line])
        rest = first
    if rest:
        yield rest
