"""Which device a request comes from: every link the caller's entry enables is asked; each finds, has nothing, or is invalid.

Invalid denies, whatever another link finds: there is no falling back. Two devices deny. Of the links that found the same one, the
strongest counts, also where what it found is not proven any more. What the proxy passes is verified here, not believed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from watchword_server.core.certificates.parsed import fingerprint
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.model.decisions import AccessRequest, Resolution, ResolutionStrength, ResolvedDevice
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import DeviceId, Fingerprint, Instant, IPAddress
from watchword_server.core.model.results import DevicePosture
from watchword_server.core.rules import Assertion, Caller, Link
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.errors import DeviceTokenRefusedError
from watchword_server.ports.devices import DeviceStore
from watchword_server.ports.memory import PostureMemory
from watchword_server.services.connections import Connections
from watchword_server.services.device_tokens import DeviceTokens
from watchword_server.services.judging import is_live
from watchword_server.services.presented_certificates import PresentedCertificates, VerifiedPresented
from watchword_server.services.revocation_in_force import RevocationInForce

_CERTIFICATE: Final = Link.CLIENT_CERTIFICATE


@dataclass(frozen=True, slots=True)
class ServiceCredential:
    """What a machine sends in place of a user: not believed yet, see `services/service_tokens.py`."""

    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request shows for itself: the client's TLS certificate as DER, or that something unreadable was passed as one.

    `stated_device`: the device's id, as the caller states it.
    """

    certificate_der: bytes | None = None
    unreadable: bool = False
    service_credential: ServiceCredential | None = None
    stated_device: DeviceId | None = None
    user_token: str | None = field(default=None, repr=False)
    device_token: str | None = field(default=None, repr=False)
    device_proof: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class Resolver:
    """Finds the device of a request. Runs in the event loop; asks the store only for what memory does not have."""

    memory: PostureMemory
    revocation: RevocationInForce = field(default_factory=RevocationInForce)
    store: DeviceStore | None = None  # for chains that only devices have
    connections: Connections = field(default_factory=Connections)
    max_remembered: int = 50_000
    tokens: DeviceTokens | None = None  # None: none is known, and whoever shows one is refused
    _certificates: PresentedCertificates = field(init=False)

    def __post_init__(self) -> None:
        self._certificates = PresentedCertificates(self.memory, self.revocation, self.store, self.max_remembered)

    async def resolve(
        self,
        presented: Presented,
        *,
        caller: Caller,
        snapshot: RuleSnapshot,
        now: Instant,
        source_ip: IPAddress | None = None,
        asked: AccessRequest | None = None,
    ) -> ResolvedDevice:
        """The device, by the links of `caller`. `source_ip`: of the request, as a caller that may asserted it.

        `asked`: the request itself, which a device token's proof has to be of.

        Raises `StoreUnavailableError` where the store has to be asked and is silent.
        """
        found = await self._by_certificate(presented, caller=caller, snapshot=snapshot, now=now)
        if caller.resolvers <= _ONLY_BY_CERTIFICATE:
            return found
        answers = [found]
        if Link.DEVICE_TOKEN in caller.resolvers and presented.device_token is not None:
            answers.append(await self._by_token(presented, caller, asked, now=now))
        if Link.ADDRESS in caller.resolvers and Assertion.ADDRESS in caller.may_assert:
            answers.append(await self._by_address(source_ip, caller))
        if Link.DEVICE in caller.resolvers and Assertion.DEVICE in caller.may_assert:
            answers.append(await self._by_id(presented.stated_device))
        return _together(answers)

    # ---- The links, the strongest first ---------------------------------------------------------------------------------

    async def _by_certificate(
        self, presented: Presented, *, caller: Caller, snapshot: RuleSnapshot, now: Instant
    ) -> ResolvedDevice:
        """A certificate that the caller may assert is verified whether or not it leads to a device: rules ask about it too."""
        if Assertion.CLIENT_CERTIFICATE not in caller.may_assert:
            return _NOTHING_CAN_BE_PRESENTED
        if presented.unreadable:
            return _invalid(_CERTIFICATE, "certificate_malformed")
        if presented.certificate_der is None:
            return _NOTHING_WAS_PRESENTED
        certificate = fingerprint(presented.certificate_der)
        try:
            verified = await self._certificates.verify(presented.certificate_der, snapshot, now=now)
        except CertificateRefusedError as refusal:
            return _invalid(_CERTIFICATE, refusal.reason, certificate=certificate)
        if _CERTIFICATE not in caller.resolvers:
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
            return _invalid(_CERTIFICATE, "certificate_cloned", list(holders), certificate=certificate, common_name=common_name)
        chosen = live or _unrevoked(ended) or ended
        if not chosen:
            return _nobodys("unknown_device", certificate, common_name)
        ids = [posture.device.id for posture in chosen]
        if len(chosen) > 1:
            return _invalid(_CERTIFICATE, "device_ambiguous", ids, certificate=certificate, common_name=common_name)
        (posture,) = chosen
        if posture.device.lock is not None:
            return _invalid(_CERTIFICATE, "device_locked", ids, certificate=certificate, common_name=common_name)
        return ResolvedDevice(
            Resolution.FOUND,
            "found" if live else _WHY_NOT_LIVE[posture.device.state],
            method=_CERTIFICATE,
            strength=ResolutionStrength.CERTIFICATE,
            certificate=certificate,
            posture=posture,
            proven=bool(live),
            certificate_possible=True,
            common_name=common_name,
        )

    async def _by_token(
        self, presented: Presented, caller: Caller, asked: AccessRequest | None, *, now: Instant
    ) -> ResolvedDevice:
        """The device that a token of ours names, which says nothing of how it stands."""
        token, use = presented.device_token, caller.device_tokens
        if token is None or use is None or asked is None or self.tokens is None:
            return _invalid(Link.DEVICE_TOKEN, "device_token_refused")
        try:
            device_id, strength = self.tokens.device_of(token, presented.device_proof, use, asked=asked, now=now)
        except DeviceTokenRefusedError as refusal:
            return _invalid(Link.DEVICE_TOKEN, refusal.reason)
        return await self._named(device_id, Link.DEVICE_TOKEN, strength)

    async def _by_address(self, address: IPAddress | None, caller: Caller) -> ResolvedDevice:
        """The device whose stream comes from there now: never one that an agent merely says is there."""
        if address is None or not any(address in network for network in caller.device_networks):
            return _NOTHING_CAN_BE_PRESENTED
        there = self.connections.at(address)
        if not there:
            return _NOTHING_CAN_BE_PRESENTED
        if len(there) > 1:
            return _invalid(Link.ADDRESS, "device_ambiguous", there)
        return await self._named(there[0], Link.ADDRESS, ResolutionStrength.ADDRESS)

    async def _by_id(self, device_id: DeviceId | None) -> ResolvedDevice:
        if device_id is None:
            return _NOTHING_CAN_BE_PRESENTED
        return await self._named(device_id, Link.DEVICE, ResolutionStrength.STATED)

    async def _named(self, device_id: DeviceId, link: Link, strength: ResolutionStrength) -> ResolvedDevice:
        posture = await self.memory.posture(device_id)
        if posture is None:
            return _invalid(link, "unknown_device")
        if posture.device.lock is not None:
            return _invalid(link, "device_locked", [device_id])
        state = posture.device.state
        reason = "found" if state is DeviceState.ACTIVE else _WHY_NOT_LIVE[state]
        return ResolvedDevice(Resolution.FOUND, reason, method=link, strength=strength, posture=posture)


