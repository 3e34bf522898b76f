"""A challenge that its server need not remember: told under a seal, and known again by it.

Whoever asks for challenges without end costs no memory that way. A seal says that this server told this challenge to somebody who
named this device; it proves nothing about that somebody, and hides nothing that the challenge does not tell.
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import Final

from watchword_server.core.model.evidence import Challenge
from watchword_server.core.model.names import DeviceId, Instant, SessionId
from watchword_server.core.session import SendChallenge
from watchword_server.errors import StaleChallengeError

_DOMAIN: Final = b"Watchword sealed challenge v1\0"
_FIXED: Final = struct.Struct(">Qd16s32s")  # epoch, issued at, session id, nonce; the device id follows, then the tag
_TAG_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Unsealed:
    """What a seal says: the challenge, and the device that it was told for."""

    device_id: DeviceId
    sent: SendChallenge


def seal(key: bytes, device_id: DeviceId, sent: SendChallenge) -> bytes:
    """The seal of a challenge; for a device id of 128 bytes, 224 bytes."""
    content = _FIXED.pack(sent.epoch, sent.challenge.issued_at, sent.session_id, sent.challenge.nonce) + device_id.encode()
    return content + _tag(key, content)


def unseal(key: bytes, sealed: bytes) -> Unsealed:
    """What was sealed with this key. Raises `StaleChallengeError` for anything else, as seals of an earlier process are."""
    content, tag = sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]
    if len(content) <= _FIXED.size or not hmac.compare_digest(tag, _tag(key, content)):
        raise StaleChallengeError("a seal that is none of ours")
    epoch, issued_at, session_id, nonce = _FIXED.unpack_from(content)
    challenge = Challenge(nonce=nonce, issued_at=Instant(issued_at))
    return Unsealed(DeviceId(content[_FIXED.size :].decode()), SendChallenge(SessionId(session_id), epoch, challenge))


def _tag(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, _DOMAIN + content, hashlib.sha256)
