"""What the doctor looks at: each check's places and certificates, and what the device as a whole has."""

import asyncio
import datetime as dt
from contextlib import ExitStack
from importlib.metadata import version
from typing import Final

import grpc
from cryptography.hazmat.primitives import hashes

from watchword.v1 import posture_pb2 as pb
from watchword_agent import app
from watchword_agent.advice import advice_for, advice_for_problem
from watchword_agent.doctor.commands import show_file, show_nss, show_system_store, show_token
from watchword_agent.doctor.report import (
    Certificate,
    CheckReport,
    Condition,
    Finding,
    Outcome,
    Place,
    Report,
    ServerWord,
    StoreReport,
    worst,
)
from watchword_agent.doctor.trial import why_not
from watchword_agent.errors import AgentError, CollectionFailedError, NotEnrolledError
from watchword_agent.identity import Identity, read_identity
from watchword_agent.settings import Settings
from watchword_agent.state import Enrollment, StateDirectory
from watchword_agent.status import Status, read_status
from watchword_agent.stores import NSS_PREFIXES, PKCS11_PREFIX, Look, looks_for
from watchword_agent.stores.base import Access, Contents, Found, Visit
from watchword_agent.stores.conditions import alternative_names, key_text, usages
from watchword_agent.stores.nss import NssStore
from watchword_agent.stores.pkcs11 import Pkcs11Store
from watchword_agent.stores.selection import Seen, select

_CONNECT_SECONDS: Final = 5.0
_SYSTEM_STORES: Final = ("system", "user")


async def examine_device(settings: Settings, *, only: str | None = None) -> Report:
    """Everything; `only`: of the checks, the one of this name.

    Raises `OperatorError` where the state directory cannot be read.
    """
    state, now = StateDirectory(settings.state_dir), dt.datetime.now(tz=dt.UTC)
    enrollment = _enrollment(state)
    status = None if enrollment is None else read_status(state.status_path)
    checks = None if enrollment is None else state.checks()
    identity = identity_of(settings, enrollment)
    findings = [*_enrolled(enrollment, settings), *_known(identity), *_attesting(state, status)]
    if enrollment is not None:
        findings.append(await _reachable(settings, enrollment))
    wanted = [] if checks is None else [check for check in checks.checks if only in (None, check.name, check.id)]
    if enrollment is not None and checks is None:
        text, advice = "the server told no checks yet", "run the agent: it asks for them"
        findings.append(Finding(code="checks", outcome=Outcome.UNKNOWN, text=text, advice=advice))
    reports = tuple(examine_check(check, identity, app.access_of(settings), status, now=now) for check in wanted)
    outcome = worst([*(finding.outcome for finding in findings), *(report.outcome for report in reports)])
    return Report(
        at=now,
        agent_version=version("watchword"),
        state_dir=str(settings.state_dir),
        device_id=None if enrollment is None else enrollment.device_id,
        server=None if enrollment is None else settings.server or enrollment.server,
        platform=identity.platform,
        hostname=identity.hostname,
        serial_number=identity.serial_number,
        running=enrollment is not None and state.is_running(),
        findings=tuple(findings),
        checks=reports,
        outcome=outcome,
    )


def examine_check(check: pb.Check, identity: Identity, access: Access, status: Status | None, *, now: dt.datetime) -> CheckReport:
    """One check: where it looks, what lies there, what is in the way."""
    wanted, word = check.client_certificate, _word(check, status, now)
    with ExitStack() as exits:
        visit = Visit(identity.variables, access, exits)
        places, contents, failures = _look(wanted, identity, visit)
        selection = select(contents, wanted, identity.variables, now=now)
        chosen = set(map(id, selection.chosen))
        certificates = tuple(_certificate(seen, identity, wanted, sent=id(seen) in chosen) for seen in selection.seen)
    device_reason, detail = _in_the_way(certificates, failures)
    reason, said = device_reason or (word.reason if word is not None else "no_result"), detail
    if not device_reason and word is not None:
        said = word.detail
    passes = not device_reason and word is not None and word.holds
    failed = bool(device_reason) or (word is not None and not word.passed)
    return CheckReport(
        id=check.id,
        name=check.name,
        outcome=Outcome.OK if passes else Outcome.FAILED if failed else Outcome.UNKNOWN,
        reason=reason,
        detail=said,
        advice=advice_for(reason),
        device_reason=device_reason,
        schedule_seconds=check.schedule_seconds,
        wanted=_wanted(wanted),
        places=places,
        certificates=certificates,
        server=word,
    )


