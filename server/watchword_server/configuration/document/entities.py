"""Entities: what AuthZEN's searches may find, with what is known of it."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from watchword_server.configuration.document.base import Entry, one_of

_Text = Annotated[str, Field(min_length=1, max_length=1000)]


class Entity(Entry):
    """A subject, resource or action. `id` is AuthZEN's: of a subject or resource its id, of an action its name; unset: `name`."""

    hints: ClassVar = {key: hint for key, hint in Entry.hints.items() if key != "id"}

    role: Annotated[Literal["subject", "resource", "action"], one_of("subject", "resource", "action")]
    type: _Text | None = None
    id: _Text | None = None
    properties: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _typed_unless_an_action(self) -> Self:
        if self.role == "action" and self.type is not None:
            raise ValueError("an action has a name and no type: leave `type` out")
        if self.role != "action" and self.type is None:
            raise ValueError(f"a {self.role} has a type: write one such as `type: user`")
        return self
