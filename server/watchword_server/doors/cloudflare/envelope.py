"""The envelope of every answer. The SDK takes any 200 for success, so that a failure always has a status of its own."""

from typing import Any, Generic, TypeVar

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")


class Source(BaseModel):
    """Where in the request."""

    pointer: str


class Message(BaseModel):
    """An error or a remark."""

    code: int = Field(ge=1000)
    message: str
    source: Source | None = None


class Envelope(BaseModel, Generic[T]):
    """Success. `result_info` where the answer is a page."""

    model_config = ConfigDict(extra="forbid")

    success: bool = True
    errors: list[Message] = Field(default_factory=list)
    messages: list[Message] = Field(default_factory=list)
    result: T
    result_info: dict[str, Any] | None = None


class Failure(BaseModel):
    """What went wrong, each with its place and remedy."""

    success: bool = False
    errors: list[Message]
    messages: list[Message] = Field(default_factory=list)
    result: None = None


def answer(
    result: object, *, result_info: dict[str, Any] | None = None, messages: list[dict[str, Any]] | None = None
) -> JSONResponse:
    """A whole answer: not validated once more, which would take as long as all else for ten thousand entries."""
    body = {"success": True, "errors": [], "messages": messages or [], "result": result}
    return JSONResponse(body if result_info is None else body | {"result_info": result_info})
