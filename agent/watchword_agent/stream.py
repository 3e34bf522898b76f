"""The stream to the server: connect, converse, and when it ends, come back in due time. Decides nothing: session.py does."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn

import grpc

from watchword.envelope import EVIDENCE_TYPE, KEY_ROTATE_TYPE
from watchword.v1 import posture_pb2 as pb
from watchword_agent import log
from watchword_agent.backoff import Backoff, Uniform, system_uniform
from watchword_agent.channel import CallFailedError, failure_of, write
from watchword_agent.collect import Collected, Collector
from watchword_agent.device_key import DeviceKey
from watchword_agent.device_keys import DeviceKeys
from watchword_agent.errors import (
    DeviceKeyError,
    ForeignAudienceError,
    OperatorError,
    ProtocolViolationError,
    ServerError,
    ServerSilentError,
)
from watchword_agent.identity import monotonic_seconds, read_boot
from watchword_agent.session import (
    Accepted,
    Attester,
    Challenged,
    CheckSet,
    Collect,
    Dismissed,
    Draining,
    Instructed,
    KeyPending,
    Leave,
    Notice,
    Propose,
    Rejected,
    Send,
    Session,
    State,
)
from watchword_agent.settings import Settings
from watchword_agent.signing import beside, signed
from watchword_agent.status import StatusFile
from watchword_agent.transport import AttestCall, Transport
from watchword_agent.watch import StoreWatch
from watchword_agent.worker import Worker

_INBOX_SIZE: Final = 64
_LONGEST_HINT_SECONDS: Final = 3600.0  # of the server, when to come back
_LONGEST_WAIT_SECONDS: Final = 30.0  # timers stand still while the machine sleeps; the session's clock does not
# Codes of the server that trying again soon will not change: an operator has to act, or another agent holds this identity.
_REFUSAL_CODES: Final = frozenset({"device_not_active", "envelope_invalid", "evidence_foreign", "session_superseded"})

_PROPOSAL_PAUSE_SECONDS: Final = 600.0  # between two proposals of a new key, whatever becomes of the first
_UNKNOWN_KEY: Final = "envelope_invalid"

_ENDED: Final = "ended"
_POLL_SECONDS: Final = 300.0  # by single requests nobody tells us that the checks have changed


@dataclass(frozen=True, slots=True)
class _End:
    """How a stream ended, and how soon to come back."""

    code: str
    detail: str = ""
    refused: bool = False
    at_once: bool = False
    retry_after_seconds: float = 0
    rest_until: float | None = None  # a session that had one answer to give has given it


class AttestStream:
    """One device's conversation with its server, over as many streams as it takes."""

    def __init__(
        self,
        transport: Transport,
        *,
        attester: Attester,
        keys: DeviceKeys,
        collector: Collector,
        watch: StoreWatch,
        status: StatusFile,
        settings: Settings,
        keep_checks: Callable[[pb.CheckSet], None] = lambda _checks: None,
        clock: Callable[[], float] = monotonic_seconds,
        uniform: Uniform = system_uniform,
    ) -> None:
        self._keep_checks = keep_checks
        self._transport = transport
        self._attester = attester
        self._keys = keys
        self._key_tried = False  # the other of two keys was tried since the last acknowledgement
        self._proposal_due = 0.0
        days = settings.rotate_key_days  # devices set up together do not rotate together
        self._rotation_days = uniform(0.9 * days, days) if days else 0.0
        self._collector = collector
        self._watch = watch
        self._status = status
        self._settings = settings
        self._clock = clock
        self._uniform = uniform
        self._trouble = Backoff(settings.reconnect_base_seconds, settings.reconnect_cap_seconds, uniform)
        self._refusal = Backoff(settings.refused_base_seconds, settings.refused_cap_seconds, uniform)
        self._check_set = CheckSet()
        self._verdicts: dict[str, tuple[bool, str]] = {}
        self._worker = Worker("collect")
        self._inbox: asyncio.Queue[pb.AttestResponse | _End] = asyncio.Queue(_INBOX_SIZE)
        self._store_changed = False
        self._news = asyncio.Event()

    def store_changed(self) -> None:
        """Something watched has changed: attest at once, or on connecting if there is no stream."""
        self._store_changed = True
        self._news.set()

    async def run(self) -> NoReturn:
        """Attests for as long as it is let."""
        while True:
            end = await self._one_stream()
            if end.rest_until is not None:
                await self._rest(end.rest_until)
                continue
            if end.at_once:
                log.info(log.Event.DISCONNECTED, code=end.code)
                continue
            delay = self._delay_after(end)
            log.warning(log.Event.DISCONNECTED, code=end.code, detail=end.detail or None, retry_seconds=delay)
            self._status.troubled(end.code, end.detail, retry_seconds=delay, connected=False)
            await self._pause(delay)

    async def _one_stream(self) -> _End:
        session = Session(
            attester=dataclasses.replace(self._attester, key_id=self._keys.signing.key_id),
            check_set=self._check_set,
            uniform=self._uniform,
            retry_delay=lambda code: self._retry_delay(refused=code in _REFUSAL_CODES),
            answer_timeout_seconds=self._settings.answer_timeout_seconds,
        )
        self._inbox = asyncio.Queue(_INBOX_SIZE)
        call = self._transport.open(self._clock())
        self._status.uses(single_requests=self._transport.is_single)
        reader = asyncio.create_task(self._read(call))
        try:
            end = await self._converse(call, session)
        except (ProtocolViolationError, ForeignAudienceError) as error:
            end = _End("protocol_violation", str(error), refused=True)
        except ServerError as error:
            end = _End("unavailable", str(error))
        except DeviceKeyError as error:  # a TPM may be back later; one that is not, wants somebody who reads this
            end = _End("device_key_unusable", str(error), refused=True, at_once=self._keys.withdraw())
        finally:
            self._check_set = session.check_set
            reader.cancel()
            call.cancel()
            await asyncio.wait([reader])
        if session.rejected_for_good:  # that is why, however the stream ended then
            code = session.rejected_for_good
            if code == _UNKNOWN_KEY and self._keys.refused() and not self._key_tried:  # a rotation was under way
                self._key_tried = True
                return _End(code, "trying the device's other key", at_once=True)
            return _End(code, "evidence was rejected", code in _REFUSAL_CODES, retry_after_seconds=end.retry_after_seconds)
        if self._transport.is_single and session.accepted and end.code == _ENDED:
            return dataclasses.replace(end, rest_until=min(session.wanted_at, self._clock() + _POLL_SECONDS))
        by_the_server = end.refused or end.retry_after_seconds > 0 or end.at_once
        if self._transport.ended(self._clock(), accepted=session.accepted > 0, by_the_server=by_the_server):
            log.info(log.Event.TRANSPORT_CHANGED, single_requests=self._transport.is_single, code=end.code)
        return end

    async def _rest(self, until: float) -> None:
        """Until the next evidence is due, or something watched changes."""
        self._news.clear()
        while not self._store_changed and (left := until - self._clock()) > 0:
            await self._wait_for_news(left)

    async def _read(self, call: AttestCall) -> None:
        try:
            while isinstance(response := await call.read(), pb.AttestResponse):
                await self._receive(response)
            await self._receive(_End(_ENDED, "the server ended the stream"))
        except (grpc.aio.AioRpcError, CallFailedError) as error:
            failure = error.failure if isinstance(error, CallFailedError) else failure_of(error)
            refused = failure.is_refusal or failure.code in _REFUSAL_CODES
            await self._receive(_End(failure.code, failure.text, refused, retry_after_seconds=failure.retry_after_seconds))

    async def _receive(self, event: pb.AttestResponse | _End) -> None:
        await self._inbox.put(event)
        self._news.set()

    async def _converse(self, call: AttestCall, session: Session) -> _End:
        while True:
            self._news.clear()
            while not self._inbox.empty():
                event = self._inbox.get_nowait()
                if isinstance(event, _End):
                    return event
                proposing = session.state is State.AWAITING_PENDING
                notice = session.receive(event, self._clock())
                if isinstance(notice, Dismissed):
                    return _End(notice.code, "", notice.code in _REFUSAL_CODES, retry_after_seconds=notice.retry_after_seconds)
                self._note(notice)
                match notice:
                    case Accepted():
                        await self._follow_keys(session)
                    case KeyPending():
                        self._keys.pending()
                        return _End("key_pending", at_once=True)
                    case Rejected("new_key_refused", _) if proposing:
                        self._keys.drop_successor()
            if self._store_changed:
                self._store_changed = False
                log.debug(log.Event.STORE_CHANGED)
                session.store_changed(self._clock())
            match session.poll(self._clock()):
                case Send(request):
                    await self._write(call, request)
                case Collect() as task:
                    await self._write(call, await self._evidence(session, task))
                case Propose():
                    await self._write(call, await self._proposal(session))
                case Leave():
                    return _End("draining", at_once=session.accepted > 0)  # else two that drain would play ball with us
                case None:
                    await self._wait_for_news(session.next_due() - self._clock())

    async def _evidence(self, session: Session, task: Collect) -> pb.AttestRequest:
        collected = await self._collect(task)
        evidence = session.evidence(collected, read_boot(), now=self._clock(), wall_time=time.time())
        return pb.AttestRequest(envelope=await self._signed(self._keys.signing, EVIDENCE_TYPE, evidence.SerializeToString()))

    async def _signed(self, key: DeviceKey, payload_type: str, payload: bytes) -> pb.SignedEnvelope:
        return await signed(key, payload_type, payload, timeout_seconds=self._settings.answer_timeout_seconds)

    async def _follow_keys(self, session: Session) -> None:
        """After an acknowledgement: a successor that signed takes over; one that is wished for is proposed."""
        self._key_tried = False
        try:
            if self._keys.accepted():
                log.info(log.Event.KEY_ROTATED, key_id=self._keys.signing.key_id)
                return
            make = partial(self._keys.wish_if_older, self._rotation_days)
            await beside(make, timeout_seconds=self._settings.answer_timeout_seconds)
            if self._clock() >= self._proposal_due and self._keys.successor() is not None:
                self._proposal_due = self._clock() + _PROPOSAL_PAUSE_SECONDS
                session.want_rotation()
        except (OperatorError, OSError) as error:  # the key that signs goes on
            log.warning(log.Event.KEY_ROTATION_FAILED, detail=str(error))

    async def _proposal(self, session: Session) -> pb.AttestRequest:
        successor = await beside(self._keys.wish, timeout_seconds=self._settings.answer_timeout_seconds)
        payload = session.rotation(successor.public_key_der, successor.protection, now=self._clock()).SerializeToString()
        envelope = await self._signed(self._keys.signing, KEY_ROTATE_TYPE, payload)
        envelope.signatures.extend((await self._signed(successor, KEY_ROTATE_TYPE, payload)).signatures)
        return pb.AttestRequest(envelope=envelope)

    async def _collect(self, task: Collect) -> Collected:
        checks, collector = task.check_set.checks, self._collector
        try:
            async with asyncio.timeout(self._settings.collection_timeout_seconds):
                # Watched first: what changes while it is being collected is noticed.
                await self._watch.update(await self._worker.run(lambda: collector.watched(checks)))
                return await self._worker.run(lambda: collector.collect(checks, task.binding))
        except TimeoutError:
            return collector.timed_out(checks)

    async def _write(self, call: AttestCall, request: pb.AttestRequest) -> None:
        try:
            async with asyncio.timeout(self._settings.answer_timeout_seconds):
                await write(call, request)
        except TimeoutError as error:
            raise ServerSilentError("the server does not read") from error
        except grpc.aio.AioRpcError:
            return  # the reader gets the same, and says so

    async def _wait_for_news(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, _LONGEST_WAIT_SECONDS)):
                await self._news.wait()

    async def _pause(self, seconds: float) -> None:
        """Sleeps by the clock that runs on while the machine sleeps: who wakes up long after is not made to wait once more."""
        due = self._clock() + seconds
        while (left := due - self._clock()) > 0:  # noqa: ASYNC110 -- there is nothing to be told of
            await asyncio.sleep(min(left, _LONGEST_WAIT_SECONDS))

    def _delay_after(self, end: _End) -> float:
        if end.retry_after_seconds > 0:  # the server knows best; spread, as all its devices may have heard the same
            hint = min(end.retry_after_seconds, _LONGEST_HINT_SECONDS)
            return self._uniform(hint, 1.5 * hint)
        return self._retry_delay(refused=end.refused)

    def _retry_delay(self, *, refused: bool) -> float:
        return (self._refusal if refused else self._trouble).next()

    def _note(self, notice: Notice | None) -> None:
        match notice:
            case Challenged(epoch):
                log.info(log.Event.CONNECTED, server=self._status.status.server, epoch=epoch)
                self._status.connected()
            case Accepted(sequence, results):
                self._trouble.reset()
                self._refusal.reset()
                log.debug(log.Event.EVIDENCE_ACCEPTED, sequence=sequence, results=len(results))
                self._note_changes(results)
                self._status.accepted(results)
            case KeyPending():
                log.info(log.Event.KEY_PENDING)
            case Rejected(code, retry_seconds):
                log.warning(log.Event.EVIDENCE_REJECTED, code=code, retry_seconds=retry_seconds)
                if retry_seconds is not None:
                    self._status.troubled(code, "evidence was rejected", retry_seconds=retry_seconds, connected=True)
            case Instructed(check_set):
                log.info(log.Event.CHECK_SET_RECEIVED, revision=check_set.revision, checks=len(check_set.checks))
                self._keep(check_set)
            case Draining(leave_seconds):
                log.info(log.Event.DRAINING, leave_seconds=leave_seconds)
            case _:
                pass

    def _keep(self, check_set: CheckSet) -> None:
        """For the person at the device alone: attesting goes on without."""
        try:
            self._keep_checks(pb.CheckSet(revision=check_set.revision, checks=check_set.checks))
        except OperatorError as error:
            log.warning(log.Event.CHECK_SET_NOT_KEPT, error=error)

    def _note_changes(self, results: tuple[pb.CheckResult, ...]) -> None:
        verdicts = {result.check_id: (result.passed, result.reason) for result in results}
        for result in results:
            if self._verdicts.get(result.check_id) != verdicts[result.check_id]:
                detail = result.detail or None
                log.info(
                    log.Event.CHECK_CHANGED,
                    check=result.name or result.check_id,
                    passed=result.passed,
                    reason=result.reason,
                    detail=detail,
                )
        self._verdicts = verdicts
