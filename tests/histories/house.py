"""The real services over a store in memory, and everybody who acts on them: one history is played here, step by step."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from histories import remembered
from histories.events import (
    AddCas,
    Attest,
    Break,
    ChangeCheck,
    ChangePolicy,
    Event,
    PublishList,
    RemoveCa,
    Restart,
    RevokeDevice,
    SayGoodbye,
    Shown,
    Step,
    StepWallClock,
    Wait,
    WithdrawList,
)
from histories.memory_store import MemoryStore
from histories.messages import AUDIENCE, Messages, Place
from histories.oracle import Line, ListInForce, Oracle
from histories.pool import Pool
from histories.rules import APPLICATIONS, PolicyRules, RulesState, document
from support.signing import public_key_der
from watchword_server.adapters.cache import PostureCache
from watchword_server.adapters.clock import SystemClock
from watchword_server.configuration.book import EMPTY_BOOK, RuleBook
from watchword_server.core import keys
from watchword_server.core.certificates.parsed import parse_issuer
from watchword_server.core.certificates.revocation import (
    IssuerKey,
    IssuerRevocation,
    RevocationList,
    RevocationReason,
    RevocationView,
    Revoked,
    issuer_key_of,
)
from watchword_server.core.model.decisions import AccessRequest
from watchword_server.core.model.devices import Device, DeviceState
from watchword_server.core.model.evidence import Envelope
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.core.rules import UserTokens
from watchword_server.core.session import (
    AttestSession,
    ChallengeRequested,
    EnvelopeReceived,
    Hello,
    JudgeEnvelope,
    SendChallenge,
    TakeGoodbye,
)
from watchword_server.core.snapshot import EMPTY_SNAPSHOT, RuleSnapshot
from watchword_server.errors import EvidenceRejectedError, NotFoundError, ServiceError, StaleChallengeError, WatchwordError
from watchword_server.ports.tokens import IssuedTokens
from watchword_server.services.connections import Connections
from watchword_server.services.decisions import Decisions
from watchword_server.services.devices import Devices
from watchword_server.services.leaving import Leaving
from watchword_server.services.rejudging import Rejudging
from watchword_server.services.resolving import Presented, Resolver
from watchword_server.services.revocation_in_force import RevocationInForce
from watchword_server.services.rules import Rules
from watchword_server.services.rules_in_force import RulesInForce
from watchword_server.services.user_identities import UserIdentities
from watchword_server.services.verifier import Verifier


class _NoLog:
    def write(self, event: Mapping[str, object] | Callable[[], Mapping[str, object]]) -> None:
        """Nobody reads it."""


@dataclass(slots=True)
class Times:
    """The machine's clocks: seconds that have really passed, and how far the wall clock is off."""

    start: int
    real: float = 0.0
    off: float = 0.0

    def wall(self) -> float:
        """What the wall clock shows."""
        return self.start + self.real + self.off

    def monotonic(self) -> float:
        """What nobody can set."""
        return self.real


@dataclass(slots=True)
class Server:
    """A server's memory and services, from start to restart."""

    clock: SystemClock
    rules: Rules
    verifier: Verifier
    leaving: Leaving
    rejudging: Rejudging
    devices: Devices
    decisions: Decisions

    @classmethod
    def make(cls, store: Any, times: Times, book: RuleBook = EMPTY_BOOK, snapshot: RuleSnapshot = EMPTY_SNAPSHOT) -> Self:
        """As `house.py` of the server composes it; `book` and `snapshot`: what was loaded already."""
        clock = SystemClock(floor=store.clock_floor, wall=times.wall, monotonic=times.monotonic)
        memory = PostureCache(store, timer=times.monotonic)
        in_force, revocation, log, connections = RulesInForce(snapshot), RevocationInForce(), _NoLog(), Connections()
        rejudging = Rejudging(store, memory, revocation, clock, log)
        counter = itertools.count(1)

        def fresh_bytes(length: int) -> bytes:
            return next(counter).to_bytes(length)

        verifier = Verifier(
            store=store,
            memory=memory,
            rules=in_force,
            revocation=revocation,
            rejudging=rejudging,
            clock=clock,
            posture_log=log,
            parse=remembered.parse_evidence,
            stand_in_epoch=lambda _: 0,
        )
        return cls(
            clock=clock,
            rules=Rules(store, in_force, rejudging, connections, clock, 100.0, _book=book),
            verifier=verifier,
            leaving=Leaving(verifier, remembered.parse_goodbye),
            rejudging=rejudging,
            devices=Devices(store, memory, rejudging, in_force, connections, clock),
            decisions=Decisions(
                in_force, Resolver(memory, revocation, store), clock, fresh_bytes, log, UserIdentities(_no_tokens)
            ),
        )


