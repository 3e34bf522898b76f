"""`pkcs11:` URIs (RFC 7512): which library, token and object a check means."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores.base import Variables

SCHEME: Final = "pkcs11:"

# Attributes of the path (2.3), and what of a token's description they are compared with
_TOKEN: Final = {"token": "label", "manufacturer": "manufacturer", "model": "model", "serial": "serial"}
_SLOT: Final = {"slot-description": "description", "slot-manufacturer": "manufacturer"}
_LIBRARY: Final = {"library-description": "description", "library-manufacturer": "manufacturer"}
_OBJECT: Final = frozenset({"object", "id", "type"})
_OTHER: Final = frozenset({"slot-id", "library-version"})
_TYPES: Final = frozenset({"cert", "private"})  # the others are neither certificate nor private key
_VALUE: Final = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&]|%[0-9A-Fa-f]{2})*")  # pk11-pchar
_QUERY_VALUE: Final = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=/?|]|%[0-9A-Fa-f]{2})*")  # pk11-qchar
_NAME: Final = re.compile(r"[A-Za-z0-9\-_]+")
_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
_VERSION: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?")
_MAX_URI_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class TokenUri:
    """What a URI says; what it does not mention matches everything. `text`: with its variables filled in, for people."""

    text: str
    token: Mapping[str, str] = field(default_factory=dict)  # by the names of `Cryptoki.token`
    slot: Mapping[str, str] = field(default_factory=dict)
    library: Mapping[str, str] = field(default_factory=dict)
    slot_id: int | None = None
    object: str | None = None
    id: bytes | None = None
    type: str | None = None
    module_name: str | None = None
    module_path: str | None = None

    def allows(self, module: Path) -> bool:
        """Whether it may mean this library: its path, or a directory that it lies in, and its name."""
        if self.module_path is not None and self.module_path not in (str(module), str(module.parent)):
            return False
        return self.module_name is None or self.module_name in _names_of(module)

    def means_token(self, library: Mapping[str, str], slot_id: int, slot: Mapping[str, str], token: Mapping[str, str]) -> bool:
        """Whether it means a token, in a slot, of a library."""
        expected, told = (self.library, self.slot, self.token), (library, slot, token)
        if any(there.get(name) != value for wanted, there in zip(expected, told, strict=True) for name, value in wanted.items()):
            return False
        return self.slot_id is None or self.slot_id == slot_id


def parse(template: str, variables: Variables) -> TokenUri:
    """The URI with its variables filled in, percent-encoded.

    Raises `CollectionFailedError`: `variable_unavailable`, or `uri_invalid`. An attribute of the path that is not known would
    match nothing (RFC 7512, 2.5), and is told instead; one of the query is passed over.
    """
    text = _filled(template, variables)
    if not text.startswith(SCHEME) or len(text) > _MAX_URI_BYTES:
        raise _invalid(f"`{template}` is no `pkcs11:` URI of at most {_MAX_URI_BYTES} characters")
    path, _, query = text.removeprefix(SCHEME).partition("?")
    attributes, asked = _attributes(path, ";", _VALUE), _attributes(query, "&", _QUERY_VALUE)
    if "pin-value" in asked or "pin-source" in asked:
        raise _invalid("a PIN does not belong into a check: give the PIN on this device: password_files")
    unknown = attributes.keys() - _TOKEN.keys() - _SLOT.keys() - _LIBRARY.keys() - _OBJECT - _OTHER
    if unknown:
        raise _invalid(f"`{min(unknown)}` is not known in `{text}`: leave it out")
    kind = _text(attributes, "type")
    if kind is not None and kind not in _TYPES:
        raise _invalid(f"`type={kind}` is neither a certificate nor a private key: write `type=cert`, or leave it out")
    library = _texts(attributes, _LIBRARY)
    version = _text(attributes, "library-version")
    if version is not None:
        if not _VERSION.fullmatch(version):
            raise _invalid(f"`library-version={version}` is no version: write it as `2.6`")
        library["version"] = version if "." in version else f"{version}.0"
    slot_id = _text(attributes, "slot-id")
    if slot_id is not None and not re.fullmatch(r"[0-9]{1,20}", slot_id):
        raise _invalid(f"`slot-id={slot_id}` is no number")
    return TokenUri(
        text,
        token=_texts(attributes, _TOKEN),
        slot=_texts(attributes, _SLOT),
        library=library,
        slot_id=None if slot_id is None else int(slot_id),
        object=_text(attributes, "object"),
        id=attributes.get("id"),
        type=kind,
        module_name=_text(asked, "module-name"),
        module_path=_text(asked, "module-path"),
    )


def _filled(template: str, variables: Variables) -> str:
    def value_of(match: re.Match[str]) -> str:
        value = variables.get(match[1])
        if not value:
            raise CollectionFailedError("variable_unavailable", f"`${{{match[1]}}}` in `{template}` is not known on this device")
        return quote(value, safe="")

    return _VARIABLE.sub(value_of, template)


def _attributes(text: str, separator: str, allowed: re.Pattern[str]) -> dict[str, bytes]:
    attributes: dict[str, bytes] = {}
    for part in text.split(separator) if text else []:
        name, equals, value = part.partition("=")
        if not equals or not _NAME.fullmatch(name) or not allowed.fullmatch(value):
            raise _invalid(f"`{part}` is not of the form `name=value`, with everything unusual percent-encoded")
        if name in attributes:
            raise _invalid(f"`{name}` is there twice")
        attributes[name] = unquote_to_bytes(value)
    return attributes


def _texts(attributes: Mapping[str, bytes], names: Mapping[str, str]) -> dict[str, str]:
    return {told: text for name, told in names.items() if (text := _text(attributes, name)) is not None}


def _text(attributes: Mapping[str, bytes], name: str) -> str | None:
    value = attributes.get(name)
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        raise _invalid(f"the value of `{name}` is not UTF-8") from None


def _names_of(module: PurePath) -> tuple[str, ...]:
    """What `module-name` may call a library (RFC 7512, 2.4): without what a platform puts around names of libraries."""
    stem = module.name.split(".", maxsplit=1)[0]
    return module.name, stem, stem.removeprefix("lib")


def _invalid(detail: str) -> CollectionFailedError:
    return CollectionFailedError("uri_invalid", detail)
