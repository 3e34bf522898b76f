"""The gRPC channel to the server: TLS, except at a loopback address."""

import asyncio
import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

import grpc

from watchword_agent.errors import ServerUnreachableError, SettingsError
from watchword_agent.log import printable
from watchword_agent.proxies import Proxy
from watchword_agent.settings import ServerAddress

MAX_MESSAGE_BYTES: Final = 256 * 1024
_MAX_DETAILS: Final = 1000
_MAX_ID: Final = 100
_DIGITS: Final = re.compile(r"[0-9]{1,9}")

_Request_contra = TypeVar("_Request_contra", contravariant=True)


class _Takes(Protocol[_Request_contra]):
    async def write(self, request: _Request_contra, /) -> None:
        """Sends a message."""


# Keepalive never below what the server allows (it drops a client that pings more often than every 25 s), and all three knobs:
# the keepalive timeout alone is capped below by the 60 s of the ping timeout.
_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 120_000),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)


def open_channel(address: ServerAddress, *, ca_file: Path | None, proxy: Proxy | None = None) -> grpc.aio.Channel:
    """A channel that connects when it is first used. `ca_file` None: the roots that come with gRPC.

    Raises `SettingsError` if the file cannot be read.
    """
    # The proxy is ours to find: gRPC would take one from the environment whatever the settings say.
    told: list[tuple[str, int | str]] = [("grpc.enable_http_proxy", 0 if proxy is None else 1)]
    if proxy is not None:
        told.append(("grpc.http_proxy", proxy.url))
    options = [*_OPTIONS, *told]
    if not address.tls:
        return grpc.aio.insecure_channel(address.authority, options=options)
    try:
        roots = ca_file.read_bytes() if ca_file is not None else None
    except OSError as error:
        raise SettingsError(f"`ca_file`: cannot read `{ca_file}`: {error.strerror}") from error
    credentials = grpc.ssl_channel_credentials(root_certificates=roots)
    return grpc.aio.secure_channel(f"dns:///{address.authority}", credentials, options=options)


async def write(call: _Takes[_Request_contra], request: _Request_contra) -> None:
    """Sends one message. A stream that is over takes it silently: reading says how it ended."""
    with contextlib.suppress(asyncio.InvalidStateError):
        await call.write(request)


@dataclass(frozen=True, slots=True)
class CallFailure:
    """How a call failed. `text` is for people; `code` is the server's own word where it said one.

    `is_refusal`: the server does not want us, so that trying again soon is pointless.
    """

    code: str
    text: str
    is_refusal: bool
    retry_after_seconds: float


class CallFailedError(ServerUnreachableError):
    """A call that failed in another way than gRPC's."""

    def __init__(self, failure: CallFailure) -> None:
        super().__init__(failure.text)
        self.failure = failure


def failure_of(error: grpc.aio.AioRpcError) -> CallFailure:
    """What a failed call tells, by its status and the server's trailing metadata. All words come from outside."""
    told = {key: printable(value) for key, value in error.trailing_metadata() if isinstance(value, str)}
    text = f"{error.code().name}: {printable(error.details() or 'no details')[:_MAX_DETAILS]}"
    correlation_id = told.get("watchword-correlation-id")
    retry_after_ms = told.get("retry-after-ms", "")
    return CallFailure(
        code=told.get("watchword-code") or error.code().name.lower(),
        text=f"{text} (correlation id `{correlation_id[:_MAX_ID]}`)" if correlation_id else text,
        is_refusal=error.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED),
        retry_after_seconds=int(retry_after_ms) / 1000 if _DIGITS.fullmatch(retry_after_ms) else 0,
    )
