"""Contract: the operators' entries."""

import asyncio
from dataclasses import replace

import pytest

from store.builders import NOW, Store, an_entry, an_upsert, enroll, later
from watchword_server.errors import ConflictError
from watchword_server.ports.rules import RulesChange, StoredObject


async def stored(store: Store) -> dict[str, StoredObject]:
    entries, _ = await store.load_rules()
    return {entry.id: entry for entry in entries}


async def test_a_new_store_has_no_rules_at_revision_zero(store: Store) -> None:
    assert await store.load_rules() == ([], 0)


async def test_entries_come_back_as_written(store: Store) -> None:
    await enroll(store, "d")  # the store's revision moves on without the rules
    body: dict[str, object] = {"include": [{"everyone": {}}], "ratio": 0.1, "on": True, "none": None, "ü": "\N{SNOWMAN}"}
    entry = an_entry("p", body=body)
    revision = await store.commit_rules(an_upsert(entry), expected_revision=0, now=NOW)
    assert revision > 1
    assert await store.load_rules() == ([replace(entry, revision=revision, created_at=NOW, updated_at=NOW)], revision)


async def test_entries_are_listed_by_kind_and_name(store: Store) -> None:
    entries = [an_entry("1", kind="b", name="y"), an_entry("2", kind="a", name="z"), an_entry("3", kind="b", name="x")]
    await store.commit_rules(an_upsert(*entries), expected_revision=0, now=NOW)
    found, _ = await store.load_rules()
    assert [entry.id for entry in found] == ["2", "3", "1"]


async def test_who_saw_older_rules_changes_nothing(store: Store) -> None:
    revision = await store.commit_rules(an_upsert(an_entry("p")), expected_revision=0, now=NOW)
    before = await store.load_rules()
    for expected in (0, revision + 1):
        with pytest.raises(ConflictError, match="load them and try again"):
            await store.commit_rules(RulesChange((an_entry("q"),), (("policies", "p"),)), expected_revision=expected, now=NOW)
    assert await store.load_rules() == before


async def test_of_many_at_once_one_is_first(store: Store) -> None:
    changes = [store.commit_rules(an_upsert(an_entry(f"p{n}")), expected_revision=0, now=NOW) for n in range(30)]
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 29
    assert len(await stored(store)) == 1


async def test_only_what_differs_gets_the_new_revision(store: Store) -> None:
    first = await store.commit_rules(
        an_upsert(an_entry("same"), an_entry("edited"), an_entry("renamed")), expected_revision=0, now=NOW
    )
    change = an_upsert(an_entry("same"), an_entry("edited", body={"x": 1}), an_entry("renamed", name="new name"))
    second = await store.commit_rules(change, expected_revision=first, now=later(60))
    entries = await stored(store)
    assert {entry.id: (entry.revision, entry.created_at, entry.updated_at) for entry in entries.values()} == {
        "same": (first, NOW, NOW),
        "edited": (second, NOW, later(60)),
        "renamed": (second, NOW, later(60)),
    }
    assert (entries["edited"].body, entries["renamed"].name) == ({"x": 1}, "new name")


async def test_what_changes_nothing_is_no_change(store: Store) -> None:
    body: dict[str, object] = {"a": 1, "b": [2]}
    first = await store.commit_rules(an_upsert(an_entry("p", body=body)), expected_revision=0, now=NOW)
    reordered: dict[str, object] = {"b": [2], "a": 1}
    change = RulesChange((an_entry("p", body=reordered),), (("policies", "never there"),))
    assert await store.commit_rules(change, expected_revision=first, now=later(60)) == first


async def test_true_is_not_one(store: Store) -> None:
    first = await store.commit_rules(an_upsert(an_entry("p", body={"x": 1})), expected_revision=0, now=NOW)
    assert await store.commit_rules(an_upsert(an_entry("p", body={"x": True})), expected_revision=first, now=NOW) > first
    assert (await stored(store))["p"].body["x"] is True


async def test_entries_are_removed(store: Store) -> None:
    first = await store.commit_rules(an_upsert(an_entry("p"), an_entry("p", kind="groups")), expected_revision=0, now=NOW)
    second = await store.commit_rules(RulesChange((), (("policies", "p"),)), expected_revision=first, now=NOW)
    entries, revision = await store.load_rules()
    assert [(entry.kind, entry.id, entry.revision) for entry in entries] == [("groups", "p", first)]
    assert revision == second > first


async def test_a_name_belongs_to_one_entry_of_a_kind(store: Store) -> None:
    first = await store.commit_rules(an_upsert(an_entry("p", name="taken")), expected_revision=0, now=NOW)
    for change in (
        an_upsert(an_entry("q", name="taken")),
        an_upsert(an_entry("q", name="new"), an_entry("r", name="new")),
        an_upsert(an_entry("fine"), an_entry("q", name="taken")),
    ):
        with pytest.raises(ConflictError, match="exists already in policies: choose another name"):
            await store.commit_rules(change, expected_revision=first, now=NOW)
    assert list(await stored(store)) == ["p"]
    await store.commit_rules(an_upsert(an_entry("q", kind="groups", name="taken")), expected_revision=first, now=NOW)


async def test_names_are_swapped_and_taken_over_in_one_change(store: Store) -> None:
    entries = [an_entry("a", name="one"), an_entry("b", name="two"), an_entry("c", name="three")]
    first = await store.commit_rules(an_upsert(*entries), expected_revision=0, now=NOW)
    change = RulesChange(
        (an_entry("a", name="two"), an_entry("b", name="one"), an_entry("d", name="three")), (("policies", "c"),)
    )
    await store.commit_rules(change, expected_revision=first, now=later(60))
    assert {entry.id: entry.name for entry in (await stored(store)).values()} == {"a": "two", "b": "one", "d": "three"}


async def test_an_entry_given_twice_is_refused(store: Store) -> None:
    with pytest.raises(ConflictError):
        await store.commit_rules(an_upsert(an_entry("p"), an_entry("p")), expected_revision=0, now=NOW)
    assert await store.load_rules() == ([], 0)


async def test_ten_thousand_entries_are_one_change(store: Store) -> None:
    revision = await store.commit_rules(an_upsert(*(an_entry(f"p{n}") for n in range(10_000))), expected_revision=0, now=NOW)
    assert revision == 1
    assert len(await stored(store)) == 10_000


async def test_the_revision_can_be_asked_for_alone(store: Store) -> None:
    assert await store.rules_revision() == 0
    revision = await store.commit_rules(an_upsert(an_entry("p")), expected_revision=0, now=NOW)
    assert await store.rules_revision() == revision


async def test_a_change_of_more_entries_than_a_query_takes_is_compared_with_all_of_them(store: Store) -> None:
    entries = [an_entry(f"p{number}") for number in range(1_000)]
    first = await store.commit_rules(an_upsert(*entries), expected_revision=0, now=NOW)
    assert await store.commit_rules(an_upsert(*entries), expected_revision=first, now=NOW) == first
    taken = an_entry("another", name="name of p999")
    with pytest.raises(ConflictError, match="p999"):
        await store.commit_rules(an_upsert(*entries, taken), expected_revision=first, now=NOW)
