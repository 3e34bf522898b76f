"""Revisions: what a change did, by whom; and the way back, which is a change like any other."""

import json
from pathlib import Path
from typing import Any

import pytest

from audit.conftest import Office
from services.world import SECRET, World
from support.pki import Pki
from watchword_server.core.audit import Verification
from watchword_server.core.revisions import line_of
from watchword_server.ports.audit import Retention

GIGABYTE = 1 << 30
EVERYONE: list[dict[str, Any]] = [{"everyone": {}}]


def group(name: str, domain: str = "corp.example") -> dict[str, Any]:
    return {"name": name, "include": [{"email_domain": {"domain": domain}}]}


async def applied(office: Office, *, prune: bool = False, **sections: Any) -> int:
    answer = await office.call(
        "POST", "/api/v1/rules/apply", {"document": sections, "prune": prune}, token=office.tokens["write"]
    )
    assert answer.status_code == 200, answer.text
    return int(answer.json()["revision"])


async def shown(office: Office, number: int) -> dict[str, Any]:
    answer = await office.call("GET", f"/api/v1/revisions/{number}", token=office.tokens["read"])
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def rolled_back(office: Office, number: int, **options: Any) -> dict[str, Any]:
    answer = await office.call("POST", f"/api/v1/revisions/{number}/rollback", options, token=office.tokens["write"])
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def rules_of(office: Office) -> list[tuple[str, str, str, str]]:
    """Everything that is in force, without its history."""
    objects, _ = await office.world.house.store.load_rules()
    return [(each.kind, each.id, each.name, json.dumps(dict(each.body), sort_keys=True)) for each in objects]


async def test_a_revision_says_who_changed_what_from_what_to_what(office: Office) -> None:
    first = await applied(office, groups=[group("x")])
    second = await applied(office, groups=[group("x", "other.example"), group("y")])
    told = await shown(office, second)
    assert (told["revision"], told["entries"], told["rolls_back_to"]) == (second, 2, None)
    assert (told["actor"]["kind"], told["actor"]["name"], told["address"]) == ("api_token", "the write", "192.0.2.44")
    changes = {each["name"]: each for each in told["changes"]}
    assert changes["x"]["action"] == "updated"
    assert changes["x"]["before"]["body"]["include"] == group("x")["include"]
    assert changes["x"]["after"]["body"]["include"] == group("x", "other.example")["include"]
    assert (changes["y"]["action"], changes["y"]["before"]) == ("created", None)
    [record] = [each for each in await office.records() if each["number"] == told["audit_number"]]
    assert record["details"] == {"entries": 2, "difference_sha256": told["difference_sha256"]}
    listed = (await office.call("GET", "/api/v1/revisions?limit=2", token=office.tokens["read"])).json()
    assert [each["revision"] for each in listed["revisions"]] == [second, first]
    assert listed["next"] == first
    older = (await office.call("GET", f"/api/v1/revisions?before={first}", token=office.tokens["read"])).json()
    assert [each["revision"] for each in older["revisions"]] == [(await office.world.house.store.load_rules())[0][0].revision]
    assert older["next"] is None


async def test_rolling_back_makes_the_rules_what_they_were_and_is_a_revision_itself(office: Office) -> None:
    await applied(office, groups=[group("kept"), group("changed"), group("removed")])
    [then, *_] = await office.world.house.store.revisions(before=None, limit=1)
    before = await rules_of(office)
    groups = [group("kept"), group("changed", "other.example"), group("added")]
    rules = {**office.world.rules, "groups": [*office.world.rules["groups"], *groups]}
    await applied(office, prune=True, **rules)
    changed = await rules_of(office)
    planned = await rolled_back(office, then.number, dry_run=True)
    assert (planned["changed"], await rules_of(office)) == (False, changed)
    assert sorted(line.split()[0] for line in planned["changes"]) == ["created", "removed", "updated"]
    done = await rolled_back(office, then.number)
    assert await rules_of(office) == before  # ids and all
    told = await shown(office, done["revision"])
    assert (told["rolls_back_to"], told["entries"]) == (then.number, 3)
    assert (await rolled_back(office, then.number))["changed"] is False
    back_again = await rolled_back(office, told["revision"] - 1)
    assert (back_again["changed"], await rules_of(office)) == (True, changed)


