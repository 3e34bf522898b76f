"""Documents as values: durations, defaults, what stays absent, and that no value gets past or breaks the models."""

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.pki import Pki
from watchword_server.configuration.book import EMPTY_BOOK, RuleBook
from watchword_server.configuration.document.base import Section
from watchword_server.configuration.document.checks import CHECK_TYPES
from watchword_server.configuration.document.conditions import REFUSED
from watchword_server.configuration.document.destinations import destination_of
from watchword_server.configuration.document.durations import MAX_SECONDS, parse_seconds
from watchword_server.configuration.document.sections import body_of, validate_document, validate_entry
from watchword_server.configuration.plan import plan_changes
from watchword_server.configuration.yaml_file import read_rule_file
from watchword_server.core.kinds import KINDS
from watchword_server.core.language.literals import read_list_name
from watchword_server.core.rules import LanguageSettings
from watchword_server.errors import ConfigurationError, ExpressionError, Problem
from watchword_server.settings import Settings

# One of each selector, as short as it can be written.
SELECTORS: dict[str, dict[str, Any]] = {
    "email": {"email": "ada@corp.example"},
    "email_domain": {"domain": "corp.example"},
    "email_list": {"id": "admins"},
    "everyone": {},
    "ip": {"ip": "192.0.2.0/24"},
    "ip_list": {"id": "office"},
    "geo": {"country_code": "PT"},
    "device_posture": {"integration_uid": "managed"},
    "device_owner": {},
    "certificate": {},
    "common_name": {"common_name": "x"},
    "service_token": {"token_id": "ci"},
    "any_valid_service_token": {},
    "linked_app_token": {"app_uid": "crm"},
    "group": {"id": "staff"},
    "login_method": {"id": "okta"},
    "auth_method": {"auth_method": "hwk"},
    "auth_context": {"ac_id": "c1"},
    "azureAD": {"id": "g1"},
    "okta": {"name": "Finance"},
    "gsuite": {"email": "finance@corp.example"},
    "github-organization": {"name": "corp"},
    "saml": {"attribute_name": "department", "attribute_value": "finance"},
    "oidc": {"claim_name": "department", "claim_value": "finance"},
    "external_evaluation": {"evaluate_url": "https://check.example/evaluate"},
    "user_risk_score": {"user_risk_score": ["low"]},
    "cloudflare_account_member": {},
}


def problems_of_document(value: object) -> list[Problem]:
    with pytest.raises(ConfigurationError) as caught:
        validate_document(value)
    return list(caught.value.problems)


# ---- Values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("1h30m", 5400),
        ("24h", 86400),
        ("1.5h", 5400),
        (".5m", 30),
        ("1m1m", 120),
        ("1000ms", 1),
        ("1000000us", 1),
        ("1000000000ns", 1),
        ("0s", 0),
    ],
)
def test_durations_are_go_s(text: str, seconds: int) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "m", "5 m", "-5m", "+5m", "5d", "5M", "1e3s", "5m ", "\u0665m", "1ms", "9" * 50 + "h", "8785h"]
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="`"):
        parse_seconds(text)


@given(st.text(alphabet="0123456789.hmsnu"))
def test_no_text_crashes_the_duration_parser(text: str) -> None:
    with suppress(ValueError):
        assert 0 <= parse_seconds(text) <= MAX_SECONDS


