"""The decision doors of a server without listeners: what a proxy says goes in as it would arrive, what it is answered comes out.

with Stage.open(tmp_path, pki) as stage:
    assert stage.envoy(Ask(credential=stage.credential)).allowed
    assert stage.nginx(Ask(credential=stage.credential)).allowed
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

from services.world import SECRET, USER, World
from support.pki import Credential, Pki
from support.rules import HOST, IDENTITY_HEADER
from watchword.envoy import ext_authz_pb2 as wire
from watchword_server.doors.http_authz import HttpAnswer
from watchword_server.peer import Peer
from watchword_server.services.recording import Recent

BYPASS_HOST: Final = "open.corp.example"  # whoever asks
OFFICE_HOST: Final = "printer.corp.example"  # whoever asks from OFFICE
ALICE_HOST: Final = "hers.corp.example"  # alice
OFFICE: Final = "192.0.2.0/24"
OFFICE_ADDRESS: Final = "192.0.2.7"
MUTE_SECRET: Final = "the-secret-of-a-proxy-that-may-assert-nothing"
REPORTER_SECRET: Final = "the-secret-of-a-proxy-that-knows-facts-and-users"
OBSERVER_SECRET: Final = "the-secret-of-a-proxy-that-knows-facts-and-no-users"
FACTS_HEADER: Final = "x-access-facts"
SERVICE_HOST: Final = "backup.corp.example"  # the service token `backup`
COUNTRY_HOST: Final = "portugal.corp.example"  # whoever asks from Portugal
LOGIN_HOST: Final = "pin.corp.example"  # who signed in with a one-time PIN
SERVICE_TOKEN: Final = "backup"
MESH_SAN: Final = "spiffe://corp.example/mesh"
SECRET_HEADER: Final = "x-watchword-caller-secret"

T = TypeVar("T")
Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that a proxy asks about; by default one that passes if `credential` is the device's.

    `certificate` replaces the encoded `credential`; `url` replaces scheme, host and target where the door takes a URL.
    """

    credential: Credential | None = None
    certificate: str | None = None
    method: str = "GET"
    scheme: str = "https"
    host: str = HOST
    target: str = "/page"
    url: str | None = None
    address: str = OFFICE_ADDRESS
    user: str | None = USER
    headers: Headers = ()
    secrets: Sequence[str] = (SECRET,)

    @property
    def presented(self) -> str:
        """The client certificate as proxies pass it."""
        if self.certificate is not None:
            return self.certificate
        return "" if self.credential is None else quote(self.credential.pem, safe="")

    @property
    def all_headers(self) -> list[tuple[str, str]]:
        """The client's, and what the proxy sets of its own accord."""
        return [*self.headers, *([] if self.user is None else [(IDENTITY_HEADER, self.user)])]


@dataclass(frozen=True, slots=True)
class Told:
    """What a door answered: `headers` go to the application when it allows and to the client when it denies."""

    allowed: bool
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    status: int = 0

    @property
    def lasting(self) -> "Told":
        """Without what differs from one decision to the next."""
        changing = {"x-watchword-decision-id", "x-watchword-evidence-age", "x-watchword-assertion"}
        return replace(self, headers={name: value for name, value in self.headers.items() if name not in changing})


