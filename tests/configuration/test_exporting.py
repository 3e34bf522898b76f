"""What is stored, said again: applied it makes the same, written and read it is the same, and no secret is in it."""

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from configuration.test_books import changed, ids
from fuzz.effort import tries
from support.pki import Pki
from watchword_server.configuration.book import EMPTY_BOOK, RuleBook
from watchword_server.configuration.document.base import Section
from watchword_server.configuration.document.expressions import Reading
from watchword_server.configuration.document.sections import read_entry, validate_document
from watchword_server.configuration.exporting import exported
from watchword_server.configuration.plan import Action, plan_changes, plan_entry
from watchword_server.configuration.yaml_file import read_rule_file
from watchword_server.configuration.yaml_text import parse_yaml
from watchword_server.configuration.yaml_writing import yaml_of
from watchword_server.core.model.names import Instant
from watchword_server.errors import ConfigurationError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=24) | st.sampled_from(["a: b", "x\ny", "#", "*a", "&b", "!c"])
ACCEPTED = sorted((Path(__file__).parent / "accepted").glob("*.yaml"))


def read_again(book: RuleBook) -> tuple[str, RuleBook]:
    """The export of a book, and what it makes of an empty store, where ids are others."""
    text = yaml_of(exported(book))
    parsed = parse_yaml(text)
    assert parsed.readable
    assert not parsed.problems, text
    assert isinstance(parsed.value, dict)
    numbers = count()
    return text, changed(EMPTY_BOOK, parsed.value, new_id=lambda: f"other-{next(numbers)}", revision=1)


def assert_round_trips(book: RuleBook) -> str:
    text, again = read_again(book)
    assert yaml_of(exported(again)) == text
    shuffled = [replace(stored, body=dict(reversed(list(stored.body.items())))) for stored in book.objects()]
    assert yaml_of(exported(RuleBook.read(shuffled))) == text  # a store keeps no order of keys
    document: Any = parse_yaml(text).value
    plan = plan_changes(validate_document(document), book, new_id=ids(), prune=True)
    assert plan.changes_nothing, plan.summary
    return text


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.stem)
def test_every_accepted_file_comes_back_as_it_went_in(case: Path, workplace: Path) -> None:
    document: Any = read_rule_file(workplace / case.name).text.value
    book = changed(EMPTY_BOOK, document, new_id=ids(), revision=1)
    text = assert_round_trips(book)
    assert {page.stored.name for pages in book.pages.values() for page in pages.values()} <= {
        *_names(parse_yaml(text).value),
        "unmatched",
    }


def _names(document: Any) -> set[str]:
    return {entry["name"] for entries in document.values() if isinstance(entries, list) for entry in entries}


# ---- Through the API ------------------------------------------------------------------------------------------------------


def by_api(book: RuleBook, section: Section, name: str, entry_id: str, **body: Any) -> RuleBook:
    """As a call of the Cloudflare API stores it, with what was sent beside what decides."""
    body |= {"api": {"name": name, **body, "session_duration": "24h"}}
    plan = plan_entry(section, name, body, book, entry_id=None, new_id=lambda: entry_id)
    keys = [(stored.kind, stored.id) for stored in plan.change.upserts]
    return plan.book.committed(keys, book, revision=book.rules.revision + 1, now=Instant(1.0))


@pytest.fixture
def made_by_api(pki: Pki) -> RuleBook:
    pem = pki.issuing.pem.decode().rstrip("\n").replace("\n", "\r\n")
    book = by_api(EMPTY_BOOK, Section.CERTIFICATES, "Geräte-CA", "c-1", pem=pem)
    where = {"certificate_id": "c-1", "check_private_key": True, "operating_system": "linux"}
    book = by_api(book, Section.CHECKS, 'the "managed" laptop', "k-1", type="client_certificate_v2", input=where)
    for number, name in enumerate(["Office Networks", "office-networks", "Büro", "ß", "事務所", "office networks"]):
        book = by_api(book, Section.LISTS, name, f"l-{number}", type="IP", items=[{"value": "192.0.2.0/24"}])
    rule = {"precedence": 10, "enabled": True, "filters": ["http"], "action": "block"}
    lists = " or ".join(f"http.conn.src_ip in $l-{number}" for number in range(6))
    posture = 'not any(device_posture.checks.passed[*] == "k-1")'
    book = by_api(book, Section.GATEWAY_RULES, "n: ö", "r-1", traffic=lists, device_posture=posture, **rule)
    policy = {"name": "own", "decision": "allow", "include": [{"ip_list": {"id": "l-0"}}]}
    return by_api(book, Section.APPLICATIONS, "Wiki", "a-1", type="self_hosted", domain="Wiki.test", policies=[policy])


