"""The decision doors: what a stranger says instead of a caller, and what anybody can make a caller say."""

import string
from collections.abc import Callable
from urllib.parse import quote

from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from core.test_codec import damaged
from doors.stage import BYPASS_HOST, FACTS_HEADER, SECRET_HEADER, Stage
from fuzz.effort import latin, spoiled, tries
from services.world import SECRET, USER
from support.pki import Pki
from support.rules import HOST, IDENTITY_HEADER
from watchword.envoy import ext_authz_pb2 as wire
from watchword_server.doors.passed_certificates import (
    from_base64_der,
    from_escaped_pem,
    from_forwarded_client_cert,
    from_traefik,
)
from watchword_server.doors.requests import presented, split_authority, split_url
from watchword_server.errors import CallerRefusedError, RequestMalformedError
from watchword_server.peer import Peer

PEM = Pki.make().issuing.issue().pem.decode()
NAMES = [
    SECRET_HEADER,
    "x-original-method",
    "x-original-url",
    "x-forwarded-for",
    "x-client-cert",
    "authorization",
    "cf-access-client-id",
    "cf-access-client-secret",
    "x-watchword-device",
    "x_watchword_device",
    IDENTITY_HEADER,
    FACTS_HEADER,
]
urls = spoiled(f"https://{HOST}/page?a=b") | spoiled(f"https://{BYPASS_HOST}:8443/a/../b;c")
certificates = spoiled(PEM) | spoiled(quote(PEM, safe="")) | damaged(PEM.encode()).map(lambda raw: quote(raw, safe=""))
addresses = spoiled("192.0.2.7") | spoiled("2001:db8::1%eth0") | spoiled("::ffff:192.0.2.7")
values = latin(
    st.sampled_from([SECRET, "GET", USER, "{}", '{"http.src_ip.geo.country": "PT"}'])
    | urls
    | certificates
    | addresses
    | st.text(max_size=30)
)
headers = st.dictionaries(
    st.sampled_from(NAMES) | latin(st.text(string.ascii_lowercase + "-_", min_size=1, max_size=20)),
    st.lists(values, min_size=1, max_size=2).map(tuple),
    max_size=8,
)


@tries(300)
@given(headers)
def test_a_stranger_is_refused_whatever_the_headers(stage: Stage, metadata: dict[str, tuple[str, ...]]) -> None:
    if metadata.get(SECRET_HEADER) == (SECRET,):
        del metadata[SECRET_HEADER]
    answer = stage.run(stage.world.house.http_doors.auth_request.answer(Peer("192.0.2.9", metadata=metadata)))
    assert answer.status in {401, 403}


@tries(300)
@given(headers, st.sampled_from([HOST, BYPASS_HOST]))
def test_a_caller_is_answered_with_200_400_or_403(stage: Stage, metadata: dict[str, tuple[str, ...]], host: str) -> None:
    """The client's headers pass through a proxy that is known; an allow is the bypass application's."""
    said = {"x-original-method": ("GET",), "x-original-url": (f"https://{host}/page",), **metadata, SECRET_HEADER: (SECRET,)}
    answer = stage.run(stage.world.house.http_doors.auth_request.answer(Peer("192.0.2.9", metadata=said)))
    assert answer.status in {200, 400, 403}
    assert answer.status != 200 or BYPASS_HOST in said["x-original-url"][0]


@tries(200)
@given(certificates, st.sampled_from([from_escaped_pem, from_base64_der, from_traefik, from_forwarded_client_cert]))
def test_a_certificate_that_is_passed_is_one_or_is_unreadable(
    stage: Stage, certificate: str, decode: Callable[[str], bytes]
) -> None:
    caller = stage.world.house.rules.in_force.current.caller_by_name["edge"]
    shown = presented(caller, certificate, decode, {})
    assert shown.unreadable == (shown.certificate_der is None and certificate != "")


@tries(300)
@given(urls | st.text(max_size=40), spoiled(f"{HOST}:443") | spoiled("[::1]:80") | st.text(max_size=20))
def test_a_url_and_a_host_are_read_or_malformed(url: str, authority: str) -> None:
    try:
        _, host, target = split_url(url)
    except RequestMalformedError:
        pass
    else:
        assert target.startswith("/")
        assert host
    try:
        name, port = split_authority(authority)
    except RequestMalformedError:
        return
    assert name == name.lower()
    assert port is None or 0 <= port <= 0xFFFF


def _check_request() -> bytes:
    request = wire.CheckRequest()
    http = request.attributes.request.http
    http.method, http.scheme, http.host, http.path = "GET", "https", HOST, "/page?a=b"
    http.headers[IDENTITY_HEADER] = USER
    request.attributes.source.address.socket_address.address = "192.0.2.7"
    request.attributes.source.certificate = quote(PEM, safe="")
    return request.SerializeToString()


@tries(300)
@given(damaged(_check_request()))
def test_a_damaged_check_request_is_no_message_or_denied(stage: Stage, raw: bytes) -> None:
    try:
        request = wire.CheckRequest.FromString(raw)
    except DecodeError:
        return
    told = stage.check(request)
    assert not told.allowed


@tries(100)
@given(damaged(_check_request()), st.lists(values, max_size=2).map(tuple))
def test_a_stranger_who_speaks_envoy_is_refused(stage: Stage, raw: bytes, secrets: tuple[str, ...]) -> None:
    try:
        request = wire.CheckRequest.FromString(raw)
    except DecodeError:
        return
    metadata = {} if secrets == (SECRET,) else {SECRET_HEADER: secrets}
    try:
        stage.run(stage.world.house.ext_authz.check(request, Peer("192.0.2.9", metadata=metadata)))
    except CallerRefusedError:
        return
    raise AssertionError("a stranger was answered")