class Stage:
    """A world in which one device passes the check of `HOST` with `credential`."""

    def __init__(self, world: World, runner: asyncio.Runner, credential: Credential, device_id: str) -> None:
        self.world = world
        self.pki = world.pki
        self.credential = credential
        self.device_id = device_id
        self._runner = runner

    @classmethod
    @contextlib.contextmanager
    def open(cls, directory: Path, pki: Pki) -> Iterator[Self]:
        """Everything is ready inside the block."""
        credential = pki.issuing.issue()
        with asyncio.Runner() as runner:
            opening = World.open(directory, pki)
            world = runner.run(opening.__aenter__())
            try:
                runner.run(_rules(world))
                device_id = runner.run(_device(world, credential))
                yield cls(world, runner, credential, device_id)
            finally:
                runner.run(opening.__aexit__(None, None, None))

    def envoy(self, ask: Ask, *, form: str = "headers", peer: Peer | None = None) -> Told:
        """Asks the ext_authz door. `form`: how Envoy passes the client's headers. Raises `CallerRefusedError`."""
        request = check_request(ask, form=form)
        return self.check(request, peer or Peer("127.0.0.1", metadata={SECRET_HEADER: tuple(ask.secrets)}))

    def check(self, request: wire.CheckRequest, peer: Peer | None = None) -> Told:
        """As `envoy`, with a message of its own."""
        peer = peer or Peer("127.0.0.1", metadata={SECRET_HEADER: (SECRET,)})
        return read_check_response(self._runner.run(self.world.house.ext_authz.check(request, peer)))

    def nginx(self, ask: Ask, *, peer: Peer | None = None) -> Told:
        """Asks the auth_request door."""
        return read_answer(self._runner.run(self.world.house.http_doors.auth_request.answer(peer or nginx_peer(ask))))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something of the house in its event loop."""
        return self._runner.run(work)

    def record(self, told: Told) -> Mapping[str, Any]:
        """The decision as the decision log has it."""
        record = self.world.house.ext_authz.decisions.record(told.headers["x-watchword-decision-id"])
        assert record is not None
        return record

    def recent(self, told: Told) -> Recent:
        """The decision with what it was made of, as memory has it."""
        recent = self.world.house.ext_authz.decisions.recent(told.headers["x-watchword-decision-id"])
        assert recent is not None
        return recent


def check_request(ask: Ask, *, form: str = "headers") -> wire.CheckRequest:
    """What Envoy sends: `form` is `headers` (one map), `values` or `raw_values` (a list, with encode_raw_headers)."""
    request = wire.CheckRequest()
    attributes = request.attributes
    attributes.source.certificate = ask.presented
    attributes.source.address.socket_address.address = ask.address
    http = attributes.request.http
    http.method, http.scheme, http.host, http.path = ask.method, ask.scheme, ask.host, ask.target
    for name, value in ask.all_headers:
        match form:
            case "headers":
                joined = http.headers.get(name.lower())
                http.headers[name.lower()] = value if joined is None else f"{joined},{value}"
            case "values":
                http.header_map.headers.add(key=name.lower(), value=value)
            case _:
                http.header_map.headers.add(key=name.lower(), raw_value=value.encode())
    return request


def nginx_peer(ask: Ask) -> Peer:
    """What nginx sends, as the transport hands it to the door."""
    headers: dict[str, tuple[str, ...]] = {}
    sent = [
        ("x-original-method", ask.method),
        ("x-original-url", f"{ask.scheme}://{ask.host}{ask.target}" if ask.url is None else ask.url),
        *([("x-client-cert", ask.presented)] if ask.presented else []),
        *([("x-forwarded-for", ask.address)] if ask.address else []),
        *((SECRET_HEADER, secret) for secret in ask.secrets),
        *ask.all_headers,
    ]
    for name, value in sent:
        headers[name.lower()] = (*headers.get(name.lower(), ()), value)
    return Peer("127.0.0.1", metadata=headers)


def read_check_response(response: wire.CheckResponse) -> Told:
    """Fails for a response that Envoy could take for something else than it is."""
    kind = response.WhichOneof("http_response")
    if response.HasField("status") and response.status.code == 0 and kind == "ok_response":
        ok = response.ok_response
        assert all(header.append_action == 2 for header in ok.headers), "overwrite, never append to what the client sent"
        return Told(True, "", _headers(ok.headers), frozenset(ok.headers_to_remove))
    assert (response.status.code, kind) == (7, "denied_response"), response
    denied = response.denied_response
    assert denied.status.code == 403
    headers = _headers(denied.headers)
    assert headers["x-watchword-reason"] == response.status.message != ""
    return Told(False, response.status.message, headers, status=403)


def read_answer(answer: HttpAnswer) -> Told:
    """Fails for an answer that is neither an allow nor a denial with its reason."""
    if answer.status == 200:
        assert answer.body == b""
        return Told(True, "", answer.headers, status=200)
    assert answer.status >= 400
    assert answer.headers["x-watchword-reason"]
    return Told(False, answer.headers["x-watchword-reason"], answer.headers, status=answer.status)


def _headers(options: Any) -> dict[str, str]:
    found = [(option.header.key, option.header.value) for option in options]
    assert len(dict(found)) == len(found), found
    return dict(found)


async def _rules(world: World) -> None:
    rules = world.rules
    rules["policies"] += [
        {"name": "anybody", "decision": "bypass", "include": [{"everyone": {}}]},
        {"name": "from-the-office", "decision": "allow", "include": [{"ip": {"ip": OFFICE}}]},
        {"name": "alice", "decision": "allow", "include": [{"email": {"email": USER}}]},
        {"name": "machines", "decision": "non_identity", "include": [{"service_token": {"token_id": SERVICE_TOKEN}}]},
        {"name": "from-portugal", "decision": "allow", "include": [{"geo": {"country_code": "PT"}}]},
        {"name": "by-pin", "decision": "allow", "include": [{"login_method": {"id": "onetimepin"}}]},
    ]
    rules["service_tokens"] = [
        {"name": SERVICE_TOKEN},
        {"name": "weekly", "expires": "168h"},
        {"name": "for-ever", "expires": "never"},
    ]
    rules["applications"] += [
        {"name": "open", "type": "self_hosted", "domain": BYPASS_HOST, "policies": ["anybody"]},
        {"name": "printer", "type": "self_hosted", "domain": OFFICE_HOST, "policies": ["from-the-office"]},
        {"name": "hers", "type": "self_hosted", "domain": ALICE_HOST, "policies": ["alice"]},
        {"name": "backup", "type": "self_hosted", "domain": SERVICE_HOST, "policies": ["machines"]},
        {"name": "portugal", "type": "self_hosted", "domain": COUNTRY_HOST, "policies": ["from-portugal"]},
        {"name": "pin", "type": "self_hosted", "domain": LOGIN_HOST, "policies": ["by-pin"]},
    ]
    (edge,) = rules["callers"]
    everything = {key: value for key, value in edge.items() if key != "authenticate"}
    rules["callers"] += [
        {"name": "mute", "authenticate": {"secret_sha256": _digest(MUTE_SECRET)}},
        {
            **everything,
            "name": "reporter",
            "authenticate": {"secret_sha256": _digest(REPORTER_SECRET)},
            "may_assert": [*edge["may_assert"], "facts"],
            "facts": {"header": FACTS_HEADER},
        },
        {
            "name": "observer",
            "authenticate": {"secret_sha256": _digest(OBSERVER_SECRET)},
            "may_assert": ["facts"],
            "facts": {"header": FACTS_HEADER},
        },
        {**everything, "name": "local", "authenticate": {"unix_socket": True}},
        {**everything, "name": "mesh", "authenticate": {"mtls": {"san": MESH_SAN}}},
    ]
    await world.apply(rules)


async def _device(world: World, credential: Credential) -> str:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    return device.device_id


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
