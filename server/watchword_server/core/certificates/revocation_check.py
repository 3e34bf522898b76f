"""Whether the certificates of a path are revoked, by what is known (RFC 5280, 6.3). Nothing here looks at URLs inside them."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from watchword_server.core.certificates.distribution_points import places_of_certificate
from watchword_server.core.certificates.ocsp import OcspRefusedError, read_ocsp_response
from watchword_server.core.certificates.parsed import ParsedCertificate
from watchword_server.core.certificates.path import ValidPath
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.revocation import (
    IssuerRevocation,
    ListSigner,
    OcspStatus,
    RevocationList,
    RevocationReason,
    RevocationView,
    Revoked,
    issuer_key_of,
)
from watchword_server.core.certificates.work import Work
from watchword_server.core.model.checks import RevocationPolicy
from watchword_server.core.model.names import Instant

_MAX_STAPLED: Final = 4
_NOTHING: Final = IssuerRevocation()


def check_revocation(
    path: ValidPath,
    policy: RevocationPolicy,
    view: RevocationView,
    *,
    stapled: Sequence[bytes] = (),
    work: Work | None = None,
    now: Instant,
) -> Instant | None:
    """Whether no certificate of the path but the trusted one is revoked. `stapled`: OCSP responses in DER, from the device.

    Any word of a revocation counts: that of a list past its end too, and of a list whose scope the certificate is not in (serial
    numbers are unique to an issuer). What takes it back is of the same kind, of the same scope, current and strictly newer:
    another complete list, another delta list over the same base, or `removeFromCRL` in a delta list that adds to the list where
    the certificate is on hold (RFC 5280, 5.2.4). A list that is not stored yet only revokes. That a certificate is good counts
    only from what is current and in scope, and for no longer than a delta list that adds to the list; never from a complete list
    that a newer one followed, even if that has ended.

    Returns until when that is known, where the policy requires to know; else None. Raises `CertificateRefusedError`:
    `certificate_revoked`, `issuer_revoked`, `chain_too_complex` (responses beyond what `work` allows),
    and with `RevocationPolicy.REQUIRE` `revocation_unknown`.
    """
    required = policy is RevocationPolicy.REQUIRE
    nothing_to_learn = not required and not stapled
    if policy is RevocationPolicy.OFF or (nothing_to_learn and not view.issuers):
        return None
    pairs = zip(path.certificates, path.certificates[1:], strict=False)
    links = [_Link(certificate, issuer, view, now) for certificate, issuer in pairs]
    for link in reversed(links):  # what stands higher makes what is below it worth nothing
        found = link.revocation()
        if found is not None:
            reason = "certificate_revoked" if link is links[0] else "issuer_revoked"
            raise CertificateRefusedError(reason, expected="a certificate that is not revoked", received=found)
    if nothing_to_learn:
        return None
    unknown: list[dict[str, object]] = []
    known_until: list[Instant] = []
    for place, link in enumerate(links):
        until, why = link.known_until()
        if until is None and stapled:
            status, refused = _read_stapled(stapled[:_MAX_STAPLED], link, work or Work())
            why += refused
            if status is not None and status.revoked is not None:
                reason = "certificate_revoked" if place == 0 else "issuer_revoked"
                found = link.found(status.revoked, "a response of the device")
                raise CertificateRefusedError(reason, expected="a certificate that is not revoked", received=found)
            until = None if status is None else status.next_update
        if until is None:
            unknown.append({"subject": link.certificate.subject_text(), "serial_number": link.serial_text, "why": why})
        else:
            known_until.append(until)
    if not required:
        return None
    if unknown:
        raise CertificateRefusedError(
            "revocation_unknown", expected="a current revocation list or OCSP response for each", received=unknown
        )
    return min(known_until, default=path.valid_until)


@dataclass(frozen=True, slots=True)
class _Link:
    """A certificate and who issued it."""

    certificate: ParsedCertificate
    issuer: ParsedCertificate
    view: RevocationView
    now: Instant

    @property
    def known(self) -> IssuerRevocation:
        return self.view.issuers.get(issuer_key_of(self.issuer), _NOTHING)

    @property
    def serial_text(self) -> str:
        return f"{self.certificate.serial_number:X}"

    def found(self, revoked: Revoked, source: str) -> dict[str, object]:
        return {
            "subject": self.certificate.subject_text(),
            "serial_number": self.serial_text,
            "revoked_at": _iso(revoked.revoked_at),
            "revocation_reason": revoked.reason.value,
            "source": source,
        }

    def revocation(self) -> dict[str, object] | None:
        """The entry that revokes the certificate, for people; None: there is none."""
        known, serial = self.known, self.certificate.serial_number
        for listed, revoked in _entries(known.lists, serial, self.now):
            return self.found(revoked, _named(listed))
        status = known.responses.get(serial)
        if status is not None and status.revoked is not None:
            return self.found(status.revoked, f"an OCSP response of {_iso(status.this_update)}")
        return None

    def known_until(self) -> tuple[Instant | None, list[str]]:
        """Until when it is known that the certificate is good; None with the reasons: it is not."""
        known, why = self.known, list[str]()
        best: Instant | None = None
        for listed in known.lists:
            if listed.base_number is None and listed.is_stored and not _is_followed(listed, known.lists, self.now):
                until = self._list_holds_until(listed, known.lists, why)
                best = until if best is None or (until is not None and until > best) else best
        status = known.responses.get(self.certificate.serial_number)
        if status is not None:
            if not status.this_update <= self.now <= status.next_update:
                why.append(f"an OCSP response that held from {_iso(status.this_update)} to {_iso(status.next_update)}")
            elif _responder_revoked(status, known, self.now):
                why.append("an OCSP response by a responder whose certificate is revoked")
            else:
                best = status.next_update if best is None else max(best, status.next_update)
        if best is None and not why:
            why.append(f"no revocation list of {self.issuer.subject_text() or 'its issuer'}")
        return best, why

    def _list_holds_until(self, listed: RevocationList, lists: Sequence[RevocationList], why: list[str]) -> Instant | None:
        outside = _outside_scope(listed, self.certificate)
        if outside is not None:
            why.append(f"{_named(listed)}: {outside}")
            return None
        until = listed.next_update
        parts = [listed, *_newest_delta(listed, lists)]
        for part in parts:
            if not part.this_update <= self.now <= part.next_update:
                why.append(f"{_named(part)}, which holds from {_iso(part.this_update)} to {_iso(part.next_update)}")
                return None
            until = min(until, part.next_update)
            if part.signer is not None:
                signed_until = _signer_holds_until(part, part.signer, self.view, self.now)
                if signed_until is None:
                    why.append(f"{_named(part)}: of the certificate that signed it is not known that it is good")
                    return None
                until = min(until, signed_until)
        return until


def _entries(lists: Sequence[RevocationList], serial_number: int, now: Instant) -> Iterator[tuple[RevocationList, Revoked]]:
    """Every entry that revokes a serial number and that nothing takes back."""
    for listed in lists:
        revoked = listed.entries.find(serial_number)
        if revoked is None or (listed.base_number is not None and revoked.reason is RevocationReason.REMOVE_FROM_CRL):
            continue
        if any(_supersedes(other, listed, now) for other in lists):
            continue
        if revoked.reason is RevocationReason.CERTIFICATE_HOLD and any(
            delta.is_stored and _adds_to(delta, listed) and _is_current(delta, now) and _lifts(delta, serial_number)
            for delta in lists
        ):
            continue
        yield listed, revoked


def _supersedes(newer: RevocationList, older: RevocationList, now: Instant) -> bool:
    """Whether all that the older one says is said again, or taken back, by the newer one."""
    if not newer.is_stored or not _is_current(newer, now):
        return False
    if newer.base_number is None and older.base_number is None:
        return _is_newer(newer, older)
    if newer.scope != older.scope or newer.this_update <= older.this_update:
        return False
    if newer.number is None or older.number is None or newer.number < older.number or older.base_number is None:
        return False
    return newer.base_number is None or newer.base_number <= older.base_number


def _is_newer(newer: RevocationList, older: RevocationList) -> bool:
    """Of two complete lists of an issuer."""
    if newer.scope != older.scope or newer.this_update <= older.this_update:
        return False
    return newer.number is None or older.number is None or newer.number >= older.number


def _is_followed(listed: RevocationList, lists: Sequence[RevocationList], now: Instant) -> bool:
    """Whether there is a newer complete list, wherever it came from: what the older one does not know of may be on it."""
    return any(
        other.is_stored and other.base_number is None and other.this_update <= now and _is_newer(other, listed) for other in lists
    )


def _adds_to(delta: RevocationList, base: RevocationList) -> bool:
    """RFC 5280, 5.2.4: same issuer (which the view sees to), same scope, and numbers that fit."""
    return (
        base.base_number is None
        and delta.base_number is not None
        and base.number is not None
        and delta.number is not None
        and delta.base_number <= base.number <= delta.number
        and delta.scope == base.scope
        and delta.this_update >= base.this_update
    )


def _newest_delta(base: RevocationList, lists: Sequence[RevocationList]) -> list[RevocationList]:
    """The delta list that brings a complete list up to date, if there is any."""
    fitting = [delta for delta in lists if delta.is_stored and _adds_to(delta, base)]
    return sorted(fitting, key=lambda delta: delta.this_update)[-1:]


def _lifts(delta: RevocationList, serial_number: int) -> bool:
    entry = delta.entries.find(serial_number)
    return entry is not None and entry.reason is RevocationReason.REMOVE_FROM_CRL


def _is_current(listed: RevocationList, now: Instant) -> bool:
    return listed.this_update <= now <= listed.next_update and (
        listed.signer is None or listed.signer.not_before <= now <= listed.signer.not_after
    )


def _outside_scope(listed: RevocationList, certificate: ParsedCertificate) -> str | None:
    """Why a list does not speak for the certificate; None: it does."""
    constraints = certificate.extension(x509.BasicConstraints)
    is_authority = constraints is not None and constraints.ca
    if is_authority and not listed.scope.authorities:
        return "it covers end entities only"
    if not is_authority and not listed.scope.end_entities:
        return "it covers CAs only"
    if listed.scope.places is not None and not listed.scope.places & places_of_certificate(certificate):
        return "it belongs to a distribution point that the certificate does not name"
    return None


def _signer_holds_until(listed: RevocationList, signer: ListSigner, view: RevocationView, now: Instant) -> Instant | None:
    """Until when a list's separate signer is good.

    Its issuer's lists have to say so; but of a signer that the covered CA issued itself, whose lists all come from the signer,
    only a revocation can be known.
    """
    if not signer.not_before <= now <= signer.not_after:
        return None
    lists = view.issuers.get(signer.issuer, _NOTHING).lists
    if any(_entries(lists, signer.serial_number, now)):
        return None
    if signer.issuer == listed.issuer:
        return signer.not_after
    ends = [
        min(other.next_update, signer.not_after)
        for other in lists
        if other.signer is None and other.base_number is None and other.scope.end_entities and other.scope.authorities
        if other.is_stored and other.scope.places is None and _is_current(other, now) and not _is_followed(other, lists, now)
    ]
    return max(ends, default=None)


def _responder_revoked(status: OcspStatus, known: IssuerRevocation, now: Instant) -> bool:
    return status.responder is not None and any(_entries(known.lists, status.responder, now))


def _read_stapled(stapled: Sequence[bytes], link: _Link, work: Work) -> tuple[OcspStatus | None, list[str]]:
    """The first response that is believed, and why those before it are not."""
    refused = []
    for der in stapled:
        try:
            status = read_ocsp_response(der, certificate=link.certificate, issuer=link.issuer, work=work, now=link.now)
        except OcspRefusedError as error:
            refused.append(f"a response of the device: {error}")
            continue
        if not _responder_revoked(status, link.known, link.now):
            return status, refused
        refused.append("a response of the device: the responder's certificate is revoked")
    return None, refused


def _named(listed: RevocationList) -> str:
    kind = "the list" if listed.base_number is None else "the delta list"
    number = "" if listed.number is None else f" {listed.number}"
    return f"{kind}{number} of {_iso(listed.this_update)}"


def _iso(at: Instant) -> str:
    try:
        return dt.datetime.fromtimestamp(at, tz=dt.UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return str(at)
