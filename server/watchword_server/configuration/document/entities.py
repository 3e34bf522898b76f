"""Entities: what AuthZEN's searches may find, with what is known of it."""

import json
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, model_validator

from watchword_server.configuration.document.base import Entry, one_of
from watchword_server.core.evaluations import properties_of

_Text = Annotated[str, Field(min_length=1, max_length=1000)]


_MAX_PROPERTIES: Final = 16 * 1024  # bytes of JSON: a search reads those of every candidate


def _readable(properties: dict[str, Any]) -> dict[str, Any]:
    """As a question's are read. Raises `ValueError`."""
    try:
        length = len(json.dumps(properties, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError):
        raise ValueError("they are not JSON: there is text, or a number, that it cannot have") from None
    if length > _MAX_PROPERTIES:
        raise ValueError(f"they are longer than {_MAX_PROPERTIES} bytes as JSON: write what rules read")
    properties_of("properties", properties)
    return properties


class Entity(Entry):
    """A subject, resource or action. `id` is AuthZEN's: of a subject or resource its id, of an action its name; unset: `name`."""

    hints: ClassVar = {key: hint for key, hint in Entry.hints.items() if key != "id"}

    role: Annotated[Literal["subject", "resource", "action"], one_of("subject", "resource", "action")]
    type: _Text | None = None
    id: _Text | None = None
    properties: Annotated[dict[str, JsonValue], AfterValidator(_readable)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _typed_unless_an_action(self) -> Self:
        if self.role == "action" and self.type is not None:
            raise ValueError("an action has a name and no type: leave `type` out")
        if self.role != "action" and self.type is None:
            raise ValueError(f"a {self.role} has a type: write one such as `type: user`")
        return self
