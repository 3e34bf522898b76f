"""Who acts: said at the door that knows, read where the store writes it down. Whoever says nothing is the server itself."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from watchword_server.core.audit import SERVER, Actor

_ACTOR: ContextVar[Actor] = ContextVar("actor", default=SERVER)


@contextlib.contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """What is changed in this block, and in tasks it starts, is changed by this actor."""
    token = _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.reset(token)


def current_actor() -> Actor:
    """Who acts here and now."""
    return _ACTOR.get()
