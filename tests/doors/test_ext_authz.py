"""Envoy's door, message by message: an allow is the one exception, and nothing of the client's survives it."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from doors.stage import BYPASS_HOST, SECRET_HEADER, Ask, Stage, check_request
from services.world import SECRET, USER
from support.rules import CHECK, HOST, IDENTITY_HEADER, POLICY
from support.spoofs import OWNED, SPOOFS
from watchword.envoy import ext_authz_pb2 as wire
from watchword_server.core.answer_headers import OWNED_HEADERS
from watchword_server.doors.requests import CLIENT_CREDENTIALS
from watchword_server.errors import CallerRefusedError
from watchword_server.peer import Peer

# ---- An empty CheckResponse means allow to Envoy -----------------------------------------------------------------------


def test_an_empty_question_is_denied(stage: Stage) -> None:
    told = stage.check(wire.CheckRequest())
    assert (told.allowed, told.reason) == (False, "request_malformed")


def test_an_allow_says_so_in_so_many_words(stage: Stage) -> None:
    told = stage.envoy(Ask(stage.credential))
    assert told.allowed
    age = told.headers["x-watchword-evidence-age"]
    assert age.isdigit()
    assert told.lasting.headers == {
        "x-watchword-device": stage.device_id,
        "x-watchword-device-identified-by": "client_certificate",
        "x-watchword-user": USER,
        "x-watchword-policy": POLICY,
        "x-watchword-checks": CHECK,
        "x-watchword-evidence-level": "proven",
    }


def test_a_denial_tells_the_client_why_and_nothing_else_of_ours(stage: Stage) -> None:
    told = stage.envoy(Ask())
    assert told.reason == "no_device"
    assert told.headers.keys() == {"x-watchword-reason", "x-watchword-decision-id", "content-type", "cache-control"}
    assert told.headers["cache-control"] == "no-store"


def test_a_fault_of_ours_denies(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fault(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("watchword_server.services.resolving.Resolver.resolve", fault)
    told = stage.envoy(Ask(stage.credential))
    assert (told.allowed, told.reason) == (False, "internal")
    assert stage.record(told)["errors"] == ["internal"]


text = st.text(max_size=30)
words = st.one_of(text, st.sampled_from(["GET", "https", HOST, BYPASS_HOST, "/", "/page?a=b", USER, "192.0.2.7", "::1", "*"]))


@settings(max_examples=200, deadline=None)
@given(
    st.builds(
        Ask,
        certificate=st.one_of(st.just(""), text),
        method=words,
        scheme=words,
        host=words,
        target=words,
        address=words,
        user=st.one_of(st.none(), words),
        headers=st.lists(st.tuples(words, words), max_size=4),
    ),
    st.sampled_from(["headers", "values", "raw_values"]),
)
def test_whatever_is_asked_the_answer_is_an_allow_or_a_denial(stage: Stage, ask: Ask, form: str) -> None:
    """`read_check_response` fails for anything between; an allow here is the bypass application's."""
    told = stage.envoy(ask, form=form)
    assert not told.allowed or stage.record(told)["request"]["host"] == BYPASS_HOST


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_parses_as_a_question_is_answered_so(stage: Stage, raw: bytes) -> None:
    request = wire.CheckRequest()
    try:
        request.ParseFromString(raw)
    except DecodeError:
        return
    assert not stage.check(request).allowed


# ---- The two forms of headers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Accept", "text/html"), ("Cookie", "a=b; c=d")),
        SPOOFS,
        ((IDENTITY_HEADER, ""),),
        ((IDENTITY_HEADER.title(), USER.upper()),),
        ((IDENTITY_HEADER, "not an address"),),
        ((IDENTITY_HEADER, f" {USER}"),),
        ((IDENTITY_HEADER, USER), (IDENTITY_HEADER, USER)),
        ((IDENTITY_HEADER, USER), (IDENTITY_HEADER, "eve@elsewhere.example")),
        ((IDENTITY_HEADER, f"{USER},eve@elsewhere.example"),),
        ((IDENTITY_HEADER, "eve@elsewhere.example"),),
    ],
    ids=lambda headers: f"{len(headers)}-{headers[0][1] if headers else ''}",
)
def test_both_forms_of_headers_are_decided_alike(stage: Stage, headers: tuple[tuple[str, str], ...]) -> None:
    ask = Ask(stage.credential, user=None, headers=headers)
    first, second, third = (stage.envoy(ask, form=form).lasting for form in ("headers", "values", "raw_values"))
    assert first == second == third