def _together(answers: Sequence[ResolvedDevice]) -> ResolvedDevice:
    """One answer of several, the certificate's first: what is known of the certificate itself stays known."""
    by_certificate = answers[0]
    answer = next((each for each in answers if each.outcome is Resolution.INVALID), None)
    if answer is None:
        found = [each for each in answers if each.posture is not None]
        ids = sorted({each.posture.device.id for each in found if each.posture is not None})
        if len(ids) > 1:
            answer = _invalid(found[0].method, "device_conflict", ids)
        elif found:
            answer = max(found, key=lambda each: each.strength)
        else:
            return by_certificate
    return replace(
        answer,
        certificate=by_certificate.certificate,
        certificate_possible=by_certificate.certificate_possible,
        common_name=by_certificate.common_name,
    )


_ONLY_BY_CERTIFICATE: Final = frozenset({_CERTIFICATE})
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
    link: str | None,
    reason: str,
    devices: Iterable[DeviceId] = (),
    *,
    certificate: Fingerprint | None = None,
    common_name: str | None = None,
) -> ResolvedDevice:
    return ResolvedDevice(
        Resolution.INVALID,
        reason,
        method=link,
        certificate=certificate,
        others=tuple(sorted(devices)),
        certificate_possible=link is _CERTIFICATE,
        common_name=common_name,
    )