def _no_tokens(tokens: UserTokens) -> IssuedTokens:
    raise AssertionError(f"nobody shows a token here, least of all of {tokens.issuer}")


@dataclass(slots=True)
class Stage:
    """What all histories begin with: rules in force, devices enrolled, nothing proven."""

    pool: Pool
    messages: Messages
    entries: dict[tuple[str, str], Any]
    book: RuleBook
    snapshot: RuleSnapshot
    devices: dict[DeviceId, Device]
    revision: int

    @classmethod
    async def set(cls, pool: Pool) -> Self:
        """Applies the rules as an operator does, once for all histories."""
        store = MemoryStore(clock_floor=Instant(pool.start))
        server = Server.make(store, Times(pool.start))
        await server.rules.apply(document(RulesState(), pool), prune=True, dry_run=False)
        devices = {}
        for name, key in pool.device_keys.items():
            device_key = keys.load_device_key(public_key_der(key))
            state, at = DeviceState.ACTIVE, Instant(pool.start)
            devices[DeviceId(name)] = Device(DeviceId(name), device_key, state, "linux", name, None, epoch=0, enrolled_at=at)
        in_force = server.rules.in_force.current
        return cls(pool, Messages(pool), store.entries, server.rules._book, in_force, devices, store.revision)

    def store(self) -> MemoryStore:
        """A store as a history finds it."""
        return MemoryStore(
            revision=self.revision,
            clock_floor=Instant(self.pool.start),
            found=dict(self.devices),
            entries=self.entries,
            rules_at=self.revision,
        )


@dataclass(slots=True)
class _Stream:
    """Both ends of an attestation stream, and its place as the oracle sees it."""

    session: AttestSession
    line: Line
    challenge: SendChallenge
    last_nonce: bytes = bytes(32)
    last_envelope: Envelope | None = None


@dataclass(slots=True)
class Tally:
    """What came of the requests and of the evidence."""

    asked: int = 0
    allowed: int = 0
    may: int = 0
    sent: int = 0
    accepted: int = 0


@dataclass(frozen=True, slots=True)
class Wrong:
    """Something that must not be: after which step, and what."""

    step: int
    what: str


