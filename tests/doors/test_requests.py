"""What both doors make of a proxy's words about a request: hosts, targets, methods, addresses, users. Alike, and strictly."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from doors.stage import ALICE_HOST, BYPASS_HOST, MUTE_SECRET, OFFICE_HOST, Ask, Stage, Told
from services.world import USER
from support.rules import HOST

MALFORMED = (False, "request_malformed")


@pytest.fixture(params=["envoy", "nginx"])
def door(request: pytest.FixtureRequest, stage: Stage) -> Callable[[Ask], Told]:
    """One of the two."""
    asked: Callable[[Ask], Told] = getattr(stage, request.param)
    return asked


def outcome(told: Told) -> tuple[bool, str]:
    return told.allowed, told.reason


# ---- Hosts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["WIKI.corp.Example", f"{HOST}:443", f"{HOST}.", f"{HOST}.:8443", f"{HOST}:0"])
def test_a_host_counts_without_case_port_and_trailing_dot(stage: Stage, door: Callable[[Ask], Told], host: str) -> None:
    told = door(Ask(stage.credential, host=host))
    assert told.allowed
    assert stage.record(told)["request"]["host"] == HOST


@pytest.mark.parametrize(
    "host",
    [
        *("", " ", ".", ":", ":443", f" {HOST}", f"{HOST} ", f"{HOST}\t", f"{HOST}\x00", f"{HOST}\r\n"),
        *(f"{HOST}..", f".{HOST}", "wiki..corp.example", f"-{HOST}", "wiki.corp.example-", "a" * 256),
        *(f"{HOST}:443:443", f"{HOST}:x", f"{HOST}:-1", f"{HOST}:\uff14\uff14\uff13", f"{HOST}%2e", f"{HOST},{BYPASS_HOST}"),
        *(f"alice@{HOST}", f"alice:secret@{HOST}", f"@{HOST}", f"{BYPASS_HOST}@{HOST}", f"{BYPASS_HOST}\\@{HOST}"),
        *("[::1", "::1]", "[::1]x", "[fe80::1%eth0]", "[fe80::1%25eth0]", "[]", "[wiki.corp.example]"),
        *("wi\u212ai.corp.example", "w\u0456ki.corp.example", "wiki\u3002corp.example", "\u24e6iki.corp.example"),
    ],
)
def test_what_is_no_host_is_malformed(stage: Stage, door: Callable[[Ask], Told], host: str) -> None:
    """U+212A, the Kelvin sign, becomes a `k` in lower case: a host is ASCII before anything is done to it."""
    assert outcome(door(Ask(stage.credential, host=host))) == MALFORMED


@pytest.mark.parametrize("host", [f"x{HOST}", f"{HOST}.evil.example", "corp.example", "127.0.0.1", "127.0.0.1:80"])
def test_a_host_without_an_application_is_denied(stage: Stage, door: Callable[[Ask], Told], host: str) -> None:
    assert outcome(door(Ask(stage.credential, host=host))) == (False, "no_application")


@pytest.mark.parametrize(
    ("host", "scheme", "port"),
    [
        *((HOST, scheme, None) for scheme in ("http", "https")),
        *((f"{HOST}:443", "https", None), (f"{HOST}:80", "http", None), (f"{HOST}:0443", "https", None)),
        *((f"{HOST}:443", "http", 443), (f"{HOST}:80", "https", 80), (f"{HOST}.:8443", "https", 8443), (f"{HOST}:0", "https", 0)),
        *((f"{HOST}:65535", "https", 65_535), ("[2001:db8::1]:8443", "https", 8443), ("[2001:db8::1]", "https", None)),
    ],
)
def test_a_port_is_told_where_it_is_not_the_scheme_s_own(
    stage: Stage, door: Callable[[Ask], Told], host: str, scheme: str, port: int | None
) -> None:
    assert stage.record(door(Ask(stage.credential, host=host, scheme=scheme)))["request"]["port"] == port


@pytest.mark.parametrize("port", ["65536", "99999", "000443"])
def test_a_port_that_is_none_is_malformed(stage: Stage, door: Callable[[Ask], Told], port: str) -> None:
    assert outcome(door(Ask(stage.credential, host=f"{HOST}:{port}"))) == MALFORMED


@pytest.mark.parametrize("host", ["[2001:db8::1]", "[2001:DB8::1]:8443"])
def test_an_ipv6_address_is_a_host(stage: Stage, door: Callable[[Ask], Told], host: str) -> None:
    told = door(Ask(stage.credential, host=host))
    assert outcome(told) == (False, "no_application")
    assert stage.record(told)["request"]["host"] == "[2001:db8::1]"


# ---- Targets, methods, URLs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        *(
            "/page#fragment",
            "/page\\..\\admin",
            "/a b",
            "/\x00",
            "/\r\nX-Watchword-Device: dev_1",
            "/\u00e9",
            "/\x7f",
            "/" + "a" * 16_384,
        ),
    ],
    ids=lambda target: target[:20],
)
def test_a_target_that_no_proxy_sends_is_malformed(stage: Stage, door: Callable[[Ask], Told], target: str) -> None:
    assert outcome(door(Ask(stage.credential, target=target))) == MALFORMED


@pytest.mark.parametrize("target", ["", "page", "https://wiki.corp.example/page", "?a=b", ".", "../page"])
def test_envoys_target_starts_with_a_slash(stage: Stage, target: str) -> None:
    assert outcome(stage.envoy(Ask(stage.credential, target=target))) == MALFORMED


@pytest.mark.parametrize("target", ["/", "//", "/page?a=b&c=https://x/", "/%00%2f..%5c", "/;a=b", "/a,b", "/?"])
def test_any_other_target_is_a_path_with_a_query_and_nothing_is_decoded(
    stage: Stage, door: Callable[[Ask], Told], target: str
) -> None:
    told = door(Ask(stage.credential, target=target))
    assert told.allowed
    assert stage.record(told)["request"]["path"] == target.partition("?")[0]


@pytest.mark.parametrize("target", ["", "?a=b", "?a=/../admin", "?/"])
def test_a_url_without_a_path_has_the_path_of_the_root(stage: Stage, target: str) -> None:
    told = stage.nginx(Ask(stage.credential, url=f"https://{HOST}{target}"))
    assert told.allowed
    assert stage.record(told)["request"]["path"] == "/"


@pytest.mark.parametrize(
    "url",
    [
        *("", "/page", f"//{HOST}/page", f"{HOST}/page", f"ftp://{HOST}/page", f"https:{HOST}/page", f"https:/{HOST}/page"),
        *("https:///page", f"https://:443/{HOST}", f"https://{HOST}:999999/", f"javascript://{HOST}/%0a", f" https://{HOST}/"),
        *(f"https://{HOST}/\n", f"ht\ntps://{HOST}/", f"https://{HOST}\\@{BYPASS_HOST}/", f"https://{BYPASS_HOST}#@{HOST}/"),
    ],
)
def test_what_is_no_absolute_url_is_malformed(stage: Stage, url: str) -> None:
    assert outcome(stage.nginx(Ask(stage.credential, url=url))) == MALFORMED


@pytest.mark.parametrize("method", ["", "get", "GET ", " GET", "GET\r\n", "G\x00T", "A" * 33, "G3T", "\u0413ET"])
def test_what_is_no_method_is_malformed(stage: Stage, door: Callable[[Ask], Told], method: str) -> None:
    assert outcome(door(Ask(stage.credential, method=method))) == MALFORMED


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "VERSION-CONTROL"])
def test_every_method_is_decided_alike(stage: Stage, door: Callable[[Ask], Told], method: str) -> None:
    assert door(Ask(stage.credential, method=method)).lasting == door(Ask(stage.credential)).lasting
    assert door(Ask(method=method)).reason == "no_device"


# ---- Addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["192.0.2.7", "192.0.2.255", "::ffff:192.0.2.7", "::FFFF:C000:0207"])
def test_an_address_counts_as_it_is_written_or_mapped(stage: Stage, door: Callable[[Ask], Told], address: str) -> None:
    assert door(Ask(host=OFFICE_HOST, address=address)).allowed


@pytest.mark.parametrize("address", ["198.51.100.7", "2001:db8::1", "192.0.3.7", "::192.0.2.7"])
def test_another_address_does_not_match(stage: Stage, door: Callable[[Ask], Told], address: str) -> None:
    assert outcome(door(Ask(host=OFFICE_HOST, address=address))) == (False, "no_policy_matched")


def test_an_address_that_is_not_told_is_unknown_and_grants_nothing(stage: Stage, door: Callable[[Ask], Told]) -> None:
    assert outcome(door(Ask(host=OFFICE_HOST, address=""))) == (False, "fact_unknown")


@pytest.mark.parametrize(
    "address",
    [
        "192.0.2.7, 198.51.100.7",
        "192.0.2.7:80",
        "[2001:db8::1]",
        "192.0.2",
        "192.0.2.007",
        "0xc0000207",
        "printer",
        "192.0.2.7\n",
    ],
)
def test_what_is_not_one_address_is_malformed(stage: Stage, door: Callable[[Ask], Told], address: str) -> None:
    assert outcome(door(Ask(host=OFFICE_HOST, address=address))) == MALFORMED


# ---- Users -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [USER, USER.upper(), "Alice@Corp.Example"])
def test_a_user_counts_whatever_the_case(stage: Stage, door: Callable[[Ask], Told], user: str) -> None:
    told = door(Ask(host=ALICE_HOST, user=user))
    assert told.allowed
    assert told.headers["x-watchword-user"] == USER


@pytest.mark.parametrize("user", [None, ""])
def test_a_user_who_is_not_named_is_unknown_and_is_granted_nothing(
    stage: Stage, door: Callable[[Ask], Told], user: str | None
) -> None:
    assert outcome(door(Ask(host=ALICE_HOST, user=user))) == (False, "fact_unknown")
    assert door(Ask(host=BYPASS_HOST, user=user)).allowed


@pytest.mark.parametrize(
    "user",
    [
        *("alice", "@corp.example", "alice@", f"{USER} ", f" {USER}", f"{USER},eve@corp.example", f"{USER};", f"<{USER}>"),
        *(f"Alice <{USER}>", '"alice"@corp.example', "alice@corp@example", "a b@corp.example", f"{USER}\x00", f"{USER}\r\nX: y"),
        *("alice@corp.ex\u00e4mple", "a" * 65 + "@corp.example"),
    ],
)
def test_what_is_not_one_address_of_a_user_is_malformed(stage: Stage, door: Callable[[Ask], Told], user: str) -> None:
    for host in (ALICE_HOST, BYPASS_HOST):
        assert outcome(door(Ask(host=host, user=user))) == MALFORMED


@pytest.mark.parametrize(
    "user", ["al\u0131ce@corp.example", "\u212aelvin@corp.example", "\ufb01nance@corp.example", "stra\u00dfe@corp.example"]
)
def test_a_user_who_is_not_written_in_ascii_is_malformed(stage: Stage, door: Callable[[Ask], Told], user: str) -> None:
    """Case-folding would make one user of two: `\ufb01nance` and `finance`, `stra\u00dfe` and `strasse`."""
    assert outcome(door(Ask(host=ALICE_HOST, user=user))) == MALFORMED


# ---- What a caller may not assert --------------------------------------------------------------------------------------


def test_what_a_caller_may_not_assert_is_left_out_however_malformed(stage: Stage, door: Callable[[Ask], Told]) -> None:
    nonsense = Ask(certificate="nonsense", address="nonsense", user="nonsense", secrets=(MUTE_SECRET,))
    for host, reason in ((HOST, "no_device"), (OFFICE_HOST, "fact_unknown"), (ALICE_HOST, "fact_unknown")):
        told = door(Ask(stage.credential, host=host, secrets=(MUTE_SECRET,)))
        assert outcome(told) == (False, reason)
        record = stage.record(told)
        assert (record["caller"], record["user_email"], record["request"]["source_ip"]) == ("mute", None, None)
        assert record["device"]["resolution"] == "absent"
        assert outcome(door(replace(nonsense, host=host))) == (False, reason)
    assert door(replace(nonsense, host=BYPASS_HOST)).allowed
