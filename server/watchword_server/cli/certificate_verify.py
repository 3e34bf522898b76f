"""`watchword certificate verify`: the server's verdict on a certificate, without a server."""

import datetime as dt
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from watchword_server.cli.options import JSON
from watchword_server.core.certificates.conditions import Subject
from watchword_server.core.certificates.crl import RevocationListRefusedError, view_of
from watchword_server.core.certificates.examination import Examination, examine
from watchword_server.core.certificates.parsed import ParsedCertificate, parse_whole
from watchword_server.core.certificates.path import check_signing_certificate
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.revocation import NOTHING_KNOWN, RevocationView
from watchword_server.core.certificates.verdict import VerifiedCertificate
from watchword_server.core.model.checks import ClientCertificateConfig, OnClone, RevocationPolicy, SigningCertificate, Trust
from watchword_server.core.model.names import CertificateId, Instant
from watchword_server.core.times import rfc3339

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_MAX_FILE_BYTES: Final = 512 * 1024 * 1024  # a revocation list may be large
_MEANINGS: Final[Mapping[str, str]] = {
    "certificate_malformed": "it cannot be read as an X.509 v3 certificate",
    "certificate_is_the_issuer": "it is the CA's own certificate, or has its key: that is public and proves nothing",
    "certificate_algorithm_refused": "a signature in its path is of a kind that is not accepted",
    "certificate_wrong_issuer": "another CA's name stands in it as its issuer",
    "chain_incomplete": "no path leads from it to the trusted CA: an intermediate is missing, or it belongs elsewhere",
    "chain_too_long": "its path has more certificates than are accepted",
    "chain_too_complex": "its paths cost more to look at than any honest ones do",
    "certificate_signature_invalid": "a signature in its path was not made by the key of the issuer above it",
    "certificate_is_a_ca": "it is a CA's certificate or may sign certificates: no client certificate",
    "certificate_extension_not_understood": "a critical extension in its path is not understood",
    "certificate_key_weak": "a key in its path is too weak, too large or of a kind that is not accepted",
    "issuer_not_a_ca": "a certificate above it may not sign certificates",
    "path_length_exceeded": "a CA above it allows fewer intermediates than there are",
    "name_constraints_violated": "a CA above it may not issue for a name in its path",
    "policy_required": "a CA above it demands certificate policies, which are not looked at here",
    "issuer_not_valid_now": "a certificate above it is expired or not valid yet",
    "certificate_not_yet_valid": "it is not valid yet",
    "certificate_expired": "it has expired",
    "extended_key_usage_missing": "it, or an intermediate, does not allow a use that is asked for",
    "serial_number_unknown": "the device's serial number is not known: give --serial-number",
    "serial_number_mismatch": "the device reports another serial number than it enrolled with",
    "hostname_unknown": "the device's hostname is not known: give --hostname",
    "common_name_mismatch": "its common name is another one",
    "subject_alternative_name_mismatch": "it has none of the alternative names asked for",
    "issuer_revoked": "a certificate above it is revoked",
    "certificate_revoked": "it is revoked",
    "revocation_unknown": "whether it is revoked cannot be told, and has to be",
}