async def test_a_rollback_takes_back_no_secret(office: Office) -> None:
    """What was rotated stays rotated: an old secret that leaked would open the door again."""
    [then, *_] = await office.world.house.store.revisions(before=None, limit=1)
    old = await office.call("POST", "/api/v1/service-tokens/backup/credential", {}, token=office.tokens["write"])
    [issued, *_] = await office.world.house.store.revisions(before=None, limit=1)
    new = await office.call("POST", "/api/v1/service-tokens/backup/credential", {}, token=office.tokens["write"])
    callers = json.loads(json.dumps(office.world.rules["callers"]))
    callers[0]["authenticate"]["secret_sha256"] = "cd" * 32
    await applied(office, callers=callers)
    for number in (issued.number, then.number):
        await rolled_back(office, number)
        rules = office.world.house.rules.in_force.current.rules
        [token] = rules.service_tokens.values()
        assert token.client_id == new.json()["client_id"] != old.json()["client_id"]
        assert [caller.secret_sha256 for caller in rules.callers] == [bytes.fromhex("cd" * 32)]
    everything = str(
        [await shown(office, each.number) for each in await office.world.house.store.revisions(before=None, limit=99)]
    )
    assert new.json()["client_secret"] not in everything
    assert "cd" * 32 not in everything
    assert "(not kept; another one)" in everything
    assert SECRET not in everything


async def test_a_rollback_that_would_need_a_secret_that_is_gone_is_refused(office: Office) -> None:
    [then, *_] = await office.world.house.store.revisions(before=None, limit=1)
    rules = {name: entries for name, entries in office.world.rules.items() if name != "callers"}
    await applied(office, prune=True, **rules)
    before = await rules_of(office)
    answer = await office.call("POST", f"/api/v1/revisions/{then.number}/rollback", {}, token=office.tokens["write"])
    assert answer.status_code == 400
    [problem] = answer.json()["error"]["problems"]
    assert problem["path"] == ["callers", "edge", "authenticate", "secret_sha256"]
    assert "secrets are not kept" in problem["message"]
    assert await rules_of(office) == before


async def test_a_rollback_that_does_not_fit_any_more_is_refused_whole(tmp_path: Path, pki: Pki) -> None:
    """The limits of the language were made narrower since."""
    expression = " or ".join(f'http.request.host == "{number}.corp.example"' for number in range(20))
    async with World.open(tmp_path, pki) as world:
        await world.apply(
            {"gateway_rules": [{"name": "long", "action": "block", "filters": ["http"], "precedence": 1, "traffic": expression}]}
        )
        [then, *_] = await world.house.store.revisions(before=None, limit=1)
        await world.apply({}, prune=True)
    async with World.open(tmp_path, pki, rules={"max_expression_characters": 256}) as world:
        office = Office(world)
        answer = await office.at_the_host("POST", f"/api/v1/revisions/{then.number}/rollback", {})
        assert answer.status_code == 400
        assert "256" in answer.json()["error"]["problems"][0]["message"]
        assert await rules_of(office) == []


async def test_a_revision_that_is_not_kept_cannot_be_gone_back_to(office: Office) -> None:
    for path in ("/api/v1/revisions/999999", "/api/v1/revisions/999999/rollback"):
        answer = await office.call("POST" if "rollback" in path else "GET", path, {}, token=office.tokens["write"])
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert "watchword revisions list" in answer.json()["error"]["message"]


