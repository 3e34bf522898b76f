"""JSON Schema of a document, for editors: generated from the models, with what only their validators know added.

It says less than reading does: that names lead somewhere, that expressions are expressions, and what belongs together is for
`watchword rules check`. What it refuses, reading refuses too.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]
_MADE_BY_THE_SERVER: Final = ("api", "credential")
_UNUSED: Final = ("Credential",)  # then


def json_schema(model: type[BaseModel], title: str) -> Schema:
    """What a file may look like, as it is written: with `file` and `secret_file`, without what only the server writes."""
    schema = _tidy(model.model_json_schema(by_alias=True))
    for name, definition in schema.get("$defs", {}).items():
        for key in _MADE_BY_THE_SERVER:
            definition.get("properties", {}).pop(key, None)
        definition.update(_WRITTEN.get(name, lambda found: found)(definition))
    for name in _UNUSED:
        schema.get("$defs", {}).pop(name, None)
    return {"$schema": DIALECT, **schema, "title": title}


def _tidy(value: Any) -> Any:  # noqa: ANN401 -- JSON
    """Without titles that repeat the key, and without null, which no key may have."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    tidy = {key: _tidy(member) for key, member in value.items() if not (key == "title" and isinstance(member, str))}
    if tidy.get("default", ...) is None:
        del tidy["default"]
    options = [option for option in tidy.get("anyOf", ()) if option != {"type": "null"}]
    if "anyOf" in tidy and len(options) == 1:
        del tidy["anyOf"]
        return {**options[0], **tidy}
    return {**tidy, "anyOf": options} if options else tidy


def _certificate(found: Schema) -> Schema:
    """`file` in place of `pem`, and one place of lists without brackets."""
    properties = found["properties"]
    place = properties["crl"]
    return found | {
        "properties": {**properties, "file": {"type": "string", "minLength": 1}, "crl": {"anyOf": [place, place["items"]]}},
        "required": [key for key in found["required"] if key != "pem"],
        "oneOf": [{"required": ["pem"]}, {"required": ["file"]}],
    }


def _authenticate(found: Schema) -> Schema:
    return _exactly_one(found | {"properties": {**found["properties"], "secret_file": {"type": "string", "minLength": 1}}})


def _place(found: Schema) -> Schema:
    return found | {"oneOf": [{"required": ["url"]}, {"required": ["path"]}]}


def _age(found: Schema) -> Schema:
    """Written as a duration, read as seconds."""
    return found | {"properties": {**found["properties"], "age": {"type": "string"}}}


def _exactly_one(found: Schema) -> Schema:
    return found | {"minProperties": 1, "maxProperties": 1}


_WRITTEN: Final[Mapping[str, Any]] = {
    "watchword_server__configuration__document__certificates__Certificate": _certificate,
    "Authenticate": _authenticate,
    "Selector": _exactly_one,
    "RevocationListPlace": _place,
    "Result": _age,
}
