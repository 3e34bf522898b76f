"""Sealed challenges: known again by the process that told them, answered once, and nothing kept for those that only ask."""

import pytest

from watchword_server.core.model.evidence import Challenge
from watchword_server.core.model.names import DeviceId, Instant, SessionId
from watchword_server.core.sealing import seal, unseal
from watchword_server.core.session import SendChallenge
from watchword_server.errors import StaleChallengeError
from watchword_server.services.answered import AnsweredChallenges

KEY, NOW = b"k" * 32, Instant(1_000.0)


def challenge(number: int, *, issued_at: float = NOW) -> Challenge:
    return Challenge(nonce=number.to_bytes(32), issued_at=Instant(issued_at))


@pytest.mark.parametrize("device_id", ["d", "dev_1", "\N{SNOWMAN}" * 42])
def test_a_seal_gives_back_what_was_sealed(device_id: str) -> None:
    sent = SendChallenge(SessionId(b"s" * 16), 2**64 - 1, challenge(7))
    sealed = seal(KEY, DeviceId(device_id), sent)
    assert len(sealed) <= 512
    unsealed = unseal(KEY, sealed)
    assert (unsealed.device_id, unsealed.sent) == (device_id, sent)


def test_no_seal_is_accepted_that_differs_in_any_bit() -> None:
    sealed = seal(KEY, DeviceId("dev_1"), SendChallenge(SessionId(b"s" * 16), 3, challenge(7)))
    for bit in range(len(sealed) * 8):
        changed = (int.from_bytes(sealed) ^ (1 << bit)).to_bytes(len(sealed))
        with pytest.raises(StaleChallengeError):
            unseal(KEY, changed)
    for length in range(len(sealed)):
        with pytest.raises(StaleChallengeError):
            unseal(KEY, sealed[:length])
    with pytest.raises(StaleChallengeError):
        unseal(b"another" * 4, sealed)


def test_a_challenge_is_spent_once() -> None:
    answered = AnsweredChallenges(60.0, 10)
    answered.spend(challenge(1), now=NOW)
    answered.spend(challenge(2), now=NOW)
    with pytest.raises(StaleChallengeError, match="before"):
        answered.spend(challenge(1), now=Instant(NOW + 60))


def test_a_challenge_that_has_aged_is_not_answered_at_all() -> None:
    answered = AnsweredChallenges(60.0, 10)
    answered.spend(challenge(1), now=Instant(NOW + 60))
    with pytest.raises(StaleChallengeError, match="too old"):
        answered.spend(challenge(2), now=Instant(NOW + 60.1))
    assert len(answered) == 1


def test_only_so_many_are_kept_and_none_longer_than_it_could_be_answered() -> None:
    answered = AnsweredChallenges(60.0, 3)
    for number in range(10):
        answered.spend(challenge(number), now=NOW)
        assert len(answered) <= 3
    with pytest.raises(StaleChallengeError):
        answered.spend(challenge(9), now=NOW)
    late = Instant(NOW + 100)
    answered.spend(challenge(20, issued_at=late), now=late)
    assert len(answered) == 1