@dataclass(slots=True)
class Playing:
    """One history on its way."""

    stage: Stage
    store: MemoryStore
    times: Times
    oracle: Oracle
    server: Server
    tally: Tally
    streams: dict[str, list[_Stream]] = field(default_factory=dict)
    opened: int = 0  # streams
    generation: int = 0
    lists: dict[str, ListInForce] = field(default_factory=dict)  # as the server was given them
    late: bool = False  # the store failed while claims were judged again: the server tries again

    @classmethod
    def begin(cls, stage: Stage, tally: Tally) -> Self:
        """Everything as at the start."""
        store, times = stage.store(), Times(stage.pool.start)
        server = Server.make(store, times, stage.book, stage.snapshot)
        return cls(stage, store, times, Oracle(stage.pool, float(stage.pool.start)), server, tally)

    async def play(self, history: tuple[Step, ...]) -> Wrong | None:
        """Plays it to its end or to the first wrong."""
        for number, step in enumerate(history):
            if self.late:
                await self._judge_again()
            wrong = await self._happens(step.event)
            self.store.fails = None if not isinstance(step.event, Break) else self.store.fails
            if wrong is not None:
                return Wrong(number, wrong)
            for certificate, application in step.asks:
                reason = await self._ask(certificate, application)
                may = self.oracle.may_allow(certificate, application)
                self.tally.asked += 1
                self.tally.may += may
                if reason is not None:
                    self.tally.allowed += 1
                    if not may:
                        return Wrong(number, f"`{application}` let in who showed `{certificate}`: {reason}")
        return None

    async def _ask(self, certificate: str | None, application: str) -> str | None:
        """Why a request is allowed; None: it is denied."""
        der = None if certificate is None else self.stage.pool.certificates[certificate].credential.der
        snapshot = self.server.rules.in_force.current
        answer = await self.server.decisions.answer(
            _REQUESTS[application], Presented(certificate_der=der), caller=snapshot.caller_by_name["edge"]
        )
        return str(answer.decision.checks) if answer.decision.allowed else None

    async def _happens(self, event: Event) -> str | None:
        revision = self.store.revision
        wrong = await self._act(event)
        if self.store.revision != revision:
            self.oracle.saved = self.oracle.time
        return wrong

    async def _act(self, event: Event) -> str | None:
        pool = self.stage.pool
        match event:
            case Attest():
                return await self._attest(event)
            case SayGoodbye():
                return await self._say_goodbye(event)
            case Wait(seconds):
                self._pass(seconds)
            case StepWallClock(seconds):
                self.times.off += seconds
                self._pass(0)
            case ChangeCheck(check, what, value):
                await self._change(lambda rules: _with_check(rules, check, what, value), pool)
            case ChangePolicy(application, max_age, level):
                await self._change(lambda rules: rules.with_policy(application, PolicyRules(max_age, level)), pool)
            case RemoveCa(name):
                await self._change(lambda rules: rules.without_ca(name), pool)
            case AddCas():
                await self._change(lambda rules: RulesState(frozenset({"one", "two"}), rules.checks, rules.policies), pool)
            case PublishList(ca, names, seconds):
                own = frozenset(name for name in names if _issuer_of(pool, name) == ca)
                self.lists[ca] = ListInForce(own, self.oracle.time + seconds)
                await self._look_at_lists()
            case WithdrawList(ca):
                self.lists.pop(ca, None)
                await self._look_at_lists()
            case RevokeDevice(device):
                await self._revoke(device)
            case Break(method, after, times):
                self.store.fails, self.store.fails_after, self.store.fails_times = method, after, times
                self.oracle.blurs()
            case Restart(seconds, step):
                await self._restart(seconds, step)
        return None

    # ---- Time -----------------------------------------------------------------------------------------------------------

    def _pass(self, seconds: float) -> None:
        self.times.real += seconds
        self.oracle.passes_time(seconds, wall=self.times.wall())
        self.server.clock.now()  # a server that runs looks at its clock all the time

    async def _restart(self, seconds: float, step: float) -> None:
        self.times.real += seconds
        self.times.off += step
        self.store.fails = None
        self.streams.clear()
        self.lists, self.late = dict(self.oracle.lists), False  # a list is kept once all that hangs on it is judged
        self.oracle.restarts(wall=self.times.wall())
        self.server = Server.make(self.store, self.times)
        self._swap_lists()
        await self.server.rules.load()

    # ---- Devices --------------------------------------------------------------------------------------------------------

    async def _attest(self, event: Attest) -> str | None:
        said = {check: shown for check, shown in (("first", event.first), ("second", event.second)) if shown is not None}
        said_again = event.lie == "replay"
        return await self._tell(
            event,
            lambda stream: stream.last_envelope if said_again else self._evidence(stream, event, said),
            took=lambda line: self.oracle.took(line, said, event.age),
            failed=lambda line, kept: self.oracle.failed_to_take(line, said, event.age, kept=kept),
        )

    async def _say_goodbye(self, event: SayGoodbye) -> str | None:
        return await self._tell(
            event,
            lambda stream: self.stage.messages.goodbye(self._place(stream, event.device, event.lie)),
            took=self.oracle.saw_leave,
            failed=lambda line, kept: self.oracle.failed_to_see_leave(line, kept=kept),
        )

    async def _tell(
        self,
        event: Attest | SayGoodbye,
        message: Callable[[_Stream], Envelope | None],
        *,
        took: Callable[[Line], None],
        failed: Callable[[Line, bool], None],
    ) -> str | None:
        """A device answers a challenge on one of its streams; what came of it, the oracle is told."""
        stream = await self._stream(event)
        if stream is None:
            return None
        stream.last_nonce = stream.challenge.challenge.nonce
        asked = stream.session.handle(ChallengeRequested(), now=self.server.clock.now())
        assert isinstance(asked, SendChallenge)
        stream.challenge = asked
        asked_at = self.oracle.time
        self._pass(event.delay)
        envelope = message(stream)
        if envelope is None:
            return None
        believable = self.oracle.believes(stream.line, asked_at=asked_at, lie=event.lie)
        breaks, after = self.store.fails, self.store.fails_after
        self.tally.sent += 1
        try:
            await self._judge(stream.session, envelope)
        except StaleChallengeError:
            return None
        except EvidenceRejectedError:
            self.streams[event.device].remove(stream)
            return None
        except ServiceError:
            if believable and breaks == "commit_evidence":
                failed(stream.line, after)
            return None
        if not believable:
            return f"what must not be believed was: {event}"
        self.tally.accepted += 1
        stream.last_envelope = envelope
        took(stream.line)
        if isinstance(event, SayGoodbye):
            self.streams[event.device].remove(stream)
        return None

    async def _judge(self, session: AttestSession, envelope: Envelope) -> None:
        match session.handle(EnvelopeReceived(envelope), now=self.server.clock.now()):
            case JudgeEnvelope() as action:
                await self.server.verifier.accept(session, action)
            case TakeGoodbye() as action:
                await self.server.leaving.goodbye(session, action)
            case action:
                raise AssertionError(action)

    async def _stream(self, event: Attest | SayGoodbye) -> _Stream | None:
        known = self.streams.setdefault(event.device, [])
        if known and event.session != "new":
            return known[-2] if event.session == "older" and len(known) > 1 else known[-1]
        self.opened += 1
        session = AttestSession(AUDIENCE, 60.0, _Counting(self.opened))
        device_id = DeviceId(event.device)
        try:
            epoch = await self.server.verifier.stored_epoch(device_id)
        except ServiceError:
            return None
        challenge = session.handle(Hello(device_id, 1, epoch), now=self.server.clock.now())
        assert isinstance(challenge, SendChallenge)
        known.append(_Stream(session, self.oracle.opens(event.device), challenge))
        return known[-1]

    def _evidence(self, stream: _Stream, event: Attest, said: Mapping[str, tuple[Shown, ...]]) -> Envelope:
        ids = {check.name: check.id for check in self.server.rules.in_force.current.rules.checks.values()}
        claims = tuple((ids[check], shown) for check, shown in said.items())
        return self.stage.messages.evidence(self._place(stream, event.device, event.lie), event.age, claims)

    def _place(self, stream: _Stream, device: str, lie: str) -> Place:
        sent = stream.challenge
        return Place(
            device={"laptop-a": "laptop-b"}.get(device, "laptop-a") if lie == "other_device" else device,
            key_id=self.stage.devices[DeviceId(device)].key.key_id,
            signed_by="nobody" if lie == "other_key" else device,
            session_id=sent.session_id,
            epoch=sent.epoch,
            nonce=stream.last_nonce if lie == "old_nonce" else sent.challenge.nonce,
            sequence=stream.session.sequence + 1,
        )

    async def _revoke(self, device: str) -> None:
        breaks, after = self.store.fails, self.store.fails_after
        self.oracle.blurs()
        try:
            await self.server.devices.revoke(DeviceId(device))
        except ServiceError:
            if breaks == "set_device_state":
                self.oracle.ends_device(device, kept=after)
        except NotFoundError:
            raise
        except WatchwordError:
            return  # it was revoked already
        else:
            self.oracle.ends_device(device, kept=True)

    # ---- Operators ------------------------------------------------------------------------------------------------------

    async def _change(self, change: Callable[[RulesState], RulesState], pool: Pool) -> None:
        before = self.store.rules_at
        wanted = change(self.oracle.kept_rules)
        if wanted == self.oracle.kept_rules:
            return
        try:
            await self.server.rules.apply(document(wanted, pool), prune=True, dry_run=False)
        except ServiceError:
            kept = self.store.rules_at != before
            in_force = self.server.rules.in_force.current.rules.revision == self.store.rules_at
            self.oracle.changes_rules(change, succeeded=in_force, kept=kept)
        else:
            self.oracle.changes_rules(change, succeeded=True, kept=True)

    async def _look_at_lists(self) -> None:
        """What the server does when a list came or went: the view is swapped, then claims are judged again."""
        self.oracle.blurs()
        self._swap_lists()
        await self._judge_again()

    def _swap_lists(self) -> None:
        self.generation += 1
        issuers = {
            _issuer_key(self.stage.pool, ca): IssuerRevocation(lists=(_list(self.stage.pool, ca, found),))
            for ca, found in self.lists.items()
        }
        in_force = self.server.rejudging.revocation
        in_force.current, in_force.edition = RevocationView(self.generation, issuers), self.generation

    async def _judge_again(self) -> None:
        try:
            snapshot = self.server.rules.in_force.current
            await self.server.rejudging.after_revocation(snapshot, check_ids=frozenset(snapshot.rules.checks))
        except ServiceError:
            self.late = True
        else:
            self.late = False
            self.oracle.lists = dict(self.lists)


