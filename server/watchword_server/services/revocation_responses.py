"""OCSP: before evidence is judged, the operator's responder is asked about its certificates, if what is known has aged.

Only about certificates that would pass without it: that lead to the CA whose entry names the responder, hold every other
condition of the check, and whose key the device has proven where the check wants that. Others' certificates, which anybody may
show, cost no question. Without an answer in time judging goes on with what is known.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from watchword_server import events
from watchword_server.core.certificates.ocsp import OcspRefusedError, ocsp_request, read_ocsp_response
from watchword_server.core.certificates.parsed import ParsedCertificate, fingerprint
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.revocation import RevocationView, issuer_key_of
from watchword_server.core.certificates.verdict import path_of
from watchword_server.core.kinds import KINDS
from watchword_server.core.kinds.client_certificate import MAX_CANDIDATES
from watchword_server.core.kinds.verdict import JudgingContext
from watchword_server.core.model.checks import Check, OcspResponder, RevocationPolicy
from watchword_server.core.model.evidence import Candidate, Claim
from watchword_server.core.model.names import CertificateId, Instant
from watchword_server.core.snapshot import RuleSnapshot
from watchword_server.core.verify import VerifiedEvidence
from watchword_server.errors import RevocationReadError
from watchword_server.ports.machine import Clock
from watchword_server.ports.revocation import OcspAsking, StoredOcspRevocation
from watchword_server.services.judging import checks_of
from watchword_server.services.ocsp_statuses import About, OcspStatuses
from watchword_server.services.revocation_in_force import RevocationInForce

_log = structlog.get_logger(__name__)

_MAX_REMEMBERED: Final = 10_000
_MAX_ASKING: Final = 32  # at once; the others wait for their turn
_MAX_ASKING_OF_A_MESSAGE: Final = 8  # at once: one device leaves room for others
_QUIET_SECONDS: Final = 30.0  # after a failure, about the same certificate


@dataclass(frozen=True, slots=True)
class _Question:
    about: About
    certificate_id: CertificateId  # of the uploaded CA whose entry names the responder
    certificate: ParsedCertificate
    issuer: ParsedCertificate
    responder: OcspResponder


@dataclass(slots=True)
class RevocationResponses:
    """Runs in the event loop. `timeout_seconds`: how long evidence waits, whatever it takes to ask."""

    asking: OcspAsking
    statuses: OcspStatuses
    in_force: RevocationInForce
    clock: Clock
    timeout_seconds: float
    _asked_at: OrderedDict[About, Instant] = field(default_factory=OrderedDict)
    _quiet_until: OrderedDict[About, Instant] = field(default_factory=OrderedDict)
    _under_way: dict[About, "asyncio.Task[None]"] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MAX_ASKING))
    _failing: set[str] = field(default_factory=set)  # responders that are known to fail: told once

    async def prepare(self, verified: VerifiedEvidence, snapshot: RuleSnapshot) -> bool:
        """Asks what there is to ask about the evidence's certificates; whether it took time.

        A claim is asked about one certificate at a time: if that turns out revoked, the next that would pass takes its place.
        """
        claims = _claims_to_ask(verified, snapshot)
        if not claims:
            return False
        until = asyncio.get_running_loop().time() + self.timeout_seconds
        took_time = False
        while claims:
            now, view = self.clock.now(), self.in_force.current
            asked = [(claim, self._next(claim, view, now=now)) for claim in claims]
            claims = [claim for claim, question in asked if question is not None]
            questions = {question.about: question for _, question in asked if question is not None}
            if questions:
                took_time = True
                if not await self._ask_all(list(questions.values()), until=until):
                    break
        return took_time

    async def stop(self) -> None:
        """Asks nothing any more."""
        tasks = tuple(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.statuses.stop()

    def _next(self, claim: "_Claim", view: RevocationView, *, now: Instant) -> _Question | None:
        while (question := claim.next_question(view, now=now)) is not None:
            if not self._is_known(question, now=now):
                return question
        return None

    async def _ask_all(self, questions: Sequence[_Question], *, until: float) -> bool:
        """Whether all were answered, or failed, in time."""
        for start in range(0, len(questions), _MAX_ASKING_OF_A_MESSAGE):
            tasks = set()
            for question in questions[start : start + _MAX_ASKING_OF_A_MESSAGE]:
                task = self._under_way.get(question.about)
                if task is None:
                    task = self._under_way[question.about] = asyncio.ensure_future(self._ask(question))
                tasks.add(task)
            _, waiting = await asyncio.wait(tasks, timeout=max(0.0, until - asyncio.get_running_loop().time()))
            if waiting:
                return False
        return True

    def _is_known(self, question: _Question, *, now: Instant) -> bool:
        about = question.about
        if now < self._quiet_until.get(about, 0.0):
            return True
        status = self.statuses.known(about, question.certificate_id)
        if status is None or now >= status.next_update:
            return False
        return now < self._asked_at.get(about, 0.0) + question.responder.refresh_seconds

    async def _ask(self, question: _Question) -> None:
        url, has_turn = question.responder.url, False
        try:
            async with asyncio.timeout(self.timeout_seconds):
                async with self._turns:
                    has_turn = True
                    answer = await self.asking.ask(url, ocsp_request(question.certificate, question.issuer))
            now = self.clock.now()
            status = read_ocsp_response(answer, certificate=question.certificate, issuer=question.issuer, now=now)
            _remember(self._asked_at, question.about, now)
            self._failing.discard(url)
            learned = StoredOcspRevocation(question.certificate_id, *question.about, status, question.certificate.not_after)
            await self.statuses.take(learned)
        except (OcspRefusedError, RevocationReadError, CertificateRefusedError, TimeoutError) as error:
            if not has_turn:
                return  # nobody was asked: the next evidence may
            _remember(self._quiet_until, question.about, Instant(self.clock.now() + _QUIET_SECONDS))
            if url not in self._failing:
                self._failing.add(url)
                _log.warning(events.OCSP_FAILED, url=url, error=str(error) or "no answer in time")
        finally:
            del self._under_way[question.about]


@dataclass(slots=True)
class _Claim:
    """A claim whose check has a responder, and which of its candidates were looked at."""

    claim: Claim
    check: Check
    verified: VerifiedEvidence
    snapshot: RuleSnapshot
    responder: OcspResponder
    _seen: list[Candidate] = field(default_factory=list)

    def next_question(self, view: RevocationView, *, now: Instant) -> _Question | None:
        """About the candidate that passes, or would by another answer; None: it was looked at, or there is none."""
        chosen = self._passing(self.claim, self.check, view, now=now)
        if chosen is None:  # what a responder said, or has not said yet, may be why
            rest = [each for each in self.claim.candidates[:MAX_CANDIDATES] if each not in self._seen]
            lenient = self.check
            if lenient.config.revocation is RevocationPolicy.REQUIRE:
                lenient = replace(lenient, config=replace(lenient.config, revocation=RevocationPolicy.PREFER))
            chosen = self._passing(replace(self.claim, candidates=tuple(rest)), lenient, _without_responses(view), now=now)
        if chosen is None or chosen in self._seen:
            return None
        self._seen.append(chosen)
        config = self.check.config
        signing = self.snapshot.rules.certificates[config.certificate_id]
        certificate, issuer = path_of(chosen.chain, signing, config=config, now=now).certificates[:2]
        about = About(issuer_key_of(issuer), certificate.serial_number)
        return _Question(about, signing.id, certificate, issuer, self.responder)

    def _passing(self, claim: Claim, check: Check, view: RevocationView, *, now: Instant) -> Candidate | None:
        context = JudgingContext(self.verified.context, self.verified.device, check, self.snapshot.rules.certificates, view, now)
        verdict = KINDS[check.kind].judge(claim, context)
        if not verdict.passed:
            return None
        return next(each for each in claim.candidates if tuple(map(fingerprint, each.chain)) == verdict.chain)


def _claims_to_ask(verified: VerifiedEvidence, snapshot: RuleSnapshot) -> list[_Claim]:
    """Those whose keys have to be proven first: only of them a device has no more than it has keys."""
    checks = {check.id: check for check in checks_of(verified.device, snapshot)}
    found = []
    for claim in verified.evidence.claims:
        check = checks.get(claim.check_id)
        if check is None or claim.error_code is not None or check.config.revocation is RevocationPolicy.OFF:
            continue
        responder = snapshot.rules.certificates[check.config.certificate_id].responder
        if responder is not None:
            found.append(_Claim(claim, check, verified, snapshot, responder))
    return sorted(found, key=lambda each: not each.check.config.check_private_key)


def _without_responses(view: RevocationView) -> RevocationView:
    issuers = {issuer: replace(known, responses={}) for issuer, known in view.issuers.items() if known.lists}
    return RevocationView(view.generation, issuers)


def _remember(at: OrderedDict[About, Instant], about: About, instant: Instant) -> None:
    at[about] = instant
    at.move_to_end(about)
    if len(at) > _MAX_REMEMBERED:
        at.popitem(last=False)
