"""Certificates and keys in PEM files at configured paths: in one file or several, in any order, with or without their chain."""

from collections.abc import Iterable, Sequence
from typing import Final

from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores.base import MAX_CANDIDATES, Candidate, Variables
from watchword_agent.stores.files import expand, read_file
from watchword_agent.stores.pem_blocks import FoundCertificate, FoundKey, parse
from watchword_agent.stores.signing import signer_for
from watchword_agent.stores.stapled import staple_path, stapled

MAX_CHAIN: Final = 8
_MAX_PATHS: Final = 32


class PemStore:
    """All the files of a check form one pool: each certificate is matched with the key that fits it, wherever that lies."""

    def find(self, check: pb.ClientCertificateCheck, variables: Variables) -> Sequence[Candidate]:
        """See `CertificateStore`. Certificates with a usable key come first; without one, whatever lies at the paths is sent.

        Raises `CollectionFailedError` if no file yields a certificate, with the most telling reason.
        """
        if len(check.paths) > _MAX_PATHS:
            raise CollectionFailedError("path_invalid", f"more than {_MAX_PATHS} paths")
        certificates: dict[bytes, FoundCertificate] = {}  # by DER: the same one in two files is one
        keys: list[FoundKey] = []
        failures: list[CollectionFailedError] = []
        for template in check.paths:
            try:
                path = expand(template, variables)
                for found in parse(read_file(path), location=path):
                    if isinstance(found, FoundKey):
                        keys.append(found)
                    else:
                        certificates.setdefault(found.der, found)
            except CollectionFailedError as failure:
                failures.append(failure)
        if not certificates:
            raise _most_telling(failures, check.paths)
        unreadable = any(failure.code == "path_unreadable" for failure in failures)
        return _candidates(list(certificates.values()), keys, unreadable=unreadable)

    def watched(self, check: pb.ClientCertificateCheck, variables: Variables) -> frozenset[str]:
        """See `CertificateStore`."""
        paths = set()
        for template in check.paths[:_MAX_PATHS]:
            try:
                path = expand(template, variables)
            except CollectionFailedError:
                continue  # `find` reports it
            paths |= {path, staple_path(path)}
        return frozenset(paths)


def _most_telling(failures: Sequence[CollectionFailedError], templates: Iterable[str]) -> CollectionFailedError:
    """What to report when there is no certificate: a file that is missing says less than one that cannot be read."""
    if not failures:
        return CollectionFailedError("no_certificate", ", ".join(f"`{template}`" for template in templates))
    code = next((failure.code for failure in failures if failure.code != "path_missing"), "path_missing")
    return CollectionFailedError(code, ", ".join(failure.detail for failure in failures if failure.code == code))


def _candidates(certificates: Sequence[FoundCertificate], keys: Sequence[FoundKey], *, unreadable: bool) -> list[Candidate]:
    usable: dict[bytes | None, FoundKey] = {key.public_key_der: key for key in keys if key.public_key_der is not None}
    owners = {certificate.public_key_der for certificate in certificates}
    state_without_key = _state_without_key(keys, owners, unreadable=unreadable)
    standing = [
        certificate
        for certificate in certificates
        if certificate.public_key_der in usable or not _issues_another(certificate, certificates)  # else: part of another's chain
    ]
    candidates = [
        _candidate(_chain(leaf, certificates), usable.get(leaf.public_key_der), state_without_key)
        for leaf in standing or certificates  # certificates that issue each other in a circle
    ]
    candidates.sort(key=lambda candidate: candidate.sign is None)  # stable: else in the order found
    return candidates[:MAX_CANDIDATES]


def _candidate(chain: Sequence[FoundCertificate], key: FoundKey | None, state_without_key: pb.PrivateKeyState) -> Candidate:
    ders, location = tuple(certificate.der for certificate in chain), chain[0].location
    if key is None or key.private_key is None:
        return Candidate(ders, location, state_without_key, ocsp_responses=stapled(location))
    signer = signer_for(key.private_key)
    if signer is None:
        return Candidate(ders, location, pb.PRIVATE_KEY_STATE_UNSUPPORTED, ocsp_responses=stapled(location))
    return Candidate(ders, location, pb.PRIVATE_KEY_STATE_USABLE, signer, stapled(location))


def _state_without_key(keys: Sequence[FoundKey], owners: set[bytes | None], *, unreadable: bool) -> pb.PrivateKeyState:
    """What to say of a certificate that no key fits. A key that fits another certificate says nothing about this one."""
    states = {key.state for key in keys if key.public_key_der not in owners or key.public_key_der is None}
    for state in (pb.PRIVATE_KEY_STATE_LOCKED, pb.PRIVATE_KEY_STATE_UNSUPPORTED):
        if state in states:
            return state  # it may be this certificate's: nobody can tell
    if unreadable:
        return pb.PRIVATE_KEY_STATE_UNREADABLE
    return pb.PRIVATE_KEY_STATE_MISMATCH if states else pb.PRIVATE_KEY_STATE_ABSENT


def _issues_another(certificate: FoundCertificate, certificates: Sequence[FoundCertificate]) -> bool:
    """Whether it stands above another one: then it is sent in that one's chain."""
    return any(other.issuer == certificate.subject != other.subject for other in certificates)


def _chain(leaf: FoundCertificate, certificates: Sequence[FoundCertificate]) -> list[FoundCertificate]:
    """The leaf, then what may stand above it, by name: the server judges signatures. Nothing unrelated."""
    chain = [leaf]
    for certificate in chain:  # grows while it is walked: breadth first, which covers cross-signed issuers
        above = (other for other in certificates if other.subject == certificate.issuer and other not in chain)
        chain.extend(list(above)[: MAX_CHAIN - len(chain)])
    return chain
