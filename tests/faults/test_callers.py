"""Proxies at a real server: by a secret, a unix socket of their own, or a TLS certificate under the caller CA; nobody else."""

import asyncio
import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import grpc
import httpx
import pytest

from faults.proxy import PATH, SECRET, SECRET_HEADER, USER, Proxy, decided
from faults.rough import port_of
from faults.servers import UNHURRIED, apply_rules, surprises
from server.operators import Operators
from support.device import Ended, SimulatedDevice
from support.pki import Authority, Credential, CredentialFiles, Pki, root_authority
from support.processes import wait_until
from support.rules import HOST, IDENTITY_HEADER, wiki_rules
from support.server import WatchwordServer
from watchword.envoy import ext_authz_pb2 as envoy

CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
LOCAL: Final = "local"  # callers with a socket
OTHER: Final = "other"
MESH: Final = "spiffe://corp.example/mesh"
REFUSED: Final = Ended(grpc.StatusCode.UNAUTHENTICATED, "caller_refused")


@dataclass(frozen=True, slots=True)
class Scene:
    """A server, and a device that passes with `credential`."""

    server: WatchwordServer
    credential: Credential
    rules: dict[str, Any]

    def socket(self, caller: str, kind: str) -> Path:
        """A caller's socket."""
        return self.server.data / "callers" / f"{caller}.{kind}.sock"

    def apply(self, *, without: str = "") -> None:
        """All rules, or all but one caller."""
        callers = [caller for caller in self.rules["callers"] if caller["name"] != without]
        apply_rules(self.server, {**self.rules, "callers": callers}, prune=True)

    def caller_of(self, decision_id: str) -> str:
        """Who asked for a decision, as the decision log has it."""
        return str(Operators(self.server.data).call("GET", f"/decisions/{decision_id}")["caller"])


@contextmanager
def running(pki: Pki, directory: Path, environment: dict[str, str]) -> Iterator[Scene]:
    rules = wiki_rules(pki)
    (edge,) = rules["callers"]
    for name, how in ((LOCAL, {"unix_socket": True}), (OTHER, {"unix_socket": True}), ("mesh", {"mtls": {"san": MESH}})):
        rules["callers"].append({**edge, "name": name, "authenticate": how})
    with WatchwordServer(directory / "data", environment={**UNHURRIED, **environment}) as server:
        apply_rules(server, rules)
        credential = pki.issuing.issue()
        device = SimulatedDevice(server.endpoints.agents, found=(credential,))

        async def attest() -> None:
            await device.enroll(Operators(server.data).enrollment_token().text)
            await device.attest_once()

        asyncio.run(attest())
        yield Scene(server, credential, rules)
        assert surprises(server) == []


