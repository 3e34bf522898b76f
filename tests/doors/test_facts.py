"""Facts a proxy reports: believed of a caller that may report them, read strictly, and unknown where nobody did."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doors.stage import (
    BYPASS_HOST,
    COUNTRY_HOST,
    FACTS_HEADER,
    LOGIN_HOST,
    MUTE_SECRET,
    OBSERVER_SECRET,
    REPORTER_SECRET,
    SECRET_HEADER,
    Ask,
    Stage,
    Told,
    check_request,
)
from services.world import SECRET, USER
from watchword_server.core.facts import COUNTRY, DERIVED, GROUPS, LOGIN_METHOD, REPORTABLE, SAML_ATTRIBUTES
from watchword_server.peer import Peer
from watchword_server.services.facts import fact_value

PORTUGAL = {COUNTRY: "PT"}
PIN = {LOGIN_METHOD: "onetimepin"}


@pytest.fixture(params=["envoy", "nginx"])
def door(request: pytest.FixtureRequest, stage: Stage) -> Callable[[Ask], Told]:
    """One of the two."""
    asked: Callable[[Ask], Told] = getattr(stage, request.param)
    return asked


def ask(told: object, *, host: str = COUNTRY_HOST, secret: str = REPORTER_SECRET) -> Ask:
    """A request with this in the header: text as it is, anything else as JSON."""
    text = told if isinstance(told, str) else json.dumps(told)
    return Ask(host=host, headers=((FACTS_HEADER, text),), secrets=(secret,))


# ---- What counts -------------------------------------------------------------------------------------------------------


def test_a_reported_fact_is_decided_by(door: Callable[[Ask], Told]) -> None:
    assert door(ask(PORTUGAL)).allowed
    assert door(ask({COUNTRY: "ES"})).reason == "no_policy_matched"
    assert door(ask(PIN, host=LOGIN_HOST)).allowed


def test_what_nobody_reported_is_unknown(door: Callable[[Ask], Told]) -> None:
    for nothing in ({}, "", PIN):
        assert door(ask(nothing)).reason == "fact_unknown"
    assert door(Ask(host=COUNTRY_HOST, secrets=(REPORTER_SECRET,))).reason == "fact_unknown"


def test_the_record_tells_facts_as_they_were_reported(stage: Stage, door: Callable[[Ask], Told]) -> None:
    facts = {
        **PORTUGAL,
        **PIN,
        GROUPS: [{"id": "1", "name": "Staff \u00e9", "email": "staff@corp.example"}, {"id": "2"}],
        SAML_ATTRIBUTES: {"team": ["red", "blue"], "": []},
    }
    told = door(ask(facts))
    assert told.allowed
    assert stage.record(told)["request"]["facts"] == facts


@pytest.mark.parametrize("secret", [SECRET, MUTE_SECRET], ids=["may assert all else", "may assert nothing"])
def test_of_a_caller_that_may_not_report_facts_the_header_is_ignored_however_malformed(
    stage: Stage, door: Callable[[Ask], Told], secret: str
) -> None:
    for header in (json.dumps(PORTUGAL), "nonsense", "{" * 20_000):
        told = door(ask(header, secret=secret))
        assert (told.allowed, told.reason) == (False, "fact_unknown")
        assert stage.record(told)["request"]["facts"] == {}


def test_facts_about_the_user_count_only_of_a_caller_that_may_assert_identity(stage: Stage, door: Callable[[Ask], Told]) -> None:
    told = door(ask({**PIN, **PORTUGAL, "identity.nonsense": 1}, host=LOGIN_HOST, secret=OBSERVER_SECRET))
    assert (told.allowed, told.reason) == (False, "fact_unknown")
    assert stage.record(told)["request"]["facts"] == PORTUGAL
    assert door(ask({**PIN, **PORTUGAL}, secret=OBSERVER_SECRET)).allowed


def test_the_client_s_own_header_counts_as_little_as_an_identity_does(door: Callable[[Ask], Told]) -> None:
    """Another name is no fact, and a second header of the name denies: a proxy has to set it or remove it."""
    told = json.dumps(PORTUGAL)
    for name in ("x-facts", FACTS_HEADER.replace("-", "_"), f"{FACTS_HEADER}-2"):
        assert door(Ask(host=COUNTRY_HOST, headers=((name, told),), secrets=(REPORTER_SECRET,))).reason == "fact_unknown"


# ---- What is malformed -------------------------------------------------------------------------------------------------

MALFORMED: Mapping[str, Any] = {
    "no JSON": "nonsense",
    "no object": [PORTUGAL],
    "a number": 1,
    "null": None,
    "two objects": f"{json.dumps(PORTUGAL)} {json.dumps(PORTUGAL)}",
    "an object and more": json.dumps(PORTUGAL) + "x",
    "cut off": json.dumps(PORTUGAL)[:-1],
    "a key twice": '{"http.src_ip.geo.country": "PT", "http.src_ip.geo.country": "PT"}',
    "a key twice within": '{"identity.saml_attributes": {"a": ["1"], "a": ["2"]}}',
    "no such fact": {"http.src_ip.geo.planet": "earth"},
    "another case": {COUNTRY.upper(): "PT"},
    "an empty name": {"": "PT"},
    "a number for a text": {COUNTRY: 351},
    "a truth for a text": {COUNTRY: True},
    "null for a text": {COUNTRY: None},
    "a list for a text": {COUNTRY: ["PT"]},
    "a text for a list": {GROUPS: "staff"},
    "a text for a map": {SAML_ATTRIBUTES: "staff"},
    "a list of texts for a list of maps": {GROUPS: ["staff"]},
    "a text within that is none": '{"http.src_ip.geo.country": "\\ud800"}',
    "NaN": '{"http.src_ip.geo.country": NaN}',
    "Infinity": '{"http.src_ip.geo.country": -Infinity}',
    "a number too long to read": '{"http.src_ip.geo.country": ' + "9" * 5_000 + "}",
    "thousands of brackets": "[" * 10_000,
    "a deep value": '{"identity.saml_attributes": ' + '{"a":' * 3_000 + "1" + "}" * 3_001,
    "not ASCII": '{"http.src_ip.geo.country": "\u00e9"}',
    "too large": json.dumps({COUNTRY: "P" * 16_384}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_not_one_object_of_facts_of_their_types_is_malformed_wherever_it_is_said(
    door: Callable[[Ask], Told], name: str
) -> None:
    for host in (COUNTRY_HOST, BYPASS_HOST):
        told = door(ask(MALFORMED[name], host=host))
        assert (told.allowed, told.reason) == (False, "request_malformed")


@pytest.mark.parametrize("fact", sorted(DERIVED))
def test_what_the_request_says_itself_cannot_be_reported(door: Callable[[Ask], Told], fact: str) -> None:
    assert door(ask({fact: "x"})).reason == "request_malformed"


def test_the_header_twice_is_malformed(stage: Stage, form: str) -> None:
    header = (FACTS_HEADER, json.dumps(PORTUGAL))
    twice = Ask(host=COUNTRY_HOST, headers=(header, header), secrets=(REPORTER_SECRET,))
    for told in (stage.envoy(twice, form=form), stage.nginx(twice)):
        assert (told.allowed, told.reason) == (False, "request_malformed")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(REPORTABLE)), json_values, max_size=3))
def test_whatever_is_reported_is_recorded_as_it_was_or_malformed(stage: Stage, facts: dict[str, Any]) -> None:
    told = stage.nginx(ask(facts, host=BYPASS_HOST))
    if told.reason == "request_malformed":
        return
    assert told.allowed
    recorded = stage.record(told)["request"]["facts"]
    assert recorded.keys() == facts.keys()
    for name, value in facts.items():
        assert fact_value(name, recorded[name]) == fact_value(name, value)


def test_a_user_s_facts_say_nothing_about_who_the_user_is(stage: Stage, door: Callable[[Ask], Told]) -> None:
    told = door(ask({**PIN}, host=LOGIN_HOST))
    assert stage.record(told)["user_email"] == USER


# ---- What a route of Envoy's says ----------------------------------------------------------------------------------------


def of_a_route(stage: Stage, extensions: Mapping[str, str], asked: Ask) -> Told:
    request = check_request(asked)
    request.attributes.context_extensions.update(extensions)
    return stage.check(request, Peer("127.0.0.1", metadata={SECRET_HEADER: tuple(asked.secrets)}))


def test_a_route_reports_facts_by_their_names_and_others_are_for_others(stage: Stage) -> None:
    asked = Ask(host=COUNTRY_HOST, secrets=(REPORTER_SECRET,))
    told = of_a_route(stage, {COUNTRY: "PT", "access.private_app": "true", "virtual_host": "{"}, asked)
    assert told.allowed
    assert stage.record(told)["request"]["facts"] == {COUNTRY: "PT", "access.private_app": True}
    assert of_a_route(stage, {COUNTRY: "ES"}, asked).reason == "no_policy_matched"
    assert of_a_route(stage, {}, asked).reason == "fact_unknown"


def test_a_route_reports_for_a_caller_that_may(stage: Stage) -> None:
    for secret in (SECRET, MUTE_SECRET):
        told = of_a_route(stage, {COUNTRY: "PT", "access.private_app": "nonsense"}, Ask(host=COUNTRY_HOST, secrets=(secret,)))
        assert (told.allowed, told.reason) == (False, "fact_unknown")
        assert stage.record(told)["request"]["facts"] == {}
    told = of_a_route(stage, {LOGIN_METHOD: "onetimepin", COUNTRY: "PT"}, Ask(host=LOGIN_HOST, secrets=(OBSERVER_SECRET,)))
    assert (told.allowed, told.reason) == (False, "fact_unknown")
    assert stage.record(told)["request"]["facts"] == PORTUGAL


def test_a_route_that_is_contradicted_or_makes_no_sense_denies(stage: Stage) -> None:
    assert of_a_route(stage, {COUNTRY: "PT"}, ask(PORTUGAL)).allowed
    assert of_a_route(stage, {COUNTRY: "PT"}, ask({COUNTRY: "ES"})).reason == "request_malformed"
    for value in ("nonsense", '"true"', "1", "{" * 20_000, "null", ""):
        assert of_a_route(stage, {"access.private_app": value}, ask(PORTUGAL)).reason == "request_malformed"
