"""Certificates and keys in the certificate stores of Windows: the machine's, and those of the user who is signed in."""

from collections.abc import Sequence
from typing import Final

from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores.base import Contents, Visit, Watched
from watchword_agent.stores.helped import look_with_helpers

# The second reads the store of whoever is signed in where it runs as the system itself, whose own store nobody means.
_HELPERS: Final = {"system": "windows", "user": "windows_user"}


class WindowsStore:
    """`system` is LocalMachine\\My, `user` CurrentUser\\My. Nothing is ever asked of the user."""

    def look(self, places: Sequence[str], visit: Visit) -> Contents:
        """See `CertificateStore`."""
        return look_with_helpers(places, visit, _helper_of)

    def watched(self, places: Sequence[str], visit: Visit) -> Watched:  # noqa: ARG002
        """See `CertificateStore`."""
        return Watched(stores=frozenset((_HELPERS[place], place) for place in places if place in _HELPERS))


def _helper_of(place: str) -> str:
    if place not in _HELPERS:
        raise CollectionFailedError("store_unsupported", f"there is no store `{place}` on Windows: `system` or `user`")
    return _HELPERS[place]
