"""Which device a request comes from: every link the caller's entry enables is asked; each finds, has nothing, or is invalid.

Invalid denies, whatever weaker link might find: there is no falling back. What the proxy passes is verified here, not believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cachetools import LRUCache
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from watchword_server.core.certificates import (
    CertificateRefusedError,
    VerifiedCertificate,
    fingerprint,
    verify_issued_by,
)
from watchword_server.core.model import (
    DevicePosture,
    DeviceState,
    Fingerprint,
    Instant,
    Resolution,
    ResolutionStrength,
    ResolvedDevice,
)
from watchword_server.core.rules import Assertion, Caller, RuleSnapshot
from watchword_server.ports import PostureMemory
from watchword_server.services.judging import is_live

_METHOD = "client_certificate"


@dataclass(frozen=True, slots=True)
class Presented:
    """What a proxy passes of the client's TLS certificate: DER; or that it passed something unreadable."""

    certificate_der: bytes | None = None
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class _Verified:
    """A certificate that one of our CAs issued, and when that holds."""

    valid_from: float
    valid_until: Instant


@dataclass(slots=True)
class Resolver:
    """Finds the device of a request. Runs in the event loop; asks the store only for what memory does not have."""

    memory: PostureMemory
    max_remembered: int = 50_000
    # By certificate and rules revision; the validity interval is part of the value and looked at each time.
    _verified: LRUCache[tuple[Fingerprint, int], _Verified] = field(init=False)

    def __post_init__(self) -> None:
        self._verified = LRUCache(self.max_remembered)

    async def resolve(self, presented: Presented, *, caller: Caller, snapshot: RuleSnapshot, now: Instant) -> ResolvedDevice:
        """The device, by the links of `caller`. Raises `StoreUnavailableError` where the store has to be asked and is silent."""
        if _METHOD not in caller.resolvers or Assertion.CLIENT_CERTIFICATE not in caller.may_assert:
            return ResolvedDevice(Resolution.ABSENT, "no_device")
        if presented.unreadable:
            return _invalid("certificate_malformed")
        if presented.certificate_der is None:
            return ResolvedDevice(Resolution.ABSENT, "no_device")
        certificate = fingerprint(presented.certificate_der)
        try:
            self._verify(certificate, presented.certificate_der, snapshot, now=now)
        except CertificateRefusedError as refusal:
            return _invalid(refusal.reason, certificate)
        return await self._bound_device(certificate, now=now)

    def _verify(self, certificate: Fingerprint, der: bytes, snapshot: RuleSnapshot, *, now: Instant) -> None:
        key = (certificate, snapshot.rules.revision)
        known = self._verified.get(key)
        if known is not None and known.valid_from <= now <= known.valid_until:
            return
        verified = _issued_by_one_of_ours(der, snapshot, now=now)
        self._verified[key] = _Verified(
            valid_from=verified.certificate.not_valid_before_utc.timestamp(), valid_until=verified.not_after
        )

    async def _bound_device(self, certificate: Fingerprint, *, now: Instant) -> ResolvedDevice:
        live: list[DevicePosture] = []
        ended: list[DevicePosture] = []
        for binding in await self.memory.bindings(certificate):
            posture = await self.memory.posture(binding.device_id)
            if posture is None:
                continue
            holds = posture.device.state is DeviceState.ACTIVE and is_live(binding.proven_until, now)
            (live if holds else ended).append(posture)
        if len(live) > 1:
            return _invalid("certificate_cloned", certificate, live)
        chosen = live or _unrevoked(ended) or ended
        if not chosen:
            return ResolvedDevice(Resolution.ABSENT, "unknown_device", certificate=certificate)
        if len(chosen) > 1:
            return _invalid("device_ambiguous", certificate, chosen)
        (posture,) = chosen
        return ResolvedDevice(
            Resolution.FOUND,
            "found" if live else _WHY_NOT_LIVE[posture.device.state],
            method=_METHOD,
            strength=ResolutionStrength.CERTIFICATE,
            certificate=certificate,
            posture=posture,
            proven=bool(live),
        )


_WHY_NOT_LIVE: Final = {
    DeviceState.ACTIVE: "certificate_not_proven",  # renewed or gone since, or the proof has expired
    DeviceState.PENDING: "device_pending",
    DeviceState.REVOKED: "device_revoked",
}


def _issued_by_one_of_ours(der: bytes, snapshot: RuleSnapshot, *, now: Instant) -> VerifiedCertificate:
    """The verdict against the uploaded CA that issued it. Raises `CertificateRefusedError`, of several the nearest miss."""
    refusals = []
    for issuer in snapshot.rules.certificates.values():
        try:
            verified = verify_issued_by(der, issuer.der, now=now)
        except CertificateRefusedError as refusal:
            refusals.append(refusal)
        else:
            _check_client_purpose(verified.certificate)
            return verified
    if not refusals:
        raise CertificateRefusedError("certificate_wrong_issuer")
    raise max(refusals, key=lambda refusal: refusal.rank)


def _check_client_purpose(certificate: x509.Certificate) -> None:
    """A certificate restricted to other purposes is no TLS client certificate (RFC 5280, 4.2.1.12); an unrestricted one is."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usage:
        raise CertificateRefusedError("extended_key_usage_missing", expected=["clientAuth"])


def _unrevoked(postures: Sequence[DevicePosture]) -> list[DevicePosture]:
    return [posture for posture in postures if posture.device.state is not DeviceState.REVOKED]


def _invalid(reason: str, certificate: Fingerprint | None = None, devices: Sequence[DevicePosture] = ()) -> ResolvedDevice:
    others = tuple(sorted(posture.device.id for posture in devices))
    return ResolvedDevice(Resolution.INVALID, reason, method=_METHOD, certificate=certificate, others=others)
