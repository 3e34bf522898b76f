"""Ways to the real server: a stream, single HTTPS requests where streams do not get through, a proxy between."""

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.device import Device
from support.pki import Pki, key_pem
from support.server import WatchwordServer
from watchword.v1 import posture_pb2 as pb
from watchword_agent import app
from watchword_agent.errors import ServerError, SettingsError
from watchword_agent.proxies import Proxy, proxy_for
from watchword_agent.settings import ServerAddress, load_settings
from watchword_agent.status import Status
from watchword_agent.transport import Choice, Transport

RULES = """
certificates:
  - name: device-ca
    file: ca.pem
checks:
  - name: laptop
    type: client_certificate_v2
    input: {{ certificate_id: device-ca, locations: {{ paths: ["{directory}/client.pem"] }} }}
"""
QUICK = {"hostname": "laptop-1", "reconnect_base_seconds": 0.02, "refused_base_seconds": 0.02}
NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Scene:
    directory: Path
    server: WatchwordServer

    @property
    def stream(self) -> str:
        return f"http://{self.server.endpoints.agents}"

    @property
    def single(self) -> str:
        return self.server.endpoints.agents_http

    async def device(self, name: str, **options: object) -> Device:
        """Enrolled over the stream, which is the only way to enroll."""
        base = {"server": self.stream, "state_dir": self.directory / name, **QUICK}
        enrolling = load_settings(options=base)
        enrollment = (await app.enroll_device(enrolling, self.server.enrollment_token())).enrollment
        return Device(load_settings(options={**base, **options}), enrollment)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("transport")
    (directory / "ca.pem").write_bytes(pki.issuing.pem)
    (directory / "rules.yaml").write_text(RULES.format(directory=directory))
    with WatchwordServer(directory / "data", environment={"WATCHWORD_AGENTS__HTTPS": "true"}) as server:
        server.apply(directory / "rules.yaml")
        yield Scene(directory, server)


@pytest.fixture
def certificate(scene: Scene, pki: Pki) -> Path:
    client, path = pki.issuing.issue(), scene.directory / "client.pem"
    path.write_bytes(client.pem + key_pem(client.key))
    return path


def passes(status: Status) -> bool:
    return bool(status.checks) and status.checks[0].passed


# ---- Single requests ---------------------------------------------------------------------------------------------------


async def test_evidence_goes_by_single_requests_and_a_change_is_told_at_once(scene: Scene, certificate: Path) -> None:
    device = await scene.device("https", transport="https", https_server=scene.single, server=NOWHERE)
    async with device.running():
        status = await device.status_when(passes)
        assert (status.single_requests, status.connected, status.problem) == (True, True, None)
        shutil.move(certificate, scene.directory / "away")
        gone = await device.status_when(lambda status: not passes(status))
        assert gone.checks[0].reason == "path_missing"
        shutil.move(scene.directory / "away", certificate)
        await device.status_when(passes)


async def test_streams_that_come_to_nothing_give_way_to_single_requests(scene: Scene, certificate: Path) -> None:
    device = await scene.device("auto", https_server=scene.single, server=NOWHERE)
    async with device.running():
        status = await device.status_when(passes)
    assert status.single_requests


async def test_where_streams_get_through_they_are_used(scene: Scene, certificate: Path) -> None:
    device = await scene.device("stream", https_server=scene.single)
    async with device.running():
        assert not (await device.status_when(passes)).single_requests


async def test_a_goodbye_goes_the_same_way(scene: Scene, certificate: Path) -> None:
    device = await scene.device("goodbye", transport="https", https_server=scene.single, server=NOWHERE)
    async with device.running():
        await device.status_when(passes)
    assert await app.leave_server(device.settings) == device.enrollment.device_id
    reasons = [result["reason"] for result in scene.server.results() if result["device_id"] == device.enrollment.device_id]
    assert reasons == ["device_said_goodbye"]


async def test_a_server_that_takes_no_single_requests_is_a_problem_with_its_code(tmp_path: Path, pki: Pki) -> None:
    with WatchwordServer(tmp_path / "data") as server:
        device = await Scene(tmp_path, server).device("off", transport="https", https_server=server.endpoints.agents_http)
        async with device.running():
            status = await device.status_when(lambda status: status.problem is not None)
        assert status.problem is not None
        assert status.problem.code == "not_supported"


