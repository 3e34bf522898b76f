"""Nginx's door: one fixed contract, header by header, and the same answer whatever method the subrequest has."""

import json
from typing import Any

import pytest

from doors.stage import SECRET_HEADER, Ask, Stage, nginx_peer
from services.world import SECRET, USER
from support.rules import CHECK, HOST, IDENTITY_HEADER, POLICY
from support.spoofs import OWNED
from watchword_server.doors.auth_request import PATH
from watchword_server.doors.decisions_http import DecisionsHttp
from watchword_server.peer import PEER, TARGET, Peer

REQUIRED = ("x-original-method", "x-original-url")
ONCE = (*REQUIRED, "x-client-cert", "x-forwarded-for", IDENTITY_HEADER)


def with_headers(ask: Ask, **changes: tuple[str, ...] | None) -> Peer:
    """The subrequest with headers replaced, or left out."""
    metadata = dict(nginx_peer(ask).metadata)
    for name, values in changes.items():
        metadata.pop(name.replace("_", "-"), None)
        if values is not None:
            metadata[name.replace("_", "-")] = values
    return Peer("127.0.0.1", metadata=metadata)


# ---- The contract ------------------------------------------------------------------------------------------------------


def test_an_allow_carries_what_was_proven(stage: Stage) -> None:
    told = stage.nginx(Ask(stage.credential))
    assert told.status == 200
    assert told.headers["x-watchword-evidence-age"].isdigit()
    assert told.lasting.headers == {
        "x-watchword-device": stage.device_id,
        "x-watchword-device-identified-by": "client_certificate",
        "x-watchword-user": USER,
        "x-watchword-policy": POLICY,
        "x-watchword-checks": CHECK,
        "x-watchword-evidence-level": "proven",
        "content-type": "application/json",
        "cache-control": "no-store",
    }


def test_both_doors_decide_alike(stage: Stage) -> None:
    for ask in (Ask(), Ask(stage.credential), Ask(stage.credential, user=None), Ask(stage.credential, host="nowhere.example")):
        envoy, nginx = stage.record(stage.envoy(ask)), stage.record(stage.nginx(ask))
        differing = {"id", "at", "checks"}
        assert {key: value for key, value in envoy.items() if key not in differing} == {
            key: value for key, value in nginx.items() if key not in differing
        }


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_header_that_is_missing_is_refused(stage: Stage, name: str) -> None:
    told = stage.nginx(Ask(), peer=with_headers(Ask(stage.credential), **{name: None}))
    assert (told.status, told.reason) == (400, "request_malformed")


@pytest.mark.parametrize("name", ONCE)
def test_a_header_of_the_contract_that_is_there_twice_is_refused(stage: Stage, name: str) -> None:
    ask = Ask(stage.credential)
    (value,) = nginx_peer(ask).metadata[name]
    for values in ((value, value), (value, "another"), ("", value)):
        told = stage.nginx(Ask(), peer=with_headers(ask, **{name: values}))
        assert (told.status, told.reason) == (400, "request_malformed")


@pytest.mark.parametrize(
    "secrets", [(), ("",), ("wrong",), (SECRET, SECRET), (SECRET, "wrong"), (f"{SECRET} ",), (SECRET.upper(),)]
)
def test_without_its_secret_exactly_once_nobody_is_answered(stage: Stage, secrets: tuple[str, ...]) -> None:
    told = stage.nginx(Ask(stage.credential, secrets=secrets))
    assert (told.status, told.reason) == (401, "caller_refused")
    assert "x-watchword-decision-id" not in told.headers


@pytest.mark.parametrize("name", ["x-forwarded-client-cert", "ssl-client-cert", "x-ssl-client-cert", "x-client-verify"])
def test_a_certificate_in_any_other_header_is_not_looked_at(stage: Stage, name: str) -> None:
    said = Ask(stage.credential).presented
    assert stage.nginx(Ask(headers=((name, said),))).reason == "no_device"
    assert stage.nginx(Ask(headers=((name, f'Hash={stage.credential.sha256};Cert="{said}"'),))).reason == "no_device"


