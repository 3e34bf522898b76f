"""Validation errors in our words: where, what, and what to write instead."""

from collections.abc import Callable, Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from watchword_server.configuration.document.applications import PublicDestination
from watchword_server.configuration.document.base import Model, Refused, in_yaml, quoted
from watchword_server.configuration.document.checks import Match
from watchword_server.configuration.document.lists import ListItem
from watchword_server.configuration.document.selectors import Selector
from watchword_server.errors import Problem

_WHEN_MISSING: Mapping[str, str] = {
    "pem": "name a `file`, or write the certificate here",
    "type": "write the kind of entry it is",
    "input": "write what the check asks for",
    "certificate_id": "name an entry of `certificates`",
    "cn": "write the common name the certificate has to have",
    "decision": "write `allow`, `deny`, `bypass` or `non_identity`",
    "include": "write at least one selector, such as `everyone: {}`",
    "uri": "write the host it covers, and perhaps a path",
    "action": "write `allow` or `block`",
    "filters": "write `[http]` or `[l4]`",
    "precedence": "write a number that no other rule has; lower ones come first",
    "authenticate": "write `secret_file`, `mtls` or `unix_socket`",
    "platform": "write `windows`, `mac` or `linux`",
    "integration_uid": "name an entry of `checks`",
    "token_id": "name an entry of `service_tokens`",
    "country_code": "write two letters like `PT`",
    "value": "write what is in the list",
    "domain": "write what stands after the `@`, such as `corp.example`",
    "email": "write an address like `ada@corp.example`",
    "ip": "write an address or network, such as `192.0.2.0/24`",
    "common_name": "write the common name the certificate has to have",
    "auth_method": "write a method of RFC 8176, such as `hwk`",
    "ac_id": "write what a login carries, such as `c1`",
    "app_uid": "write the application's id",
    "attribute_name": "write the attribute's name, such as `department`",
    "attribute_value": "write the value it has to have",
    "claim_name": "write the claim's name, such as `department`",
    "claim_value": "write the value it has to have",
    "evaluate_url": "write the service's address, such as `https://check.corp.example/evaluate`",
    "user_risk_score": "write a list, such as `[low]`",
    "san": "write a DNS name or URI of its certificate, such as `spiffe://corp.example/edge`",
    "header": "write the name of the header, such as `x-access-facts`",
    "url": "write its address, such as `http://ocsp.corp.example/`",
    "email_header": "write the name of the header, such as `x-authenticated-email`",
}

_LISTS_OF_MAPPINGS: Mapping[str, type[Model]] = {
    "include": Selector,
    "require": Selector,
    "exclude": Selector,
    "items": ListItem,
    "match": Match,
    "destinations": PublicDestination,
}
_DEPTH_OF_AN_ENTRY_S_KEY = 3  # section, index, key


def problems_of(error: ValidationError) -> list[Problem]:
    """Every problem in it, in the order of the fields."""
    return [_problem(details) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails) -> Problem:
    excerpt = details["ctx"].get("excerpt", ()) if details["type"] == "refused" else ()
    return Problem(tuple(details["loc"]), _message(details), excerpt)


def _message(details: ErrorDetails) -> str:
    value = details["input"]
    if isinstance(value, Refused):
        return value.message
    wording = _WORDING.get(details["type"])
    if wording is not None:
        return wording(details)
    if value is None:
        return "it has no value: give it one or leave it out"
    wording = _WORDING_OF_TYPES.get(details["type"])
    return wording(details) if wording is not None else "it is not accepted here: compare it with the reference"


def _missing(details: ErrorDetails) -> str:
    key = str(details["loc"][-1])
    if key == "name" and len(details["loc"]) == _DEPTH_OF_AN_ENTRY_S_KEY:
        return "`name` is missing: every entry needs one, unique in its section"
    return f"`{key}` is missing: {_WHEN_MISSING.get(key, 'write it')}"


def _not_text(details: ErrorDetails) -> str:
    value = details["input"]
    if isinstance(value, bool | int | float):
        return f"{_plain(value)} is not text: put it in quotes"
    return "it has to be text: write one value, in quotes"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, str):
        return quoted(value)
    return f"`{value}`" if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**20) else "it"


def _not_bool(details: ErrorDetails) -> str:
    value = details["input"]
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return f"{quoted(value)} in quotes is text: write `{value.lower()}` without them"
    return f"{_plain(value)} is neither `true` nor `false`: write one of them"


def _in_brackets(key: object, value: object) -> str:
    if not isinstance(value, str) or not value:
        return "it in `[` and `]`"
    items = _LISTS_OF_MAPPINGS.get(str(key))
    return f"`[{in_yaml(value) if items is None else items.form(value).split('`')[1]}]`"


def _literal(details: ErrorDetails) -> str:
    return f"{_plain(details['input'])} is not one of {details['ctx']['expected'].replace(chr(39), '`')}: write one of those"


# These speak for themselves, whatever the value.
_WORDING: Mapping[str, Callable[[ErrorDetails], str]] = {
    "refused": lambda details: str(details["ctx"]["message"]),
    "value_error": lambda details: str(details["ctx"]["error"]),
    "missing": _missing,
    "invalid_key": lambda _: "a key has to be text: put it in quotes",
}

# These tell what another value should have been; no value at all is worded before them.
_WORDING_OF_TYPES: Mapping[str, Callable[[ErrorDetails], str]] = {
    "string_type": _not_text,
    "string_unicode": lambda _: "it holds half a character: write it in UTF-8",
    "string_too_short": lambda _: "it is empty: write something or leave it out",
    "string_too_long": lambda details: f"it is longer than {details['ctx']['max_length']} characters: shorten it",
    "string_pattern_mismatch": lambda details: (
        f"{_plain(details['input'])} does not have the form `{details['ctx']['pattern']}`: change it"
    ),
    "bool_type": _not_bool,
    "int_type": lambda details: f"{_plain(details['input'])} is not a whole number: write one, without quotes",
    "greater_than_equal": lambda details: f"{_plain(details['input'])} is too small: write at least {details['ctx']['ge']}",
    "less_than_equal": lambda details: f"{_plain(details['input'])} is too large: write at most {details['ctx']['le']}",
    "list_type": lambda details: (
        f"it has to be a list: write {_in_brackets(details['loc'][-1], details['input'])}, or each item on a line after `-`"
    ),
    "too_short": lambda _: "the list is empty: write at least one item",
    "too_long": lambda details: f"the list has more than {details['ctx']['max_length']} items: shorten it",
    "dict_type": lambda _: "it has to be a mapping: write keys and values",
    "model_type": lambda _: "it has to be a mapping: write keys and values",
    "literal_error": _literal,
}