def identity_of(settings: Settings, enrollment: Enrollment | None) -> Identity:
    """As the running agent has it."""
    kept = (None, None) if enrollment is None else (enrollment.hostname, enrollment.serial_number)
    return read_identity(hostname=settings.hostname or kept[0], serial_number=settings.serial_number or kept[1])


def stores_here(access: Access, platform: str) -> list[StoreReport]:
    """The stores of this machine and what lies in them."""
    looks = [(store, each) for store, each in _all_stores(access, platform)]
    reports = []
    for name, look in looks:
        with ExitStack() as exits:
            visit = Visit({}, access, exits)
            command = _command(look.places[0], platform, access)
            try:
                found = look.store.look(look.places, visit).found
            except CollectionFailedError as failure:
                reports.append(
                    StoreReport(
                        store=name,
                        place=look.places[0],
                        certificates=0,
                        with_key=0,
                        code=failure.code,
                        detail=failure.detail,
                        advice=advice_for(failure.code),
                        command=command,
                    )
                )
            else:
                keys = sum(each.private_key == pb.PRIVATE_KEY_STATE_USABLE for each in found)
                reports.append(
                    StoreReport(store=name, place=look.places[0], certificates=len(found), with_key=keys, command=command)
                )
    return reports


def _all_stores(access: Access, platform: str) -> list[tuple[str, Look]]:
    if platform == "linux":
        found = [("nss", Look(NssStore(), (place,))) for place in _SYSTEM_STORES]
        return found + ([("pkcs11", Look(Pkcs11Store(), (PKCS11_PREFIX,)))] if access.pkcs11_modules else [])
    check = pb.ClientCertificateCheck()
    return [
        (platform, Look(look.store, (place,)))
        for place in _SYSTEM_STORES
        for look in looks_for(check, platform=platform, variables={})
    ]


# ---- A check ------------------------------------------------------------------------------------------------------------


def _look(
    wanted: pb.ClientCertificateCheck, identity: Identity, visit: Visit
) -> tuple[tuple[Place, ...], list[Contents], list[CollectionFailedError]]:
    """Place by place, so that each can be told; what a check's places hold together is looked at as the agent does."""
    try:
        looks = looks_for(wanted, platform=identity.platform, variables=visit.variables)
    except CollectionFailedError as failure:
        return (), [], [failure]
    places: list[Place] = []
    contents: list[Contents] = []
    failures: list[CollectionFailedError] = []
    for look in looks:
        try:
            whole = look.store.look(look.places, visit)
        except CollectionFailedError as failure:
            failures.append(failure)
        else:
            contents.append(whole)
        for place in look.places:
            try:
                found = look.store.look((place,), visit)
            except CollectionFailedError as failure:
                places.append(_place(place, look, identity, visit.access, code=failure.code, detail=failure.detail))
            else:
                places.append(_place(place, look, identity, visit.access, holds=_holds(found)))
    return tuple(places), contents, failures


def _place(
    place: str, look: Look, identity: Identity, access: Access, *, holds: str = "", code: str = "", detail: str = ""
) -> Place:
    store = type(look.store).__name__.removesuffix("Store").lower()
    resolved = place
    for name, value in identity.variables.items():
        resolved = resolved.replace(f"${{{name}}}", value or f"${{{name}}}")
    command = _command(resolved, identity.platform, access)
    return Place(place=place, resolved=resolved, store=store, holds=holds, code=code, detail=detail, command=command)


