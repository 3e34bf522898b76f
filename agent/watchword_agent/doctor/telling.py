"""The doctor's report, for people."""

from collections.abc import Iterator

from watchword_agent.doctor.report import Certificate, CheckReport, Outcome, Report, StoreReport

_MARKS = {Outcome.OK: "ok    ", Outcome.FAILED: "FAILED", Outcome.UNKNOWN: "?     "}


def render_report(report: Report) -> str:
    """All of it."""
    return "\n".join([*_device(report), *(line for check in report.checks for line in ("", *_check(check)))])


def render_checks(report: Report) -> str:
    """The checks alone, a line each."""
    if not report.checks:
        return "no checks: the server told none yet"
    return "\n".join(
        f"{_MARKS[check.outcome]} {check.name or check.id}: {check.reason}, every {check.schedule_seconds} s, "
        f"looks at {', '.join(place.place for place in check.places) or 'nothing'}"
        for check in report.checks
    )


def render_stores(stores: list[StoreReport]) -> str:
    """A line each."""
    return "\n".join(
        f"{store.store:8} {store.place:10} "
        + (f"{store.code}: {store.detail}" if store.code else f"{store.certificates} certificates, {store.with_key} with a key")
        + f"\n         {store.command}"
        for store in stores
    )


def _device(report: Report) -> Iterator[str]:
    for finding in report.findings:
        yield f"{_MARKS[finding.outcome]} {finding.text}"
        if finding.advice:
            yield f"       → {finding.advice}"


def _check(check: CheckReport) -> Iterator[str]:
    yield f"{_MARKS[check.outcome]} check {check.name or check.id}: {check.reason}" + (
        f" ({check.detail})" if check.detail else ""
    )
    if check.advice:
        yield f"       → {check.advice}"
    for place in check.places:
        told = place.holds or f"{place.code}: {place.detail}"
        yield f"       looked at {place.resolved}: {told}"
        yield f"         $ {place.command}"
    for certificate in check.certificates:
        yield from _certificate(certificate)
    if check.server is not None:
        yield f"       the server said: {check.server.reason}" + (
            f" at {check.server.at:%Y-%m-%d %H:%M:%S}Z" if check.server.at else ""
        )


def _certificate(certificate: Certificate) -> Iterator[str]:
    mark = "*" if certificate.sent else " "
    yield f"     {mark} {certificate.subject or 'a certificate that cannot be read'}  ({certificate.location})"
    if certificate.issuer:
        yield f"         issued by {certificate.issuer}, serial number {certificate.serial_number}, {certificate.key}"
        usage = ", ".join(certificate.extended_key_usage) or "none"
        yield f"         valid {certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}, extended key usage: {usage}"
    key = certificate.private_key + (f" ({certificate.key_detail})" if certificate.key_detail else "")
    yield f"         private key: {key}" + (
        "" if certificate.signs is None else ", it signs" if certificate.signs else ", it does not sign"
    )
    for condition in certificate.conditions_failed:
        yield f"         {condition.reason}: expected {condition.expected}; found {condition.found}"
    if certificate.command and certificate.sent:
        yield f"         $ {certificate.command}"
