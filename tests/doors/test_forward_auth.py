"""The contracts of forward auth, of Envoy over HTTP and of HAProxy: each reads its own words, and decides as the others do."""

import base64
import contextlib
import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doors.stage import SECRET_HEADER, Ask, Stage, Told, read_answer
from fuzz.effort import tries
from services.world import SECRET, USER
from support.pki import Credential
from support.rules import HOST, IDENTITY_HEADER
from watchword_server.core.answer_headers import OWNED_HEADERS
from watchword_server.doors.ext_authz_http import PREFIX
from watchword_server.doors.http_authz import HttpAnswer
from watchword_server.doors.passed_certificates import from_forwarded_client_cert, from_traefik
from watchword_server.peer import Peer

Asks = Callable[..., Told]


def base64_der(ask: Ask) -> str:
    if ask.certificate is not None:
        return ask.certificate
    return "" if ask.credential is None else base64.b64encode(ask.credential.der).decode()


def forwarded_client_cert(credential: Credential) -> str:
    pem = quote(credential.pem, safe="")
    return f'Hash={credential.sha256};Cert="{pem}";Subject="CN=a\\"b, c;d=e";URI=spiffe://corp.example/a;DNS=a;DNS=b'


def headers_of(ask: Ask, certificate: tuple[str, str]) -> dict[str, tuple[str, ...]]:
    headers: dict[str, tuple[str, ...]] = {}
    sent = [
        ("x-forwarded-method", ask.method),
        ("x-forwarded-proto", ask.scheme),
        ("x-forwarded-host", ask.host),
        ("x-forwarded-uri", ask.target),
        *([certificate] if certificate[1] else []),
        *([("x-forwarded-for", ask.address)] if ask.address else []),
        *((SECRET_HEADER, secret) for secret in ask.secrets),
        *ask.all_headers,
    ]
    for name, value in sent:
        headers[name.lower()] = (*headers.get(name.lower(), ()), value)
    return headers


def changed(headers: Mapping[str, tuple[str, ...]], changes: Mapping[str, tuple[str, ...] | None]) -> Peer:
    merged = {**headers, **{name: values for name, values in changes.items() if values is not None}}
    return Peer("127.0.0.1", metadata={name: values for name, values in merged.items() if changes.get(name, ()) is not None})


def caddy(stage: Stage, ask: Ask, **changes: tuple[str, ...] | None) -> Told:
    headers = headers_of(ask, ("x-client-cert-der", base64_der(ask)))
    door = stage.world.house.http_doors.forward_auth
    return read_answer(stage.run(door.answer(changed(headers, _named(changes)))))


def traefik(stage: Stage, ask: Ask, **changes: tuple[str, ...] | None) -> Told:
    headers = headers_of(ask, ("x-forwarded-tls-client-cert", base64_der(ask)))
    door = stage.world.house.http_doors.forward_auth_traefik
    return read_answer(stage.run(door.answer(changed(headers, _named(changes)))))


def envoy_http(stage: Stage, ask: Ask, **changes: tuple[str, ...] | None) -> Told:
    certificate = forwarded_client_cert(ask.credential) if ask.credential is not None else ask.certificate or ""
    headers = headers_of(ask, ("x-forwarded-client-cert", certificate)) | {"host": (ask.host,)}
    for name in ("x-forwarded-method", "x-forwarded-host", "x-forwarded-uri"):
        del headers[name]
    door = stage.world.house.http_doors.ext_authz_http
    peer = changed(headers, _named(changes))
    return read_answer(stage.run(door.answer(peer, method=ask.method, target=f"{PREFIX}{ask.target}")))


def haproxy(stage: Stage, ask: Ask, **changes: Any) -> Told:
    """By its message; what comes back is read as the other doors' answers are."""
    said = dict(ask.headers)
    arguments: dict[str, object] = {
        "method": ask.method,
        "scheme": ask.scheme,
        "host": ask.host,
        "target": ask.target,
        "source": None if not ask.address else ipaddress.ip_address(ask.address),
        "certificate": None if ask.credential is None else ask.credential.der,
        "identity": ask.user,
        "client_id": said.get("cf-access-client-id"),
        "client_secret": said.get("cf-access-client-secret"),
        "accept": said.get("accept"),
        "secret": ask.secrets[0] if ask.secrets else None,
        **changes,
    }
    told = stage.run(stage.world.house.spoe.answer("watchword", arguments, Peer("127.0.0.1")))
    if not told:
        return Told(False, "caller_refused", status=401)
    headers = {f"x-watchword-{name.replace('_', '-')}": str(value) for name, value in told.items() if name != "allow"}
    allowed = told["allow"] is True
    return Told(allowed, "" if allowed else str(told["reason"]), headers, status=200 if allowed else 403)


