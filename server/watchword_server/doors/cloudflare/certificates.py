"""mTLS certificates: what client certificates have to be signed by. They never change: there is no replacing."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from watchword_server.configuration.book import RuleBook
from watchword_server.configuration.document.base import Section
from watchword_server.configuration.document.certificates import read_bundle
from watchword_server.core.model.names import Instant
from watchword_server.core.times import rfc3339
from watchword_server.doors.cloudflare.envelope import Envelope, answer
from watchword_server.doors.cloudflare.resources import Body, Entries, EntryId, Wire, router, single_page
from watchword_server.doors.operators.authentication import Authentication
from watchword_server.errors import ConfigurationError, Problem
from watchword_server.ports.rules import StoredObject
from watchword_server.services.rules import Rules

_UPLOADED: Final = "custom"
_SEALED: Final = "private_key_sealed"  # core.revisions keeps it out of revisions


class CertificateRequest(Body):
    """A certificate to upload; behind the CA there may be its intermediates."""

    ca: bool
    certificates: str = Field(description="PEM; the one that signs the client certificates comes first")
    name: str | None = None
    private_key: str | None = Field(None, description="kept encrypted, if the server has a key-encryption key; never told")


@dataclass(slots=True)
class Certificates:
    """See `Kind`. `seal` encrypts a private key, bound to its certificate's fingerprint; None: there is nothing to do it with."""

    seal: Callable[[bytes, bytes], str] | None = None
    section = Section.CERTIFICATES

    def entry(self, wire: Wire, book: RuleBook, before: StoredObject | None) -> tuple[str, Wire]:  # noqa: ARG002
        """See `Kind`."""
        if _SEALED in wire:
            raise _problem(_SEALED, f"`{_SEALED}` is what this server makes of a `private_key`: leave it out")
        if not wire["ca"]:
            raise _problem("ca", "`ca: false`: only certificates that sign client certificates are of use here, upload the CA's")
        pem = wire["certificates"].replace("\\n", "\n") if "\n" not in wire["certificates"] else wire["certificates"]
        try:
            signing = read_bundle(pem).signing
        except ValueError as error:
            raise _problem("certificates", f"`certificates` {error}") from error
        name = wire.get("name") or f"certificate-{signing.fingerprint.hex()[:16]}"  # whoever repeats the upload repeats the name
        return name, {
            "api": {
                **{key: value for key, value in wire.items() if key != "private_key"},
                **self._sealed(wire, signing.x509, signing.fingerprint),
            },
            "pem": pem,
        }

    def _sealed(self, wire: Wire, certificate: x509.Certificate, fingerprint: bytes) -> Wire:
        text = wire.get("private_key")
        if not text:
            return {}
        if self.seal is None:
            raise _problem(
                "private_key",
                "`private_key` is not taken: there is no key-encryption key to keep it under; leave it out (nothing here needs"
                " it), or set `operators.key_encryption_key_file`",
            )
        pem = text.replace("\\n", "\n") if "\n" not in text else text
        try:
            key = load_pem_private_key(pem.encode(), password=None)
            public, encoding = key.public_key(), (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            belongs = public.public_bytes(*encoding) == certificate.public_key().public_bytes(*encoding)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            words = "`private_key` cannot be read: give it in PEM, not encrypted"
            raise _problem("private_key", words) from None  # whatever it was, it is not repeated
        if not belongs:
            raise _problem("private_key", "`private_key` belongs to another certificate than the first of `certificates`")
        return {_SEALED: self.seal(pem.encode(), fingerprint)}

    def told(self, stored: StoredObject) -> Wire:
        """See `Kind`."""
        api = stored.body.get("api")
        sent = {key: value for key, value in api.items() if key != _SEALED} if isinstance(api, dict) else {}
        pem = str(stored.body["pem"])
        certificate = read_bundle(pem).signing.x509
        found = {
            **sent,
            "id": stored.id,
            "ca": True,
            "certificates": pem,
            "expires_on": rfc3339(Instant(certificate.not_valid_after_utc.timestamp())),
            "issuer": _as_go_prints(certificate.issuer),
            "serial_number": str(certificate.serial_number),
            "signature": _signature(certificate),
            "type": _UPLOADED,
            "uploaded_on": rfc3339(stored.created_at),
            "updated_at": rfc3339(stored.updated_at),
        }
        return found if "certificates" in sent else {**found, "name": stored.name}


def routes(rules: Rules, authentication: Authentication, seal: Callable[[bytes, bytes], str] | None) -> APIRouter:
    """`/accounts/{account_id}/mtls_certificates`."""
    kind = Certificates(seal)
    entries, made = Entries(rules, kind), router("/mtls_certificates")
    read, write = [Depends(authentication.require("read"))], [Depends(authentication.require("write"))]

    @made.get("", dependencies=read, response_model=Envelope[list[dict[str, Any]]])
    async def list_certificates(type: Annotated[list[str] | None, Query()] = None) -> JSONResponse:  # noqa: A002
        """All certificates, in one page. `type`: only of these; all here are `custom`."""
        return single_page(kind, entries.all() if not type or _UPLOADED in type else [])

    @made.post("", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def upload_certificate(body: CertificateRequest, request: Request) -> JSONResponse:
        """A new certificate; in force when answered."""
        return await entries.create(body.wire(), request)

    @made.get("/{mtls_certificate_id}", dependencies=read, response_model=Envelope[dict[str, Any]])
    async def get_certificate(mtls_certificate_id: EntryId) -> JSONResponse:
        """One certificate."""
        return await entries.get(mtls_certificate_id)

    @made.delete("/{mtls_certificate_id}", dependencies=write, response_model=Envelope[dict[str, Any]])
    async def delete_certificate(mtls_certificate_id: EntryId) -> JSONResponse:
        """Removes a certificate that no posture rule names; the answer is the certificate."""
        told = kind.told(entries.found(mtls_certificate_id))
        await entries.delete(mtls_certificate_id)
        return answer(told)

    @made.get("/{mtls_certificate_id}/associations", dependencies=read, response_model=Envelope[list[dict[str, Any]]])
    async def list_associations(mtls_certificate_id: EntryId) -> JSONResponse:
        """What uses a certificate."""
        named_by = rules.naming(Section.CERTIFICATES, entries.found(mtls_certificate_id).id)
        return answer([{"service": "device_posture", "status": "active", "name": stored.name} for _, stored in named_by])

    return made


def _problem(key: str, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(("", "", key), message)])


def _as_go_prints(name: x509.Name) -> str:
    """The names from the last to the first, with Go's abbreviations."""
    names = reversed(name.rdns)
    return ",".join(
        "+".join(f"{attribute.rfc4514_attribute_name}={_escaped(attribute.value)}" for attribute in rdn) for rdn in names
    )


def _escaped(value: str | bytes) -> str:
    return re.sub(r'([,+"\\<>;])', r"\\\1", value if isinstance(value, str) else value.hex())


def _signature(certificate: x509.Certificate) -> str:
    digest = certificate.signature_hash_algorithm
    if digest is None:
        return "Ed25519"
    algorithm = certificate.signature_algorithm_parameters
    name = digest.name.upper()
    if isinstance(algorithm, ec.ECDSA):
        return f"ECDSAWith{name}"
    return f"{name}WithRSA" if isinstance(algorithm, padding.PKCS1v15) else f"{name}WithRSAPSS"
