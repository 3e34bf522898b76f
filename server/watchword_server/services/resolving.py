"""Which device a request comes from: every link the caller's entry enables is asked; each finds, has nothing, or is invalid.

Invalid denies, whatever weaker link might find: there is no falling back. What the proxy passes is verified here, not believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from watchword_server.core.certificates.parsed import fingerprint
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.model import (
    DeviceId,
    DevicePosture,
    DeviceState,
    Fingerprint,
    Instant,
    Resolution,
    ResolutionStrength,
    ResolvedDevice,
)
from watchword_server.core.rules import Assertion, Caller
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.ports import DeviceStore, PostureMemory
from watchword_server.services.judging import is_live
from watchword_server.services.presented_certificates import PresentedCertificates, VerifiedPresented
from watchword_server.services.revocation_in_force import RevocationInForce

_METHOD = "client_certificate"


@dataclass(frozen=True, slots=True)
class ServiceCredential:
    """What a machine sends in place of a user: not believed yet, see `services/service_tokens.py`."""

    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request shows for itself: the client's TLS certificate as DER, or that something unreadable was passed as one."""

    certificate_der: bytes | None = None
    unreadable: bool = False
    service_credential: ServiceCredential | None = None


@dataclass(slots=True)
class Resolver:
    """Finds the device of a request. Runs in the event loop; asks the store only for what memory does not have."""

    memory: PostureMemory
    revocation: RevocationInForce = field(default_factory=RevocationInForce)
    store: DeviceStore | None = None  # for chains that only devices have
    max_remembered: int = 50_000
    _certificates: PresentedCertificates = field(init=False)

    def __post_init__(self) -> None:
        self._certificates = PresentedCertificates(self.memory, self.revocation, self.store, self.max_remembered)

    async def resolve(self, presented: Presented, *, caller: Caller, snapshot: RuleSnapshot, now: Instant) -> ResolvedDevice:
        """The device, by the links of `caller`. Raises `StoreUnavailableError` where the store has to be asked and is silent.

        A certificate that the caller may assert is verified whether or not it leads to a device: rules ask about it as well.
        """
        if Assertion.CLIENT_CERTIFICATE not in caller.may_assert:
            return _NOTHING_CAN_BE_PRESENTED
        if presented.unreadable:
            return _invalid("certificate_malformed")
        if presented.certificate_der is None:
            return _NOTHING_WAS_PRESENTED
        certificate = fingerprint(presented.certificate_der)
        try:
            verified = await self._certificates.verify(presented.certificate_der, snapshot, now=now)
        except CertificateRefusedError as refusal:
            return _invalid(refusal.reason, certificate)
        if _METHOD not in caller.resolvers:
            return _nobodys("no_device", certificate, verified.common_name)
        return await self._bound_device(certificate, verified, now=now)

    async def _bound_device(self, certificate: Fingerprint, verified: VerifiedPresented, *, now: Instant) -> ResolvedDevice:
        common_name = verified.common_name
        holders: dict[DeviceId, DevicePosture] = {}  # of the key now, with whatever certificate
        live: list[DevicePosture] = []
        ended: list[DevicePosture] = []
        for binding in await self.memory.bindings(verified.key):
            posture = await self.memory.posture(binding.device_id)
            if posture is None:
                continue
            holds = posture.device.state is DeviceState.ACTIVE and is_live(binding.proven_until, now)
            if holds:
                holders[posture.device.id] = posture
            if binding.certificate == certificate:
                (live if holds else ended).append(posture)
        if len(holders) > 1:  # whoever holds the key can present either's certificate: it tells neither from the other
            return _invalid("certificate_cloned", certificate, list(holders.values()), common_name=common_name)
        chosen = live or _unrevoked(ended) or ended
        if not chosen:
            return _nobodys("unknown_device", certificate, common_name)
        if len(chosen) > 1:
            return _invalid("device_ambiguous", certificate, chosen, common_name=common_name)
        (posture,) = chosen
        if posture.device.lock is not None:
            return _invalid("device_locked", certificate, chosen, common_name=common_name)
        return ResolvedDevice(
            Resolution.FOUND,
            "found" if live else _WHY_NOT_LIVE[posture.device.state],
            method=_METHOD,
            strength=ResolutionStrength.CERTIFICATE,
            certificate=certificate,
            posture=posture,
            proven=bool(live),
            certificate_possible=True,
            common_name=common_name,
        )


_NOTHING_CAN_BE_PRESENTED: Final = ResolvedDevice(Resolution.ABSENT, "no_device")
_NOTHING_WAS_PRESENTED: Final = ResolvedDevice(Resolution.ABSENT, "no_device", certificate_possible=True)
_WHY_NOT_LIVE: Final = {
    DeviceState.ACTIVE: "certificate_not_proven",  # renewed or gone since, or the proof has expired
    DeviceState.PENDING: "device_pending",
    DeviceState.REVOKED: "device_revoked",
}


def _unrevoked(postures: Sequence[DevicePosture]) -> list[DevicePosture]:
    return [posture for posture in postures if posture.device.state is not DeviceState.REVOKED]


def _nobodys(reason: str, certificate: Fingerprint, common_name: str | None) -> ResolvedDevice:
    return ResolvedDevice(Resolution.ABSENT, reason, certificate=certificate, certificate_possible=True, common_name=common_name)


def _invalid(
    reason: str,
    certificate: Fingerprint | None = None,
    devices: Sequence[DevicePosture] = (),
    *,
    common_name: str | None = None,
) -> ResolvedDevice:
    others = tuple(sorted(posture.device.id for posture in devices))
    return ResolvedDevice(
        Resolution.INVALID,
        reason,
        method=_METHOD,
        certificate=certificate,
        others=others,
        certificate_possible=True,
        common_name=common_name,
    )