async def test_what_is_trimmed_is_said_and_the_log_stays_whole(office: Office) -> None:
    house = office.world.house
    numbers = [await applied(office, groups=[group(f"g{number}")]) for number in range(12)]
    day = 86_400.0
    await house.store.trim_history(Retention(5, day, 3, day, GIGABYTE), now=house.clock.now())  # young: all of it is kept
    assert len(await house.store.revisions(before=None, limit=99)) == 13
    office.world.pass_time(2 * day)
    await house.store.trim_history(Retention(5, day, 3, day, GIGABYTE), now=house.clock.now())
    assert [each.number for each in await house.store.revisions(before=None, limit=99)] == numbers[:-4:-1]
    records = await office.records()
    trims = [each for each in records if each["action"].endswith(".trimmed")]
    assert [each["details"]["through"] for each in trims if each["target"]["kind"] == "revisions"] == [numbers[-4]]
    assert records[0]["number"] == trims[1]["details"]["through"] + 1 > 1
    assert len(records) == 5 + 1
    verification = Verification()
    for each in records:
        verification.take(each)
    assert verification.finish() == []
    answer = await office.call("POST", f"/api/v1/revisions/{numbers[0]}/rollback", {}, token=office.tokens["write"])
    assert answer.status_code == 404
    await rolled_back(office, numbers[-3])


async def test_revisions_that_are_too_long_together_go_the_oldest_first(office: Office) -> None:
    """However young: a list of a million items that changes often would fill the disk."""
    store, now = office.world.house.store, office.world.house.clock.now()
    numbers = [await applied(office, groups=[group(f"g{number}")]) for number in range(6)]
    [(length,)] = {(len(line_of(change)),) for change in [(await store.revision(number))[1][0] for number in numbers]}
    year = 365 * 86_400.0
    for room, kept in ((4 * length, 4), (4 * length - 1, 3), (0, 1)):
        await store.trim_history(Retention(1000, year, 1000, year, room), now=now)
        assert [each.number for each in await store.revisions(before=None, limit=99)] == numbers[::-1][:kept]
    assert (await rolled_back(office, numbers[-1]))["changed"] is False


async def test_the_past_is_trimmed_once_an_hour(office: Office) -> None:
    trimmed = office.world.hold("trim_history")
    trimmed.let_go()
    for expected, seconds in ((1, 0), (1, 3500), (2, 200), (2, 3500)):
        office.world.pass_time(seconds)
        await office.world.house.keep_books()
        assert trimmed.calls == expected


@pytest.mark.parametrize("path", ["/api/v1/audit", "/api/v1/revisions"])
async def test_pages_lead_through_everything_once(office: Office, path: str) -> None:
    for number in range(5):
        await applied(office, groups=[group(f"g{number}")])
    name, key = ("records", "number") if path.endswith("audit") else ("revisions", "revision")
    found: list[int] = []
    after = ""
    while True:
        page = (await office.call("GET", f"{path}?limit=2{after}", token=office.tokens["admin"])).json()
        found += [each[key] for each in page[name]]
        if page["next"] is None:
            break
        after = f"&before={page['next']}"
    whole = (await office.call("GET", f"{path}?limit=1000", token=office.tokens["admin"])).json()[name]
    assert found == [each[key] for each in whole] == sorted(found, reverse=True)


async def test_records_are_found_by_who_what_and_when(office: Office) -> None:
    await applied(office, groups=[group("g")])

    async def found(query: str) -> list[dict[str, Any]]:
        answer = await office.call("GET", f"/api/v1/audit?{query}", token=office.tokens["admin"])
        assert answer.status_code == 200, answer.text
        records: list[dict[str, Any]] = answer.json()["records"]
        return records

    writer = office.tokens["write"].split(".")[1]
    assert [each["target"]["name"] for each in await found(f"actor={writer}")] == ["g"]
    assert len(await found("actor=server")) == len(await found("action=audit")) + len(await found("action=rules.changed")) + 3
    [record] = await found("target=groups")
    assert await found(f"target={record['target']['id']}") == [record]
    assert record in await found("since=2020-01-01T00:00:00Z")
    assert await found("until=2020-01-01T00:00:00Z") == []
    assert await found("action=entry%") == await found("action=entr") == []
    refused = await office.call("GET", "/api/v1/audit?since=yesterday", token=office.tokens["admin"])
    assert refused.status_code == 400