def _with_check(rules: RulesState, check: str, what: str, value: object) -> RulesState:
    if what == "ca" and value not in rules.cas:
        return rules
    return rules.with_check(check, **{what: value})


def _issuer_key(pool: Pool, ca: str) -> IssuerKey:
    return issuer_key_of(parse_issuer(pool.authorities[ca].credential.der))


def _issuer_of(pool: Pool, name: str) -> str:
    return pool.certificates[name].ca if name in pool.certificates else "one"


def _list(pool: Pool, ca: str, found: ListInForce) -> RevocationList:
    credentials = [
        pool.certificates[name].credential if name in pool.certificates else pool.authorities[name].credential
        for name in found.names
    ]
    entries = {one.certificate.serial_number: Revoked(_LONG_AGO, RevocationReason.KEY_COMPROMISE) for one in credentials}
    return RevocationList(
        issuer=_issuer_key(pool, ca),
        sha256=bytes(32),
        number=1,
        base_number=None,
        this_update=_LONG_AGO,
        next_update=Instant(found.until),
        entries=_Entries(entries),
    )


@dataclass(frozen=True, slots=True)
class _Entries:
    entries: Mapping[int, Revoked]

    def __len__(self) -> int:
        return len(self.entries)

    def find(self, serial_number: int) -> Revoked | None:
        return self.entries.get(serial_number)


class _Counting:
    """Bytes that are never the same twice in a history."""

    def __init__(self, start: int) -> None:
        self._counter = itertools.count((start + 1) << 32)

    def __call__(self, length: int) -> bytes:
        return next(self._counter).to_bytes(length)


_LONG_AGO: Final = Instant(0.0)
_REQUESTS: Final = {
    name: AccessRequest(
        method="GET",
        scheme="https",
        host=f"{name}.corp.example",
        path="/",
        query="",
        source_ip=None,
        identity=None,
        caller="edge",
    )
    for name in APPLICATIONS
}
