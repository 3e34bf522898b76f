"""OCSP: before evidence is judged, the operator's responder is asked about its certificates, if what is known has aged.

Only for devices whose evidence is verified, and only about certificates that lead to the CA whose entry names the responder.
Without an answer in time judging goes on with what is known.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from watchword_server import events
from watchword_server.core.certificates.ocsp import OcspRefusedError, ocsp_request, read_ocsp_response
from watchword_server.core.certificates.parsed import ParsedCertificate
from watchword_server.core.certificates.path import ValidPath, find_path, issued_by
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.revocation import IssuerKey, IssuerRevocation, OcspStatus, RevocationView, issuer_key_of
from watchword_server.core.kinds.client_certificate import MAX_CANDIDATES
from watchword_server.core.model import Candidate, Check, Instant, OcspResponder, RevocationPolicy, SigningCertificate, Trust
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.core.verify import VerifiedEvidence
from watchword_server.errors import RevocationReadError
from watchword_server.ports import Clock, OcspAsking
from watchword_server.services.rejudging import Rejudging
from watchword_server.services.revocation_effects import RevocationEffects, until_settled
from watchword_server.services.revocation_in_force import RevocationInForce
from watchword_server.services.rules_in_force import RulesInForce

_log = structlog.get_logger(__name__)

_MAX_KEPT: Final = 10_000  # statuses of an issuer's certificates
_MAX_ASKING: Final = 32  # at once; who comes then is judged by what is known
_QUIET_SECONDS: Final = 30.0  # after a failure, about the same certificate


class _About(NamedTuple):
    issuer: IssuerKey
    serial_number: int


@dataclass(frozen=True, slots=True)
class _Question:
    about: _About
    certificate: ParsedCertificate
    issuer: ParsedCertificate
    responder: OcspResponder


@dataclass(slots=True)
class RevocationResponses:
    """Runs in the event loop. `timeout_seconds`: how long evidence waits."""

    asking: OcspAsking
    in_force: RevocationInForce
    rules: RulesInForce
    rejudging: Rejudging
    clock: Clock
    timeout_seconds: float
    retry_seconds: float = 1.0  # until the store is asked again; then twice as long
    _asked_at: OrderedDict[_About, Instant] = field(default_factory=OrderedDict)
    _quiet_until: OrderedDict[_About, Instant] = field(default_factory=OrderedDict)
    _under_way: dict[_About, "asyncio.Task[None]"] = field(default_factory=dict)
    _settling: set["asyncio.Task[None]"] = field(default_factory=set)
    _failing: set[str] = field(default_factory=set)  # responders that are known to fail: told once

    async def prepare(self, verified: VerifiedEvidence, snapshot: RuleSnapshot) -> bool:
        """Asks what there is to ask about the evidence's certificates; whether it took time."""
        now = self.clock.now()
        tasks = set()
        for question in _questions(verified, snapshot, now=now):
            if self._is_known(question, now=now):
                continue
            task = self._under_way.get(question.about)
            if task is None:
                if len(self._under_way) >= _MAX_ASKING:
                    break
                task = self._under_way[question.about] = asyncio.ensure_future(self._ask(question))
            tasks.add(task)
        if tasks:
            await asyncio.wait(tasks, timeout=self.timeout_seconds)
        return bool(tasks)

    async def stop(self) -> None:
        """Asks nothing any more."""
        tasks = (*self._under_way.values(), *self._settling)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_known(self, question: _Question, *, now: Instant) -> bool:
        about = question.about
        if now < self._quiet_until.get(about, 0.0):
            return True
        known = self.in_force.current.issuers.get(about.issuer)
        status = None if known is None else known.responses.get(about.serial_number)
        if status is None or now >= status.next_update:
            return False
        return now < self._asked_at.get(about, 0.0) + question.responder.refresh_seconds

    async def _ask(self, question: _Question) -> None:
        url = question.responder.url
        try:
            async with asyncio.timeout(self.timeout_seconds):
                answer = await self.asking.ask(url, ocsp_request(question.certificate, question.issuer))
            now = self.clock.now()
            status = read_ocsp_response(answer, certificate=question.certificate, issuer=question.issuer, now=now)
            _remember(self._asked_at, question.about, now)
            self._failing.discard(url)
            await self._put(question.about, status)
        except (OcspRefusedError, RevocationReadError, CertificateRefusedError, TimeoutError) as error:
            _remember(self._quiet_until, question.about, Instant(self.clock.now() + _QUIET_SECONDS))
            if url not in self._failing:
                self._failing.add(url)
                _log.warning(events.OCSP_FAILED, url=url, error=str(error) or "no answer in time")
        finally:
            del self._under_way[question.about]

    async def _put(self, about: _About, status: OcspStatus) -> None:
        view = self.in_force.current
        known = view.issuers.get(about.issuer, IssuerRevocation())
        before = known.responses.get(about.serial_number)
        if before is not None and status.this_update < before.this_update:
            return  # an old answer is as well signed as the newest
        responses = {number: each for number, each in known.responses.items() if number != about.serial_number}
        if len(responses) >= _MAX_KEPT:
            oldest = next((number for number, each in responses.items() if each.revoked is None), next(iter(responses)))
            del responses[oldest]
        responses[about.serial_number] = status
        issuers: Mapping[IssuerKey, IssuerRevocation] = {**view.issuers, about.issuer: IssuerRevocation(known.lists, responses)}
        self.in_force.current = RevocationView(view.generation + 1, issuers)
        if (before is not None and before.revoked is not None) != (status.revoked is not None):
            self.in_force.edition += 1
            await self._judge_again(about.serial_number)

    async def _judge_again(self, serial_number: int) -> None:
        """Other checks and devices may rest on the same certificate: judged again, and again while the store is away."""
        effects = RevocationEffects(self.rules, self.in_force, self.rejudging)
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(
            until_settled(lambda: effects.of_certificate(serial_number), first, retry_seconds=self.retry_seconds)
        )
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        await asyncio.wait([first, task], return_when=asyncio.FIRST_COMPLETED)
        if first.done():
            first.exception()  # told in the log; who waits goes on


def _questions(verified: VerifiedEvidence, snapshot: RuleSnapshot, *, now: Instant) -> Iterator[_Question]:
    checks, certificates = snapshot.rules.checks, snapshot.rules.certificates
    for claim in verified.evidence.claims:
        check = checks.get(claim.check_id)
        if check is None or check.config.revocation is RevocationPolicy.OFF:
            continue
        signing = certificates[check.config.certificate_id]
        if signing.responder is None:
            continue
        for candidate in claim.candidates[:MAX_CANDIDATES]:
            path = _path(candidate, check, signing, now=now)
            if path is not None:
                certificate, issuer = path.certificates[:2]
                about = _About(issuer_key_of(issuer), certificate.serial_number)
                yield _Question(about, certificate, issuer, signing.responder)


def _path(candidate: Candidate, check: Check, signing: SigningCertificate, *, now: Instant) -> ValidPath | None:
    try:
        if check.config.trust is Trust.CHAIN:
            return find_path(candidate.chain, signing.der, intermediates=signing.intermediates, now=now)
        return issued_by(candidate.chain[0], signing.der, now=now)
    except CertificateRefusedError:
        return None


def _remember(at: OrderedDict[_About, Instant], about: _About, instant: Instant) -> None:
    at[about] = instant
    at.move_to_end(about)
    if len(at) > _MAX_KEPT:
        at.popitem(last=False)
