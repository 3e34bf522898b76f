"""What applying a document changes."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from watchword_server.configuration.book import EMPTY_BOOK, RuleBook
from watchword_server.configuration.document.sections import Document, validate_document
from watchword_server.configuration.plan import Plan, plan_changes
from watchword_server.configuration.service_tokens import with_credential
from watchword_server.configuration.yaml_file import read_rule_file
from watchword_server.core.model.names import Instant
from watchword_server.core.rules import LanguageSettings
from watchword_server.errors import ConfigurationError
from watchword_server.ports.rules import StoredObject

_numbers = count()
EVERYONE: list[dict[str, Any]] = [{"everyone": {}}]


def plan(document: Document | dict[str, Any], existing: Sequence[StoredObject] = (), *, prune: bool = False) -> Plan:
    valid = document if isinstance(document, Document) else validate_document(document)
    return plan_changes(valid, RuleBook.read(existing), new_id=lambda: f"id-{next(_numbers)}", prune=prune)


def committed(planned: Plan, existing: Sequence[StoredObject] = (), *, revision: int = 1) -> list[StoredObject]:
    """What the store holds afterwards, as `RuleStore.commit_rules` has it."""
    rows = {(stored.kind, stored.id): stored for stored in existing}
    for key in planned.change.deletes:
        del rows[key]
    for stored in planned.change.upserts:
        created = rows[stored.kind, stored.id].created_at if (stored.kind, stored.id) in rows else Instant(float(revision))
        rows[stored.kind, stored.id] = replace(stored, revision=revision, created_at=created, updated_at=Instant(float(revision)))
    return list(rows.values())


def problems(
    document: dict[str, Any], existing: Sequence[StoredObject] = (), *, prune: bool = False
) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(ConfigurationError) as caught:
        plan(document, existing, prune=prune)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def group(name: str, *inner: str) -> dict[str, Any]:
    return {"name": name, "include": [*EVERYONE, *({"group": {"id": one}} for one in inner)]}


# ---- What changes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prune", [False, True])
def test_applying_twice_leaves_nothing_to_do(workplace: Path, prune: bool) -> None:
    document = read_rule_file(workplace / "supported.yaml").document()
    first = plan(document, prune=prune)
    assert {entry.action for entry in first.entries} == {"created"}
    second = plan(document, committed(first), prune=prune)
    assert second.changes_nothing
    assert {entry.action for entry in second.entries} == {"unchanged"}
    assert second.result == tuple(committed(first))


def test_references_are_stored_as_ids(workplace: Path) -> None:
    stored = {(row.kind, row.name): row for row in plan(read_rule_file(workplace / "supported.yaml").document()).result}
    policy = stored["policies", "staff-on-managed-laptops"].body
    assert policy["include"] == [{"group": {"id": stored["groups", "staff"].id}}]
    assert policy["require"] == [{"device_posture": {"integration_uid": stored["checks", "managed-laptop"].id}}]
    assert stored["applications", "wiki"].body["policies"] == [
        stored["policies", "from-the-office"].id,
        stored["policies", "staff-on-managed-laptops"].id,
    ]
    check = stored["checks", "older-laptop"].body["input"]
    assert check == {"certificate_id": stored["certificates", "corp-device-ca"].id, "cn": "${serial_number}"}


def rule(name: str, precedence: int, **fields: Any) -> dict[str, Any]:
    return {"name": name, "precedence": precedence, "filters": ["http"], "action": "block", **fields}


def test_names_in_expressions_are_stored_as_ids(workplace: Path) -> None:
    document = read_rule_file(workplace / "supported.yaml").text.value
    assert isinstance(document, dict)
    posture = (
        'any(device_posture.checks.passed[*] in {"managed-laptop"  r#"older-laptop"#\n"\\x6danaged-laptop"}) and '
        'not any(device_posture.checks.failed[*] != "older-laptop") and len(device_posture.checks.passed) > 0'
    )
    traffic = 'http.request.host == "office-networks" or http.conn.src_ip in $office-networks'
    document["gateway_rules"] = [
        rule("posture", 1, device_posture=posture),
        rule("traffic", 2, traffic=traffic, enabled=True, identity="identity.email in $admins"),
        rule("disabled", 3, filters=["l4"], traffic="net.src.ip in $office-networks", action="isolate"),
    ]
    planned = plan(document)
    stored = {(row.kind, row.name): row for row in planned.result}
    managed, older = (f'"{stored["checks", name].id}"' for name in ("managed-laptop", "older-laptop"))
    networks, admins = (f"${stored['lists', name].id}" for name in ("office-networks", "admins"))
    assert stored["gateway_rules", "posture"].body["device_posture"] == (
        f"any(device_posture.checks.passed[*] in {{{managed}  {older}\n{managed}}}) and "
        f"not any(device_posture.checks.failed[*] != {older}) and len(device_posture.checks.passed) > 0"
    )
    assert stored["gateway_rules", "traffic"].body["traffic"] == (
        f'http.request.host == "office-networks" or http.conn.src_ip in {networks}'
    )
    assert stored["gateway_rules", "traffic"].body["identity"] == f"identity.email in {admins}"
    assert stored["gateway_rules", "disabled"].body["traffic"] == f"net.src.ip in {networks}"
    assert plan(document, committed(planned)).changes_nothing


def test_a_list_may_be_named_without_the_dashes_of_its_id() -> None:
    ids = iter([str(uuid.UUID(int=7)), "r-1"])
    document = {
        "lists": [{"name": "office-networks", "type": "IP", "items": []}],
        "gateway_rules": [rule("r", 1, traffic=f"http.conn.src_ip in ${uuid.UUID(int=7).hex}")],
    }
    [_, stored] = plan_changes(validate_document(document), EMPTY_BOOK, new_id=lambda: next(ids), prune=False).result
    assert stored.body["traffic"] == f"http.conn.src_ip in ${uuid.UUID(int=7)}"


def test_what_was_stored_before_a_document_could_not_say_it_stays_readable() -> None:
    """Names that no expression can write, and a `*` that is no wildcard: refused in a document, read from a store."""
    at = Instant(1.0)
    existing = [
        StoredObject("lists", "l-1", "Office networks", {"type": "IP"}, 1, at, at),
        StoredObject("groups", "g-1", "stars", {"include": [{"email_domain": {"domain": "*.corp.example"}}]}, 1, at, at),
        StoredObject("groups", "g-2", "more", {"include": [{"email": {"email": "*@corp.example"}}]}, 1, at, at),
    ]
    document = {
        "gateway_rules": [rule("r", 1, traffic="http.conn.src_ip in $l-1")],
        "groups": [{"name": "office", "include": [{"ip_list": {"id": "Office networks"}}]}],
    }
    assert [entry.action for entry in plan(document, existing).entries] == ["created", "created"]
    again = {
        "lists": [{"name": stored.name, **stored.body} for stored in existing[:1]],
        "groups": [{"name": stored.name, **stored.body} for stored in existing[1:]],
    }
    with pytest.raises(ConfigurationError) as caught:
        validate_document(again)
    assert {problem.path[:2] for problem in caught.value.problems} == {("lists", 0), ("groups", 0), ("groups", 1)}


def test_an_expression_that_ids_make_too_long_is_refused() -> None:
    language = LanguageSettings(max_expression_characters=40)
    document = {
        "lists": [{"name": "office", "type": "IP", "items": []}],
        "gateway_rules": [rule("r", 1, traffic="http.conn.src_ip in $office")],
    }
    parsed = validate_document(document, language=language)
    with pytest.raises(ConfigurationError) as caught:
        plan_changes(parsed, RuleBook.read((), language=language), new_id=lambda: str(uuid.uuid4()), prune=False)
    assert [problem.path for problem in caught.value.problems] == [("gateway_rules", 0, "traffic")]


def test_a_list_of_another_type_is_refused_where_it_is_stored_already() -> None:
    document = {
        "lists": [{"name": "office", "type": "IP", "items": []}],
        "gateway_rules": [rule("r", 1, traffic="http.conn.src_ip in $office")],
    }
    existing = committed(plan(document))
    [(path, message)] = problems({"lists": [{"name": "office", "type": "DOMAIN"}]}, existing)
    assert path == ("gateway_rules", "r", "traffic")
    assert message == ("1:22: `office` is a list of type DOMAIN, but an address is looked up in it: name a list of type IP")


def test_a_check_that_an_expression_names_is_not_pruned_away(workplace: Path) -> None:
    document = read_rule_file(workplace / "supported.yaml").text.value
    assert isinstance(document, dict)
    existing = committed(plan(document))
    left = {key: document[key] for key in ("certificates", "lists", "gateway_rules")}
    expected = "is a check that is not in this file and would be removed: add it here, or do not prune"
    found = problems(left, existing, prune=True)
    assert [path for path, _ in found] == [("gateway_rules", 2, "device_posture")] * 2
    assert all(expected in message for _, message in found)


# ---- Credentials ------------------------------------------------------------------------------------------------------------


def issued(stored: StoredObject) -> StoredObject:
    return with_credential(stored, client_id="0" * 32 + ".access", secret_sha256=bytes(32), expires_at=Instant(99.0))


def test_applying_keeps_the_credential_of_a_service_token() -> None:
    document = {"service_tokens": [{"name": "ci", "expires": "1h"}, {"name": "backup", "expires": "never"}]}
    existing = [issued(row) for row in committed(plan(document))]
    assert plan(document, existing).changes_nothing
    changed = plan({"service_tokens": [{"name": "ci", "expires": "2h"}]}, existing)
    assert changed.summary == ("updated   service_tokens.ci",)
    [row] = changed.change.upserts
    assert row.body == {"expires": "2h", "credential": existing[0].body["credential"]}
    pruned = plan({"service_tokens": [{"name": "ci", "expires": "1h"}]}, existing, prune=True)
    assert pruned.summary == ("unchanged service_tokens.ci", "removed   service_tokens.backup")
    assert pruned.result == (existing[0],)


def test_a_credential_takes_the_place_of_another() -> None:
    [stored] = committed(plan({"service_tokens": [{"name": "ci"}]}))
    first = issued(stored)
    second = with_credential(first, client_id="1" * 32 + ".access", secret_sha256=b"\1" * 32, expires_at=None)
    assert second.body == {"credential": {"client_id": "1" * 32 + ".access", "secret_sha256": "01" * 32}}
    assert stored.body == {}


def test_a_credential_that_is_none_is_refused() -> None:
    [stored] = committed(plan({"service_tokens": [{"name": "ci"}]}))
    with pytest.raises(ConfigurationError, match="is not a client id"):
        with_credential(stored, client_id="ci", secret_sha256=bytes(32), expires_at=None)
    [group_row] = committed(plan({"groups": [group("staff")]}))
    with pytest.raises(ConfigurationError, match="`staff` is no service token"):
        issued(group_row)


# ---- Entries keep their ids -------------------------------------------------------------------------------------------------


def test_an_entry_keeps_its_id_as_long_as_its_name() -> None:
    existing = committed(plan({"groups": [group("staff"), group("others")]}))
    ids = {stored.name: stored.id for stored in existing}
    changed = plan({"groups": [group("staff", "others"), group("new")]}, existing)
    assert [(entry.action.value, entry.name) for entry in changed.entries] == [("updated", "staff"), ("created", "new")]
    assert changed.entries[0].id == ids["staff"]
    assert [stored.name for stored in changed.change.upserts] == ["staff", "new"]
    assert changed.change.deletes == ()


def test_an_update_keeps_when_the_entry_was_created() -> None:
    existing = committed(plan({"unmatched": "deny"}), revision=7)
    [row] = committed(plan({"unmatched": "allow"}, existing), existing, revision=9)
    assert (row.kind, row.id, row.name, row.body) == ("settings", "unmatched", "unmatched", {"value": "allow"})
    assert (row.revision, row.created_at, row.updated_at) == (9, 7.0, 9.0)


def test_only_pruning_removes() -> None:
    existing = committed(plan({"groups": [group("staff"), group("others")], "unmatched": "allow"}))
    document = {"groups": [group("staff")]}
    assert plan(document, existing).changes_nothing
    pruned = plan(document, existing, prune=True)
    assert pruned.summary == ("unchanged groups.staff", "removed   groups.others", "removed   settings.unmatched")
    assert committed(pruned, existing) == [existing[0]]


def test_a_new_certificate_under_the_same_name_changes_its_body_alone(workplace: Path) -> None:
    document = read_rule_file(workplace / "supported.yaml").document()
    existing = committed(plan(document))
    bundle = (workplace / "pki" / "bundle.pem").read_text()
    renewed = plan({"certificates": [{"name": "corp-device-ca", "pem": bundle}]}, existing)
    assert [(stored.name, stored.body) for stored in renewed.change.upserts] == [("corp-device-ca", {"pem": bundle})]


def test_no_id_is_made_for_what_has_one() -> None:
    existing = committed(plan({"groups": [group("staff")], "unmatched": "deny"}))
    document = validate_document({"groups": [group("staff")], "unmatched": "allow"})
    plan_changes(document, RuleBook.read(existing), new_id=lambda: pytest.fail("an id was made"), prune=True)


# ---- References to what is stored already -----------------------------------------------------------------------------------


def test_an_existing_entry_is_named_by_name_or_id() -> None:
    existing = committed(plan({"groups": [group("staff")]}))
    for reference in ("staff", existing[0].id):
        policy = {"name": "p", "decision": "allow", "include": [{"group": {"id": reference}}]}
        [stored] = plan({"policies": [policy]}, existing).change.upserts
        assert stored.body["include"] == [{"group": {"id": existing[0].id}}]


def test_a_name_of_the_file_comes_before_an_existing_id() -> None:
    existing = committed(plan({"groups": [group("staff")]}))
    document = {"groups": [group(existing[0].id), group("outer", existing[0].id)]}
    by_name = {stored.name: stored for stored in plan(document, existing).change.upserts}
    outer = by_name["outer"].body["include"]
    assert outer == [*EVERYONE, {"group": {"id": by_name[existing[0].id].id}}]


def test_what_is_about_to_be_pruned_cannot_be_named() -> None:
    existing = committed(plan({"groups": [group("staff")]}))
    document = {"policies": [{"name": "p", "decision": "allow", "include": [{"group": {"id": "staff"}}]}]}
    expected = "`staff` is a group that is not in this file and would be removed: add it here, or do not prune"
    assert problems(document, existing, prune=True) == [(("policies", 0, "include", 0, "group", "id"), expected)]


def test_a_reference_to_two_of_the_same_name_is_refused() -> None:
    existing = committed(plan({"groups": [group("a"), group("b")]}))
    twins = [replace(stored, name="staff") for stored in existing]
    assert problems({"groups": [group("outer", "staff")]}, twins) == [
        (("groups", 0, "include", 1, "group", "id"), "`staff` is the name of more than one group: write its id")
    ]
    assert plan({"groups": [group("outer", twins[1].id)]}, twins).change.upserts
    ids = f"`{twins[0].id}` and `{twins[1].id}`"
    expected = f"`staff` is the name of {ids}: rename or remove one of them"
    assert problems({"groups": [group("staff")]}, twins) == [(("groups", 0, "name"), expected)]


# ---- The state it leads to --------------------------------------------------------------------------------------------------


def test_a_clash_with_a_stored_entry_is_told_at_the_entry_of_the_file() -> None:
    existing = committed(
        plan(
            {
                "applications": [{"name": "wiki", "type": "self_hosted", "domain": "wiki.example"}],
                "gateway_rules": [{"name": "first", "action": "block", "filters": ["http"], "precedence": 1}],
            }
        )
    )
    document = {
        "applications": [{"name": "other", "type": "self_hosted", "domain": "wiki.example"}],
        "gateway_rules": [{"name": "second", "action": "block", "filters": ["http"], "precedence": 1}],
    }
    assert problems(document, existing) == [
        (("applications", 0, "domain"), "application `wiki` has the same: a host and path has one application"),
        (("gateway_rules", 0, "precedence"), "gateway rule `first` has the same: write a number that no other rule has"),
    ]
    assert plan(document, existing, prune=True).change.deletes


def test_a_cycle_through_a_stored_group_is_refused() -> None:
    existing = committed(plan({"groups": [group("inner"), group("outer", "inner")]}))
    [(path, message)] = problems({"groups": [group("inner", "outer")]}, existing)
    assert path[0] == "groups"
    assert message.startswith("the group contains itself, ")


def test_a_bypass_policy_that_a_changed_group_would_break_is_told() -> None:
    policy = {"name": "p", "decision": "bypass", "include": [{"group": {"id": "office"}}]}
    existing = committed(plan({"groups": [group("office")], "policies": [policy]}))
    changed = {"name": "office", "include": [{"email": {"email": "ada@corp.example"}}]}
    expected = "a bypass policy asks for no identity and no device, but `office` has `email`: use another group"
    assert problems({"groups": [changed]}, existing) == [(("policies", "p", "include", 0, "group", "id"), expected)]


def test_groups_nest_only_so_deep_and_come_to_only_so_much() -> None:
    chain = [group("g0"), *(group(f"g{n}", f"g{n - 1}") for n in range(1, 16))]
    assert plan({"groups": chain})
    assert problems({"groups": [*chain, group("g16", "g15"), group("g17", "g16")]}) == [
        (("groups", 16), "groups nest more than 16 deep here: make them flatter")
    ]
    doubling = [group("g0"), *(group(f"g{n}", f"g{n - 1}", f"g{n - 1}") for n in range(1, 16))]
    assert problems({"groups": doubling}) == [(("groups", 12), "the group comes to more than 10000 selectors: split it")]


def test_a_long_chain_of_groups_is_refused_and_not_a_crash() -> None:
    chain = [group("g0"), *(group(f"g{n}", f"g{n - 1}") for n in range(1, 3000))]
    assert [path for path, _ in problems({"groups": chain})] == [(("groups", 16))]
    circle = [group("g0", "g2999"), *chain[1:]]
    assert problems({"groups": circle})


def test_all_problems_are_told_at_once() -> None:
    document = {
        "groups": [group("a", "a"), group("b", "nowhere")],
        "policies": [{"name": "p", "decision": "allow", "include": [{"group": {"id": "c"}}]}],
    }
    assert [path for path, _ in problems(document)] == [
        ("groups", 1, "include", 1, "group", "id"),
        ("policies", 0, "include", 0, "group", "id"),
        ("groups", 0),
    ]
