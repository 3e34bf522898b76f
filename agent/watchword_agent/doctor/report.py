"""What the doctor finds, as `--json` prints it. Keys are stable; new ones may come. Times are UTC."""

import datetime as dt
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Outcome(StrEnum):
    """Of one thing that was looked at. `unknown`: nobody can tell here and now."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Finding(_Model):
    """Something about the device as a whole. `code` names what was looked at; `advice` is empty where nothing is to be done."""

    code: str
    outcome: Outcome
    text: str
    advice: str = ""


class Condition(_Model):
    """A condition that is not met, by the reason that the server would give."""

    reason: str
    expected: str
    found: str


class Certificate(_Model):
    """A certificate that was found. `signs`: whether its key signed a statement here; null: it was not tried.

    `private_key` is a `PrivateKeyState` in lower case; `sent`: it would be among the evidence.
    """

    location: str
    subject: str
    issuer: str
    serial_number: str  # hexadecimal
    not_before: dt.datetime | None
    not_after: dt.datetime | None
    extended_key_usage: tuple[str, ...]
    alternative_names: tuple[str, ...]
    key: str
    sha256: str
    private_key: str
    key_detail: str
    signs: bool | None
    sent: bool
    conditions_failed: tuple[Condition, ...]
    command: str  # shows the same


class Place(_Model):
    """Where a check has the agent look. `code` and `detail` say why nothing came of it; `holds`, what did."""

    place: str  # as the check names it
    resolved: str
    store: str
    holds: str = ""
    code: str = ""
    detail: str = ""
    command: str = ""


class ServerWord(_Model):
    """What the server last said of a check, when, and whether that still holds."""

    passed: bool
    reason: str
    detail: str
    at: dt.datetime | None
    expires_at: dt.datetime | None
    holds: bool


class CheckReport(_Model):
    """One check.

    `reason` is the word for what is in the way: as the device sees it (`device_reason`), else as the server last said it.
    """

    id: str
    name: str
    outcome: Outcome
    reason: str
    detail: str
    advice: str
    device_reason: str
    schedule_seconds: int
    wanted: dict[str, tuple[str, ...]]
    places: tuple[Place, ...]
    certificates: tuple[Certificate, ...]
    server: ServerWord | None


class StoreReport(_Model):
    """A store on this machine, without any check in mind."""

    store: str
    place: str
    certificates: int
    with_key: int
    code: str = ""
    detail: str = ""
    advice: str = ""
    command: str = ""


class Report(_Model):
    """All of it. `outcome`: ok if every finding and check is; failed if one is; else unknown."""

    at: dt.datetime
    agent_version: str
    state_dir: str
    device_id: str | None
    server: str | None
    platform: str
    hostname: str | None
    serial_number: str | None
    running: bool
    findings: tuple[Finding, ...]
    checks: tuple[CheckReport, ...]
    outcome: Outcome


def worst(outcomes: list[Outcome]) -> Outcome:
    """Failed if any is, else unknown if any is, else ok."""
    return next((outcome for outcome in (Outcome.FAILED, Outcome.UNKNOWN) if outcome in outcomes), Outcome.OK)