@pytest.mark.parametrize(
    ("written", "host", "path"),
    [
        ("Wiki.Corp.Example", "wiki.corp.example", ""),
        ("wiki.example/", "wiki.example", ""),
        ("wiki.example/*", "wiki.example", ""),
        ("wiki.example/Pages", "wiki.example", "/Pages"),
        ("wiki.example/pages/", "wiki.example", "/pages/"),
        ("wiki.example/pages/*", "wiki.example", "/pages/*"),
        ("wiki.example/foo*/bar", "wiki.example", "/foo*/bar"),
        ("wiki.example/%7Eada/%61%2d", "wiki.example", "/~ada/a-"),
        ("wiki.example/b%c3%bccher%2a", "wiki.example", "/b%C3%BCcher%2A"),
        ("wiki.example/...;v=1/@:", "wiki.example", "/...;v=1/@:"),
        ("*.Corp.example/x", "*.corp.example", "/x"),
        ("*test.*.corp.example", "*test.*.corp.example", ""),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", ""),
    ],
)
def test_a_destination_is_a_host_and_a_path(written: str, host: str, path: str) -> None:
    found = destination_of(written)
    assert (found.host, found.path) == (host, path)
    assert destination_of(found.host + found.path) == found


@given(st.text(alphabet="aA.*/%27fFeE-_~ ?#:\\ü"))
def test_no_text_crashes_the_destination_parser(text: str) -> None:
    with suppress(ValueError):
        found = destination_of(text)
        assert found.host == found.host.lower()
        assert found.path == "" or found.path.startswith("/")
        assert destination_of(found.host + found.path) == found


@pytest.mark.parametrize("decision", REFUSED)
@pytest.mark.parametrize("kind", SELECTORS)
def test_a_policy_asks_only_for_what_fits_its_decision(kind: str, decision: str) -> None:
    policy = {"name": "p", "decision": decision, "include": [{"everyone": {}}], "require": [{kind: SELECTORS[kind]}]}
    if kind not in REFUSED[decision]:
        assert validate_document({"policies": [policy]})
        return
    [problem] = problems_of_document({"policies": [policy]})
    assert problem.path == ("policies", 0, "require", 0, kind)


def test_what_a_service_token_s_credential_looks_like() -> None:
    good = {"client_id": "0" * 32 + ".access", "secret_sha256": "0" * 64, "expires_at": 1.5}
    assert validate_entry(Section.SERVICE_TOKENS, "ci", {"credential": good})
    for wrong in (
        {"client_id": "0" * 31 + ".access"},
        {"client_id": "A" * 32 + ".access"},
        {"secret_sha256": "0" * 63},
        {"expires_at": -1},
        {"expires_at": float("inf")},
        {"secret": "x"},
    ):
        with pytest.raises(ConfigurationError):
            validate_entry(Section.SERVICE_TOKENS, "ci", {"credential": good | wrong})


def test_how_expressions_are_read_is_a_setting() -> None:
    rule = {"name": "r", "precedence": 1, "filters": ["http"], "action": "block", "traffic": 'http.request.host == "a.example"'}
    document = {"gateway_rules": [rule]}
    strict = LanguageSettings(max_expression_characters=10)
    assert validate_document(document)
    with pytest.raises(ConfigurationError) as caught:
        validate_document(document, language=strict)
    assert [problem.path for problem in caught.value.problems] == [("gateway_rules", 0, "traffic")]
    body = {key: value for key, value in rule.items() if key != "name"}
    assert validate_entry(Section.GATEWAY_RULES, "r", body)
    with pytest.raises(ConfigurationError):
        validate_entry(Section.GATEWAY_RULES, "r", body, language=strict)


def test_the_settings_defaults_are_the_language_s_own() -> None:
    assert Settings().rules.language == LanguageSettings()


def test_every_kind_of_check_the_core_judges_can_be_written_and_no_other() -> None:
    assert set(CHECK_TYPES) == set(KINDS)


# ---- Entries --------------------------------------------------------------------------------------------------------------


def test_what_nobody_wrote_is_not_in_the_body() -> None:
    document = validate_document(
        {
            "checks": [{"name": "c", "type": "client_certificate_v2", "input": {"certificate_id": "ca", "locations": {}}}],
            "groups": [{"name": "g", "include": [{"everyone": {}}]}],
            "callers": [{"name": "edge", "authenticate": {"unix_socket": True}}],
            "unmatched": "deny",
        }
    )
    assert {section.value: body_of(entry) for section, _, entry in document.entries()} == {
        "checks": {"type": "client_certificate_v2", "input": {"certificate_id": "ca", "locations": {}}},
        "groups": {"include": [{"everyone": {}}]},
        "callers": {"authenticate": {"unix_socket": True}},
        "settings": {"value": "deny"},
    }


