"""Sessions of one answer by HTTPS requests, where streams do not get through; used as the call of a stream is.

What is written becomes a request, and what is answered is read; then the session is over. docs/protocol.md, "Single requests".
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from watchword.v1 import posture_pb2 as pb
from watchword_agent.channel import MAX_MESSAGE_BYTES, CallFailedError, CallFailure
from watchword_agent.errors import SettingsError
from watchword_agent.log import printable
from watchword_agent.proxies import Proxy
from watchword_agent.settings import ServerAddress

if TYPE_CHECKING:
    import httpx

_CONTENT_TYPE: Final = "application/x-protobuf"
_MAX_TEXT: Final = 300
_Answer = TypeVar("_Answer", bound=Message)


@contextlib.asynccontextmanager
async def open_client(
    server: ServerAddress, *, ca_file: Path | None, proxy: Proxy | None, timeout_seconds: float
) -> AsyncIterator["httpx.AsyncClient"]:
    """Requests to this server alone: no redirects, no cookies kept, nothing from the environment. Raises `SettingsError`."""
    try:
        import httpx  # noqa: PLC0415 -- most agents never need it
    except ImportError as error:
        raise SettingsError("`https_server`: httpx is missing: install the agent as `watchword[agent]`") from error
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise SettingsError(f"`ca_file`: cannot read `{ca_file}`: {error}") from error
    async with httpx.AsyncClient(
        base_url=str(server),
        verify=context,
        proxy=None if proxy is None else proxy.url,
        trust_env=False,
        follow_redirects=False,
        timeout=timeout_seconds,
        limits=httpx.Limits(max_connections=1, keepalive_expiry=60),
    ) as client:
        yield client


class SingleRequests:
    """One session. `write` never raises: `read` tells how a request ended."""

    def __init__(self, client: "httpx.AsyncClient") -> None:
        self._client = client
        self._seal = b""
        self._answers: asyncio.Queue[pb.AttestResponse | CallFailedError | None] = asyncio.Queue()

    async def write(self, request: pb.AttestRequest) -> None:
        """Sends a Hello or an envelope, each as a request of its own; anything else ends the session."""
        try:
            match request.WhichOneof("message"):
                case "hello":
                    sealed = await self._post("challenge", request.hello, pb.SealedChallenge)
                    self._seal = sealed.seal
                    self._answers.put_nowait(pb.AttestResponse(challenge=sealed.challenge))
                case "envelope":
                    answer = pb.SealedAnswer(seal=self._seal, envelope=request.envelope)
                    for response in (await self._post("evidence", answer, pb.Answers)).responses:
                        self._answers.put_nowait(response)
                    self._answers.put_nowait(None)
                case _:
                    self._answers.put_nowait(None)
        except CallFailedError as error:
            self._answers.put_nowait(error)

    async def read(self) -> pb.AttestResponse | None:
        """The next message; None: the session is over. Raises `CallFailedError`."""
        answer = await self._answers.get()
        if isinstance(answer, CallFailedError):
            raise answer
        return answer

    def cancel(self) -> None:
        """Nothing is under way between two requests."""

    async def _post(self, what: str, message: Message, kind: type[_Answer]) -> _Answer:
        import httpx  # noqa: PLC0415 -- as above

        headers = {"content-type": _CONTENT_TYPE, "accept": _CONTENT_TYPE}
        try:
            async with self._client.stream(
                "POST", f"/v1/agent/{what}", content=message.SerializeToString(), headers=headers
            ) as response:
                body = await _limited(response.aiter_bytes())
        except httpx.HTTPError as error:
            text = printable(str(error) or type(error).__name__)[:_MAX_TEXT]
            raise CallFailedError(CallFailure("unavailable", text, is_refusal=False, retry_after_seconds=0)) from error
        if response.status_code != 200:
            raise CallFailedError(_failure(response.status_code, body, response.headers.get("retry-after", "")))
        if response.headers.get("content-type") != _CONTENT_TYPE:
            text = "what answers is no Watchword server: a captive portal, or a proxy's own page?"
            raise CallFailedError(CallFailure("unavailable", text, is_refusal=False, retry_after_seconds=0))
        try:
            return kind.FromString(body)
        except DecodeError as error:
            text = "the answer cannot be understood"
            raise CallFailedError(CallFailure("protocol_violation", text, is_refusal=True, retry_after_seconds=0)) from error


async def _limited(chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MAX_MESSAGE_BYTES:
            text = f"the answer has more than {MAX_MESSAGE_BYTES} bytes"
            raise CallFailedError(CallFailure("protocol_violation", text, is_refusal=True, retry_after_seconds=0))
    return bytes(body)


def _failure(status: int, body: bytes, retry_after: str) -> CallFailure:
    """What the server says of it, or whoever answers in its place."""
    code = "unavailable"
    with contextlib.suppress(ValueError, KeyError, TypeError):
        code = printable(str(json.loads(body)["error"]["code"]))[:100]
    return CallFailure(
        code=code,
        text=f"HTTP status {status}",
        is_refusal=status in (401, 403, 404, 405, 415, 501),
        retry_after_seconds=float(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 6 else 0,
    )
