"""A stream as a state machine: every message in every state, and that no nonce comes twice."""

import secrets
from collections.abc import Callable
from typing import Final

import pytest

from core.bench import AUDIENCE, NOW
from watchword.envelope import GOODBYE_TYPE, KEY_ROTATE_TYPE
from watchword_server.core.model.evidence import Envelope
from watchword_server.core.model.names import DeviceId, Instant
from watchword_server.core.session import (
    AttestSession,
    ChallengeRequested,
    EnvelopeReceived,
    Event,
    Hello,
    JudgeEnvelope,
    RotateKey,
    SendChallenge,
    SessionState,
    TakeGoodbye,
)
from watchword_server.errors import ProtocolViolationError

HELLO: Final = Hello(DeviceId("dev_1"), protocol_version=1, stored_epoch=6)
ENVELOPE: Final = EnvelopeReceived(Envelope(b"payload", "type", "key", b"signature"))
GOODBYE: Final = EnvelopeReceived(Envelope(b"payload", GOODBYE_TYPE, "key", b"signature"))
KEY_ROTATION: Final = EnvelopeReceived(Envelope(b"payload", KEY_ROTATE_TYPE, "key", b"signature", b"signature"))


def a_session(
    state: SessionState = SessionState.AWAITING_HELLO, fresh_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> AttestSession:
    session = AttestSession(AUDIENCE, 60.0, fresh_bytes)
    if state is not SessionState.AWAITING_HELLO:
        session.handle(HELLO, now=NOW)
    if state is SessionState.CLAIMED:
        session.handle(ENVELOPE, now=NOW)
        session.accepted()
    assert session.state is state
    return session


@pytest.mark.parametrize(
    ("state", "event", "action"),
    [
        (SessionState.AWAITING_HELLO, HELLO, SendChallenge),
        (SessionState.AWAITING_HELLO, ChallengeRequested(), None),
        (SessionState.AWAITING_HELLO, ENVELOPE, None),
        (SessionState.UNCLAIMED, HELLO, None),
        (SessionState.UNCLAIMED, ChallengeRequested(), SendChallenge),
        (SessionState.UNCLAIMED, ENVELOPE, JudgeEnvelope),
        (SessionState.CLAIMED, HELLO, None),
        (SessionState.CLAIMED, ChallengeRequested(), SendChallenge),
        (SessionState.CLAIMED, ENVELOPE, JudgeEnvelope),
    ],
)
def test_each_message_in_each_state(state: SessionState, event: Event, action: type[object] | None) -> None:
    session = a_session(state)
    if action is None:
        with pytest.raises(ProtocolViolationError):
            session.handle(event, now=NOW)
        assert session.state is state
    else:
        assert type(session.handle(event, now=NOW)) is action


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
def test_another_protocol_version_is_refused(version: int) -> None:
    session = a_session()
    with pytest.raises(ProtocolViolationError):
        session.handle(Hello(DeviceId("dev_1"), version, stored_epoch=0), now=NOW)
    assert session.device_id is None


def test_the_epoch_is_proposed_by_hello_and_claimed_by_what_is_accepted() -> None:
    session = a_session(SessionState.UNCLAIMED)
    assert (session.epoch, session.claims_epoch) == (7, True)
    session.handle(ENVELOPE, now=NOW)  # rejected: nobody called `accepted`
    assert (session.state, session.claims_epoch, session.sequence) == (SessionState.UNCLAIMED, True, 0)
    session.handle(ENVELOPE, now=NOW)
    session.accepted()
    assert (session.state, session.claims_epoch, session.sequence) == (SessionState.CLAIMED, False, 1)


def test_what_is_expected_is_what_was_challenged() -> None:
    session = a_session()
    sent = session.handle(HELLO, now=NOW)
    assert isinstance(sent, SendChallenge)
    judge = session.handle(ENVELOPE, now=Instant(NOW + 5))
    assert isinstance(judge, JudgeEnvelope)
    expected = judge.expected
    assert expected.challenge == sent.challenge
    assert sent.challenge.issued_at == NOW
    assert (expected.audience, expected.session_id, expected.epoch, expected.sequence) == (AUDIENCE, sent.session_id, 7, 1)
    assert (expected.session_id, expected.epoch) == (session.session_id, sent.epoch)


@pytest.mark.parametrize("accepted", [True, False])
def test_a_challenge_is_spent_by_its_first_answer_good_or_bad(accepted: bool) -> None:
    session = a_session(SessionState.UNCLAIMED)
    session.handle(ENVELOPE, now=NOW)
    if accepted:
        session.accepted()
    again = session.handle(ENVELOPE, now=NOW)
    assert isinstance(again, JudgeEnvelope)
    assert again.expected.challenge is None


@pytest.mark.parametrize("state", [SessionState.UNCLAIMED, SessionState.CLAIMED])
def test_a_goodbye_may_come_at_any_time_after_the_challenge(state: SessionState) -> None:
    session = a_session(state)
    session.challenge(now=NOW)
    taken = session.handle(GOODBYE, now=NOW)
    assert isinstance(taken, TakeGoodbye)
    assert taken.expected.challenge is not None
    again = session.handle(GOODBYE, now=NOW)
    assert isinstance(again, TakeGoodbye)
    assert again.expected.challenge is None, "a challenge is spent by its first answer"


def test_a_key_rotation_needs_a_claimed_session() -> None:
    with pytest.raises(ProtocolViolationError):
        a_session(SessionState.UNCLAIMED).handle(KEY_ROTATION, now=NOW)
    assert isinstance(a_session(SessionState.CLAIMED).handle(KEY_ROTATION, now=NOW), RotateKey)


@pytest.mark.parametrize("event", [GOODBYE, KEY_ROTATION], ids=["goodbye", "key rotation"])
def test_nothing_is_signed_before_hello(event: EnvelopeReceived) -> None:
    with pytest.raises(ProtocolViolationError):
        a_session().handle(event, now=NOW)


def test_a_fresh_challenge_replaces_the_outstanding_one() -> None:
    session = a_session(SessionState.UNCLAIMED)
    sent = session.handle(ChallengeRequested(), now=Instant(NOW + 1))
    judge = session.handle(ENVELOPE, now=Instant(NOW + 2))
    assert isinstance(sent, SendChallenge)
    assert isinstance(judge, JudgeEnvelope)
    assert judge.expected.challenge == sent.challenge


def test_sequences_count_what_was_accepted() -> None:
    session = a_session(SessionState.UNCLAIMED)
    expected = []
    for accepted in (False, True, True, False, False, True):
        session.challenge(now=NOW)
        judge = session.handle(ENVELOPE, now=NOW)
        assert isinstance(judge, JudgeEnvelope)
        expected.append(judge.expected.sequence)
        if accepted:
            session.accepted()
    assert expected == [1, 1, 2, 3, 3, 3]


def test_ten_thousand_nonces_of_32_bytes_are_all_different() -> None:
    sessions = [a_session(SessionState.UNCLAIMED) for _ in range(10)]
    nonces = [session.challenge(now=NOW).challenge.nonce for session in sessions for _ in range(1000)]
    assert {len(nonce) for nonce in nonces} == {32}
    assert len(set(nonces)) == 10_000
    assert len({session.session_id for session in sessions}) == 10
    assert {len(session.session_id) for session in sessions} == {16}


def test_a_nonce_is_what_randomness_gave_and_nothing_else() -> None:
    given: list[bytes] = []

    def fresh_bytes(length: int) -> bytes:
        given.append(secrets.token_bytes(length))
        return given[-1]

    session = a_session(fresh_bytes=fresh_bytes)
    sent = session.handle(HELLO, now=NOW)
    assert isinstance(sent, SendChallenge)
    assert given == [sent.session_id, sent.challenge.nonce]