async def test_over_tls_the_server_is_checked_against_the_roots_given(tmp_path: Path, pki: Pki) -> None:
    files = pki.server("127.0.0.1").write(tmp_path, "server")
    (tmp_path / "roots.pem").write_bytes(pki.web.pem)
    (tmp_path / "other.pem").write_bytes(pki.root.pem)
    environment = {
        "WATCHWORD_AGENTS__HTTPS": "true",
        "WATCHWORD_AGENTS__TLS__CERTIFICATE": str(files.certificate),
        "WATCHWORD_AGENTS__TLS__PRIVATE_KEY": str(files.key),
    }
    with WatchwordServer(tmp_path / "data", environment=environment) as server:
        base = {"server": f"https://{server.endpoints.agents}", "state_dir": tmp_path / "state", **QUICK}
        settings = load_settings(options={**base, "ca_file": tmp_path / "roots.pem"})
        enrollment = (await app.enroll_device(settings, server.enrollment_token())).enrollment
        single = {"transport": "https", "https_server": server.endpoints.agents_http}
        device = Device(load_settings(options={**settings.model_dump(), **single}), enrollment)
        async with device.running():
            await device.status_when(lambda status: status.last_ack_at is not None)
        async with device.running(ca_file=tmp_path / "other.pem"):
            status = await device.status_when(lambda status: status.problem is not None)
        assert status.problem is not None
        assert (status.problem.code, "certificate" in status.problem.detail.lower()) == ("unavailable", True)


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nlogin", "unavailable"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", "unavailable"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 3\r\n\r\n\xff\xff\xff",
            "protocol_violation",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + b"x" * 400_000, "protocol_violation"),
        (b"no HTTP at all\r\n\r\n", "unavailable"),
        (b"", "unavailable"),
    ],
)
async def test_whatever_answers_in_the_servers_place_is_a_problem_and_no_more(scene: Scene, head: bytes, code: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        address = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        device = await scene.device(f"portal-{abs(hash(head))}", transport="https", https_server=address)
        async with device.running():
            status = await device.status_when(lambda status: status.problem is not None)
        assert status.problem is not None
        assert status.problem.code == code
        with pytest.raises(ServerError):
            await app.leave_server(device.settings)


# ---- Which way ----------------------------------------------------------------------------------------------------------


class _Call:
    """What is opened does not matter here."""

    async def write(self, request: pb.AttestRequest, /) -> None: ...

    async def read(self) -> None: ...

    def cancel(self) -> None: ...


def ways(choice: Choice) -> tuple[Transport, list[str]]:
    taken: list[str] = []

    def opened(way: str) -> _Call:
        taken.append(way)
        return _Call()

    return Transport(lambda: opened("stream"), lambda: opened("single"), choice, lambda low, high: (low + high) / 2), taken


def test_the_stream_is_tried_again_after_an_hour_and_one_failure_is_then_enough() -> None:
    transport, taken = ways("auto")
    for now in range(3):
        transport.open(now)
        transport.ended(now, accepted=False, by_the_server=False)
    for now in (3, 100, 3_601):
        transport.open(now)
        transport.ended(now, accepted=True, by_the_server=False)
    transport.open(3_603)
    assert transport.ended(3_603, accepted=False, by_the_server=False)
    transport.open(3_604)
    assert taken == ["stream"] * 3 + ["single"] * 3 + ["stream", "single"]


def test_a_server_that_refuses_is_refused_either_way() -> None:
    transport, taken = ways("auto")
    for now in range(10):
        transport.open(now)
        transport.ended(now, accepted=False, by_the_server=True)
    assert set(taken) == {"stream"}


def test_where_neither_gets_through_they_take_turns() -> None:
    transport, taken = ways("auto")
    for now in range(8):
        transport.open(now)
        transport.ended(now, accepted=False, by_the_server=False)
    assert taken == ["stream"] * 3 + ["single", "stream"] * 2 + ["single"]


@pytest.mark.parametrize(("choice", "way"), [("stream", "stream"), ("https", "single")])
def test_what_is_chosen_stays(choice: Choice, way: str) -> None:
    transport, taken = ways(choice)
    for now in range(5):
        transport.open(now)
        transport.ended(now, accepted=False, by_the_server=False)
    assert set(taken) == {way}


# ---- Proxies ------------------------------------------------------------------------------------------------------------


@dataclass
class ProxyServer:
    """Takes CONNECT and leads to loopback whatever is asked for; `asked` are the heads it saw."""

    leads_to: str
    refuses: bytes = b""
    asked: list[str] = field(default_factory=list)
    _serving: "set[asyncio.Task[None]]" = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._serving.add(asyncio.ensure_future(self._serve(reader, writer)))

        listening = await asyncio.start_server(accept, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        finally:
            listening.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if self.refuses:
                writer.write(self.refuses)
                await writer.drain()
                writer.close()
                return
            host, port = self.leads_to.split(":")
            other_reader, other_writer = await asyncio.open_connection(host, int(port))
            with contextlib.closing(other_writer):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_carry(reader, other_writer), _carry(other_reader, writer))


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.mark.parametrize("transport", ["stream", "https"])
async def test_a_proxy_is_asked_for_the_server_by_name_with_the_credentials_given(
    tmp_path: Path, pki: Pki, transport: str
) -> None:
    """The agent resolves nothing: the name leads nowhere here."""
    files = pki.server("watchword.corp.example").write(tmp_path, "server")
    (tmp_path / "roots.pem").write_bytes(pki.web.pem)
    (tmp_path / "credentials").write_text("agent:s3cret/@\n")
    environment = {
        "WATCHWORD_AGENTS__HTTPS": "true",
        "WATCHWORD_AGENTS__TLS__CERTIFICATE": str(files.certificate),
        "WATCHWORD_AGENTS__TLS__PRIVATE_KEY": str(files.key),
    }
    with WatchwordServer(tmp_path / "data", environment=environment) as server:
        streams, single = ProxyServer(server.endpoints.agents), ProxyServer(server.endpoints.agents_http.split("//")[1])
        async with streams.running() as to_streams, single.running() as to_single:
            base = {
                "server": "https://watchword.corp.example:7403",
                "https_server": "https://watchword.corp.example:7404",
                "ca_file": tmp_path / "roots.pem",
                "state_dir": tmp_path / "state",
                "proxy_credentials_file": tmp_path / "credentials",
                **QUICK,
            }
            enrolling = load_settings(options={**base, "proxy": f"http://{to_streams}"})
            enrollment = (await app.enroll_device(enrolling, server.enrollment_token())).enrollment
            proxy = to_streams if transport == "stream" else to_single
            settings = load_settings(options={**base, "proxy": f"http://{proxy}", "transport": transport})
            device = Device(settings, enrollment)
            async with device.running():
                await device.status_when(lambda status: status.last_ack_at is not None)
        asked = (streams if transport == "stream" else single).asked
        assert asked
        port = 7403 if transport == "stream" else 7404
        for head in asked:
            assert head.startswith(f"CONNECT watchword.corp.example:{port} HTTP/1.1\r\n")
            (told,) = re.findall(r"(?i)^proxy-authorization: *(.*?)\r$", head, re.MULTILINE)
            assert told == "Basic YWdlbnQ6czNjcmV0L0A="


@pytest.mark.parametrize("transport", ["stream", "https"])
async def test_a_proxy_that_refuses_is_a_problem_without_its_credentials(
    scene: Scene, tmp_path: Path, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "credentials").write_text("agent:s3cret")
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    proxy = ProxyServer("", refuses=refusal)
    async with proxy.running() as address:
        options = {
            "server": "https://watchword.corp.example:7403",
            "https_server": "https://watchword.corp.example:7404",
            "proxy": f"http://{address}",
            "proxy_credentials_file": tmp_path / "credentials",
            "transport": transport,
        }
        device = await scene.device(f"refused-{transport}", **options)
        async with device.running():
            status = await device.status_when(lambda status: status.problem is not None)
    assert proxy.asked
    assert "s3cret" not in f"{status}{caplog.text}"


SERVER = ServerAddress.parse("https://watchword.corp.example:7403")


def test_the_systems_proxy_is_used_unless_it_is_to_be_bypassed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:pass@proxy.corp.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert proxy_for(SERVER, "system", None) == Proxy("proxy.corp.example:3128", "user:pass")
    assert proxy_for(SERVER, "none", None) is None
    assert proxy_for(SERVER, "http://other.corp.example:8080/", None) == Proxy("other.corp.example:8080")
    assert proxy_for(ServerAddress.parse("http://127.0.0.1:7403"), "system", None) is None
    monkeypatch.setenv("no_proxy", ".corp.example")
    assert proxy_for(SERVER, "system", None) is None


def test_a_proxy_that_cannot_be_meant_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("https_proxy", "socks5://proxy.corp.example:1080")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(SettingsError, match="`socks5` proxies are not spoken to"):
        proxy_for(SERVER, "system", None)
    (tmp_path / "empty").write_text("")
    for file in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(SettingsError, match="proxy_credentials_file"):
            proxy_for(SERVER, "http://proxy.corp.example:3128", file)
    for url in ("https://proxy.corp.example", "http://user:pass@proxy.corp.example", "proxy.corp.example:3128"):
        with pytest.raises(SettingsError, match="`proxy`"):
            load_settings(options={"proxy": url})


def test_single_requests_need_an_address() -> None:
    with pytest.raises(SettingsError, match="needs `https_server`"):
        load_settings(options={"transport": "https"})
    assert load_settings(options={"transport": "https", "https_server": "https://a.example:7404"}).transport == "https"
