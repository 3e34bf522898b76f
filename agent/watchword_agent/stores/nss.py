"""Certificates and keys in NSS databases."""

from collections.abc import Sequence

from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores.base import Contents, Visit, Watched


class NssStore:
    """See `CertificateStore`."""

    def look(self, places: Sequence[str], visit: Visit) -> Contents:  # noqa: ARG002
        """See `CertificateStore`."""
        raise CollectionFailedError("store_unsupported", "NSS databases are not supported yet")

    def watched(self, places: Sequence[str], visit: Visit) -> Watched:  # noqa: ARG002
        """See `CertificateStore`."""
        return Watched()