@click.command()
@click.option(
    "--ca", "ca", type=_FILE, required=True, help="The uploaded CA's certificate; in a bundle the first, then intermediates."
)
@click.option(
    "--cert", "certificate", type=_FILE, required=True, help="The client certificate; further ones in the file are its chain."
)
@click.option("--chain", "chain", type=_FILE, multiple=True, help="Intermediates the device would bring; may be repeated.")
@click.option("--crl", "lists", type=_FILE, multiple=True, help="A revocation list, complete or delta; may be repeated.")
@click.option("--ocsp", "responses", type=_FILE, multiple=True, help="A stapled OCSP response in DER; may be repeated.")
@click.option("--at", "at", metavar="TIME", help="Judge as of 2026-11-23T12:00:00Z, or seconds since 1970.  [default: now]")
@click.option(
    "--trust",
    type=click.Choice([each.value for each in Trust]),
    default=Trust.ISSUER.value,
    show_default=True,
    help="As in the check.",
)
@click.option(
    "--revocation", type=click.Choice([each.value for each in RevocationPolicy]), help="As in the check.  [default: prefer]"
)
@click.option(
    "--eku", "usages", type=click.Choice(["clientAuth", "emailProtection"]), multiple=True, help="As in the check; all of them."
)
@click.option("--cn", metavar="NAME", help="As in the check; ${serial_number} and ${hostname} are filled in.")
@click.option("--san", "names", metavar="NAME", multiple=True, help="As in the check; any of them.")
@click.option("--serial-number", help="The device's, for ${serial_number}.")
@click.option("--hostname", help="The device's, for ${hostname}.")
@JSON
def verify(
    ca: Path,
    certificate: Path,
    chain: Sequence[Path],
    lists: Sequence[Path],
    responses: Sequence[Path],
    at: str | None,
    trust: str,
    revocation: str | None,
    *,
    usages: tuple[str, ...],
    cn: str | None,
    names: tuple[str, ...],
    serial_number: str | None,
    hostname: str | None,
    as_json: bool,
) -> None:
    """The verdict a check would reach on a certificate, and every reason. Files are PEM or DER.

    Possession of the private key is not part of it: that takes the device. Exit codes: 0 it passes, 1 it is refused, 2 a file or
    option cannot be used.

    \b
    Example:  watchword certificate verify --ca corp-device-ca.pem --cert client.pem --eku clientAuth
              watchword certificate verify --ca root.pem --trust chain --cert client.pem --crl root.crl --revocation require
    """
    authority, *bundle = _certificates(ca)
    leaf, *brought = _certificates(certificate)
    brought += [der for path in chain for der in _certificates(path)]
    _check_authority(ca, authority)
    examination = examine(
        (leaf, *brought),
        SigningCertificate(CertificateId("ca"), ca.name, authority, tuple(bundle)),
        config=ClientCertificateConfig(
            certificate_id=CertificateId("ca"),
            common_name=cn,
            subject_alternative_names=names,
            extended_key_usage=usages,
            check_private_key=False,
            paths=(),
            trust_stores=(),
            trust=Trust(trust),
            on_clone=OnClone.FAIL,
            allow_pkcs1=False,
            revocation=RevocationPolicy(revocation or RevocationPolicy.PREFER),
        ),
        subject=Subject(serial_number=serial_number, hostname=hostname),
        revocation=_view(lists, [authority, *bundle, *brought]),
        stapled=[_bytes(path) for path in responses],
        now=_instant(at),
    )
    click.echo(json.dumps(_document(examination)) if as_json else "\n".join(_lines(examination)))
    if examination.verified is None:
        raise click.exceptions.Exit(1)


# ---- Files --------------------------------------------------------------------------------------------------------------


def _bytes(path: Path) -> bytes:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise click.UsageError(f"`{path}` is larger than {_MAX_FILE_BYTES >> 20} MiB")
    return path.read_bytes()


def _certificates(path: Path) -> list[bytes]:
    """The certificates of a file, in its order: one in DER, or any number in PEM."""
    data = _bytes(path)
    if b"-----BEGIN" not in data:
        return [data]
    try:
        return [found.public_bytes(Encoding.DER) for found in x509.load_pem_x509_certificates(data)]
    except ValueError as error:
        raise click.UsageError(f"`{path}` holds no certificate that can be read: give PEM or DER") from error


def _check_authority(path: Path, der: bytes) -> None:
    try:
        check_signing_certificate(parse_whole(der))
    except CertificateRefusedError as error:
        lacks = error.reason if error.expected is None else f"{error.reason}, it lacks {error.expected}"
        raise click.UsageError(f"`{path}` is no CA that could be uploaded: {lacks}") from error