def test_a_body_is_an_entry_again(workplace: Path) -> None:
    document = read_rule_file(workplace / "supported.yaml").document()
    for section, _, entry in document.entries():
        stored = json.loads(json.dumps(body_of(entry)))
        assert validate_entry(section, entry.name, stored) == entry


def test_a_stored_entry_that_is_not_valid_is_told_by_section_and_name() -> None:
    with pytest.raises(ConfigurationError) as caught:
        validate_entry(Section.GROUPS, "staff", {"include": [{"everyone": 1}]})
    expected = Problem(("groups", "staff", "include", 0, "everyone"), "it has to be a mapping: write `{}`")
    assert caught.value.problems == (expected,)


def test_hosts_and_headers_are_kept_in_lower_case() -> None:
    document = validate_document(
        {
            "applications": [{"name": "wiki", "type": "self_hosted", "domain": "Wiki.Corp.Example/Pages"}],
            "callers": [
                {
                    "name": "edge",
                    "authenticate": {"mtls": {"san": "Edge.Corp.Example"}},
                    "may_assert": ["identity"],
                    "identity": {"email_header": "X-User"},
                }
            ],
        }
    )
    caller = document.callers[0]
    assert document.applications[0].domain == "wiki.corp.example/Pages"
    assert caller.authenticate.mtls is not None
    assert caller.authenticate.mtls.san == "edge.corp.example"
    assert caller.identity is not None
    assert caller.identity.email_header == "x-user"


@given(st.text(alphabet="abzABZ09_.- $äß\u60e1", min_size=1, max_size=8))
def test_a_list_s_name_can_stand_in_an_expression_or_is_refused(name: str) -> None:
    """What the document takes is what the language reads."""
    expression = f"http.conn.src_ip in ${name}"
    try:
        read, end = read_list_name(expression, len("http.conn.src_ip in $"), dashed=True)
    except ExpressionError:
        read, end = "", 0
    document = {"lists": [{"name": name, "type": "IP"}]}
    if read == name and end == len(expression):
        assert validate_document(document).lists[0].name == name
    else:
        assert [problem.path for problem in problems_of_document(document)] == [("lists", 0, "name")]


@pytest.mark.parametrize("name", ["", " staff", "staff ", "sta\nff", "a" * 351, None, 7])
def test_what_is_no_name(name: object) -> None:
    problems = problems_of_document({"groups": [{"name": name, "include": [{"everyone": {}}]}]})
    assert [problem.path for problem in problems] == [("groups", 0, "name")]


def test_file_references_are_for_rule_files() -> None:
    problems = problems_of_document(
        {
            "certificates": [{"name": "ca", "file": "ca.pem"}],
            "callers": [{"name": "edge", "authenticate": {"secret_file": "secret"}}],
        }
    )
    messages = [problem.message for problem in problems]
    assert "`file` is for rule files: write the certificate as `pem`" in messages
    assert "`secret_file` is for rule files: write the secret's SHA-256 as `secret_sha256`" in messages


def test_values_in_messages_are_shortened() -> None:
    [problem] = problems_of_document({"unmatched": "x" * 100_000})
    assert len(problem.message) < 200


# ---- Any value --------------------------------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["", "allow", "{message}"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_KEYS = st.sampled_from(
    [
        *Section,
        "name",
        "type",
        "input",
        "include",
        "pem",
        "decision",
        "domain",
        "policies",
        "traffic",
        "filters",
        "authenticate",
        "id",
        "identity",
        "device_posture",
        "action",
        "precedence",
        "enabled",
        "destinations",
        "evidence",
        "credential",
        "expires",
        "items",
    ]
)
_SHAPED = st.dictionaries(
    st.sampled_from([*(section.value for section in Section), "unmatched", "service_tokens"]),
    st.lists(st.dictionaries(_KEYS.map(str), _JSON, max_size=6), max_size=3) | _JSON,
    max_size=6,
)


