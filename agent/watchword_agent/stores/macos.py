"""Certificates and keys in the keychains of macOS."""

from collections.abc import Sequence

from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores.base import Contents, Visit, Watched


class MacStore:
    """See `CertificateStore`."""

    def look(self, places: Sequence[str], visit: Visit) -> Contents:  # noqa: ARG002
        """See `CertificateStore`."""
        raise CollectionFailedError("store_unsupported", "the keychains of macOS are not supported yet")

    def watched(self, places: Sequence[str], visit: Visit) -> Watched:  # noqa: ARG002
        """See `CertificateStore`."""
        return Watched()