def test_a_list_of_headers_is_believed_over_the_map(stage: Stage) -> None:
    """Envoy sends one of the two. With both, the one that keeps duplicates apart counts alone."""
    request = check_request(Ask(stage.credential, user=None), form="values")
    request.attributes.request.http.header_map.headers.add(key="accept", value="*/*")
    request.attributes.request.http.headers[IDENTITY_HEADER] = USER
    assert stage.check(request).reason == "fact_unknown"


def test_an_identity_that_is_said_twice_is_denied(stage: Stage, form: str) -> None:
    told = stage.envoy(Ask(stage.credential, headers=((IDENTITY_HEADER, "eve@elsewhere.example"),)), form=form)
    assert (told.allowed, told.reason) == (False, "request_malformed")
    told = stage.envoy(Ask(stage.credential, headers=((IDENTITY_HEADER.upper(), USER),)), form=form)
    assert (told.allowed, told.reason) == (False, "request_malformed")


# ---- What a client claims ----------------------------------------------------------------------------------------------


def test_every_header_of_ours_is_set_or_removed_however_the_client_spelt_it(stage: Stage, form: str) -> None:
    ask = Ask(stage.credential, headers=[(name, value) for name, value in SPOOFS if name.lower() != IDENTITY_HEADER])
    told = stage.envoy(ask, form=form)
    assert told.allowed
    handled = told.headers.keys() | told.removed
    assert not told.headers.keys() & told.removed
    assert handled >= {name.lower() for name in OWNED} | set(OWNED_HEADERS)
    ours = {name.lower() for name, _ in ask.headers if name.lower().replace("_", "-").startswith("x-watchword-")}
    assert handled >= ours
    assert SECRET_HEADER in told.removed
    assert not [value for value in told.headers.values() if "spoofed" in value]


def test_headers_that_are_not_ours_are_left_alone(stage: Stage) -> None:
    told = stage.envoy(Ask(stage.credential, headers=(("x-request-id", "1"), ("x-watchwords", "2"), ("watchword-x", "3"))))
    assert told.removed <= {*OWNED_HEADERS, SECRET_HEADER, *CLIENT_CREDENTIALS}


@pytest.mark.parametrize("name", ["x-forwarded-client-cert", "x-client-cert", "ssl-client-cert", "x-ssl-cert"])
def test_a_certificate_that_is_said_in_a_header_is_not_looked_at(stage: Stage, name: str) -> None:
    said = Ask(stage.credential).presented
    for value in (said, f'Hash={stage.credential.sha256};Cert="{said}"'):
        assert stage.envoy(Ask(headers=((name, value),))).reason == "no_device"


def test_the_client_may_not_move_the_request_elsewhere(stage: Stage) -> None:
    headers = (("host", BYPASS_HOST), (":authority", BYPASS_HOST), ("x-forwarded-host", BYPASS_HOST), (":path", "/open"))
    told = stage.envoy(Ask(headers=headers))
    assert told.reason == "no_device"
    assert stage.record(told)["request"]["host"] == HOST


# ---- Who asks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secrets", [(), ("",), ("wrong",), (SECRET, SECRET), (SECRET, "wrong"), (SECRET + " ",), (SECRET.upper(),)]
)
def test_without_its_secret_exactly_once_nobody_is_answered(stage: Stage, secrets: tuple[str, ...]) -> None:
    with pytest.raises(CallerRefusedError):
        stage.envoy(Ask(stage.credential, secrets=secrets))


def test_a_secret_in_a_header_of_the_client_is_not_the_callers(stage: Stage) -> None:
    with pytest.raises(CallerRefusedError):
        stage.envoy(Ask(stage.credential, headers=((SECRET_HEADER, SECRET),), secrets=()))


def test_an_unknown_caller_learns_nothing_of_a_malformed_question(stage: Stage) -> None:
    with pytest.raises(CallerRefusedError):
        stage.check(wire.CheckRequest(), Peer("127.0.0.1"))
