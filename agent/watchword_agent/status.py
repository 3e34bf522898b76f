"""What the running agent knows of itself, in a file for the person at the device; and what that person is told."""

import datetime as dt
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from watchword.v1 import posture_pb2 as pb
from watchword_agent import log
from watchword_agent.errors import StateDirectoryError
from watchword_agent.state import write_atomically


class CheckStatus(BaseModel):
    """One check as the server last judged it. `expires_at` None: the result ends with nothing but the next one."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    passed: bool
    reason: str
    detail: str
    expires_at: dt.datetime | None

    def passes(self, now: dt.datetime) -> bool:
        """Whether it passed and still holds."""
        return self.passed and (self.expires_at is None or now < self.expires_at)


class Problem(BaseModel):
    """Why there is no connection, or why evidence is not accepted."""

    model_config = ConfigDict(frozen=True)

    code: str
    detail: str
    retry_at: dt.datetime


class Status(BaseModel):
    """The content of status.json. Times are UTC."""

    model_config = ConfigDict(frozen=True)

    pid: int
    device_id: str
    server: str
    connected: bool = False
    single_requests: bool = False  # by HTTPS, where streams do not get through
    last_ack_at: dt.datetime | None = None
    problem: Problem | None = None
    checks: tuple[CheckStatus, ...] = ()

    def all_pass(self, now: dt.datetime) -> bool:
        """Whether every check holds; true if there are none."""
        return all(check.passes(now) for check in self.checks)


class StatusFile:
    """Keeps status.json up to date. A file that cannot be written is logged and otherwise does no harm."""

    def __init__(self, path: Path, *, device_id: str, server: str, now: Callable[[], dt.datetime]) -> None:
        self._path = path
        self._now = now
        self.status = Status(pid=os.getpid(), device_id=device_id, server=server)
        self._write()

    def uses(self, *, single_requests: bool) -> None:
        """The way that evidence goes from now on."""
        if single_requests != self.status.single_requests:
            self._update(single_requests=single_requests)

    def connected(self) -> None:
        """The server answered."""
        self._update(connected=True, problem=None)

    def accepted(self, results: Sequence[pb.CheckResult]) -> None:
        """Evidence was stored; these are all results of this device."""
        now = self._now()
        checks = tuple(
            CheckStatus(
                id=result.check_id,
                name=result.name,
                passed=result.passed,
                reason=result.reason,
                detail=result.detail,
                expires_at=_expiry(result, now),
            )
            for result in results
        )
        self._update(connected=True, last_ack_at=now, problem=None, checks=checks)

    def troubled(self, code: str, detail: str, *, retry_seconds: float, connected: bool) -> None:
        """Evidence was rejected, or the stream ended."""
        retry_at = self._now() + dt.timedelta(seconds=retry_seconds)
        self._update(connected=connected, problem=Problem(code=code, detail=detail, retry_at=retry_at))

    def stopped(self) -> None:
        """The agent ends."""
        self._update(connected=False)

    def _update(self, **changes: object) -> None:
        self.status = self.status.model_copy(update=changes)
        self._write()

    def _write(self) -> None:
        try:
            write_atomically(self._path, self.status.model_dump_json(indent=2).encode() + b"\n", durable=False)
        except StateDirectoryError as error:
            log.warning(log.Event.STATUS_NOT_WRITTEN, error=error)


def read_status(path: Path) -> Status | None:
    """The last status written; None if there is none. Raises `StateDirectoryError`."""
    try:
        return Status.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateDirectoryError(f"cannot read `{path}`: {error.strerror}; run as the agent's user (root)") from error
    except ValidationError as error:
        raise StateDirectoryError(f"`{path}` is damaged: restart the agent") from error


def render(status: Status, *, running: bool, now: dt.datetime) -> str:
    """The status for people."""
    if not running:
        connection = "not running"
    elif not status.connected:
        connection = "not connected"
    else:
        connection = "connected" if status.last_ack_at is not None else "connected, nothing acknowledged yet"
    way = ", by single HTTPS requests: streams do not get through" if status.single_requests else ""
    lines = [
        f"device    {status.device_id}",
        f"server    {status.server}{way}",
        f"agent     {connection}" + (f" (process {status.pid})" if running else ""),
        f"last ack  {_ago(now - status.last_ack_at) if status.last_ack_at else 'never'}",
    ]
    if status.problem is not None:
        problem = status.problem
        lines.append(f"problem   {problem.code}: {problem.detail} (next try {_until(problem.retry_at - now)})")
    lines.append("")
    lines += [_check_line(check, now) for check in status.checks] or ["no checks apply to this device"]
    return "\n".join(log.printable(line) for line in lines)


def _check_line(check: CheckStatus, now: dt.datetime) -> str:
    name = check.name or check.id
    if not check.passed:
        return f"FAILED  {name}: {check.reason}" + (f" ({check.detail})" if check.detail else "")
    if not check.passes(now):
        return f"EXPIRED {name}: passed, but that has expired"
    return f"PASSED  {name}" + ("" if check.expires_at is None else f", expires {_until(check.expires_at - now)}")


def _ago(span: dt.timedelta) -> str:
    return f"{_span(span)} ago"


def _until(span: dt.timedelta) -> str:
    return f"in {_span(span)}" if span > dt.timedelta() else "now"


def _span(span: dt.timedelta) -> str:
    seconds = max(0, round(span.total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _expiry(result: pb.CheckResult, now: dt.datetime) -> dt.datetime | None:
    return now + dt.timedelta(seconds=result.expires_in_seconds) if result.HasField("expires_in_seconds") else None