def test_the_subrequests_own_host_and_forwarding_headers_are_not_looked_at(stage: Stage) -> None:
    spoofs = (("host", "open.corp.example"), ("x-forwarded-host", "open.corp.example"), ("x-forwarded-proto", "http"))
    told = stage.nginx(Ask(headers=(*spoofs, ("x-real-ip", "198.51.100.66"), ("forwarded", "for=198.51.100.66"))))
    assert told.reason == "no_device"
    assert stage.record(told)["request"]["host"] == HOST


# ---- Names of ours that a client sends ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name.lower() for name in OWNED if name.lower() != SECRET_HEADER])
def test_a_header_that_nginx_overwrites_may_come_from_the_client(stage: Stage, name: str) -> None:
    assert stage.nginx(Ask(stage.credential, headers=((name, "spoofed"),))).allowed


@pytest.mark.parametrize(
    "name", ["x-watchword-admin", "x-watchword-", *(name.lower().replace("-", "_") for name in OWNED), "x_watchword-device"]
)
def test_a_name_of_ours_that_nginx_would_let_through_is_refused(stage: Stage, name: str) -> None:
    told = stage.nginx(Ask(stage.credential, headers=((name, "spoofed"),)))
    assert (told.status, told.reason) == (400, "request_malformed")


# ---- As HTTP -----------------------------------------------------------------------------------------------------------


async def call(app: Any, *, method: str = "GET", path: str = PATH, peer: Peer | None = None) -> tuple[int, dict[str, str], bytes]:
    """One request, as a transport hands it to an application."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("no contract here has a body")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app({"type": "http", "method": method, "path": path, TARGET: path, PEER: peer or Peer("127.0.0.1")}, receive, send)
    start, body = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert len(headers) == len(start["headers"])
    return start["status"], headers, body["body"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS", "PROPFIND"])
def test_the_subrequests_method_does_not_matter(stage: Stage, method: str) -> None:
    """A HEAD's Content-Length is what a GET's would be (RFC 9110, 8.6); the transport leaves its body out."""
    app = DecisionsHttp(stage.world.house.http_doors, lambda: True, dict)
    for ask in (Ask(stage.credential), Ask(), Ask(secrets=())):
        status, headers, body = stage.run(call(app, method=method, peer=nginx_peer(ask)))
        expected = stage.nginx(ask)
        assert status == expected.status
        assert headers.pop("content-length") == str(len(body))
        changing = {"x-watchword-decision-id", "x-watchword-evidence-age", "x-watchword-assertion"}
        assert {name: value for name, value in headers.items() if name not in changing} == dict(expected.lasting.headers)
        assert bool(body) == (status != 200)
        if body:
            assert json.loads(body)["reason"] == expected.reason


@pytest.mark.parametrize(
    "path",
    [
        *(
            f"{PATH}/",
            PATH.upper(),
            f"/x/..{PATH}",
            f"/{PATH}",
            f"{PATH}%3F",
            f"{PATH}#",
            f"http://watchword{PATH}",
            "/",
            "",
            "*",
        ),
        *("/v1/authz/forward-auth/", "/v1/authz/forward-auth/caddy", "/v1/authz/ext-authz", "/v1/authz/ext-authzx/", "/v1/authz"),
    ],
)
def test_every_other_path_is_nothing(stage: Stage, path: str) -> None:
    app = DecisionsHttp(stage.world.house.http_doors, lambda: True, dict)
    status, _, body = stage.run(call(app, path=path, peer=nginx_peer(Ask(stage.credential))))
    assert (status, json.loads(body)["error"]["code"]) == (404, "not_found")


def test_readiness_follows_the_house_and_liveness_does_not(stage: Stage) -> None:
    for ready, status in ((True, 200), (False, 503)):
        app = DecisionsHttp(stage.world.house.http_doors, lambda ready=ready: ready, dict)  # type: ignore[misc] # bound now
        assert stage.run(call(app, path="/readyz"))[0] == status
        assert stage.run(call(app, path="/livez"))[0] == 200
