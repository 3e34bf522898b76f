"""Asks OCSP responders over HTTP (RFC 6960, appendix A)."""

from typing import Final

import httpx

from watchword_server.core.certificates.ocsp import MAX_RESPONSE_LENGTH
from watchword_server.errors import RevocationReadError

_HEADERS: Final = {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}


class OcspClient:
    """One pool of connections; no redirects are followed, and no more is read than a response can be long."""

    def __init__(self, *, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._client: httpx.AsyncClient | None = None  # made when it is needed: few servers ask, and it takes a while

    async def ask(self, url: str, request: bytes) -> bytes:
        """See `OcspAsking`."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._timeout_seconds)
        try:
            async with self._client.stream("POST", url, content=request, headers=_HEADERS) as response:
                if response.status_code != httpx.codes.OK:
                    raise RevocationReadError("fetch_failed", f"`{url}` answers with status {response.status_code}")
                content = b""
                async for piece in response.aiter_raw():
                    content += piece
                    if len(content) > MAX_RESPONSE_LENGTH:
                        raise RevocationReadError("fetch_failed", f"`{url}` answers with more than {MAX_RESPONSE_LENGTH} bytes")
                return content
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RevocationReadError("fetch_failed", f"`{url}` does not answer: {error or type(error).__name__}") from error

    async def close(self) -> None:
        """Closes its connections."""
        if self._client is not None:
            await self._client.aclose()