def _view(paths: Sequence[Path], issuers: Sequence[bytes]) -> RevocationView:
    if not paths:
        return NOTHING_KNOWN
    ders = []
    for path in paths:
        data = _bytes(path)
        try:
            ders.append(x509.load_pem_x509_crl(data).public_bytes(Encoding.DER) if b"-----BEGIN" in data else data)
        except ValueError as error:
            raise click.UsageError(f"`{path}` holds no revocation list that can be read: give PEM or DER") from error
    try:
        return view_of(ders, list(_parsed(issuers)))
    except RevocationListRefusedError as error:
        raise click.UsageError(f"a revocation list cannot be used: {error}") from error


def _parsed(ders: Sequence[bytes]) -> Iterator[ParsedCertificate]:
    for der in ders:
        try:
            yield parse_whole(der)
        except CertificateRefusedError:
            continue  # it issues nothing; the verdict says why


def _instant(text: str | None) -> Instant:
    if text is None:
        return Instant(time.time())
    try:
        return Instant(float(text))
    except ValueError:
        pass
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"`{text}` is no time: write it like `2026-11-23T12:00:00Z`") from error
    return Instant((moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)).timestamp())


# ---- What is told -------------------------------------------------------------------------------------------------------


def _lines(examination: Examination) -> Iterator[str]:
    if examination.verified is not None:
        yield from _passed(examination.verified)
        return
    first, *others = examination.refusals
    yield f"refused: {first.reason}"
    yield from _why(first)
    for attempt in first.attempts:
        yield f"  tried      {' <- '.join(subject or '?' for subject in attempt.subjects)}: {attempt.reason}"
    for other in others:
        yield f"also: {other.reason}"
        yield from _why(other)


def _passed(verified: VerifiedCertificate) -> Iterator[str]:
    yield f"passed: {verified.certificate.subject_text() or 'the certificate'}"
    for certificate in verified.path.certificates:
        yield f"  path       {certificate.subject_text()}, until {_shown(certificate.not_after)}"
    yield f"  holds      until {_shown(verified.valid_until)}"


def _shown(instant: Instant) -> str:
    return str(rfc3339(instant)).replace(".000Z", "Z")


def _why(refusal: CertificateRefusedError) -> Iterator[str]:
    yield f"  meaning    {_MEANINGS[refusal.reason]}"
    if refusal.expected is not None:
        yield f"  expected   {_told(refusal.expected)}"
    if refusal.received is not None:
        yield f"  received   {_told(refusal.received)}"
    if refusal.reason == "revocation_unknown":
        yield "  hint       give current lists with --crl, or a response with --ocsp"


def _told(value: object) -> str:
    match value:
        case list() | tuple():
            return ", ".join(map(_told, value)) or "nothing"
        case {"subject": subject, "serial_number": serial, "why": why}:
            return f"{'; '.join(map(str, why))} (for {subject or 'the certificate'}, serial {serial})"
        case {"subject": subject, "serial_number": serial, "revoked_at": at, "revocation_reason": reason, "source": source}:
            return f"{subject or 'the certificate'}, serial {serial}: revoked at {at} ({reason}) by {source}"
        case _:
            return str(value)


def _document(examination: Examination) -> dict[str, Any]:
    verified = examination.verified
    if verified is not None:
        return {
            "passed": True,
            "reason": "passed",
            "path": [_described(certificate) for certificate in verified.path.certificates],
            "valid_from": rfc3339(verified.path.valid_from),
            "valid_until": rfc3339(verified.valid_until),
        }
    first, *others = examination.refusals
    return {"passed": False, **_refused(first), "also": [_refused(other) for other in others]}


def _refused(refusal: CertificateRefusedError) -> dict[str, Any]:
    return {
        "reason": refusal.reason,
        "meaning": _MEANINGS[refusal.reason],
        "expected": refusal.expected,
        "received": refusal.received,
        "attempts": [
            {
                "subjects": list(attempt.subjects),
                "reason": attempt.reason,
                "expected": attempt.expected,
                "received": attempt.received,
            }
            for attempt in refusal.attempts
        ],
    }


def _described(certificate: ParsedCertificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject_text(),
        "sha256": certificate.fingerprint.hex(),
        "serial_number": f"{certificate.serial_number:x}",
        "not_before": rfc3339(certificate.not_before),
        "not_after": rfc3339(certificate.not_after),
    }
