"""Certificates and keys in PKCS #11 tokens."""

from collections.abc import Sequence

from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores.base import Contents, Visit, Watched


class Pkcs11Store:
    """See `CertificateStore`."""

    def look(self, places: Sequence[str], visit: Visit) -> Contents:  # noqa: ARG002
        """See `CertificateStore`."""
        raise CollectionFailedError("store_unsupported", "PKCS #11 tokens are not supported yet")

    def watched(self, places: Sequence[str], visit: Visit) -> Watched:  # noqa: ARG002
        """See `CertificateStore`."""
        return Watched()
