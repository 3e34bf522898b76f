"""What the error codes of Windows mean for a key: a state of `PrivateKeyState`, and a sentence for the person at the device."""

from typing import Final

from watchword_agent.native import windows_structures as w

_MEANINGS: Final = {
    "ABSENT": (
        "the certificate names a key that is not there",
        {
            w.NTE_BAD_KEYSET,
            w.NTE_NO_KEY,
            w.NTE_NOT_FOUND,
            w.NTE_KEYSET_NOT_DEF,
            w.CRYPT_E_NO_KEY_PROPERTY,
            w.ERROR_FILE_NOT_FOUND,
        },
    ),
    "MISMATCH": ("the key that the certificate names belongs to another one", {w.NTE_BAD_PUBLIC_KEY}),
    "NEEDS_UI": (
        "the key asks its user before it signs",
        {
            *(w.NTE_SILENT_CONTEXT, w.NTE_UI_REQUIRED, w.NTE_USER_CANCELLED, w.ERROR_CANCELLED, w.NTE_PASSWORD_CHANGE_REQUIRED),
            *(w.SCARD_W_CANCELLED_BY_USER, w.SCARD_W_CARD_NOT_AUTHENTICATED),
        },
    ),
    "DENIED": (
        "the agent's account may not use the key",
        {w.NTE_PERM, w.ERROR_ACCESS_DENIED, w.E_ACCESSDENIED, w.SCARD_W_SECURITY_VIOLATION},
    ),
    "WRONG_PASSWORD": (
        "the PIN or password of the key is wrong or blocked",
        {w.SCARD_W_WRONG_CHV, w.SCARD_W_CHV_BLOCKED, w.NTE_INCORRECT_PASSWORD},
    ),
    "UNREADABLE": ("the key is there and cannot be read by this account", {w.NTE_BAD_KEY_STATE, w.NTE_KEYSET_ENTRY_BAD}),
    "UNSUPPORTED": (
        "the key's provider does not sign in this way",
        {w.NTE_BAD_ALGID, w.NTE_BAD_FLAGS, w.NTE_BAD_TYPE, w.NTE_INVALID_PARAMETER, w.NTE_NOT_SUPPORTED},
    ),
}
_STATES: Final = {code: state for state, (_, codes) in _MEANINGS.items() for code in codes}
_CARD_AWAY: Final = frozenset(
    {
        *(w.NTE_DEVICE_NOT_READY, w.NTE_DEVICE_NOT_FOUND, w.SCARD_E_NO_SMARTCARD, w.SCARD_E_NO_SERVICE),
        *(w.SCARD_E_NO_READERS_AVAILABLE, w.SCARD_W_REMOVED_CARD),
    }
)
_NAMES: Final = {
    value: name
    for name, value in vars(w).items()
    if name.startswith(("ERROR_", "E_", "NTE_", "CRYPT_E_", "SCARD_")) and isinstance(value, int)
}


class KeyFailureError(Exception):
    """A key that cannot be used. `state` without its prefix; `detail` has the call and its code in hexadecimal."""

    def __init__(self, state: str, detail: str) -> None:
        super().__init__(f"{state}: {detail}")
        self.state = state
        self.detail = detail


def key_failure(call: str, code: int) -> KeyFailureError:
    """What to raise for a call that failed with this code."""
    if code in _CARD_AWAY:
        return KeyFailureError("ABSENT", f"the card or device of the key is not there ({described(call, code)})")
    state = _STATES.get(code, "FAILED")
    sentence = _MEANINGS[state][0] if state in _MEANINGS else "the key's provider failed"
    return KeyFailureError(state, f"{sentence} ({described(call, code)})")


def described(call: str, code: int) -> str:
    """The call and its code, as a search engine finds it."""
    name = _NAMES.get(code)
    return f"{call}: 0x{code:08X}" + (f" {name}" if name else "")
