"""What the agent needs from a certificate store: what lies there, a signature by a certificate's key, what to watch."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError
from watchword_agent.helper_process import Helpers

MAX_CANDIDATES: Final = 8
Variables = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Possession:
    """A signature by a certificate's own key; `scheme` as `watchword.possession` names it, ECDSA in DER."""

    scheme: str
    signature: bytes


Signer = Callable[[bytes], Possession]
"""Takes a possession statement; raises `SigningFailedError`."""


@dataclass(frozen=True, slots=True)
class Found:
    """A certificate that lies in a store. `location` is for people: where, as the platform's own tools name it.

    `private_key` is what the store says of its key: USABLE, ABSENT, or why it is not known or cannot be used; `sign` is there
    exactly if it is USABLE. Whether USABLE is true only a signature tells.
    """

    der: bytes
    location: str
    private_key: pb.PrivateKeyState
    sign: Signer | None = None
    key_detail: str = ""  # for the person at the device: why the key cannot be used
    ocsp_responses: tuple[bytes, ...] = ()  # in DER


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that lies at some places of one kind. `troubles`: what could not be looked at although the rest could."""

    found: tuple[Found, ...] = ()
    troubles: tuple[CollectionFailedError, ...] = ()
    explicit: bool = False  # the check names the place itself: whatever lies there is worth sending


@dataclass(frozen=True, slots=True)
class Candidate:
    """A certificate worth sending: DER chain, itself first. `sign` as in `Found`."""

    chain: tuple[bytes, ...]
    location: str
    private_key: pb.PrivateKeyState
    sign: Signer | None = None
    ocsp_responses: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Access:
    """What this device's administrator lets the agent use; nothing of it comes from a server.

    `password_files`: the file with the password of a place: an absolute path of a PEM key or NSS database, or `token=LABEL`.
    `pkcs11_modules`: libraries that a `pkcs11:` URI may name. `nss_modules`: NSS databases whose own modules may be loaded.
    """

    helpers: Helpers
    password_files: Mapping[str, Path] = field(default_factory=dict)
    pkcs11_modules: tuple[Path, ...] = ()
    nss_modules: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Visit:
    """One look at stores: for which device, with what access. `exits` ends what is held open for signing, when it is over.

    `allow_pkcs1`: the check takes a signature with PKCS #1 v1.5 where a key's store has nothing better.
    """

    variables: Variables
    access: Access
    exits: ExitStack
    allow_pkcs1: bool = False


@dataclass(frozen=True, slots=True)
class Watched:
    """What may change what `look` finds.

    `files`: absolute paths, whether they exist or not. `stores`: helpers that tell changes of a store without files, each with
    the place it is to watch.
    """

    files: frozenset[str] = frozenset()
    stores: frozenset[tuple[str, str]] = frozenset()

    def __or__(self, other: "Watched") -> "Watched":
        return Watched(self.files | other.files, self.stores | other.stores)


class CertificateStore(Protocol):
    """One kind of store. Called from a worker thread; may block."""

    def look(self, places: Sequence[str], visit: Visit) -> Contents:
        """Everything at these places, in the order of their appearance; an empty store is no error.

        Raises `CollectionFailedError` if none of them could be looked at, with the most telling reason.
        """
        ...

    def watched(self, places: Sequence[str], visit: Visit) -> Watched:
        """What to watch, also where `look` fails."""
        ...
