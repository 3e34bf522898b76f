"""Certificates and keys in NSS databases: presence from their files, signatures by libnss3 in a helper."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import CollectionFailedError, SigningFailedError
from watchword_agent.helper_process import HelperProcess
from watchword_agent.native.serving import base64_of, unbase64
from watchword_agent.stores.base import Contents, Found, Possession, Visit, Watched
from watchword_agent.stores.files import expand
from watchword_agent.stores.foreign_keys import is_true
from watchword_agent.stores.nss_files import StoredCertificate, read_database
from watchword_agent.stores.passwords import password_for

_FILES: Final = ("cert9.db", "key4.db", "pkcs11.txt")
_USERS_DATABASE: Final = ".pki/nssdb"
_SQL, _DBM = "sql:", "dbm:"
_STATES: Final = {
    "private_key_absent": pb.PRIVATE_KEY_STATE_ABSENT,
    "possession_key_unsupported": pb.PRIVATE_KEY_STATE_UNSUPPORTED,
}


@dataclass(frozen=True, slots=True)
class NssStore:
    """See `CertificateStore`. `system` is the system's database; in `sessions` each signed-in user has a directory."""

    system: str = "/etc/pki/nssdb"
    sessions: str = "/run/user"

    def look(self, places: Sequence[str], visit: Visit) -> Contents:
        """See `CertificateStore`. Whatever lies in a database that a check names is told, and of others what could be meant."""
        found: list[Found] = []
        troubles: list[CollectionFailedError] = []
        for place in places:
            try:
                directories = self._directories(place, visit)
            except CollectionFailedError as failure:
                troubles.append(failure)
                continue
            for directory in directories:  # one user's damaged database is nobody else's
                try:
                    found += _Database(directory, visit).certificates()
                except CollectionFailedError as failure:
                    troubles.append(failure)
        if troubles and not found:
            raise next((each for each in troubles if each.code not in ("store_missing", "store_empty")), troubles[0])
        return Contents(tuple(found), tuple(troubles), explicit=any(place not in ("system", "user") for place in places))

    def watched(self, places: Sequence[str], visit: Visit) -> Watched:
        """See `CertificateStore`."""
        files: set[str] = set()
        for place in places:
            try:
                directories = self._directories(place, visit)
            except CollectionFailedError:
                continue  # `look` reports it
            for directory in directories:
                files |= {f"{directory}/{name}" for name in _FILES}
                if directory in visit.access.password_files:
                    files.add(str(visit.access.password_files[directory]))
        return Watched(frozenset(files))

    def _directories(self, place: str, visit: Visit) -> list[str]:
        """The databases that a place means. Raises `CollectionFailedError`."""
        if os.name == "nt":
            raise CollectionFailedError("store_unsupported", "NSS databases are not read on Windows: name a store or a PEM file")
        if place == "system":
            return [self.system]
        if place == "user":
            return self._of_users()
        if place.startswith(_DBM):
            directory = expand(place.removeprefix(_DBM), visit.variables)
            detail = f"write `sql:{directory}`; `certutil -K -X -d sql:{directory}` converts what is there"
            raise CollectionFailedError("store_legacy", f"`dbm:` databases are not read: {detail}")
        return [expand(place.removeprefix(_SQL), visit.variables)]

    def _of_users(self) -> list[str]:
        """Of who is signed in; of the agent's own user, if it is not root."""
        if os.geteuid() != 0:
            return [str(Path.home() / _USERS_DATABASE)]
        try:
            names = sorted(os.listdir(self.sessions))  # noqa: PTH208 -- names
        except OSError:
            names = []
        homes = [home for name in names if name.isdecimal() and int(name) != 0 and (home := _home(int(name))) is not None]
        if not homes:
            raise CollectionFailedError("user_not_signed_in", "nobody is signed in, whose NSS database could be looked at")
        databases = [f"{home}/{_USERS_DATABASE}" for home in homes]
        return [each for each in databases if Path(each).is_dir()] or databases[:1]


@dataclass(slots=True)
class _Database:
    directory: str
    visit: Visit
    _process: HelperProcess | None = field(default=None)
    _login: str = ""

    def certificates(self) -> list[Found]:
        """Raises `CollectionFailedError`."""
        contents = read_database(self.directory)
        return [self._found(each, contents.key_trouble) for each in contents.certificates]

    def _found(self, stored: StoredCertificate, trouble: str) -> Found:
        location = f"{_SQL}{self.directory}: {stored.nickname}" if stored.nickname else f"{_SQL}{self.directory}"
        if stored.has_key is None:
            return Found(stored.der, location, pb.PRIVATE_KEY_STATE_UNREADABLE, key_detail=trouble)
        if not stored.has_key:
            return Found(stored.der, location, pb.PRIVATE_KEY_STATE_ABSENT, key_detail="the database holds no private key for it")
        return Found(stored.der, location, pb.PRIVATE_KEY_STATE_USABLE, partial(self._sign, stored.der))

    def _sign(self, der: bytes, statement: bytes) -> Possession:
        """See `Signer`. The helper starts with the first signature, and stays for the others of this look."""
        try:
            process = self._opened()
            told = process.ask({"op": "sign", "der": base64_of(der), "statement": base64_of(statement)})
        except CollectionFailedError as failure:
            state = _STATES.get(failure.code, pb.PRIVATE_KEY_STATE_FAILED)
            raise SigningFailedError(f"`{self.directory}`: {failure.detail}", state) from failure
        proof = Possession(str(told["scheme"]), unbase64(told["signature"]))
        if not is_true(proof, statement, der):
            raise SigningFailedError(f"`{self.directory}` signs by another key", pb.PRIVATE_KEY_STATE_MISMATCH)
        return proof

    def _opened(self) -> HelperProcess:
        """Raises `CollectionFailedError`, `SigningFailedError` where the password is missing or wrong."""
        access = self.visit.access
        if self._process is None:
            password = password_for(self.directory, access)
            self._process = self.visit.exits.enter_context(access.helpers.start("nss", **_owner(self.directory)))
            modules = Path(self.directory) in access.nss_modules
            request: dict[str, Any] = {"op": "open", "directory": self.directory, "modules": modules}
            request["password"] = None if password is None else base64_of(password)
            self._login = str(self._process.ask(request)["login"])
        if self._login == "locked":
            detail = f"`{self.directory}` has a password: give it by `password_files`, as `{self.directory}`"
            raise SigningFailedError(detail, pb.PRIVATE_KEY_STATE_LOCKED)
        if self._login == "wrong":
            detail = f"`{self.directory}` did not take the password that `password_files` gives"
            raise SigningFailedError(detail, pb.PRIVATE_KEY_STATE_WRONG_PASSWORD)
        return self._process


def _owner(directory: str) -> dict[str, int]:
    """Whose rights the helper has: a user's database is a user's input, and NSS would read it as root.

    Whoever owns anything on the way to it can have it lead elsewhere, so that counts like the database itself.
    """
    if os.geteuid() != 0:
        return {}
    place = Path(directory)
    for part in (place, *place.parents):
        with contextlib.suppress(OSError):
            found = part.lstat()
            if found.st_uid != 0:
                return {"user": found.st_uid, "group": found.st_gid}
    return {}


def _home(user: int) -> str | None:
    import pwd  # noqa: PLC0415 -- not on Windows, which imports this and never calls it

    try:
        return pwd.getpwuid(user).pw_dir
    except KeyError:
        return None
