"""The book of rules: a change shares what it leaves alone, and leads where reading everything anew would."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.pki import Pki
from watchword_server.configuration.book import EMPTY_BOOK, RuleBook
from watchword_server.configuration.document.base import Section
from watchword_server.configuration.document.sections import validate_document
from watchword_server.configuration.plan import plan_changes
from watchword_server.core.model.names import Instant
from watchword_server.core.snapshot import compile_rules
from watchword_server.errors import ConfigurationError

PASSES: list[dict[str, Any]] = [{"everyone": {}}]


def ids() -> Callable[[], str]:
    numbers = count()
    return lambda: f"id-{next(numbers)}"


def changed(
    book: RuleBook, document: dict[str, Any], *, new_id: Callable[[], str], revision: int, prune: bool = False
) -> RuleBook:
    """As the service does it: planned, stored, in force."""
    plan = plan_changes(validate_document(document), book, new_id=new_id, prune=prune)
    written = [(stored.kind, stored.id) for stored in plan.change.upserts]
    return plan.book.committed(written, book, revision=revision, now=Instant(float(revision)))


def a_rule(number: int, host: str) -> dict[str, Any]:
    traffic = f'http.request.host == "{host}" and not http.conn.src_ip in $office'
    rule = {"name": f"rule-{number}", "precedence": number, "enabled": True, "filters": ["http"], "action": "block"}
    return {**rule, "traffic": traffic}


def a_document() -> dict[str, Any]:
    return {
        "lists": [{"name": "office", "type": "IP", "items": [{"value": "192.0.2.0/24"}]}],
        "groups": [{"name": "staff", "include": PASSES}],
        "policies": [{"name": f"policy-{n}", "decision": "allow", "include": [{"group": {"id": "staff"}}]} for n in range(3)],
        "applications": [
            {"name": f"app-{n}", "type": "self_hosted", "domain": f"h{n}.test", "policies": [f"policy-{n}"]} for n in range(3)
        ],
        "gateway_rules": [a_rule(number, f"h{number}.test") for number in range(3)],
    }


@pytest.fixture
def book() -> RuleBook:
    return changed(EMPTY_BOOK, a_document(), new_id=ids(), revision=1)


def test_a_changed_rule_leaves_every_other_value_and_what_was_compiled_of_it_as_it_is(book: RuleBook) -> None:
    after = changed(book, {"gateway_rules": [a_rule(1, "other.test")]}, new_id=ids(), revision=2)
    assert [one is other for one, other in zip(book.rules.gateway_rules, after.rules.gateway_rules, strict=True)] == [
        True,
        False,
        True,
    ]
    assert after.rules.applications is book.rules.applications
    before_compiled = compile_rules(book.rules)
    compiled = compile_rules(after.rules, before_compiled)
    shared = [
        compiled.compiled.gateway_rules[rule.id] is before_compiled.compiled.gateway_rules[rule.id]
        for rule in after.rules.gateway_rules
    ]
    assert shared == [True, False, True]
    assert compiled.applications is before_compiled.applications


def test_a_changed_list_or_group_reaches_what_uses_it(book: RuleBook) -> None:
    before = compile_rules(book.rules)
    office = {"name": "office", "type": "IP", "items": [{"value": "198.51.100.0/24"}]}
    with_list = compile_rules(changed(book, {"lists": [office]}, new_id=ids(), revision=2).rules, before)
    for rule_id, rule in with_list.compiled.gateway_rules.items():
        assert rule is not before.compiled.gateway_rules[rule_id]
    staff = {"name": "staff", "include": [{"email": {"email": "ada@corp.example"}}]}
    with_group = compile_rules(changed(book, {"groups": [staff]}, new_id=ids(), revision=2).rules, before)
    for policy_id, policy in with_group.compiled.policies.items():
        assert policy is not before.compiled.policies[policy_id]


def test_the_revision_of_a_check_follows_its_certificate(pki: Pki) -> None:
    document: dict[str, Any] = {
        "certificates": [{"name": "ca", "pem": pki.issuing.pem.decode()}],
        "checks": [
            {
                "name": "laptop",
                "type": "client_certificate_v2",
                "input": {"certificate_id": "ca", "operating_system": "linux", "locations": {"paths": ["/etc/x.pem"]}},
            }
        ],
    }
    fresh = ids()
    first = changed(EMPTY_BOOK, document, new_id=fresh, revision=1)
    [check] = first.rules.checks.values()
    assert check.revision == 1
    renewed = {"certificates": [{"name": "ca", "pem": pki.root.pem.decode()}]}
    [check] = changed(first, renewed, new_id=fresh, revision=5).rules.checks.values()
    assert check.revision == 5
    unrelated = {"groups": [{"name": "staff", "include": PASSES}]}
    assert changed(first, unrelated, new_id=fresh, revision=6).rules.checks is first.rules.checks


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"gateway_rules": []}, "would be removed|is no list|keep the one it was"),
        ({"lists": [{"name": "office", "type": "EMAIL", "items": []}]}, "is a list of type EMAIL"),
        ({"gateway_rules": [a_rule(1, "x") | {"name": "new"}]}, "`rule-1` has the same"),
        ({"groups": [{"name": "staff", "include": [{"group": {"id": "staff"}}]}]}, "contains itself"),
        (
            {"policies": [{"name": "open", "decision": "bypass", "include": [{"group": {"id": "staff"}}]}],
             "groups": [{"name": "staff", "include": [{"email": {"email": "a@b"}}]}]},
            "bypass",
        ),
    ],
)  # fmt: skip
def test_what_a_change_breaks_elsewhere_is_told_and_changes_nothing(
    book: RuleBook, document: dict[str, Any], message: str
) -> None:
    if document == {"gateway_rules": []}:  # what is named by others is taken away
        office = book.named(Section.LISTS, "office")[0].stored.id
        after, problems = book.changed([], {(Section.LISTS, office)})
        assert after is book
        assert len(problems) == 3
        return
    with pytest.raises(ConfigurationError, match=message):
        plan_changes(validate_document(document), book, new_id=ids(), prune=False)


def test_two_entries_may_swap_what_only_one_can_have(book: RuleBook) -> None:
    swapped = {"gateway_rules": [a_rule(0, "h0.test") | {"precedence": 1}, a_rule(1, "h1.test") | {"precedence": 0}]}
    after = changed(book, swapped, new_id=ids(), revision=2)
    assert {rule.name: rule.precedence for rule in after.rules.gateway_rules} == {"rule-0": 1, "rule-1": 0, "rule-2": 2}


NAMES = st.sampled_from(["a", "b", "c"])


def documents() -> Iterator[st.SearchStrategy[dict[str, Any]]]:
    yield st.fixed_dictionaries({"groups": st.lists(NAMES, max_size=2, unique=True)}).map(
        lambda found: {"groups": [{"name": name, "include": PASSES} for name in found["groups"]]}
    )
    yield st.tuples(NAMES, NAMES).map(
        lambda pair: {"groups": [{"name": pair[0], "include": [*PASSES, {"group": {"id": pair[1]}}]}]}
    )
    yield st.tuples(NAMES, NAMES, st.sampled_from(["allow", "bypass"])).map(
        lambda found: {"policies": [{"name": found[0], "decision": found[2], "include": [{"group": {"id": found[1]}}]}]}
    )
    yield st.tuples(NAMES, st.sampled_from(["IP", "EMAIL"])).map(
        lambda found: {"lists": [{"name": found[0], "type": found[1], "items": []}]}
    )
    yield st.tuples(NAMES, st.integers(1, 3), NAMES, st.booleans()).map(
        lambda found: {
            "gateway_rules": [
                {"name": found[0], "precedence": found[1], "enabled": found[3], "filters": ["http"], "action": "block",
                 "traffic": f"http.conn.src_ip in ${found[2]}"}
            ]
        }
    )  # fmt: skip
    yield st.tuples(NAMES, NAMES, NAMES).map(
        lambda found: {
            "applications": [{"name": found[0], "type": "self_hosted", "domain": f"{found[1]}.test", "policies": [found[2]]}]
        }
    )


@given(changes=st.lists(st.tuples(st.one_of(*documents()), st.booleans()), max_size=12))
def test_change_after_change_leads_where_reading_everything_anew_leads(changes: list[tuple[dict[str, Any], bool]]) -> None:
    book, snapshot, new_id = EMPTY_BOOK, compile_rules(EMPTY_BOOK.rules), ids()
    for revision, (document, prune) in enumerate(changes, start=1):
        try:
            book = changed(book, document, new_id=new_id, revision=revision, prune=prune)
        except ConfigurationError:
            continue
        snapshot = compile_rules(book.rules, snapshot)
        anew = RuleBook.read(list(book.objects()), book.rules.revision)
        assert anew.rules == book.rules
        assert (anew.ids, anew.claims) == (book.ids, book.claims)
        fresh = compile_rules(anew.rules)
        assert [rule.rule for index in snapshot.gateway for rule in index.rules] == [
            rule.rule for index in fresh.gateway for rule in index.rules
        ]
        assert snapshot.applications.exact.keys() == fresh.applications.exact.keys()
        for application in snapshot.compiled.applications.values():
            assert [policy.policy for policy in application.policies] == [
                policy.policy for policy in fresh.compiled.applications[application.application.id].policies
            ]
