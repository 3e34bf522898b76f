"""How good the evidence of a check has to be where a rule asks for it. Ours: the Cloudflare API knows nothing like it."""

from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, model_validator

from watchword_server.configuration.document.base import Model, one_of
from watchword_server.configuration.document.durations import Duration, parse_seconds

Binding = Literal["certificate", "token", "address", "bearer", "stated"]


def _some_time(text: str) -> str:
    if parse_seconds(text) == 0:
        raise ValueError("no evidence is that young: write a longer time, such as `10m`")
    return text


class Evidence(Model):
    """At least so well known, and at most so old. `hardware`: proven, and the device's own key lies in hardware.

    `binding`: how strongly the request is bound to the device, at least.
    """

    level: (
        Annotated[Literal["hardware", "proven", "signed", "reported"], one_of("hardware", "proven", "signed", "reported")] | None
    ) = None
    max_age: Annotated[Duration, AfterValidator(_some_time)] | None = None
    binding: Annotated[Binding, one_of(*get_args(Binding))] | None = None

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("`evidence` asks for nothing: write `level`, `max_age` or `binding`, or leave it out")
        return self

    @property
    def max_age_seconds(self) -> int | None:
        """The most that may have passed since the agent looked."""
        return None if self.max_age is None else parse_seconds(self.max_age)