def _command(place: str, platform: str, access: Access) -> str:
    if place in _SYSTEM_STORES:
        return show_system_store(platform, place)
    if place.startswith(PKCS11_PREFIX):
        return show_token(place, access)
    return show_nss(place) if place.startswith(NSS_PREFIXES) else show_file(place)


def _holds(contents: Contents) -> str:
    keys = sum(each.private_key == pb.PRIVATE_KEY_STATE_USABLE for each in contents.found)
    return f"{len(contents.found)} certificates, {keys} with a key"


def _certificate(seen: Seen, identity: Identity, wanted: pb.ClientCertificateCheck, *, sent: bool) -> Certificate:
    found, certificate = seen.found, seen.certificate
    state = pb.PrivateKeyState.Name(found.private_key).removeprefix("PRIVATE_KEY_STATE_").lower()
    failed = [Condition(reason=each.reason, expected=each.expected, found=each.found) for each in seen.conditions if not each.met]
    if certificate is None:
        return Certificate(
            location=found.location,
            subject="",
            issuer="",
            serial_number="",
            not_before=None,
            not_after=None,
            extended_key_usage=(),
            alternative_names=(),
            key="",
            sha256="",
            private_key=state,
            key_detail=found.key_detail,
            signs=None,
            sent=sent,
            conditions_failed=tuple(failed),
            command="",
        )
    signs, detail = None, found.key_detail
    if sent and found.sign is not None and wanted.check_private_key:
        trouble = why_not(found.sign, certificate, found.der)
        signs = trouble is None
        if trouble is not None:
            detail, told = trouble
            state = pb.PrivateKeyState.Name(told).removeprefix("PRIVATE_KEY_STATE_").lower()
            reason = _KEY_REASONS.get(state, "private_key_failed")
            failed.append(Condition(reason=reason, expected="a key that signs", found=detail))
    return Certificate(
        location=found.location,
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial_number=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        extended_key_usage=tuple(usages(certificate)),
        alternative_names=tuple(alternative_names(certificate)),
        key=key_text(certificate),
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        private_key=state,
        key_detail=detail,
        signs=signs,
        sent=sent,
        conditions_failed=tuple(failed),
        command=_shows(found, identity),
    )


_KEY_REASONS: Final = {
    "absent": "private_key_absent",
    "locked": "private_key_locked",
    "mismatch": "private_key_mismatch",
    "unsupported": "possession_key_unsupported",
    "unreadable": "private_key_unreadable",
    "denied": "private_key_denied",
    "needs_ui": "private_key_needs_ui",
    "wrong_password": "private_key_password_wrong",
}


def _shows(found: Found, identity: Identity) -> str:
    location = found.location
    if location.startswith("sql:"):
        directory, _, nickname = location.partition(": ")
        return show_nss(directory, nickname or None)
    if location.startswith("/"):
        return show_file(location)
    return show_system_store(identity.platform, "system") if identity.platform in ("windows", "mac") else ""


def _in_the_way(certificates: tuple[Certificate, ...], failures: list[CollectionFailedError]) -> tuple[str, str]:
    """The reason as the server would give it, as far as the device can tell; empty: nothing is known to be."""
    if not certificates:
        telling = next((each for each in failures if not each.code.endswith("_missing")), failures[0] if failures else None)
        return ("certificate_not_found", "") if telling is None else (telling.code, telling.detail)
    nearest = [each for each in certificates if each.sent] or list(certificates)
    if any(not each.conditions_failed for each in nearest):
        return "", ""
    first = min(nearest, key=lambda each: len(each.conditions_failed)).conditions_failed[0]
    return first.reason, f"expected {first.expected}; found {first.found}"


