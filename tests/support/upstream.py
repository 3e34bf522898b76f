"""The application behind a proxy: it answers what it was asked, as JSON, and remembers it."""

import json

from support.http_server import HttpRequest, HttpResponse, HttpServer


class Upstream(HttpServer):
    """`requests` holds what reached the application, oldest first: after a denial, nothing new.

    Every answer carries `extra_headers`.
    """

    def __init__(self, *, extra_headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(self._echo)
        self.requests: list[HttpRequest] = []
        self._extra_headers = extra_headers

    async def _echo(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        seen = {
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
            "body": request.body.decode("latin-1"),
        }
        return HttpResponse(headers=(("Content-Type", "application/json"), *self._extra_headers), body=json.dumps(seen).encode())
