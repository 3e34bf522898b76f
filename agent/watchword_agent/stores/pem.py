"""Certificates and keys in PEM files at configured paths: in one file or several, in any order, with or without their chain."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores.base import Contents, Found, Visit, Watched
from watchword_agent.stores.files import expand, read
from watchword_agent.stores.other_formats import conversion
from watchword_agent.stores.passwords import password_for
from watchword_agent.stores.pem_blocks import FoundCertificate, FoundKey, parse
from watchword_agent.stores.signing import signer_for
from watchword_agent.stores.stapled import staple_path, stapled

# Keys that may be a certificate's own, nobody can tell; the most telling first.
_MAY_BE_ITS_OWN: Final = (
    pb.PRIVATE_KEY_STATE_WRONG_PASSWORD,
    pb.PRIVATE_KEY_STATE_LOCKED,
    pb.PRIVATE_KEY_STATE_UNREADABLE,
    pb.PRIVATE_KEY_STATE_UNSUPPORTED,
)


class PemStore:
    """All the files of a check form one pool: each certificate is matched with the key that fits it, wherever that lies."""

    def look(self, places: Sequence[str], visit: Visit) -> Contents:
        """See `CertificateStore`. Raises `CollectionFailedError` if no file yields a certificate."""
        certificates: dict[bytes, FoundCertificate] = {}  # by DER: the same one in two files is one
        keys: list[FoundKey] = []
        troubles: list[CollectionFailedError] = []
        for template in places:
            try:
                path = expand(template, visit.variables)
                for found in _in_file(path, visit):
                    match found:
                        case FoundCertificate():
                            certificates.setdefault(found.der, found)
                        case FoundKey():
                            keys.append(found)
                        case CollectionFailedError():
                            troubles.append(found)
            except CollectionFailedError as failure:
                troubles.append(failure)
        if not certificates:
            raise _most_telling(
                troubles
                or [
                    CollectionFailedError("no_certificate", f"`{place}` holds a private key and no certificate")
                    for place in places
                ]
            )
        return Contents(tuple(_matched(list(certificates.values()), keys, troubles)), tuple(troubles), explicit=True)

    def watched(self, places: Sequence[str], visit: Visit) -> Watched:
        """See `CertificateStore`. The file of a key's password counts as well."""
        paths = set()
        for template in places:
            try:
                path = expand(template, visit.variables)
            except CollectionFailedError:
                continue  # `look` reports it
            paths |= {path, staple_path(path)}
            if path in visit.access.password_files:
                paths.add(str(visit.access.password_files[path]))
        return Watched(frozenset(paths))


def _in_file(path: str, visit: Visit) -> Iterator[FoundCertificate | FoundKey | CollectionFailedError]:
    content, password, why_locked = read(path), None, ""
    try:
        password = password_for(path, visit.access)
    except CollectionFailedError as failure:
        why_locked = failure.detail
        yield failure
    nothing = True
    for found in parse(content.data, location=path, password=password):
        nothing = False
        if isinstance(found, FoundKey) and found.state == pb.PRIVATE_KEY_STATE_LOCKED and why_locked:
            yield replace(found, detail=why_locked)
        elif isinstance(found, FoundKey) and found.state == pb.PRIVATE_KEY_STATE_USABLE and content.exposed:
            yield replace(found, detail=f"others than its owner can read the private key in `{path}`: `chmod 600 {path}`")
        else:
            yield found
    if nothing:
        advice = conversion(content.data)
        yield CollectionFailedError("no_certificate", f"`{path}` {advice}" if advice else f"`{path}`")


def _most_telling(troubles: Sequence[CollectionFailedError]) -> CollectionFailedError:
    """What to report when there is no certificate: a file that is missing says less than one that cannot be read."""
    little = ("no_certificate", "path_missing", "password_file_unreadable")
    ranked = sorted((trouble.code for trouble in troubles), key=lambda code: little.index(code) if code in little else -1)
    return CollectionFailedError(ranked[0], ", ".join(trouble.detail for trouble in troubles if trouble.code == ranked[0]))


def _matched(
    certificates: Sequence[FoundCertificate], keys: Sequence[FoundKey], troubles: Sequence[CollectionFailedError]
) -> list[Found]:
    usable: dict[bytes | None, FoundKey] = {key.public_key_der: key for key in keys if key.public_key_der is not None}
    owners = {certificate.public_key_der for certificate in certificates}
    without = _without_key(keys, owners, troubles)
    return [_found(each, usable.get(each.public_key_der) or without) for each in certificates]


def _found(certificate: FoundCertificate, key: FoundKey) -> Found:
    der, location, responses = certificate.der, certificate.location, stapled(certificate.location)
    if key.private_key is None:
        return Found(der, location, key.state, key_detail=key.detail, ocsp_responses=responses)
    signer = signer_for(key.private_key)
    if signer is None:
        detail = "possession is proven by RSA, P-256, P-384 and Ed25519 keys only"
        return Found(der, location, pb.PRIVATE_KEY_STATE_UNSUPPORTED, key_detail=detail, ocsp_responses=responses)
    return Found(der, location, key.state, signer, key_detail=key.detail, ocsp_responses=responses)


def _without_key(keys: Sequence[FoundKey], owners: set[bytes | None], troubles: Sequence[CollectionFailedError]) -> FoundKey:
    """What to say of a certificate that no key fits. A key that fits another certificate says nothing about this one."""
    others = [key for key in keys if key.public_key_der not in owners or key.public_key_der is None]
    for state in _MAY_BE_ITS_OWN:
        for key in others:
            if key.state == state:
                return key
    for trouble in troubles:
        if trouble.code == "path_unreadable":
            return FoundKey(pb.PRIVATE_KEY_STATE_UNREADABLE, detail=trouble.detail)
    if others:
        return FoundKey(pb.PRIVATE_KEY_STATE_MISMATCH, detail="the private key belongs to another certificate")
    return FoundKey(pb.PRIVATE_KEY_STATE_ABSENT, detail="no private key lies at the paths of the check")