def _wanted(wanted: pb.ClientCertificateCheck) -> dict[str, tuple[str, ...]]:
    told = {
        "common_name": (wanted.common_name,) if wanted.common_name else (),
        "subject_alternative_names": tuple(wanted.subject_alternative_names),
        "extended_key_usage": tuple(wanted.extended_key_usage),
        "private_key": ("proven",) if wanted.check_private_key else (),
    }
    return {name: values for name, values in told.items() if values}


def _word(check: pb.Check, status: Status | None, now: dt.datetime) -> ServerWord | None:
    if status is None:
        return None
    found = next((each for each in status.checks if each.id == check.id), None)
    if found is None:
        return None
    return ServerWord(
        passed=found.passed,
        reason=found.reason,
        detail=found.detail,
        at=status.last_ack_at,
        expires_at=found.expires_at,
        holds=found.passes(now),
    )


# ---- The device ---------------------------------------------------------------------------------------------------------


def _enrollment(state: StateDirectory) -> Enrollment | None:
    try:
        return state.enrollment()
    except NotEnrolledError:
        return None


def _enrolled(enrollment: Enrollment | None, settings: Settings) -> list[Finding]:
    if enrollment is None:
        text = f"`{settings.state_dir}` is not enrolled"
        advice = "enroll with a token of the server's operator: `watchword-agent enroll --server … --token-file …`"
        return [Finding(code="enrolled", outcome=Outcome.FAILED, text=text, advice=advice)]
    return [Finding(code="enrolled", outcome=Outcome.OK, text=f"enrolled as `{enrollment.device_id}` with {enrollment.server}")]


def _known(identity: Identity) -> list[Finding]:
    found = []
    for name, value, advice in (
        ("hostname", identity.hostname, "set the machine's host name, or the setting `hostname`"),
        ("serial_number", identity.serial_number, "run as root, which alone reads it, or set `serial_number`"),
    ):
        known = value is not None
        text = f"{name.replace('_', ' ')}: {value}" if known else f"the {name.replace('_', ' ')} is not known"
        outcome = Outcome.OK if known else Outcome.UNKNOWN
        found.append(Finding(code=name, outcome=outcome, text=text, advice="" if known else advice))
    return found


def _attesting(state: StateDirectory, status: Status | None) -> list[Finding]:
    if status is None:
        return []
    if not state.is_running():
        advice = "start it: `systemctl start watchword-agent`, or `watchword-agent run`"
        return [Finding(code="running", outcome=Outcome.FAILED, text="the agent does not run", advice=advice)]
    found = [Finding(code="running", outcome=Outcome.OK, text=f"the agent runs (process {status.pid})")]
    if status.problem is not None:
        text = f"it has trouble: {status.problem.code} {status.problem.detail}".strip()
        found.append(Finding(code="connected", outcome=Outcome.FAILED, text=text, advice=advice_for_problem(status.problem.code)))
    return found


async def _reachable(settings: Settings, enrollment: Enrollment) -> Finding:
    """Whether a connection to the server comes about: its name, TLS, and somebody who speaks HTTP/2."""
    server = settings.server or enrollment.server
    try:
        async with app.channel_to(server, settings, settings.ca_file or enrollment.ca_file) as channel:
            async with asyncio.timeout(_CONNECT_SECONDS):
                while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                    if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                        raise ConnectionError
                    await channel.wait_for_state_change(state)
    except (TimeoutError, ConnectionError):
        advice = "see that the name leads to the server, that its port is open, and that its certificate is of a CA in `ca_file`"
        return Finding(code="server", outcome=Outcome.FAILED, text=f"{server} cannot be reached", advice=advice)
    except AgentError as error:
        return Finding(code="server", outcome=Outcome.FAILED, text=str(error), advice="correct the setting it names")
    return Finding(code="server", outcome=Outcome.OK, text=f"{server} can be reached")
