"""Checks (in the Cloudflare API: device posture rules), and the certificates they refer to."""

from dataclasses import dataclass
from enum import StrEnum

from watchword_server.core.model.names import CertificateId, CheckId


class Trust(StrEnum):
    """How the uploaded signing certificate has to stand above the client certificate."""

    ISSUER = "issuer"  # it signed it directly
    CHAIN = "chain"  # a valid path leads from it to the client certificate


class RevocationPolicy(StrEnum):
    """What a check asks of revocation."""

    OFF = "off"
    PREFER = "prefer"  # what is known counts; not to know is no failure
    REQUIRE = "require"  # not to know fails


class OnClone(StrEnum):
    """What a key that two live devices prove, or a device key on two machines, means for this check."""

    FAIL = "fail"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class ClientCertificateConfig:
    """What a client certificate has to satisfy, and where an agent looks for it."""

    certificate_id: CertificateId
    common_name: str | None
    subject_alternative_names: tuple[str, ...]
    extended_key_usage: tuple[str, ...]  # clientAuth, emailProtection: all listed
    check_private_key: bool
    paths: tuple[str, ...]
    trust_stores: tuple[str, ...]
    trust: Trust
    on_clone: OnClone
    allow_pkcs1: bool
    revocation: RevocationPolicy = RevocationPolicy.PREFER


@dataclass(frozen=True, slots=True)
class Check:
    """A posture check. `revision` changes with everything a verdict depends on; `expiration_seconds` None: never."""

    id: CheckId
    name: str
    revision: int
    kind: str
    platforms: frozenset[str]  # empty: all
    schedule_seconds: int
    expiration_seconds: int | None
    config: ClientCertificateConfig


@dataclass(frozen=True, slots=True)
class ListPlace:
    """Where an operator says that a revocation list is: one of `url` and `path`, an absolute path on the server."""

    url: str | None
    path: str | None
    refresh_seconds: int


@dataclass(frozen=True, slots=True)
class OcspResponder:
    """Whom the server asks about single certificates, and how long it keeps an answer."""

    url: str
    refresh_seconds: int


@dataclass(frozen=True, slots=True)
class SigningCertificate:
    """A certificate an operator uploaded: what client certificates have to be signed by, directly or through `intermediates`."""

    id: CertificateId
    name: str
    der: bytes
    intermediates: tuple[bytes, ...] = ()  # the other CAs of the bundle, for `Trust.CHAIN`
    list_signers: tuple[bytes, ...] = ()  # the rest of the bundle: no CAs, but they may sign its revocation lists
    list_places: tuple[ListPlace, ...] = ()
    responder: OcspResponder | None = None
