"""What `watchword doctor proxy` calls open is open: with the real program, and nobody to ask."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import pytest

from inspection.edits import EDITS, Edit
from support.pki import Pki
from support.processes import free_port
from support.proxies import ProxySetup, RunningProxy, caddy, envoy, haproxy, nginx, traefik
from support.upstream import Upstream

Start = Callable[[ProxySetup], AbstractContextManager[RunningProxy]]
OPEN: Final[tuple[tuple[str, Start, str], ...]] = (
    ("nginx/nginx.conf: a location switches it off", nginx, "/"),
    ("envoy/envoy.yaml: failures allow", envoy, "/"),
    ("envoy/envoy.yaml: a route leaves it out", envoy, "/"),
    ("caddy/Caddyfile: when Watchword does not answer", caddy, "/"),
    ("caddy/Caddyfile: some paths", caddy, "/public"),
    ("traefik/dynamic.yml: a router without it", traefik, "/"),
    ("haproxy/haproxy.cfg: some are let in before", haproxy, "/public"),
)


def the_edit(name: str) -> Edit:
    (edit,) = (edit for edit in EDITS if str(edit) == name)
    return edit


@pytest.mark.parametrize(
    ("name", "start", "path"),
    [pytest.param(*each, id=each[0], marks=pytest.mark.needs_program(each[1].__name__)) for each in OPEN],
)
def test_what_is_called_open_is_open(name: str, start: Start, path: str, pki: Pki, application: Upstream) -> None:
    edit, nobody = the_edit(name), f"127.0.0.1:{free_port()}"

    def edited(text: str) -> str:
        old, new = (
            part.replace("127.0.0.1:7401", nobody).replace("127.0.0.1:8080", application.address) for part in (edit.old, edit.new)
        )
        return text.replace(old, new)

    application.requests.clear()
    with start(ProxySetup(decisions=nobody, application=application.address, pki=pki)) as proxy:
        assert proxy.client().get(path).status >= 400
    assert application.requests == []
    with start(ProxySetup(decisions=nobody, application=application.address, pki=pki, edited=edited)) as proxy:
        proxy.client().get(path)
    assert [request.target for request in application.requests] == [path]
