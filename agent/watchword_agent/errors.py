"""Every error the agent raises on purpose, split by who can mend it.

AgentError
├── OperatorError                    whoever set up this device
│   ├── SettingsError                a setting is missing, unknown or out of bounds
│   ├── StateDirectoryError          the state directory or a file in it cannot be used
│   ├── DeviceKeyError               the device key is damaged, or others could have read it
│   ├── NotEnrolledError             nothing was enrolled from this state directory
│   ├── EnrollmentRefusedError       the server does not want this token or device
│   ├── GoodbyeRefusedError          the server does not take a goodbye of this device
│   └── TokenRefusedError            the server gives this device no token
├── ServerError                      the server, or what stands between
│   ├── ServerUnreachableError       no connection, or it broke; try again later
│   ├── ServerSilentError            an answer is overdue
│   ├── ProtocolViolationError       a message out of turn or out of bounds
│   └── ForeignAudienceError         it asks for evidence meant for another service
├── CollectionFailedError            a check could not be looked at; the server is told the code
└── SigningFailedError               a certificate's key did not sign, though it looked usable
"""

from typing import Final

from watchword.v1 import posture_pb2 as pb

_MAX_DETAIL_BYTES: Final = 1000  # a text on the wire has at most 1 KiB


class AgentError(Exception):
    """Base of all. The message is for the person at the device and says what to do next."""


class OperatorError(AgentError):
    """Something on this device, or the token it was given."""


class SettingsError(OperatorError):
    """A setting is missing, unknown or out of bounds."""


class StateDirectoryError(OperatorError):
    """The state directory or a file in it cannot be used."""


class DeviceKeyError(OperatorError):
    """The device key is damaged, or others could have read it."""


class NotEnrolledError(OperatorError):
    """Nothing was enrolled from this state directory."""


class EnrollmentRefusedError(OperatorError):
    """The server refused, for a reason that only its log tells: the message carries the correlation id."""


class TokenRefusedError(OperatorError):
    """The server gives this device no token."""


class GoodbyeRefusedError(OperatorError):
    """The server did not take the goodbye."""


class ServerError(AgentError):
    """The server or the way to it; trying again may help."""


class ServerUnreachableError(ServerError):
    """No connection, or it broke."""


class ServerSilentError(ServerError):
    """An answer is overdue."""


class ProtocolViolationError(ServerError):
    """A message out of turn or out of bounds."""


class ForeignAudienceError(ServerError):
    """A challenge for another audience than the one pinned at enrollment: signing it would let it be replayed there."""


class CollectionFailedError(AgentError):
    """A check could not be looked at. `code` and `detail` go to the server; `detail` says where, never what a file holds."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail.encode(errors="replace")[:_MAX_DETAIL_BYTES].decode(errors="ignore")


class SigningFailedError(AgentError):
    """A certificate's key did not sign, though it looked usable. `state`: what the server is told of it."""

    def __init__(self, message: str, state: pb.PrivateKeyState = pb.PRIVATE_KEY_STATE_FAILED) -> None:
        super().__init__(message)
        self.state = state
