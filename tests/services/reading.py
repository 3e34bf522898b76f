"""Revocation lists read in the test's own process: no process, no network."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from watchword_server.core.certificates.crl import RevocationListRefusedError, read_revocation_list
from watchword_server.core.certificates.parsed import parse_whole
from watchword_server.core.certificates.revocation import issuer_key_of
from watchword_server.errors import RevocationReadError
from watchword_server.ports.revocation import ListSource, ReadList, ReadRequest


@dataclass(slots=True)
class InProcessReading:
    """`served` stands for the network: what each URL answers now, an error if it is text."""

    spool: Path
    served: dict[str, bytes | str] = field(default_factory=dict)
    serials: dict[bytes, frozenset[int]] = field(default_factory=dict)
    requests: list[ReadRequest] = field(default_factory=list)

    async def read(self, request: ReadRequest) -> ReadList | None:
        self.requests.append(request)
        der = self._content(request)
        issuers = [parse_whole(issuer) for issuer in request.issuers]
        try:
            found = read_revocation_list(der, issuers)
        except RevocationListRefusedError as error:
            raise RevocationReadError(error.reason, error.detail) from None
        self.spool.mkdir(exist_ok=True)
        content = self.spool / hashlib.sha256(der).hexdigest()
        content.write_bytes(der)
        numbers = self.serials[found.sha256] = frozenset(each.serial_number for each in x509.load_der_x509_crl(der))
        before = None if request.previous is None else self.serials[request.previous]
        return ReadList(
            found,
            content,
            len(der),
            issuer_certificate=next(issuer.fingerprint for issuer in issuers if issuer_key_of(issuer) == found.issuer),
            newly_revoked=None if before is None else numbers - before,
            no_longer_revoked=None if before is None else before - numbers,
        )

    async def keep_only(self, sha256s: Collection[bytes]) -> None:
        kept = {sha256.hex() for sha256 in sha256s}
        for path in self.spool.glob("*"):
            if path.name not in kept:
                path.unlink()

    def _content(self, request: ReadRequest) -> bytes:
        if request.source is not ListSource.URL:
            return Path(request.place).read_bytes()
        answer = self.served.get(request.place, "connection refused")
        if isinstance(answer, str):
            raise RevocationReadError("fetch_failed", answer)
        return answer
