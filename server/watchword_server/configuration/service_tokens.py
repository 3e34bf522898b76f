"""The part of a service token that the server makes."""

from collections.abc import Mapping
from dataclasses import replace

from watchword_server.configuration.document.base import Section, quoted
from watchword_server.configuration.document.sections import validate_entry
from watchword_server.configuration.document.service_tokens import CREDENTIAL
from watchword_server.core.model.names import Instant
from watchword_server.errors import ConfigurationError, Problem
from watchword_server.ports.rules import StoredObject


def with_credential(stored: StoredObject, *, client_id: str, secret_sha256: bytes, expires_at: Instant | None) -> StoredObject:
    """The service token with this credential in place of the one it had. Raises `ConfigurationError` if it is not one."""
    if stored.kind != Section.SERVICE_TOKENS:
        raise ConfigurationError([Problem((stored.kind, stored.name), f"{quoted(stored.name)} is no service token: name one")])
    credential: Mapping[str, object] = {
        "client_id": client_id,
        "secret_sha256": secret_sha256.hex(),
        **({} if expires_at is None else {"expires_at": expires_at}),
    }
    body = {**stored.body, CREDENTIAL: credential}
    validate_entry(Section.SERVICE_TOKENS, stored.name, body)
    return replace(stored, body=body)