def test_what_was_made_through_the_api_comes_back_and_keeps_what_was_only_echoed(made_by_api: RuleBook) -> None:
    text = assert_round_trips(made_by_api)
    for unknown in ("k-1", "c-1", "l-0", "session_duration", "api:"):
        assert unknown not in text
    assert 'device_posture: "not any(device_posture.checks.passed[*] == r' in text or '\\"managed\\"' in text


def test_a_list_whose_name_cannot_stand_in_an_expression_has_one_that_can(made_by_api: RuleBook) -> None:
    lists: Any = exported(made_by_api)["lists"]
    assert {entry["name"]: entry.get("reference") for entry in lists} == {
        "Büro": "buro",
        "Office Networks": "office-networks-2",
        "office networks": "office-networks-3",
        "office-networks": None,
        "ß": "list",
        "事務所": "list-2",
    }


def test_a_reference_that_is_another_list_s_name_is_refused() -> None:
    lists = [{"name": "office", "type": "IP"}, {"name": "Office", "reference": "office", "type": "IP"}]
    with pytest.raises(ConfigurationError) as refused:
        plan_changes(validate_document({"lists": lists}), EMPTY_BOOK, new_id=ids(), prune=False)
    assert [(problem.path, problem.message) for problem in refused.value.problems] == [
        (("lists", 1, "reference"), "`office` is the name or `reference` of another list: write another")
    ]


def test_a_changed_entry_is_told_with_names_and_only_where_it_differs(made_by_api: RuleBook) -> None:
    document: Any = exported(made_by_api)
    document["checks"][0]["input"]["cn"] = "${hostname}"
    del document["lists"][0]
    document["gateway_rules"][0]["traffic"] = "http.conn.src_ip in $office-networks-2"
    plan = plan_changes(validate_document(document), made_by_api, new_id=ids(), prune=False)
    updated = [entry for entry in plan.entries if entry.action is Action.UPDATED]
    assert [(entry.name, [str(each) for each in entry.differences]) for entry in updated[:1]] == [
        ('the "managed" laptop', ['input.cn: (none) → "${hostname}"'])
    ]
    [traffic] = updated[1].differences
    assert traffic.path == "traffic"
    assert traffic.before is not None
    assert traffic.before.startswith('"http.conn.src_ip in $office-networks-2 or http.conn.src_ip in $office-networks or ')
    assert traffic.after == '"http.conn.src_ip in $office-networks-2"'
    assert [(entry.name, entry.by_api) for entry in plan.only_stored] == [("Büro", True)]


def test_no_secret_is_exported(workplace: Path) -> None:
    document: Any = read_rule_file(workplace / "supported.yaml").text.value
    book = changed(EMPTY_BOOK, document, new_id=ids(), revision=1)
    [token] = book.named(Section.SERVICE_TOKENS, "ci-runner")
    credential = {"client_id": f"{'a' * 32}.access", "secret_sha256": "b" * 64}
    with_it = replace(token.stored, body={**token.stored.body, "credential": credential})
    issued = RuleBook.read([with_it if stored.id == with_it.id else stored for stored in book.objects()])
    assert "credential" in issued.named(Section.SERVICE_TOKENS, "ci-runner")[0].stored.body
    text = assert_round_trips(issued)
    for secret in ("credential", "b" * 64, "a" * 32, "PRIVATE KEY"):
        assert secret not in text


