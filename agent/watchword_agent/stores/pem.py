"""Certificates and keys in PEM files at configured paths: in one file or several, in any order, with or without their chain."""

from collections.abc import Iterable, Sequence

from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores.base import Contents, Found, Visit, Watched
from watchword_agent.stores.files import expand, read_file
from watchword_agent.stores.pem_blocks import FoundCertificate, FoundKey, parse
from watchword_agent.stores.signing import signer_for
from watchword_agent.stores.stapled import staple_path, stapled


class PemStore:
    """All the files of a check form one pool: each certificate is matched with the key that fits it, wherever that lies."""

    def look(self, places: Sequence[str], visit: Visit) -> Contents:
        """See `CertificateStore`. Raises `CollectionFailedError` if no file yields a certificate."""
        certificates: dict[bytes, FoundCertificate] = {}  # by DER: the same one in two files is one
        keys: list[FoundKey] = []
        failures: list[CollectionFailedError] = []
        for template in places:
            try:
                path = expand(template, visit.variables)
                for found in parse(read_file(path), location=path):
                    if isinstance(found, FoundKey):
                        keys.append(found)
                    else:
                        certificates.setdefault(found.der, found)
            except CollectionFailedError as failure:
                failures.append(failure)
        if not certificates:
            raise _most_telling(failures, places)
        return Contents(tuple(_matched(list(certificates.values()), keys, failures)), tuple(failures), explicit=True)

    def watched(self, places: Sequence[str], visit: Visit) -> Watched:
        """See `CertificateStore`."""
        paths = set()
        for template in places:
            try:
                path = expand(template, visit.variables)
            except CollectionFailedError:
                continue  # `look` reports it
            paths |= {path, staple_path(path)}
        return Watched(frozenset(paths))


def _most_telling(failures: Sequence[CollectionFailedError], templates: Iterable[str]) -> CollectionFailedError:
    """What to report when there is no certificate: a file that is missing says less than one that cannot be read."""
    if not failures:
        return CollectionFailedError("no_certificate", ", ".join(f"`{template}`" for template in templates))
    code = next((failure.code for failure in failures if failure.code != "path_missing"), "path_missing")
    return CollectionFailedError(code, ", ".join(failure.detail for failure in failures if failure.code == code))


def _matched(
    certificates: Sequence[FoundCertificate], keys: Sequence[FoundKey], failures: Iterable[CollectionFailedError]
) -> list[Found]:
    usable: dict[bytes | None, FoundKey] = {key.public_key_der: key for key in keys if key.public_key_der is not None}
    owners = {certificate.public_key_der for certificate in certificates}
    unreadable = any(failure.code == "path_unreadable" for failure in failures)
    state_without_key = _state_without_key(keys, owners, unreadable=unreadable)
    return [_found(each, usable.get(each.public_key_der), state_without_key) for each in certificates]


def _found(certificate: FoundCertificate, key: FoundKey | None, state_without_key: pb.PrivateKeyState) -> Found:
    der, location = certificate.der, certificate.location
    if key is None or key.private_key is None:
        return Found(der, location, state_without_key, ocsp_responses=stapled(location))
    signer = signer_for(key.private_key)
    state = pb.PRIVATE_KEY_STATE_USABLE if signer is not None else pb.PRIVATE_KEY_STATE_UNSUPPORTED
    return Found(der, location, state, signer, ocsp_responses=stapled(location))


def _state_without_key(keys: Sequence[FoundKey], owners: set[bytes | None], *, unreadable: bool) -> pb.PrivateKeyState:
    """What to say of a certificate that no key fits. A key that fits another certificate says nothing about this one."""
    states = {key.state for key in keys if key.public_key_der not in owners or key.public_key_der is None}
    for state in (pb.PRIVATE_KEY_STATE_LOCKED, pb.PRIVATE_KEY_STATE_UNSUPPORTED):
        if state in states:
            return state  # it may be this certificate's: nobody can tell
    if unreadable:
        return pb.PRIVATE_KEY_STATE_UNREADABLE
    return pb.PRIVATE_KEY_STATE_MISMATCH if states else pb.PRIVATE_KEY_STATE_ABSENT
