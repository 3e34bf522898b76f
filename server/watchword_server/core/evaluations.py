"""AuthZEN's entities as expressions read them: each property in the map of its type, a nested one under its path with dots."""

from collections.abc import Iterator, Mapping
from typing import Final

from watchword_server.core.model.decisions import Evaluation, Value

_NAMES: Final = {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}
_INT64: Final = 1 << 63
_MAX_DEPTH: Final = 16
_MAX_PATH: Final = 512  # bytes: each property is kept under its whole path, which a long name around many would multiply


def evaluation_of(document: Mapping[str, object]) -> Evaluation:
    """The evaluation of a question: `subject`, `action`, `resource` and perhaps `context`, JSON that was found to be whole.

    Raises `ValueError` for properties too deep or too long to name, and for two of one path, of which nobody could say
    which counts.
    """
    fields: dict[str, Value] = {}
    for entity, names in _NAMES.items():
        told = document[entity]
        if isinstance(told, Mapping):
            fields |= {f"{entity}.{name}": _bytes(str(told[name])) for name in names}
            fields |= properties_of(entity, told.get("properties"))
    return Evaluation(document, fields | properties_of("context", document.get("context")))


def properties_of(entity: str, told: object) -> dict[str, Value]:
    """The four maps of an entity's properties, or of the context. Raises `ValueError` as `evaluation_of`."""
    texts: dict[bytes, object] = {}
    truths: dict[bytes, object] = {}
    numbers: dict[bytes, object] = {}
    lists: dict[bytes, object] = {}
    seen: set[bytes] = set()
    for path, value in _leaves(entity, told):
        if path in seen:
            raise ValueError(f"`{entity}` has two properties of one path: an object's member and a name with a dot")
        seen.add(path)
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


def _leaves(entity: str, told: object, prefix: bytes = b"", depth: int = 1) -> Iterator[tuple[bytes, object]]:
    if not isinstance(told, Mapping):
        return
    if depth > _MAX_DEPTH:
        raise ValueError(f"`{entity}` has properties more than {_MAX_DEPTH} deep")
    for name, value in told.items():
        path = prefix + _bytes(str(name))
        if len(path) > _MAX_PATH:
            raise ValueError(f"`{entity}` has a property whose path is longer than {_MAX_PATH} bytes")
        if isinstance(value, Mapping):
            yield from _leaves(entity, value, path + b".", depth + 1)
        else:
            yield path, value


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
