"""Service tokens: what a machine presents in place of a user."""

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from watchword_server.configuration.document.base import Entry, Model, quoted
from watchword_server.configuration.document.durations import Duration, parse_seconds
from watchword_server.configuration.document.expressions import reading_of

DEFAULT_EXPIRES = "8760h"
NEVER = "never"
CREDENTIAL = "credential"  # the member of the body that the server makes

_CLIENT_ID = re.compile(r"[0-9a-f]{32}\.access")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _expires(text: str) -> str:
    if text != NEVER and parse_seconds(text) == 0:
        raise ValueError("it would never be valid: write a longer time, such as `8760h`")
    return text


def _client_id(text: str) -> str:
    if not _CLIENT_ID.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a client id: write 32 hexadecimal digits in lower case and `.access`")
    return text


def _is_sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise ValueError("it is not a SHA-256: write it in lower-case hexadecimal")
    return text


class Credential(Model):
    """What the server issued. Without `expires_at`, in seconds of our clock, it does not expire."""

    client_id: Annotated[str, AfterValidator(_client_id)]
    secret_sha256: Annotated[str, AfterValidator(_is_sha256)]
    expires_at: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class ServiceToken(Entry):
    """A service token. Its credential is made by the server and kept as long as the entry: no document can write it."""

    hints: ClassVar = Entry.hints | {
        key: f"`{key}` is made by the server: leave it out, and use `watchword token create --service NAME`"
        for key in ("client_id", "client_secret", "secret", "secret_sha256", "expires_at")
    }

    expires: Annotated[Duration, AfterValidator(_expires)] = DEFAULT_EXPIRES
    credential: Credential | None = None

    @field_validator(CREDENTIAL, mode="before")
    @classmethod
    def _not_in_a_document(cls, value: object, info: ValidationInfo) -> object:
        if not reading_of(info).stored:
            raise ValueError("`credential` is made by the server: leave it out, and use `watchword token create --service NAME`")
        return value

    @property
    def expires_seconds(self) -> int | None:
        """How long a credential lasts that is issued now; None: for ever."""
        return None if self.expires == NEVER else parse_seconds(self.expires)