@pytest.fixture(scope="module")
def scene(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with running(pki, tmp_path_factory.mktemp("callers"), {}) as scene:
        for caller in (LOCAL, OTHER):
            for kind in ("http", "grpc"):
                await_socket(scene.socket(caller, kind))
        yield scene


def await_socket(path: Path) -> None:
    """Returns when somebody listens on a unix socket: shortly after the change that made its caller."""

    def accepts() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                return False
            return True

    wait_until(accepts, what=f"somebody listens at {path}")


async def check(
    target: str,
    credential: Credential | None,
    *,
    secrets: tuple[str, ...] = (),
    tls: grpc.ChannelCredentials | None = None,
    tls_name: str = "",
) -> envoy.CheckResponse | Ended:
    """Asks over gRPC as Envoy does."""
    request = envoy.CheckRequest()
    http = request.attributes.request.http
    http.method, http.scheme, http.host, http.path = "GET", "https", HOST, "/page"
    http.headers[IDENTITY_HEADER] = USER
    request.attributes.source.certificate = "" if credential is None else quote(credential.pem)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", tls_name)][: 2 if tls_name else 1]
    channel = (
        grpc.aio.insecure_channel(target, options=options)
        if tls is None
        else grpc.aio.secure_channel(target, tls, options=options)
    )
    async with channel:
        call: grpc.aio.UnaryUnaryMultiCallable[Any, envoy.CheckResponse] = channel.unary_unary(
            CHECK, envoy.CheckRequest.SerializeToString, envoy.CheckResponse.FromString
        )
        try:
            return await call(request, metadata=tuple((SECRET_HEADER.lower(), secret) for secret in secrets), timeout=20)
        except grpc.aio.AioRpcError as error:
            return Ended(error.code(), error.details() or "")


def outcome(answer: envoy.CheckResponse | Ended) -> str:
    """`allow`, the reason of a denial, or how the call ended."""
    if isinstance(answer, Ended):
        return answer.details
    return "allow" if answer.HasField("ok_response") and answer.status.code == 0 else answer.status.message


# ---- By a secret -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secrets", [(), ("",), ("wrong",), (SECRET, SECRET), (SECRET, "wrong"), ("wrong", SECRET)])
async def test_without_its_secret_exactly_once_nobody_is_answered(scene: Scene, secrets: tuple[str, ...]) -> None:
    endpoints = scene.server.endpoints
    assert await check(endpoints.decisions_grpc, scene.credential, secrets=secrets) == REFUSED
    with Proxy(endpoints.decisions_http, secret=None) as proxy:
        headers = [*proxy.headers(scene.credential).items(), *((SECRET_HEADER, secret) for secret in secrets)]
        refused = decided(proxy._client.get(PATH, headers=headers))
    assert (refused.status, refused.reason, refused.decision_id) == (401, "caller_refused", "")


async def test_with_it_both_doors_answer(scene: Scene) -> None:
    answer = await check(scene.server.endpoints.decisions_grpc, scene.credential, secrets=(SECRET,))
    assert outcome(answer) == "allow"
    with Proxy(scene.server.endpoints.decisions_http) as proxy:
        assert scene.caller_of(proxy.ask(scene.credential).decision_id) == "edge"


# ---- By a unix socket --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", [LOCAL, OTHER])
async def test_a_socket_is_its_caller_and_needs_no_secret(scene: Scene, caller: str) -> None:
    with Proxy("http://watchword", secret=None, socket=scene.socket(caller, "http")) as proxy:
        allowed = proxy.ask(scene.credential)
        assert allowed.allowed
        assert scene.caller_of(allowed.decision_id) == caller
        assert proxy.ask().reason == "no_device"
    assert outcome(await check(f"unix:{scene.socket(caller, 'grpc')}", scene.credential)) == "allow"
    assert outcome(await check(f"unix:{scene.socket(caller, 'grpc')}", None)) == "no_device"


@pytest.mark.parametrize("secret", [SECRET, "wrong"])
async def test_a_secret_on_anothers_socket_makes_nobody_else(scene: Scene, secret: str) -> None:
    with Proxy("http://watchword", secret=secret, socket=scene.socket(LOCAL, "http")) as proxy:
        assert scene.caller_of(proxy.ask(scene.credential).decision_id) == LOCAL
    answer = await check(f"unix:{scene.socket(LOCAL, 'grpc')}", scene.credential, secrets=(secret,))
    assert isinstance(answer, envoy.CheckResponse)
    ids = [option.header.value for option in answer.ok_response.headers if option.header.key == "x-watchword-decision-id"]
    assert [scene.caller_of(decision_id) for decision_id in ids] == [LOCAL]


def test_a_callers_socket_leads_to_decisions_and_nowhere_else(scene: Scene) -> None:
    """Whoever may open the operators' socket is admin; whoever may open a caller's is a proxy."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(scene.socket(LOCAL, "http")))) as client:
        for path in ("/api/v1/devices", "/api/v1/tokens", "/metrics"):
            assert client.get(f"http://watchword{path}").status_code == 404


def test_nobody_but_the_servers_user_may_open_the_sockets(scene: Scene) -> None:
    """By the directory's mode; nginx's own user is let in by the deployment."""
    assert stat.S_IMODE(scene.server.data.stat().st_mode) == 0o700
    assert stat.S_IMODE((scene.server.data / "callers").stat().st_mode) == 0o700
    assert stat.S_IMODE((scene.server.data / "operators.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(scene.socket(LOCAL, "http").stat().st_mode) == 0o600


async def test_a_socket_goes_and_comes_with_its_caller(scene: Scene) -> None:
    scene.apply(without=OTHER)
    wait_until(lambda: not list((scene.server.data / "callers").glob(f"{OTHER}.*")), what="its sockets are gone")
    with Proxy("http://watchword", secret=None, socket=scene.socket(LOCAL, "http")) as proxy:
        assert proxy.ask(scene.credential).allowed
    scene.apply()
    for kind in ("http", "grpc"):
        await_socket(scene.socket(OTHER, kind))
    with Proxy("http://watchword", secret=None, socket=scene.socket(OTHER, "http")) as proxy:
        assert proxy.ask(scene.credential).allowed
    assert outcome(await check(f"unix:{scene.socket(OTHER, 'grpc')}", scene.credential)) == "allow"


# ---- By a certificate --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tls:
    """A server whose decisions listener asks for certificates of `callers`, and what its clients need."""

    scene: Scene
    callers: Authority
    web_pem: bytes
    directory: Path

    def files(self, credential: Credential) -> CredentialFiles:
        """A client's certificate and key."""
        return credential.write(self.directory, credential.sha256)

    def http(self, credential: Credential | None, *, secret: str | None = None) -> httpx.Response:
        """Asks over HTTPS."""
        context = ssl.create_default_context(cadata=self.web_pem.decode())
        if credential is not None:
            files = self.files(credential)
            context.load_cert_chain(files.certificate, files.key)
        port = port_of(self.scene.server.endpoints.decisions_http)
        headers = Proxy("http://unused", secret=secret).headers(self.scene.credential)
        with httpx.Client(verify=context, timeout=20) as client:
            return client.get(f"https://127.0.0.1:{port}{PATH}", headers=headers)

    async def grpc(self, credential: Credential | None, *, secrets: tuple[str, ...] = ()) -> str:
        """Asks over gRPC."""
        files = None if credential is None else self.files(credential)
        tls = grpc.ssl_channel_credentials(
            self.web_pem,
            None if files is None else files.key.read_bytes(),
            None if files is None else files.certificate.read_bytes(),
        )
        target = self.scene.server.endpoints.decisions_grpc
        return outcome(await check(target, self.scene.credential, secrets=secrets, tls=tls))


@pytest.fixture(scope="module")
def tls(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    directory = tmp_path_factory.mktemp("tls")
    callers = root_authority("Caller CA")
    files = pki.server("127.0.0.1").write(directory, "server")
    client_ca = directory / "caller-ca.pem"
    client_ca.write_bytes(callers.pem)
    environment = {
        "WATCHWORD_DECISIONS__TLS__CERTIFICATE": str(files.certificate),
        "WATCHWORD_DECISIONS__TLS__PRIVATE_KEY": str(files.key),
        "WATCHWORD_DECISIONS__TLS__CLIENT_CA": str(client_ca),
    }
    with running(pki, directory, environment) as scene:
        assert scene.server.endpoints.decisions_http.startswith("https://")
        yield Tls(scene, callers, pki.web.pem, directory)


async def test_a_certificate_of_the_caller_ca_is_the_caller_it_names(tls: Tls) -> None:
    mesh = tls.callers.issue("any name", subject_alternative_names=(MESH,))
    answer = decided(tls.http(mesh))
    assert answer.allowed
    assert tls.scene.caller_of(answer.decision_id) == "mesh"
    assert await tls.grpc(mesh) == "allow"


@pytest.mark.parametrize("names", [(), (f"{MESH}/sub",), ("mesh",), ("edge",), ("10.0.0.1",)], ids=str)
async def test_a_certificate_of_the_caller_ca_that_names_no_caller_is_nobodys(tls: Tls, names: tuple[str, ...]) -> None:
    """Its common name is not looked at."""
    stranger = tls.callers.issue("mesh", subject_alternative_names=names)
    assert decided(tls.http(stranger)).reason == "caller_refused"
    assert await tls.grpc(stranger) == "caller_refused"


async def test_a_certificate_and_a_secret_both_count_for_themselves(tls: Tls) -> None:
    """A proxy with a certificate that names nobody is whom its secret names."""
    stranger = tls.callers.issue("edge")
    answer = decided(tls.http(stranger, secret=SECRET))
    assert tls.scene.caller_of(answer.decision_id) == "edge"
    assert await tls.grpc(stranger, secrets=(SECRET,)) == "allow"


@pytest.mark.parametrize("whose", ["nobody's", "a device's", "the web's", "another caller CA's", "expired"])
async def test_no_other_certificate_gets_as_far_as_asking(tls: Tls, pki: Pki, whose: str) -> None:
    """Not even with a good secret: the handshake fails."""
    import datetime as dt

    credential = {
        "nobody's": None,
        "a device's": pki.issuing.issue(subject_alternative_names=(MESH,)),
        "the web's": pki.web.issue(subject_alternative_names=(MESH,)),
        "another caller CA's": root_authority("Caller CA").issue(subject_alternative_names=(MESH,)),
        "expired": tls.callers.issue(subject_alternative_names=(MESH,), not_after=dt.timedelta(minutes=-1)),
    }[whose]
    with pytest.raises(httpx.TransportError):
        tls.http(credential, secret=SECRET)
    assert "allow" not in await tls.grpc(credential, secrets=(SECRET,))


async def test_without_tls_nobody_is_heard(tls: Tls) -> None:
    port = port_of(tls.scene.server.endpoints.decisions_http)
    with pytest.raises(httpx.TransportError), Proxy(f"http://127.0.0.1:{port}") as proxy:
        proxy.ask(tls.scene.credential)
    answer = await check(tls.scene.server.endpoints.decisions_grpc, tls.scene.credential, secrets=(SECRET,))
    assert isinstance(answer, Ended)
    assert answer.code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_of_tls_are_refused(tls: Tls, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cadata=tls.web_pem.decode())
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    files = tls.files(tls.callers.issue(subject_alternative_names=(MESH,)))
    context.load_cert_chain(files.certificate, files.key)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = context.maximum_version = version
    address = ("127.0.0.1", port_of(tls.scene.server.endpoints.decisions_http))
    with socket.create_connection(address, timeout=20) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(plain, server_hostname="127.0.0.1")
