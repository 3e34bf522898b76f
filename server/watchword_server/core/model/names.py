"""Ids, times and addresses, as the core tells them apart."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NewType

Instant = NewType("Instant", float)
DeviceId = NewType("DeviceId", str)
CheckId = NewType("CheckId", str)
CertificateId = NewType("CertificateId", str)
Fingerprint = NewType("Fingerprint", bytes)  # SHA-256 of a certificate's DER encoding
KeyFingerprint = NewType("KeyFingerprint", bytes)  # SHA-256 of a DER SubjectPublicKeyInfo
SessionId = NewType("SessionId", bytes)
IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
