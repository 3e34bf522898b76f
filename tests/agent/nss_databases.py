"""Real NSS databases, made with certutil and pk12util."""

import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from support.pki import Credential
from support.programs import program

_PASSPHRASE = b"transport"


class NssDatabase:
    """A database in a directory; `password` empty: none."""

    def __init__(self, directory: Path, *, password: str = "") -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._password_file = directory.parent / f"{directory.name}.password"
        self._password_file.write_text(f"{password}\n")
        self._password_file.chmod(0o600)
        self._certutil("-N", *(("-f", str(self._password_file)) if password else ("--empty-password",)))

    @property
    def password_file(self) -> Path:
        """Holds the password."""
        return self._password_file

    def add(self, client: Credential, nickname: str) -> None:
        """A certificate with its key."""
        bundle = self.directory.parent / "bundle.p12"
        encryption = BestAvailableEncryption(_PASSPHRASE)
        name = nickname.encode()
        bundle.write_bytes(pkcs12.serialize_key_and_certificates(name, client.key, client.certificate, None, encryption))
        arguments = ["-i", str(bundle), "-W", _PASSPHRASE.decode(), "-k", str(self._password_file)]
        _run(str(program("pk12util")), "-d", f"sql:{self.directory}", *arguments)

    def add_certificate(self, client: Credential, nickname: str) -> None:
        """A certificate without its key."""
        pem = self.directory.parent / "certificate.pem"
        pem.write_bytes(client.pem)
        self._certutil("-A", "-n", nickname, "-t", ",,", "-a", "-i", str(pem), "-f", str(self._password_file))

    def add_thousand(self, others: Sequence[Credential]) -> None:
        """A thousand certificates more beside the first one there is, by SQL as certutil writes them: its calls take minutes."""
        with closing(sqlite3.connect(self.directory / "cert9.db")) as connection, connection:
            columns = [row[1] for row in connection.execute("PRAGMA table_info(nssPublic)")]
            (row,) = connection.execute("SELECT * FROM nssPublic WHERE a0 = x'00000001' LIMIT 1").fetchall()
            marks = ", ".join("?" * len(columns))
            for number in range(1000):
                values = dict(zip(columns, row, strict=True)) | {"id": 10_000 + number, "a11": others[number % len(others)].der}
                values |= {"a101": number.to_bytes(4, "big")}
                connection.execute(f"INSERT INTO nssPublic VALUES ({marks})", tuple(values.values()))

    def delete(self, nickname: str) -> None:
        """A certificate with its key."""
        self._certutil("-F", "-n", nickname, "-f", str(self._password_file))

    def _certutil(self, *arguments: str) -> None:
        _run(str(program("certutil")), "-d", f"sql:{self.directory}", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
