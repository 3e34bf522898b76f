"""Certificates and keys in the System keychain of macOS.

A daemon reaches no other one: not the data protection keychain, nor the login keychain of a user (Apple's TN3137).
"""

from collections.abc import Sequence
from typing import Final

from watchword_agent.errors import CollectionFailedError
from watchword_agent.native.macos_keychain import SYSTEM_KEYCHAIN
from watchword_agent.stores.base import Contents, Visit, Watched
from watchword_agent.stores.helped import look_with_helpers

_HELPER: Final = "macos"


class MacStore:
    """`system` is the System keychain. Nothing is ever asked of the user."""

    def look(self, places: Sequence[str], visit: Visit) -> Contents:
        """See `CertificateStore`."""
        return look_with_helpers(places, visit, _helper_of)

    def watched(self, places: Sequence[str], visit: Visit) -> Watched:  # noqa: ARG002
        """The keychain's file: it is written anew with each change. The framework's own notices need its run loop."""
        return Watched(files=frozenset({SYSTEM_KEYCHAIN} if "system" in places else ()))


def _helper_of(place: str) -> str:
    if place != "system":
        raise CollectionFailedError("store_unsupported", f"there is no store `{place}` for a daemon of macOS: `system`")
    return _HELPER
