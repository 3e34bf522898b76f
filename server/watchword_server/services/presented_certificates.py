"""A TLS certificate that a proxy passes: whether one of our CAs issued it, it holds now, and nothing says that it is revoked."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cachetools import LRUCache
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from watchword_server.core.certificates.parsed import ParsedCertificate, fingerprint, parse
from watchword_server.core.certificates.path import ValidPath, find_path, issued_by
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.revocation_check import check_revocation
from watchword_server.core.model.checks import RevocationPolicy, SigningCertificate, Trust
from watchword_server.core.model.names import Fingerprint, Instant, KeyFingerprint
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.errors import StoreUnavailableError
from watchword_server.ports.devices import DeviceStore
from watchword_server.ports.memory import PostureMemory
from watchword_server.services.revocation_in_force import RevocationInForce

_LOOK_AGAIN_SECONDS: Final = 60.0  # a list that was made for later begins to hold by itself
_STORE_SECONDS: Final = 0.4
_MAX_DEVICES: Final = 4  # whose claims are looked through for a chain
_MAX_ASKING: Final = 8  # certificates at once whose chains are looked for in the store


@dataclass(frozen=True, slots=True)
class VerifiedPresented:
    """A certificate that leads to one of our CAs, and when that holds. `common_name`: the last in its subject; None: none."""

    key: KeyFingerprint
    valid_from: float
    valid_until: float
    common_name: str | None


@dataclass(slots=True)
class PresentedCertificates:
    """Verifies what proxies pass, and remembers what holds. `store` None: chains that only devices have are not looked for."""

    memory: PostureMemory
    revocation: RevocationInForce
    store: DeviceStore | None
    max_remembered: int
    # By certificate, rules revision and what is known of revocation; the interval is part of the value and looked at each time.
    _verified: LRUCache[tuple[Fingerprint, int, int], VerifiedPresented] = field(init=False)
    _asking: int = 0

    def __post_init__(self) -> None:
        self._verified = LRUCache(self.max_remembered)

    async def verify(self, der: bytes, snapshot: RuleSnapshot, *, now: Instant) -> VerifiedPresented:
        """Raises `CertificateRefusedError`; `StoreUnavailableError` where the store has to be asked and is silent."""
        certificate = fingerprint(der)
        known = self._verified.get((certificate, snapshot.rules.revision, self.revocation.edition))
        if known is not None and known.valid_from <= now <= known.valid_until:
            return known
        path = await self._path(der, snapshot, now=now)
        _check_client_purpose(path.leaf)
        edition = self.revocation.edition
        check_revocation(path, RevocationPolicy.PREFER, self.revocation.current, now=now)
        names = path.leaf.x509.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        found = self._verified[certificate, snapshot.rules.revision, edition] = VerifiedPresented(
            key=KeyFingerprint(path.leaf.public_key_sha256),
            valid_from=max(path.valid_from, now),
            valid_until=min(path.valid_until, now + _LOOK_AGAIN_SECONDS),
            common_name=str(names[-1].value) if names else None,
        )
        return found

    async def _path(self, der: bytes, snapshot: RuleSnapshot, *, now: Instant) -> ValidPath:
        certificates = snapshot.rules.certificates
        try:
            return _nearest(certificates.values(), lambda signing: issued_by(der, signing.der, now=now))
        except CertificateRefusedError as refusal:
            if refusal.reason != "certificate_wrong_issuer":
                raise
            chains = _of_chains(snapshot)
            if not chains:
                raise
            try:
                return _below(chains, (der,), now=now)
            except CertificateRefusedError:
                chain = await self._brought_chain(der)
                if chain is None:
                    raise refusal from None
                return _below(chains, chain, now=now)

    async def _brought_chain(self, der: bytes) -> tuple[bytes, ...] | None:
        """The chain with which a device proved this certificate; None: nobody did."""
        if self.store is None or self._asking >= _MAX_ASKING:
            return None
        key = KeyFingerprint(parse(der).public_key_sha256)
        self._asking += 1
        try:
            bindings = await self.memory.bindings(key)  # also that nobody did is remembered there
            devices = sorted({binding.device_id for binding in bindings if binding.certificate == fingerprint(der)})
            async with asyncio.timeout(_STORE_SECONDS):
                claims = [claim for each in devices[:_MAX_DEVICES] for claim in await self.store.claims(device_id=each)]
        except TimeoutError:
            raise StoreUnavailableError("the store does not tell a certificate's chain in time") from None
        finally:
            self._asking -= 1
        chains = [candidate.chain for claim in claims for candidate in claim.judged.claim.candidates]
        return max((chain for chain in chains if chain[0] == der), key=len, default=None)


def _of_chains(snapshot: RuleSnapshot) -> Sequence[SigningCertificate]:
    """The CAs that some check trusts through intermediates."""
    checks = snapshot.rules.checks.values()
    ids = {check.config.certificate_id for check in checks if check.config.trust is Trust.CHAIN}
    return [signing for id_, signing in snapshot.rules.certificates.items() if id_ in ids]


def _below(anchors: Iterable[SigningCertificate], chain: tuple[bytes, ...], *, now: Instant) -> ValidPath:
    return _nearest(anchors, lambda signing: find_path(chain, signing.der, intermediates=signing.intermediates, now=now))


def _nearest(anchors: Iterable[SigningCertificate], find: Callable[[SigningCertificate], ValidPath]) -> ValidPath:
    """The path to one of them. Raises `CertificateRefusedError`, of several the nearest miss."""
    refusals = []
    for signing in anchors:
        try:
            return find(signing)
        except CertificateRefusedError as refusal:
            refusals.append(refusal)
    if not refusals:
        raise CertificateRefusedError("certificate_wrong_issuer")
    raise max(refusals, key=lambda refusal: refusal.rank)


def _check_client_purpose(certificate: ParsedCertificate) -> None:
    """A certificate restricted to other purposes is no TLS client certificate (RFC 5280, 4.2.1.12); an unrestricted one is."""
    usage = certificate.extension(x509.ExtendedKeyUsage)
    if usage is None:
        return
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usage:
        raise CertificateRefusedError("extended_key_usage_missing", expected=["clientAuth"])
