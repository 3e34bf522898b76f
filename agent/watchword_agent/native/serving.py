"""A helper's side of the conversation with the agent: a JSON line for each request and for each answer."""

import base64
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from watchword import possession

Request = Mapping[str, Any]
Answer = dict[str, Any]


class HelperError(Exception):
    """What the agent is told instead of an answer: a code of docs/reasons.md, and where; never what a store holds."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


def serve(operations: Mapping[str, Callable[[Request], Answer | Iterator[Answer]]]) -> None:
    """Answers requests by their `op` until standard input ends.

    An operation that gives an iterator has an answer for each of its items, as they come: it is the helper's last.
    """
    stdout = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that talks there does not talk to the agent
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            answered = operations[request["op"]](request)
            if not isinstance(answered, Iterator):
                _say(stdout, {"ok": answered})
                continue
            threading.Thread(target=_end_with_input, daemon=True).start()  # nobody reads it meanwhile
            for answer in answered:
                _say(stdout, {"ok": answer})
        except HelperError as error:
            _say(stdout, {"error": {"code": error.code, "detail": error.detail}})


def statement_of(request: Request) -> bytes:
    """The possession statement in a request to sign: a helper signs nothing else. Raises `HelperError`."""
    statement = unbase64(request["statement"])
    if not possession.is_statement(statement):
        raise HelperError("helper_crashed", "asked to sign what is no possession statement")
    return statement


def base64_of(data: bytes) -> str:
    """Bytes as JSON carries them."""
    return base64.b64encode(data).decode("ascii")


def unbase64(text: str) -> bytes:
    """The reverse. Raises `ValueError`."""
    return base64.b64decode(text, validate=True)


def _say(stdout: BinaryIO, answer: Answer) -> None:
    stdout.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
    stdout.flush()


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)
