"""AuthZEN's entities as expressions read them: each property in the map of its type, a nested one under its path with dots."""

from collections.abc import Iterator, Mapping
from typing import Final

from watchword_server.core.model import Evaluation, Value

_NAMES: Final = {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}
_INT64: Final = 1 << 63


def evaluation_of(document: Mapping[str, object]) -> Evaluation:
    """The evaluation of a question: `subject`, `action`, `resource` and perhaps `context`, JSON that was found to be whole."""
    fields: dict[str, Value] = {}
    for entity, names in _NAMES.items():
        told = document[entity]
        if isinstance(told, Mapping):
            fields |= {f"{entity}.{name}": _bytes(str(told[name])) for name in names}
            fields |= _properties(entity, told.get("properties"))
    return Evaluation(document, fields | _properties("context", document.get("context")))


def _properties(entity: str, told: object) -> dict[str, Value]:
    texts: dict[bytes, object] = {}
    truths: dict[bytes, object] = {}
    numbers: dict[bytes, object] = {}
    lists: dict[bytes, object] = {}
    for path, value in _leaves(told):
        match value:
            case bool():
                truths[path] = value
            case int() if -_INT64 <= value < _INT64:
                numbers[path] = value
            case str():
                texts[path] = _bytes(value)
            case list() if all(isinstance(item, str) for item in value):
                lists[path] = tuple(map(_bytes, value))
            case _:
                pass  # a fraction, null, a list of other things: missing, as what nobody told
    found = {"properties": texts, "properties.bool": truths, "properties.int": numbers, "properties.list": lists}
    return {f"{entity}.{name}": values for name, values in found.items()}


def _leaves(told: object, prefix: bytes = b"") -> Iterator[tuple[bytes, object]]:
    if isinstance(told, Mapping):
        for name, value in told.items():
            path = prefix + _bytes(str(name))
            if isinstance(value, Mapping):
                yield from _leaves(value, path + b".")
            else:
                yield path, value


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
