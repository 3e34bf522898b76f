"""Where client certificates lie on a device, one kind of store a file; which stores a check means."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores.base import CertificateStore, Contents, Variables, Visit, Watched
from watchword_agent.stores.files import expand
from watchword_agent.stores.macos import MacStore
from watchword_agent.stores.nss import NssStore
from watchword_agent.stores.pem import PemStore
from watchword_agent.stores.pkcs11 import Pkcs11Store
from watchword_agent.stores.windows import WindowsStore

NSS_PREFIXES: Final = ("sql:", "dbm:")
PKCS11_PREFIX: Final = "pkcs11:"
MAX_PATHS: Final = 32
_NSS_FILES: Final = ("cert9.db", "key4.db", "cert8.db", "key3.db", "pkcs11.txt")

_PEM, _NSS, _PKCS11, _WINDOWS, _MAC = PemStore(), NssStore(), Pkcs11Store(), WindowsStore(), MacStore()


@dataclass(frozen=True, slots=True)
class Look:
    """A store and the places in it that a check means, as the check names them."""

    store: CertificateStore
    places: tuple[str, ...]


def looks_for(check: pb.ClientCertificateCheck, *, platform: str, variables: Variables) -> list[Look]:
    """Where a check has the agent look: at its paths, or in the platform's own stores.

    A path is a PEM file; an NSS database if it begins with `sql:`, or is the directory of one; `pkcs11:` names an object in a
    token (RFC 7512).
    Raises `CollectionFailedError`.
    """
    if len(check.paths) > MAX_PATHS:
        raise CollectionFailedError("path_invalid", f"more than {MAX_PATHS} paths")
    if check.paths:
        places: dict[CertificateStore, list[str]] = {}
        for path in check.paths:
            places.setdefault(_store_at(path, variables), []).append(path)
        return [Look(store, tuple(paths)) for store, paths in places.items()]
    stores = tuple(check.trust_stores) or ("system",)
    match platform:
        case "windows":
            return [Look(_WINDOWS, stores)]
        case "mac":
            return [Look(_MAC, stores)]
        case "linux":
            return [Look(_NSS, stores)]
        case _:
            raise CollectionFailedError("store_unsupported", f"the certificate stores of `{platform}` are not known")


def look_everywhere(looks: Sequence[Look], visit: Visit) -> list[Contents]:
    """What lies at all of them. Raises `CollectionFailedError` if nothing could be looked at, with the most telling reason."""
    contents, failures = [], []
    for look in looks:
        try:
            contents.append(look.store.look(look.places, visit))
        except CollectionFailedError as failure:
            failures.append(failure)
    if failures and not any(content.found for content in contents):
        raise next((failure for failure in failures if not failure.code.endswith("_missing")), failures[0])
    return contents


def watched_by(looks: Sequence[Look], visit: Visit) -> Watched:
    """What to watch for all of them."""
    watched = Watched()
    for look in looks:
        watched |= look.store.watched(look.places, visit)
    return watched


def _store_at(path: str, variables: Variables) -> CertificateStore:
    if path.startswith(PKCS11_PREFIX):
        return _PKCS11
    if path.startswith(NSS_PREFIXES):
        return _NSS
    try:
        directory = Path(expand(path, variables))
        return _NSS if any((directory / name).exists() for name in _NSS_FILES) else _PEM
    except (CollectionFailedError, OSError):
        return _PEM  # which says what is wrong with it
