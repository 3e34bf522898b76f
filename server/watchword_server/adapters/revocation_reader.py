"""Reads revocation lists in a process of their own: a list of a million entries must not hold up decisions."""

import asyncio
import base64
import json
import mmap
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from watchword_server.core.certificates.names import CanonicalName
from watchword_server.core.certificates.parsed import fingerprint, parse_issuer, plain
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.revocation import IssuerKey, ListScope, ListSigner, RevocationList, issuer_key_of
from watchword_server.core.certificates.serial_index import PackedSerialIndex
from watchword_server.core.model.names import Instant
from watchword_server.errors import RevocationReadError
from watchword_server.ports.revocation import ListSource, ReadList, ReadRequest

_COMMAND: Final = (
    sys.executable,
    "-P",
    "-m",
    "watchword_server.revocation_reader",
)  # -P: nothing is imported from where we stand
_MAX_ANSWER_LENGTH: Final = 512 * 1024
# Each its own: who offers a list and never finishes must not be in the way of an operator who brings one.
_MAX_AT_ONCE: Final = {ListSource.URL: 4, ListSource.PATH: 1, ListSource.UPLOAD: 1}
_SUFFIXES: Final = frozenset({".crl", ".index", ".tmp"})


class RevocationReader:
    """Starts one `python -m watchword_server.revocation_reader` a read. `spool`: a directory of its own."""

    def __init__(self, spool: Path, *, command: tuple[str, ...] = _COMMAND) -> None:
        self._spool = spool
        self._command = command
        self._slots = {source: asyncio.Semaphore(count) for source, count in _MAX_AT_ONCE.items()}
        self._reading = 0
        self._read: set[str] = set()  # the names of files that were handed out and not let go yet

    async def read(self, request: ReadRequest) -> ReadList | None:
        """The list at its place; None: not modified since. Raises `RevocationReadError`.

        The process is killed when the time is over or the caller is cancelled.
        """
        async with self._slots[request.source]:
            self._reading += 1
            try:
                read = _read_list(await self._ask(request), request, self._spool)
                if read is not None:
                    self._read.add(read.revocation_list.sha256.hex())
                return read
            finally:
                self._reading -= 1

    async def keep_only(self, sha256s: Collection[bytes]) -> None:
        """Lets the files of all other lists go; while a list is being read, only those of lists that were read before.

        An open index stays readable.
        """
        kept = {sha256.hex() for sha256 in sha256s}
        if self._reading == 0:
            _remove_all_but(kept, self._spool)
        for name in self._read - kept:
            for suffix in (".crl", ".index"):
                (self._spool / f"{name}{suffix}").unlink(missing_ok=True)
        self._read &= kept

    async def _ask(self, request: ReadRequest) -> dict[str, Any]:
        line = _line(request, self._spool)
        try:
            self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise RevocationReadError("reader_failed", f"cannot be started: {error.strerror}") from error
        try:
            async with asyncio.timeout(request.timeout_seconds):
                said, complained = await process.communicate(line)
        except TimeoutError as error:
            raise RevocationReadError("timeout", f"not read within {request.timeout_seconds:g} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            last = complained.decode(errors="replace").strip().rpartition("\n")[2]
            raise RevocationReadError("reader_failed", f"the process ended with status {process.returncode}: {plain(last)}")
        return _object(said)


def _line(request: ReadRequest, spool: Path) -> bytes:
    message = {
        "source": request.source.value,
        "place": request.place,
        "issuers": [base64.b64encode(der).decode() for der in request.issuers],
        "spool": str(spool.absolute()),
        "max_bytes": request.max_bytes,
        "timeout_seconds": request.timeout_seconds,
        "etag": request.etag,
        "last_modified": request.last_modified,
        "previous": None if request.previous is None else request.previous.hex(),
    }
    return json.dumps(message).encode() + b"\n"


def _object(said: bytes) -> dict[str, Any]:
    if len(said) > _MAX_ANSWER_LENGTH:
        raise RevocationReadError("reader_failed", "the answer is too long")
    try:
        answer = json.loads(said)
    except ValueError as error:
        raise RevocationReadError("reader_failed", "the answer cannot be understood") from error
    if not isinstance(answer, dict):
        raise RevocationReadError("reader_failed", "the answer cannot be understood")
    return answer


def _read_list(answer: Mapping[str, Any], request: ReadRequest, spool: Path) -> ReadList | None:
    if answer.get("not_modified") is True:
        return None
    if "error" in answer:
        raise RevocationReadError(str(answer["error"]), str(answer.get("detail", "")))
    try:
        sha256 = bytes.fromhex(answer["sha256"])
        issuer = parse_issuer(request.issuers[answer["issuer"]])
        return ReadList(
            RevocationList(
                issuer=issuer_key_of(issuer),
                sha256=sha256,
                number=_number(answer["number"]),
                base_number=_number(answer["base_number"]),
                this_update=Instant(float(answer["this_update"])),
                next_update=Instant(float(answer["next_update"])),
                entries=PackedSerialIndex(_mapped(spool / f"{sha256.hex()}.index")),
                scope=_scope(answer["scope"]),
                signer=_signer(answer["signer"]),
            ),
            content=spool / f"{sha256.hex()}.crl",
            length=int(answer["length"]),
            issuer_certificate=fingerprint(issuer.der),
            etag=answer["etag"],
            last_modified=answer["last_modified"],
            newly_revoked=_serials(answer["newly_revoked"]),
            no_longer_revoked=_serials(answer["no_longer_revoked"]),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OSError, CertificateRefusedError) as error:
        raise RevocationReadError("reader_failed", "the answer cannot be understood") from error


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text, 16)


def _scope(said: Mapping[str, Any]) -> ListScope:
    return ListScope(
        end_entities=said["end_entities"] is True,
        authorities=said["authorities"] is True,
        places=None if said["places"] is None else frozenset(map(str, said["places"])),
    )


def _signer(said: Mapping[str, Any] | None) -> ListSigner | None:
    if said is None:
        return None
    return ListSigner(
        issuer=IssuerKey(CanonicalName(bytes.fromhex(said["issuer_name"])), bytes.fromhex(said["issuer_key"])),
        serial_number=int(said["serial_number"], 16),
        not_before=Instant(float(said["not_before"])),
        not_after=Instant(float(said["not_after"])),
    )


def _serials(said: list[str] | None) -> frozenset[int] | None:
    return None if said is None else frozenset(int(text, 16) for text in said)


def _remove_all_but(kept: set[str], spool: Path) -> None:
    if not spool.is_dir():
        return
    for path in list(spool.iterdir()):
        if path.suffix in _SUFFIXES and path.name.split(".")[0] not in kept:
            path.unlink(missing_ok=True)
