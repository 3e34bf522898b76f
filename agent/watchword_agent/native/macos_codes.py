"""What the error codes of macOS mean for a keychain and for a key (SecBase.h, "Security Framework Result Codes")."""

from collections.abc import Mapping
from typing import Final

SUCCESS: Final = 0
PARAMETER: Final = -50
UNIMPLEMENTED: Final = -4
USER_CANCELED: Final = -128
NOT_AVAILABLE: Final = -25291
READ_ONLY: Final = -25292
AUTH_FAILED: Final = -25293
NO_SUCH_KEYCHAIN: Final = -25294
INVALID_KEYCHAIN: Final = -25295
ITEM_NOT_FOUND: Final = -25300
NO_ACCESS_FOR_ITEM: Final = -25243
INTERACTION_NOT_ALLOWED: Final = -25308
INTERACTION_REQUIRED: Final = -25315
DATA_NOT_AVAILABLE: Final = -25316
DECODE: Final = -26275
MISSING_ENTITLEMENT: Final = -34018
INVALID_DATABASE_BLOB: Final = -67598
INTERNAL_ERROR: Final = -67671  # what comes, too, of an access list that leaves this program out
INVALID_ACCESS_CREDENTIALS: Final = -67700
PRIVILEGE_NOT_GRANTED: Final = -67705
NOT_LOGGED_IN: Final = -67729
UNSUPPORTED_KEY_FORMAT: Final = -67734
INSUFFICIENT_CREDENTIALS: Final = -67822

_KEYS: Final[Mapping[str, tuple[str, frozenset[int]]]] = {
    "ABSENT": ("the keychain holds no key for the certificate", frozenset({ITEM_NOT_FOUND})),
    "NEEDS_UI": (
        "the key asks its user before it signs",
        frozenset({INTERACTION_NOT_ALLOWED, INTERACTION_REQUIRED, USER_CANCELED}),
    ),
    "DENIED": (
        "the key's access list leaves the agent out: import it with access for all applications, or for the agent",
        frozenset(
            {
                *(AUTH_FAILED, NO_ACCESS_FOR_ITEM, MISSING_ENTITLEMENT, INTERNAL_ERROR),
                *(INVALID_ACCESS_CREDENTIALS, PRIVILEGE_NOT_GRANTED, INSUFFICIENT_CREDENTIALS),
            }
        ),
    ),
    "UNREADABLE": ("the key is there and cannot be read now", frozenset({NOT_AVAILABLE, DATA_NOT_AVAILABLE, NOT_LOGGED_IN})),
    "UNSUPPORTED": ("the key does not sign in this way", frozenset({PARAMETER, UNIMPLEMENTED, UNSUPPORTED_KEY_FORMAT})),
}
_STATES: Final = {code: state for state, (_, codes) in _KEYS.items() for code in codes}
_STORES: Final[Mapping[int, str]] = {
    NO_SUCH_KEYCHAIN: "store_missing",
    INVALID_KEYCHAIN: "store_corrupt",
    DECODE: "store_corrupt",
    INVALID_DATABASE_BLOB: "store_corrupt",
    **dict.fromkeys((AUTH_FAILED, INTERACTION_NOT_ALLOWED, NO_ACCESS_FOR_ITEM, MISSING_ENTITLEMENT), "store_denied"),
}
_NAMES: Final = {value: name for name, value in vars().items() if name.isupper() and isinstance(value, int) and value}


class KeyFailureError(Exception):
    """A key that cannot be used. `state` without its prefix; `detail` has the call and its code."""

    def __init__(self, state: str, detail: str) -> None:
        super().__init__(f"{state}: {detail}")
        self.state = state
        self.detail = detail


def key_failure(call: str, code: int) -> KeyFailureError:
    """What to raise for a call on a key that failed with this code."""
    state = _STATES.get(code, "FAILED")
    sentence = _KEYS[state][0] if state in _KEYS else "the keychain failed"
    return KeyFailureError(state, f"{sentence} ({described(call, code)})")


def store_code(code: int) -> str:
    """What the agent says of a keychain that gave this code: a code of docs/reasons.md."""
    return _STORES.get(code, "store_unreadable")


def described(call: str, code: int) -> str:
    """The call and its code; `security error CODE` explains it on a Mac."""
    name = _NAMES.get(code)
    return f"{call}: {code}" + (f" errSec{name.title().replace('_', '')}" if name else "")