def _named(changes: Mapping[str, tuple[str, ...] | None]) -> dict[str, tuple[str, ...] | None]:
    return {name.replace("_", "-"): values for name, values in changes.items()}


DOORS = {"caddy": caddy, "traefik": traefik, "envoy over HTTP": envoy_http, "haproxy": haproxy}
HTTP_DOORS = {name: door for name, door in DOORS.items() if name != "haproxy"}
doors = pytest.mark.parametrize("door", [pytest.param(door, id=name) for name, door in DOORS.items()])
http_doors = pytest.mark.parametrize("door", [pytest.param(door, id=name) for name, door in HTTP_DOORS.items()])


@doors
def test_every_door_decides_as_nginx_s(stage: Stage, door: Asks) -> None:
    asks = (
        Ask(),
        Ask(stage.credential),
        Ask(stage.credential, user=None),
        Ask(stage.credential, host="nowhere.example"),
        Ask(stage.credential, method="POST", target="/page?q=1"),
        Ask(stage.credential, host=f"{HOST.upper()}.:8443"),
        Ask(stage.credential, target="/a/../b%2f"),
        Ask(stage.pki.issuing.issue()),
        Ask(headers=(("cf-access-client-id", "nobody.access"), ("cf-access-client-secret", "0" * 64))),
    )
    for ask in asks:
        ours, nginx = stage.record(door(stage, ask)), stage.record(stage.nginx(ask))
        differing = {"id", "at", "checks"}
        assert {key: value for key, value in ours.items() if key not in differing} == {
            key: value for key, value in nginx.items() if key not in differing
        }


@doors
def test_an_allow_carries_what_was_proven(stage: Stage, door: Asks) -> None:
    told = door(stage, Ask(stage.credential))
    assert told.allowed
    ours = {name: value for name, value in told.lasting.headers.items() if name.startswith("x-watchword-")}
    assert ours.keys() <= {*OWNED_HEADERS}
    assert (ours["x-watchword-device"], ours["x-watchword-user"]) == (stage.device_id, USER)


@doors
def test_without_its_secret_nobody_is_answered(stage: Stage, door: Asks) -> None:
    for secrets in ((), ("wrong",), (f"{SECRET} ",)):
        told = door(stage, Ask(stage.credential, secrets=secrets))
        assert (told.allowed, told.reason, told.status) == (False, "caller_refused", 401)


@doors
@pytest.mark.parametrize("target", ["", "page", "https://wiki.corp.example/", "/a b", "/a\x00", "/a#b", "/a\\b", "/é"])
def test_a_target_that_is_no_plain_path_is_refused(stage: Stage, door: Asks, target: str) -> None:
    assert door(stage, Ask(stage.credential, target=target)).reason == "request_malformed"


@http_doors
@pytest.mark.parametrize("name", ["x_forwarded_proto", "x_forwarded_for", "certificate", "identity"])
def test_a_header_of_the_contract_that_is_there_twice_is_refused(stage: Stage, door: Asks, name: str) -> None:
    ask = Ask(stage.credential)
    certificate = {
        "caddy": ("x_client_cert_der", base64_der(ask)),
        "traefik": ("x_forwarded_tls_client_cert", base64_der(ask)),
        "envoy_http": ("x_forwarded_client_cert", forwarded_client_cert(stage.credential)),
    }
    known = {"x_forwarded_proto": "https", "x_forwarded_for": ask.address, "identity": USER}
    header, value = certificate[door.__name__] if name == "certificate" else (name, known[name])
    header = IDENTITY_HEADER.replace("-", "_") if name == "identity" else header
    for values in ((value, value), (value, "another"), ("", value)):
        assert door(stage, ask, **{header: values}).reason == "request_malformed"


@pytest.mark.parametrize("door", [caddy, traefik])
@pytest.mark.parametrize("name", ["x_forwarded_method", "x_forwarded_proto", "x_forwarded_host", "x_forwarded_uri"])
def test_a_required_header_that_is_missing_is_refused(stage: Stage, door: Asks, name: str) -> None:
    told = door(stage, Ask(stage.credential), **{name: None})
    assert (told.status, told.reason) == (400, "request_malformed")


