"""Whom a revocation list concerns: the stored claims that are judged again because of it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from watchword_server import events
from watchword_server.core.certificates.parsed import fingerprint, parse
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.revocation import RevocationView
from watchword_server.core.model.checks import Check, RevocationPolicy, Trust
from watchword_server.core.model.names import CertificateId, CheckId, Fingerprint, Instant
from watchword_server.ports.devices import Rejudgement, StoredClaim
from watchword_server.services.connections import AttestNow, Connections
from watchword_server.services.rejudging import Rejudging
from watchword_server.services.revocation_in_force import RevocationInForce
from watchword_server.services.rules_in_force import RulesInForce

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RevocationEffects:
    """Raises `StoreUnavailableError` wherever claims are judged again; then some are, and the call can be made again."""

    rules: RulesInForce
    in_force: RevocationInForce
    rejudging: Rejudging
    connections: Connections = field(default_factory=Connections)  # whom to ask to attest again
    attest_devices_per_second: float = 1.0

    async def all_of(self, certificate_id: CertificateId, issuer: Fingerprint, *, only_required: bool = False) -> None:
        """All claims of the checks whose paths may lead through the issuer; or of those that require to know."""
        snapshot = self.rules.current
        certificates = snapshot.rules.certificates
        concerned = _checks(
            check
            for check in snapshot.rules.checks.values()
            if check.config.revocation is not RevocationPolicy.OFF
            if not only_required or check.config.revocation is RevocationPolicy.REQUIRE
            if check.config.trust is Trust.CHAIN
            or check.config.certificate_id == certificate_id
            or fingerprint(certificates[check.config.certificate_id].der) == issuer
        )
        self._tell(await self.rejudging.after_revocation(snapshot, check_ids=concerned), checks=len(concerned))

    async def of_numbers(
        self, certificate_id: CertificateId, numbers: frozenset[int], *, known_until: Instant | None = None
    ) -> None:
        """Claims about these serial numbers or with them in their chain; and those whose pass would end at `known_until`."""
        snapshot = self.rules.current
        checks = snapshot.rules.checks.values()
        chains = _checks(check for check in checks if check.config.trust is Trust.CHAIN) if numbers else frozenset()
        required = (
            frozenset[CheckId]()
            if known_until is None
            else _checks(check for check in checks if check.config.revocation is RevocationPolicy.REQUIRE)
        )
        signing = snapshot.rules.certificates.get(certificate_id)
        above = frozenset[int]() if signing is None or not chains else _numbers(signing.intermediates)

        def is_concerned(claim: StoredClaim) -> bool:
            result = claim.judged.result
            if result.check_id in required and known_until is not None:
                ends = result.expires_at is not None and result.expires_at <= known_until
                if result.reason == "revocation_unknown" or (result.passed and ends):
                    return True
            if result.check_id not in chains:
                return False
            below = [der for candidate in claim.judged.claim.candidates for der in candidate.chain]
            return bool(numbers & above) or not numbers.isdisjoint(_numbers(below))

        again = await self.rejudging.after_revocation(
            snapshot, serial_numbers=numbers, check_ids=chains | required, is_concerned=is_concerned
        )
        self._tell(again, checks=len(chains | required), serial_numbers=len(numbers))

    async def at_start(self) -> None:
        """Passes about certificates that are known to be revoked: what a server that was killed had not judged again."""
        snapshot, view = self.rules.current, self.in_force.current
        if not view.issuers:
            return
        certificates = snapshot.rules.certificates
        above = {id_: _numbers(signing.intermediates) for id_, signing in certificates.items()}
        checks = snapshot.rules.checks
        concerned = _checks(check for check in checks.values() if check.config.revocation is not RevocationPolicy.OFF)

        def is_concerned(claim: StoredClaim) -> bool:
            if not claim.judged.result.passed:
                return False
            chains = [der for candidate in claim.judged.claim.candidates for der in candidate.chain]
            numbers = _numbers(chains) | above[checks[claim.judged.result.check_id].config.certificate_id]
            return _any_revoked(numbers, view)

        again = await self.rejudging.after_revocation(snapshot, check_ids=concerned, is_concerned=is_concerned)
        if again:
            self._tell(again, checks=len(concerned))

    async def of_certificate(self, serial_number: int) -> None:
        """All claims about a certificate so numbered."""
        await self.rejudging.after_revocation(self.rules.current, serial_numbers=frozenset({serial_number}))

    def _tell(self, judged: Sequence[Rejudgement], **about: int) -> None:
        """Has the devices attest whose verdict is another one now: their users see it at once."""
        _log.info(events.REVOCATION_REJUDGED, results=len(judged), **about)
        concerned = [each.device_id for each in judged if each.is_another_verdict]
        self.connections.notify_some(concerned, AttestNow, devices_per_second=self.attest_devices_per_second)


async def until_settled(attempt: Callable[[], Awaitable[None]], first: "asyncio.Future[None]", *, retry_seconds: float) -> None:
    """Makes an attempt until one succeeds, and tells of the first; a pause doubles up to a minute.

    What revokes has to reach the stored results however long the store is away, and nobody may be there to ask again.
    """
    pause = retry_seconds
    while True:
        try:
            await attempt()
        except Exception as error:  # noqa: BLE001 - whatever it is, what revokes is not given up
            _log.exception(events.SETTLE_FAILED)
            if not first.done():
                first.set_exception(error)
        else:
            if not first.done():
                first.set_result(None)
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, 60.0)


def _checks(checks: Iterable[Check]) -> frozenset[CheckId]:
    return frozenset(check.id for check in checks)


def _numbers(certificates: Iterable[bytes]) -> frozenset[int]:
    found = set()
    for der in certificates:
        with contextlib.suppress(CertificateRefusedError):
            found.add(parse(der).serial_number)
    return frozenset(found)


def _any_revoked(numbers: frozenset[int], view: RevocationView) -> bool:
    return any(
        any(listed.entries.find(number) is not None for listed in known.lists)
        or ((status := known.responses.get(number)) is not None and status.revoked is not None)
        for known in view.issuers.values()
        for number in numbers
    )
