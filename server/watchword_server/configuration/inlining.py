"""Files that a rule file names, put in their place: certificates as they are, secrets only as SHA-256."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from watchword_server.configuration.document.base import Section, quoted
from watchword_server.configuration.document.callers import MIN_SECRET_CHARACTERS
from watchword_server.configuration.document.certificates import MAX_PEM_CHARACTERS
from watchword_server.configuration.yaml_text import Path
from watchword_server.errors import Problem

_MAX_SECRET_BYTES = 4096
_NO_SECRET = "0" * 64


class NotReadError(Exception):
    """A file that could not be read, or not be used; the message says what to do."""


def read_bytes(path: FilePath, max_bytes: int) -> bytes:
    """The whole file. Raises `NotReadError`."""
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise NotReadError(
            f"cannot be read: {(error.strerror or str(error)).lower()}; correct the path or its permissions"
        ) from error
    except ValueError as error:  # a null character in the path
        raise NotReadError("cannot be read: there is no such path; correct it") from error
    if len(content) > max_bytes:
        raise NotReadError(f"is larger than {max_bytes} bytes: this cannot be right, or has to be split")
    return content


@dataclass(slots=True)
class Inlining:
    """Replaces `file` and `secret_file` in a value that was just read."""

    value: object  # changed in place
    directory: FilePath
    problems: list[Problem] = field(default_factory=list)
    written_as: dict[Path, Path] = field(default_factory=dict)  # what was put in place → what was written

    def run(self) -> None:
        """Replaces all of them; what cannot be is in `problems`."""
        for path, certificate in self._mappings(Section.CERTIFICATES):
            self._replace(certificate, path, "file", "pem")
        for path, caller in self._mappings(Section.CALLERS):
            authenticate = caller.get("authenticate")
            if isinstance(authenticate, dict):
                self._replace(authenticate, (*path, "authenticate"), "secret_file", "secret_sha256")

    def _mappings(self, section: Section) -> Iterator[tuple[Path, dict[str, object]]]:
        entries = self.value.get(section.value) if isinstance(self.value, dict) else None
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, dict):
                yield (section.value, index), entry

    def _replace(self, entry: dict[str, object], path: Path, key: str, replaced: str) -> None:
        if key not in entry:
            return
        named = entry.pop(key)
        if replaced in entry:
            self.problems.append(Problem((*path, key), f"`{key}` and `{replaced}` are both there: leave one out"))
            return
        self.written_as[(*path, replaced)] = (*path, key)
        try:
            if not isinstance(named, str) or not named:
                raise NotReadError(f"`{key}` has to be the path of a file, relative to this one: write it as text")
            entry[replaced] = self._certificate(named) if key == "file" else self._secret_sha256(named)
        except NotReadError as error:
            self.problems.append(Problem((*path, key), str(error)))
            if key == "secret_file":
                entry[replaced] = _NO_SECRET  # a way to authenticate was given; that it cannot be used is told already

    def _certificate(self, named: str) -> str:
        content = self._content(named, MAX_PEM_CHARACTERS)
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            remedy = "convert it with `openssl x509 -inform der -in … -out …`"
            raise NotReadError(f"{quoted(named)} is not a PEM text: {remedy}") from error

    def _secret_sha256(self, named: str) -> str:
        """Only the hash leaves here; no message holds a part of the secret or its length."""
        secret = self._content(named, _MAX_SECRET_BYTES).rstrip(b"\r\n")
        if len(secret) < MIN_SECRET_CHARACTERS:
            raise NotReadError(
                f"{quoted(named)} holds a secret shorter than {MIN_SECRET_CHARACTERS} characters: "
                "make one with `openssl rand -hex 32`"
            )
        if not all(0x21 <= byte <= 0x7E for byte in secret):
            raise NotReadError(
                f"{quoted(named)} holds a secret that cannot stand in a header, with blanks or other than ASCII characters: "
                "make one with `openssl rand -hex 32`"
            )
        return hashlib.sha256(secret).hexdigest()

    def _content(self, named: str, max_bytes: int) -> bytes:
        try:
            return read_bytes(self.directory / named, max_bytes)
        except NotReadError as error:
            raise NotReadError(f"{quoted(named)} {error}") from error