# ---- Any document, any text -----------------------------------------------------------------------------------------------

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@tries(100)
@given(value=st.dictionaries(TEXTS, _VALUES, max_size=5))
@example(
    value={"": "", "a": "- x", "no": "no", "b": "a: b", "c": " x\ny", "d": "x\n\ny\n", "e": "x\ny\n\n", "f": "x # y", "g": "~"}
)
@example(value={"a": "\ufeffx\ny", "b": "x \ny", "c": "---\n...\n", "d": "0x1f", "e": "1e5", "f": "%x\n%y", "g": "x\n y\n\n z"})
def test_any_value_is_written_as_yaml_that_reads_the_same(value: dict[str, Any]) -> None:
    text = yaml_of(value)
    parsed = parse_yaml(text)
    assert not parsed.problems
    assert parsed.value == value
    assert yaml_of(parsed.value) == text


_NAMES = TEXTS.filter(lambda text: text.isprintable() and text == text.strip() and 0 < len(text) <= 40)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Rules with any names, that name one another."""
    checks, groups, lists, policies = (draw(st.lists(_NAMES, min_size=1, max_size=3, unique=True)) for _ in range(4))
    references = [f"ref-{number}" for number in range(len(lists))]

    def selectors() -> list[dict[str, Any]]:
        one = st.one_of(
            st.builds(lambda name: {"ip_list": {"id": name}}, st.sampled_from(lists)),
            st.builds(lambda uid: {"device_posture": {"integration_uid": uid}}, st.sampled_from(checks)),
            st.builds(lambda name: {"okta": {"name": name}}, _NAMES),
            st.just({"everyone": {}}),
        )
        return draw(st.lists(one, min_size=1, max_size=3))

    rule = {"enabled": True, "filters": ["http"], "action": draw(st.sampled_from(["allow", "block"]))}
    where = {"certificate_id": "ca", "operating_system": "linux", "cn": draw(_NAMES.filter(lambda text: "${" not in text))}
    return {
        "certificates": [{"name": "ca", "pem": PEM}],
        "checks": [{"name": name, "type": "client_certificate_v2", "input": where} for name in checks],
        "groups": [{"name": name, "description": draw(TEXTS), "include": selectors()} for name in groups],
        "lists": [
            {"name": name, "reference": ref, "type": "IP", "items": [{"value": "192.0.2.1", "description": draw(TEXTS)}]}
            for name, ref in zip(lists, references, strict=True)
        ],
        "policies": [
            {"name": name, "decision": "allow", "include": [*selectors(), {"group": {"id": draw(st.sampled_from(groups))}}]}
            for name in policies
        ],
        "applications": [
            {"name": f"app {n}", "type": "self_hosted", "domain": f"h{n}.test", "policies": [{"id": name, "precedence": n + 1}]}
            for n, name in enumerate(policies)
        ],
        "gateway_rules": [
            {"name": f"rule {n}", "precedence": 9 - n, "traffic": f"http.conn.src_ip in ${ref}", **rule}
            for n, ref in enumerate(references)
        ],
        "unmatched": draw(st.sampled_from(["allow", "deny"])),
    }


PEM = Pki.make().issuing.pem.decode()


@tries(40)
@given(document=documents())
def test_any_rules_come_back_as_they_went_in(document: dict[str, Any]) -> None:
    try:
        book = changed(EMPTY_BOOK, document, new_id=ids(), revision=1)
    except ConfigurationError as error:
        pytest.fail(str([problem.message for problem in error.problems]))
    assert_round_trips(book)


def test_a_stored_entry_has_no_reference() -> None:
    """It is a matter of one document."""
    entry = read_entry(Section.LISTS, "Office", {"type": "IP", "items": []}, Reading(stored=True))
    assert (
        "reference"
        not in changed(EMPTY_BOOK, {"lists": [{"name": "Office", "reference": "o", "type": "IP"}]}, new_id=ids(), revision=1)
        .named(Section.LISTS, entry.name)[0]
        .stored.body
    )