def assert_well_worded(error: ConfigurationError) -> None:
    """Our words: lower case, no full stop, something to do; nothing of pydantic's, and no fallback."""
    for problem in error.problems:
        assert problem.message
        assert not problem.message[0].isupper()
        assert not problem.message.endswith(".")
        assert ":" in problem.message
        assert "Input should" not in problem.message
        assert "compare it with the reference" not in problem.message
        assert problem.message.isprintable()


@given(_JSON | _SHAPED)
@settings(deadline=None)
def test_any_value_is_a_document_or_refused_in_our_words(value: object) -> None:
    try:
        validate_document(value)
    except ConfigurationError as error:
        assert_well_worded(error)


@given(
    st.dictionaries(st.integers() | st.text(alphabet=st.characters(codec=None)), st.none() | st.text(alphabet=st.characters()))
)
def test_keys_that_are_no_text_are_refused(value: dict[object, object]) -> None:
    try:
        validate_document(value)
    except ConfigurationError as error:
        assert_well_worded(error)
    else:
        assert value == {}


def _places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for step in value if isinstance(value, dict) else range(len(value)):
            yield from _places(value[step], (*path, step))


def _changed(value: Any, path: tuple[str | int, ...], change: str, new: object) -> Any:
    changed = copy.deepcopy(value)
    container = changed
    for step in path[:-1]:
        container = container[step]
    match change:
        case "remove":
            del container[path[-1]]
        case "replace":
            container[path[-1]] = new
        case "repeat" if isinstance(container, list):
            container.append(copy.deepcopy(container[int(path[-1])]))
        case _:
            container["extra" if isinstance(container, dict) else 0] = new
    return changed


_SOME_VALUES: list[Any] = [
    *("staff", "managed-laptop", "wiki", "deny", "flag", "1h", "never", "wiki.corp.example"),
    *({"group": {"id": "staff"}}, {"everyone": {}}),
]


@pytest.fixture(scope="session")
def supported(workplace: Path) -> dict[str, Any]:
    value = read_rule_file(workplace / "supported.yaml").text.value
    assert isinstance(value, dict)
    return value


@given(st.data())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_good_document_changed_anywhere_is_applied_whole_or_refused_whole(
    supported: dict[str, Any], data: st.DataObject
) -> None:
    value: Any = supported
    for _ in range(data.draw(st.integers(1, 3))):
        places = list(_places(value))
        if not places:
            break
        path = data.draw(st.sampled_from(places))
        change = data.draw(st.sampled_from(["remove", "replace", "repeat", "add"]))
        value = _changed(value, path, change, data.draw(_JSON | st.sampled_from(_SOME_VALUES)))
    numbers = count()
    try:
        plan = plan_changes(validate_document(value), EMPTY_BOOK, new_id=lambda: f"id-{next(numbers)}", prune=True)
    except ConfigurationError as error:
        assert_well_worded(error)
    else:
        RuleBook.read(plan.result, 1)


def test_a_certificate_with_odd_text_around_it_is_read(pki: Pki) -> None:
    pem = "subject=Corp\r\n" + pki.issuing.pem.decode().strip().replace("\n", "\r\n")
    assert validate_document({"certificates": [{"name": "ca", "pem": pem}]}).certificates[0].pem == pem


def test_how_long_a_list_may_be_is_a_setting() -> None:
    items = [{"value": f"serial-{number}"} for number in range(3)]
    document = {"lists": [{"name": "serials", "type": "SERIAL", "items": items}]}
    assert validate_document(document, language=LanguageSettings(max_list_items=3)).lists
    with pytest.raises(ConfigurationError, match=r"more than 2 items: shorten it, or raise the setting `rules\.max_list_items`"):
        validate_document(document, language=LanguageSettings(max_list_items=2))
