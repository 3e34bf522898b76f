"""Who may call what: each route of both APIs, for nobody and for each role; and what becomes of tokens."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from audit.conftest import ADDRESS, Office
from audit.routes import ADMIN, CHANGE_NOTHING, NO_TOKEN, ROLES, filled, least_role, served
from services.world import World
from support.pki import Pki
from watchword_server.errors import StoreUnavailableError


async def test_each_route_of_both_apis_lets_each_role_do_what_it_may(office: Office) -> None:
    account_id = office.world.house.account_id
    routes = [route for route in served(office.world) if route not in NO_TOKEN]
    assert len(routes) > 60
    assert ADMIN | CHANGE_NOTHING.keys() <= set(routes)
    wrong: list[str] = []
    for number, (method, path) in enumerate(routes):
        body: dict[str, Any] | None = None if method in {"GET", "DELETE"} else {}
        at = filled(path, account_id)
        unknown = await office.call(method, at, body, address=f"192.0.2.{number}")
        if unknown.status_code != 401:
            wrong.append(f"{method} {path} without a token: {unknown.status_code}")
        for role in ROLES:
            status = (await office.call(method, at, body, token=office.tokens[role])).status_code
            may = ROLES.index(role) >= ROLES.index(least_role(method, path))
            if (status == 403) == may or status in {401, 429, 500}:
                wrong.append(f"{method} {path} as {role}: {status}")
    assert wrong == []


async def test_a_role_that_is_not_enough_changes_nothing_and_is_recorded(office: Office) -> None:
    before = await office.last()
    made = await office.call("POST", "/api/v1/tokens", {"role": "admin"}, token=office.tokens["write"])
    assert made.status_code == 403
    [record] = await office.records(before)
    assert (record["action"], record["actor"]["name"], record["address"]) == ("authorization.refused", "the write", ADDRESS)
    assert record["details"] == {"reason": "role_insufficient", "role": "write", "needed": "admin", "count": 1}


async def test_a_new_server_has_no_credentials(tmp_path: Path, pki: Pki) -> None:
    async with World.open(tmp_path, pki) as world:
        assert list(await world.house.store.api_tokens()) == []


async def test_a_token_says_when_it_was_last_used_and_no_request_waits_for_that(office: Office) -> None:
    house = office.world.house
    reader = office.tokens["read"].split(".")[1]

    async def listed() -> str | None:
        answer = (await office.at_the_host("GET", "/api/v1/tokens")).json()
        used: str | None = {each["id"]: each["last_used_at"] for each in answer["tokens"]}[reader]
        return used

    assert await listed() is None
    with office.world.failing("save_token_uses"):
        assert (await office.call("GET", "/api/v1/devices", token=office.tokens["read"])).status_code == 200
        shown = await listed()
        assert shown is not None
        with contextlib.suppress(StoreUnavailableError):
            await house.keep_books()
    stored = await house.store.api_token(reader)
    assert stored is not None
    assert stored.last_used_at is None
    assert await listed() == shown  # kept for the next time
    office.world.pass_time(61)
    await house.keep_books()
    stored = await house.store.api_token(reader)
    assert stored is not None
    first = stored.last_used_at
    assert first is not None
    await office.call("GET", "/api/v1/devices", token=office.tokens["read"])
    await house.keep_books()
    assert await house.store.api_token(reader) == stored  # at most once a minute
    office.world.pass_time(61)
    await house.keep_books()
    later = await house.store.api_token(reader)
    assert later is not None
    assert later.last_used_at is not None
    assert later.last_used_at > first


async def test_who_guesses_is_told_when_to_come_back_and_the_right_token_from_there_works(tmp_path: Path, pki: Pki) -> None:
    limits = {"failed_logins_burst": 3, "failed_logins_per_second": 0.001}
    async with World.open(tmp_path, pki, limits=limits) as world:
        office = Office(world)
        await office.hire("read")
        prefix, token_id, secret = office.tokens["read"].split(".")
        wrong = f"{prefix}.{token_id}.{secret[::-1]}"
        answers = [await office.call("GET", "/api/v1/devices", token=wrong) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1
        through_the_other = await office.call("GET", f"{office.account}/devices/posture", token=wrong)
        assert (through_the_other.status_code, through_the_other.headers["retry-after"]) == (429, "60")
        assert (await office.call("GET", "/api/v1/devices", token=office.tokens["read"])).status_code == 200
        assert (await office.call("GET", "/api/v1/devices", token=wrong, address="192.0.2.45")).status_code == 401


@pytest.mark.parametrize("ended", ["expired", "revoked"])
async def test_a_token_that_has_ended_is_as_good_as_none_and_says_so_in_the_log(office: Office, ended: str) -> None:
    token_id = await office.hire("read", expires_in_seconds=60)
    text = office.tokens["read"]
    assert (await office.call("GET", "/api/v1/devices", token=text)).status_code == 200
    if ended == "expired":
        office.world.pass_time(61)
    else:
        assert (await office.at_the_host("DELETE", f"/api/v1/tokens/{token_id}")).status_code == 200
    before = await office.last()
    assert (await office.call("GET", "/api/v1/devices", token=text)).status_code == 401
    [record] = await office.records(before)
    assert record["details"] == {"reason": f"token_{ended}", "token_id": token_id, "count": 1}
