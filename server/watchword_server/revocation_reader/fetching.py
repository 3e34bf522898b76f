"""Fetches the bytes of a list: from an http or https URL, or from a file."""

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from watchword_server.revocation_reader.failure import ReadingFailedError

_MAX_SECONDS_TO_CONNECT: Final = 10.0
_CHUNK: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes, and what makes the next request conditional."""

    content: bytes
    etag: str | None
    last_modified: str | None


def fetch_url(url: str, *, max_bytes: int, timeout_seconds: float, etag: str | None, last_modified: str | None) -> Fetched | None:
    """The body of a GET; None: not modified. Proxies are those of the environment (`HTTPS_PROXY` and so on).

    Redirects are not followed: the operator named the place, nobody else does. Raises `ReadingFailedError`.
    """
    deadline = time.monotonic() + timeout_seconds
    headers = {"Accept": "application/pkix-crl, */*", "Accept-Encoding": "identity", "User-Agent": "watchword"}
    if etag is not None:
        headers["If-None-Match"] = etag
    if last_modified is not None:
        headers["If-Modified-Since"] = last_modified
    timeout = httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, _MAX_SECONDS_TO_CONNECT))
    try:
        parsed = httpx.URL(url)
        if parsed.scheme not in {"http", "https"}:
            raise ReadingFailedError("url_unsupported", f"`{parsed.scheme}` is not supported; use http or https")
        with (
            httpx.Client(timeout=timeout, follow_redirects=False) as client,
            client.stream("GET", parsed, headers=headers) as response,
        ):
            if response.status_code == httpx.codes.NOT_MODIFIED and (etag or last_modified):
                return None
            _check_head(response, max_bytes)
            content = bytearray()
            for piece in response.iter_raw(_CHUNK):
                content += piece
                if len(content) > max_bytes:
                    raise _too_large(max_bytes)
                if time.monotonic() > deadline:
                    raise ReadingFailedError("timeout", f"not complete after {timeout_seconds:g} s")
            return Fetched(bytes(content), response.headers.get("etag"), response.headers.get("last-modified"))
    except httpx.TimeoutException as error:
        raise ReadingFailedError("timeout", f"no answer within {timeout_seconds:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError, ValueError) as error:
        raise ReadingFailedError("unreachable", _plain(error)) from error


def read_file(path: Path, *, max_bytes: int, etag: str | None) -> Fetched | None:
    """The bytes of a file; None: the same file as at `etag`. Raises `ReadingFailedError`."""
    try:
        # Not blocking: a named pipe would wait for a writer for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ReadingFailedError("not_a_file", f"`{path}` is not a regular file")
            tag = f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
            if tag == etag:
                return None
            content = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise ReadingFailedError("file_unreadable", f"`{path}`: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > max_bytes:
        raise _too_large(max_bytes)
    return Fetched(content, tag, None)


def _check_head(response: httpx.Response, max_bytes: int) -> None:
    if response.is_redirect:
        where = _plain(response.headers.get("location", ""))
        raise ReadingFailedError("redirected", f"redirects are not followed: put `{where}` as the URL if it is the right one")
    if response.status_code != httpx.codes.OK:
        raise ReadingFailedError("http_status", f"the server answered {response.status_code}")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ReadingFailedError("http_encoding", "the body is compressed although that was not asked for")
    length = response.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> ReadingFailedError:
    return ReadingFailedError("too_large", f"more than {max_bytes} bytes")


def _plain(said: object) -> str:
    text = str(said)[:256] or type(said).__name__
    return "".join(character if character.isprintable() else "?" for character in text)