@http_doors
def test_a_certificate_in_the_header_of_another_contract_is_not_looked_at(stage: Stage, door: Asks) -> None:
    own = {"caddy": "x-client-cert-der", "traefik": "x-forwarded-tls-client-cert", "envoy_http": "x-forwarded-client-cert"}
    said = {
        "x-client-cert-der": base64_der(Ask(stage.credential)),
        "x-forwarded-tls-client-cert": base64_der(Ask(stage.credential)),
        "x-forwarded-client-cert": forwarded_client_cert(stage.credential),
        "x-client-cert": Ask(stage.credential).presented,
        "client-cert": f":{base64_der(Ask(stage.credential))}:",
    }
    others = tuple((name, value) for name, value in said.items() if name != own[door.__name__])
    assert door(stage, Ask(headers=others)).reason == "no_device"


@doors
def test_what_is_no_certificate_denies(stage: Stage, door: Asks) -> None:
    changes: Mapping[str, Any] = {"certificate": b"rubbish"} if door is haproxy else {}
    ask = Ask() if door is haproxy else Ask(certificate="rubbish")
    assert door(stage, ask, **changes).reason == "certificate_malformed"


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ({}, True),
        ({"scheme": "ftp"}, False),
        ({"method": None}, False),
        ({"host": None}, False),
        ({"target": b"/page"}, False),
        ({"source": "192.0.2.7"}, False),
        ({"certificate": "text"}, False),
        ({"surprise": 1}, False),
    ],
)
def test_an_argument_of_another_kind_or_name_is_refused(stage: Stage, arguments: Mapping[str, object], allowed: bool) -> None:
    told = haproxy(stage, Ask(stage.credential), **arguments)
    assert (told.allowed, told.reason) == (allowed, "" if allowed else "request_malformed")


def test_a_message_of_another_name_is_refused(stage: Stage) -> None:
    told = stage.run(stage.world.house.spoe.answer("other", {"secret": SECRET}, Peer("127.0.0.1")))
    assert told["allow"] is False


# ---- What the client reads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ((), False),
        (("*/*",), False),
        (("application/json",), False),
        (("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",), True),
        (("text/html;q=0.5, application/json",), False),
        (("text/html;q=0",), False),
        (("text/html;q=nonsense",), False),
        (("application/json;q=0.1", "TEXT/HTML"), True),
    ],
)
def test_a_denial_is_a_page_for_who_asks_for_one(stage: Stage, accept: tuple[str, ...], page: bool) -> None:
    headers = headers_of(Ask(), ("", "")) | {"accept": accept}
    answer: HttpAnswer = stage.run(stage.world.house.http_doors.forward_auth.answer(Peer("127.0.0.1", metadata=headers)))
    assert (answer.status, answer.headers["cache-control"]) == (403, "no-store")
    decision = answer.headers["x-watchword-decision-id"]
    if page:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "no_device" in answer.body.decode()
        assert decision in answer.body.decode()
    else:
        body = json.loads(answer.body)
        assert (body["reason"], body["decision_id"]) == ("no_device", decision)


# ---- Certificates in headers ---------------------------------------------------------------------------------------------


def test_the_certificate_of_a_forwarded_element_is_read_whatever_its_subject_says(stage: Stage) -> None:
    assert from_forwarded_client_cert(forwarded_client_cert(stage.credential)) == stage.credential.der


@pytest.mark.parametrize(
    "change",
    [
        lambda text, _: f"{text},{text}",  # two elements: the first may be the client's own
        lambda text, _: f"By=spiffe://a,{text}",
        lambda text, other: f"{text};Cert={quote(other.pem, safe='')}",
        lambda text, other: f"{text};Hash={other.sha256}",
        lambda text, other: text.replace(text[5:69], other.sha256),
        lambda text, _: text.split(";", 1)[0],  # no certificate
        lambda text, _: f"{text};;",
        lambda text, _: f'{text}"',
    ],
)
def test_an_element_that_could_mean_another_certificate_is_refused(
    stage: Stage, change: Callable[[str, Credential], str]
) -> None:
    other = stage.pki.issuing.issue()
    with pytest.raises(ValueError, match="X-Forwarded-Client-Cert"):
        from_forwarded_client_cert(change(forwarded_client_cert(stage.credential), other))


def test_of_a_chain_of_traefik_s_the_first_is_the_client_s(stage: Stage) -> None:
    chain = f"{base64_der(Ask(stage.credential))},{base64_der(Ask(stage.pki.issuing.issue()))}"
    for text in (chain, quote(chain, safe="")):
        assert from_traefik(text) == stage.credential.der


@tries(200)
@given(st.text(max_size=200))
def test_a_forwarded_element_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert from_forwarded_client_cert(text)
