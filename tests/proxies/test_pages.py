"""docs/proxies/: every command of every page as it is printed, but for addresses and the directory that stands for `/etc`."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from proxies.test_decisions import enroll
from support.deploy import DEPLOY
from support.pki import Credential, Pki
from support.processes import free_port
from support.programs import program
from support.rules import wiki_rules, write_rules
from support.server import WatchwordServer
from support.upstream import Upstream

PAGES: Final = ("nginx", "envoy", "caddy", "traefik", "haproxy")
DOCS: Final = DEPLOY.parent / "docs" / "proxies"
_BLOCK: Final = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it is printed, and what it prints."""

    text: str
    output: str


def commands(page: str) -> Iterator[Command]:
    """The commands of a page. A here-document belongs to its command."""
    for block in _BLOCK.findall((DOCS / f"{page}.md").read_text()):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.rstrip("\n").split("\n")
            end = lines.index("END") + 1 if "<<'END'" in lines[0] else 1
            yield Command("\n".join(lines[:end]), "\n".join(lines[end:]))


@pytest.fixture(scope="module")
def server(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchwordServer]:
    directory = tmp_path_factory.mktemp("server")
    with WatchwordServer(directory / "data") as running:
        running.apply(write_rules(wiki_rules(pki), directory, caller_secret="another-caller-s-secret-of-forty-letters"))
        yield running


@pytest.fixture(scope="module")
def proven(server: WatchwordServer, credential: Credential) -> Credential:
    enroll(server, server.enrollment_token(), credential)
    return credential


@pytest.mark.needs_program("curl")
@pytest.mark.parametrize("page", [pytest.param(page, marks=pytest.mark.needs_program(page)) for page in PAGES])
def test_a_page_leads_from_nothing_to_a_proxy_that_asks_and_obeys(
    page: str,
    server: WatchwordServer,
    application: Upstream,
    pki: Pki,
    proven: Credential,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp(page)
    for directory in [home, *home.parents]:
        if directory != Path("/tmp") and directory.stat().st_uid == os.getuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o055)  # nginx's workers are nobody in particular
    etc = home / "etc"
    changes = _changes(home, etc, server, application)
    _shipped(home, changes)
    _given(home, etc, pki, proven)
    script = ["set -m", "trap 'kill $(jobs -p) 2>/dev/null' EXIT"]
    listed = list(commands(page))
    for number, command in enumerate(listed):
        script.append(f"echo '--- {number}'")
        text = _changed(command.text, changes)
        script.append(text)
        if text.endswith("&"):
            script.append(f"{sys.executable} -c '{_WAIT}' {changes[':443:'].strip(':')}")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{Path(program(page)).parent}{os.pathsep}{os.environ['PATH']}",
        "WATCHWORD_DATA": str(server.data),
        "HOME": str(home),
    }
    done = subprocess.run(
        ["/bin/bash", "-c", "\n".join(script)],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told = re.split(r"^--- \d+\n", done.stdout, flags=re.MULTILINE)[1:]
    assert len(told) == len(listed), done.stderr[-2000:]
    for command, output in zip(listed, told, strict=True):
        if command.output:
            assert output.strip() == command.output, (command.text, done.stderr[-2000:])


# Until the proxy shows the certificate it is to show: Traefik listens before it has read its routers.
_WAIT: Final = """
import socket, ssl, sys, time
context, end = ssl.create_default_context(cafile="ca.pem"), time.monotonic() + 20
while time.monotonic() < end:
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1) as connection:
            context.wrap_socket(connection, server_hostname="wiki.corp.example").close()
        break
    except OSError:
        time.sleep(0.02)
"""


def _changes(home: Path, etc: Path, server: WatchwordServer, application: Upstream) -> dict[str, str]:
    """Addresses and directories of the shipped files and of the pages, and what stands for them."""
    port, endpoints = free_port(), server.endpoints
    host, decisions = endpoints.decisions_grpc.rsplit(":", 1)
    _, app_port = application.address.rsplit(":", 1)
    return {
        "address: 0.0.0.0, port_value: 443": f"address: 127.0.0.1, port_value: {port}",
        "address: 127.0.0.1, port_value: 8080": f"address: 127.0.0.1, port_value: {app_port}",
        "address: 127.0.0.1, port_value: 7402": f"address: {host}, port_value: {decisions}",
        "0.0.0.0:443": f"127.0.0.1:{port}",
        "127.0.0.1:8080": application.address,
        "127.0.0.1:7401": endpoints.decisions_http_address,
        "127.0.0.1:7405": endpoints.decisions_spop,
        "127.0.0.1:7409": f"127.0.0.1:{free_port()}",
        "bind 0.0.0.0": "bind 127.0.0.1",
        ":443 {": f":{port} {{",
        ":443:": f":{port}:",
        "https://wiki.corp.example/": f"https://wiki.corp.example:{port}/",
        "/etc/watchword": f"{etc}/watchword",
        "/run/nginx.pid": f"{home}/nginx.pid",
        "/var/log/nginx": f"{home}",
        "/var/lib/nginx": f"{home}",
    }


def _changed(text: str, changes: dict[str, str]) -> str:
    for one, other in changes.items():
        text = text.replace(one, other)
    return text


def _shipped(home: Path, changes: dict[str, str]) -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            copy = home / "deploy" / path.relative_to(DEPLOY)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(_changed(path.read_text(), changes))


def _given(home: Path, etc: Path, pki: Pki, credential: Credential) -> None:
    """What a page says that its reader has."""
    (etc / "watchword" / "tls").mkdir(parents=True)
    (etc / "watchword" / "pki").mkdir()
    files = pki.server("wiki.corp.example").write(etc / "watchword" / "tls", "server")
    files.certificate.rename(etc / "watchword" / "tls" / "server.pem")
    files.key.rename(etc / "watchword" / "tls" / "server.key")
    (etc / "watchword" / "pki" / "device-ca.pem").write_bytes(pki.issuing.pem + pki.root.pem)
    (home / "ca.pem").write_bytes(pki.web.pem)
    files = credential.write(home)
    files.certificate.rename(home / "client.pem")
    files.key.rename(home / "client.key")
