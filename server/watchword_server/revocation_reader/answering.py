"""From a request to an answer, both as they are in JSON.

Request: `source` (url, path, upload), `place`, `issuers` (DER in Base64), `spool`, `max_bytes`, `timeout_seconds`, `etag`,
`last_modified`, `previous` (SHA-256 in hexadecimal, or null).

Answer: `not_modified` alone; or `error` and `detail`; or what a `RevocationList` has, with `issuer` as the place of the CA in
`issuers`, and `newly_revoked` and `no_longer_revoked`: serial numbers in hexadecimal, or null.
"""

import base64
import contextlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from watchword_server.core.certificates.crl import RevocationListRefusedError, read_packed
from watchword_server.core.certificates.parsed import UNREADABLE, ParsedCertificate, parse_whole
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.revocation import RevocationList, issuer_key_of
from watchword_server.core.certificates.serial_index import Buffer, PackedSerialIndex, serial_number_of
from watchword_server.revocation_reader.failure import ReadingFailedError
from watchword_server.revocation_reader.fetching import Fetched, fetch_url, read_file

MAX_NAMED: Final = 2000  # serial numbers in an answer, which the server's event loop has to parse
_PEM: Final = b"-----BEGIN X509 CRL-----"
_PEM_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_IS_CERTIFICATE: Final = "this is a certificate: bring the list of what its CA revoked"


def answer(request: Mapping[str, Any]) -> dict[str, object]:
    """Fetches, verifies, indexes and writes. Raises `ReadingFailedError`."""
    fetched = _fetch(request)
    if fetched is None:
        return {"not_modified": True}
    der = _der(fetched.content)
    issuers = _issuers(request["issuers"])
    try:
        listed, entries = read_packed(der, list(issuers.values()))
    except RevocationListRefusedError as error:
        detail = _IS_CERTIFICATE if error.reason == "malformed" and _is_certificate(fetched.content) else error.detail
        raise ReadingFailedError(error.reason, detail) from error
    spool, sha256 = Path(request["spool"]), listed.sha256.hex()
    newly, no_longer = _changes(entries, None if request["previous"] is None else spool / f"{request['previous']}.index")
    try:
        _write(spool / f"{sha256}.crl", der)
        _write(spool / f"{sha256}.index", entries.buffer)
    except OSError as error:
        raise ReadingFailedError("spool_unwritable", f"`{spool}`: {error.strerror}") from error
    return {
        **_facts(listed),
        "issuer": next(place for place, issuer in issuers.items() if issuer_key_of(issuer) == listed.issuer),
        "length": len(der),
        "entries": len(entries),
        "etag": fetched.etag,
        "last_modified": fetched.last_modified,
        "newly_revoked": newly,
        "no_longer_revoked": no_longer,
    }


def _fetch(request: Mapping[str, Any]) -> Fetched | None:
    if request["source"] != "url":
        return read_file(Path(request["place"]), max_bytes=request["max_bytes"], etag=request["etag"])
    return fetch_url(
        request["place"],
        max_bytes=request["max_bytes"],
        timeout_seconds=request["timeout_seconds"],
        etag=request["etag"],
        last_modified=request["last_modified"],
    )


def _der(content: bytes) -> bytes:
    start = content.find(_PEM, 0, 64 * 1024)  # `openssl crl -text` writes the list in words before it
    if start < 0 or content[:1] == b"\x30":
        return content
    try:
        return x509.load_pem_x509_crl(content[start:]).public_bytes(Encoding.DER)
    except UNREADABLE as error:
        raise ReadingFailedError("malformed", "not a revocation list in PEM, or damaged") from error


def _is_certificate(content: bytes) -> bool:
    if _PEM_CERTIFICATE in content[: 64 * 1024]:
        return True
    try:
        x509.load_der_x509_certificate(content)
    except UNREADABLE:
        return False
    return True


def _issuers(encoded: list[str]) -> dict[int, ParsedCertificate]:
    issuers = {}
    for place, text in enumerate(encoded):
        with contextlib.suppress(CertificateRefusedError):  # it issues nothing
            issuers[place] = parse_whole(base64.b64decode(text))
    return issuers


def _facts(listed: RevocationList) -> dict[str, object]:
    scope, signer = listed.scope, listed.signer
    return {
        "sha256": listed.sha256.hex(),
        "number": None if listed.number is None else f"{listed.number:x}",
        "base_number": None if listed.base_number is None else f"{listed.base_number:x}",
        "this_update": listed.this_update,
        "next_update": listed.next_update,
        "scope": {
            "end_entities": scope.end_entities,
            "authorities": scope.authorities,
            "places": None if scope.places is None else sorted(scope.places),
        },
        "signer": None
        if signer is None
        else {
            "issuer_name": signer.issuer.name.hex(),
            "issuer_key": signer.issuer.public_key_sha256.hex(),
            "serial_number": f"{signer.serial_number:x}",
            "not_before": signer.not_before,
            "not_after": signer.not_after,
        },
    }


def _changes(entries: PackedSerialIndex, previous: Path | None) -> tuple[list[str] | None, list[str] | None]:
    """Serial numbers that are revoked now and were not, and the other way round; None: too many, or nothing to compare with."""
    if previous is None:
        return None, None
    try:
        before = PackedSerialIndex(previous.read_bytes())
    except (OSError, ValueError):
        return None, None
    old = {serial for serial, revoked in before.serial_numbers() if revoked}
    new = {serial for serial, revoked in entries.serial_numbers() if revoked}
    lifted = {serial for serial, revoked in entries.serial_numbers() if not revoked}
    lifted_before = {serial for serial, revoked in before.serial_numbers() if not revoked}
    return _named((new - old) | (lifted_before - lifted)), _named((old - new) | (lifted - lifted_before))


def _named(serials: Collection[bytes]) -> list[str] | None:
    return [f"{serial_number_of(serial):x}" for serial in serials] if len(serials) <= MAX_NAMED else None


def _write(path: Path, content: Buffer) -> None:
    """Whole or not at all, whatever happens meanwhile."""
    with NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
        try:
            file.write(content[:])
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
