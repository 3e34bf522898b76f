"""Every route that writes leaves exactly one record of the audit log for what it changed, with who did it and to what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import update

from audit.conftest import ADDRESS, Office
from audit.routes import CHANGE_NOTHING, NO_TOKEN, served
from services.world import SECRET
from support.crls import make_list
from support.device import SimulatedDevice
from watchword_server.adapters.store_sql.schema import devices as devices_table
from watchword_server.core.audit import Verification

_ACCOUNT: Final = "/client/v4/accounts/{account_id}"
_EVERYONE: Final[list[dict[str, Any]]] = [{"everyone": {}}]


@dataclass(frozen=True, slots=True)
class Kind:
    """Entries of the Cloudflare API that are made, replaced and deleted."""

    at: str
    parameter: str
    section: str
    new: Mapping[str, Any]
    replaced: Mapping[str, Any]


def _kinds(certificate_id: str) -> list[Kind]:
    check = {
        "name": "a check",
        "type": "client_certificate_v2",
        "input": {"certificate_id": certificate_id, "check_private_key": True},
    }
    policy = {"name": "a policy", "decision": "allow", "include": _EVERYONE}
    application = {"name": "an application", "type": "self_hosted", "domain": "app.corp.example"}
    rule = {"name": "a rule", "action": "block", "filters": ["http"], "traffic": 'http.request.host == "x.example"'}
    hosts = {"name": "a list", "type": "DOMAIN", "items": [{"value": "a.example"}]}
    return [
        Kind("/devices/posture", "rule_id", "checks", check, check | {"description": "another"}),
        Kind(
            "/access/groups",
            "entry_id",
            "groups",
            {"name": "a group", "include": _EVERYONE},
            {"name": "g2", "include": _EVERYONE},
        ),
        Kind("/access/policies", "entry_id", "policies", policy, policy | {"decision": "deny"}),
        Kind("/access/apps", "app_id", "applications", application, application | {"domain": "b.corp.example"}),
        Kind("/gateway/rules", "rule_id", "gateway_rules", rule, rule | {"enabled": True}),
        Kind("/gateway/lists", "list_id", "lists", hosts, hosts | {"description": "another"}),
    ]


class Walk:
    """Calls one route after the other as the admin, and looks at what each leaves in the log."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.seen: set[tuple[str, str]] = set()
        self.wrong: list[str] = []

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        *,
        action: str,
        target: str = "",
        times: int = 1,
        **values: str,
    ) -> Any:
        """`target`: its kind; its id is in `values`, or in the answer. `times`: records, where several things change."""
        office, before = self.office, await self.office.last()
        at = path.format(account_id=office.world.house.account_id, **values)
        answer = await office.call(method, at, body, token=office.tokens["admin"])
        if answer.status_code != 200:
            self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            return {}
        self.seen.add((method, path.partition("?")[0]))
        records = await office.records(before)
        told = answer.json()
        result = told.get("result") or told
        ids = {*values.values(), *({result["id"]} if isinstance(result, dict) and "id" in result else ())}
        if len(records) != times:
            self.wrong.append(f"{method} {path}: {len(records)} records {[each['action'] for each in records]}")
        for record in records:
            if (record["actor"]["kind"], record["actor"]["id"]) != ("api_token", office.tokens["admin"].split(".")[1]):
                self.wrong.append(f"{method} {path}: by {record['actor']}")
            if record["address"] != ADDRESS or (
                record["revision"] is None and not action.endswith(("_asked", "refreshed", "key.rotated"))
            ):
                self.wrong.append(f"{method} {path}: {record}")
            if record["action"] != action or record["target"]["kind"] != (target or "rules"):
                self.wrong.append(f"{method} {path}: {record['action']} of {record['target']}")
            if target and record["target"]["id"] not in ids:
                self.wrong.append(f"{method} {path}: of {record['target']}, not {ids}")
        return result


async def test_every_route_that_writes_leaves_one_record_of_who_and_what(office: Office) -> None:
    walk = Walk(office)
    [certificate] = office.world.house.rules.in_force.current.rules.certificates
    for kind in _kinds(certificate):
        path = f"{_ACCOUNT}{kind.at}"
        made = await walk.call("POST", path, kind.new, action="entry.created", target=kind.section)
        one, value = f"{path}/{{{kind.parameter}}}", {kind.parameter: made.get("id", "")}
        await walk.call("PUT", one, kind.replaced, action="entry.updated", target=kind.section, **value)
        if kind.section == "lists":
            await walk.call("PATCH", one, {"append": [{"value": "b.example"}]}, action="entry.updated", target="lists", **value)
        if kind.section == "applications":
            await _policies_of_an_application(walk, value["app_id"])
        await walk.call("DELETE", one, action="entry.removed", target=kind.section, **value)
    await _certificates(walk)
    await _devices(walk)
    await _tokens(walk)
    await _rules(walk)
    assert walk.wrong == []
    writing = {route for route in served(office.world) if route[0] != "GET" and route not in {*NO_TOKEN, *CHANGE_NOTHING}}
    assert writing - walk.seen == set()  # a new route has to be called here
    verification = Verification()
    for record in await office.records():
        verification.take(record)
        assert SECRET not in str(record)
    assert verification.finish() == []


async def _policies_of_an_application(walk: Walk, app_id: str) -> None:
    path = f"{_ACCOUNT}/access/apps/{{app_id}}/policies"
    policy = {"name": "its own", "decision": "allow", "include": _EVERYONE}
    made = await walk.call("POST", path, policy, action="entry.updated", target="applications", app_id=app_id)
    values = {"app_id": app_id, "policy_id": made.get("id", "")}
    one = f"{path}/{{policy_id}}"
    replaced = policy | {"decision": "deny"}
    await walk.call("PUT", one, replaced, action="entry.updated", target="applications", **values)
    await walk.call("DELETE", one, action="entry.updated", target="applications", **values)


async def _certificates(walk: Walk) -> None:
    pki = walk.office.world.pki
    path = f"{_ACCOUNT}/mtls_certificates"
    other = {"ca": True, "name": "root", "certificates": pki.root.pem.decode()}
    made = await walk.call("POST", path, other, action="entry.created", target="certificates")
    value = {"mtls_certificate_id": made.get("id", "")}
    await walk.call("DELETE", f"{path}/{{mtls_certificate_id}}", action="entry.removed", target="certificates", **value)
    [used] = walk.office.world.house.rules.in_force.current.rules.certificates.values()
    at = "/api/v1/certificates/{name_or_id}"
    crl = make_list(pki.issuing)
    await walk.call("POST", f"{at}/crl", crl, action="revocation_list.uploaded", target="certificates", name_or_id=used.id)
    await walk.call("POST", f"{at}/refresh", {}, action="revocation_list.refreshed", target="certificates", name_or_id=used.id)


async def _devices(walk: Walk) -> None:
    world = walk.office.world
    device = await _enrolled(walk, "laptop", needs_approval=True)
    at = "/api/v1/devices/{device_id}"
    await walk.call("POST", f"{at}/approve", {}, action="device.approved", target="device", device_id=device.device_id)
    async with world.attesting(device) as stream:
        await stream.attest(claims=())
        await walk.call("POST", f"{at}/attest", {}, action="device.attest_asked", target="device", device_id=device.device_id)
    lost = {"reason": "reported lost"}
    await walk.call("POST", f"{at}/lock", lost, action="device.locked", target="device", device_id=device.device_id)
    await walk.call("POST", f"{at}/unlock", {}, action="device.unlocked", target="device", device_id=device.device_id)
    hers = {"owner": "ada@corp.example"}
    await walk.call("PUT", f"{at}/owner", hers, action="device.owner_changed", target="device", device_id=device.device_id)
    await world.house.store._writer.submit(
        lambda transaction: transaction.connection.execute(update(devices_table).values(key_cloned_at=1.0))
    )
    await walk.call("POST", f"{at}/clear-clone", {}, action="device.clone_cleared", target="device", device_id=device.device_id)
    await walk.call("POST", f"{at}/revoke", {}, action="device.revoked", target="device", device_id=device.device_id)
    physical, registrations = f"{_ACCOUNT}/devices/physical-devices", f"{_ACCOUNT}/devices/registrations"
    for number, (method, path, parameter) in enumerate(
        (
            ("POST", f"{physical}/{{device_id}}/revoke", "device_id"),
            ("DELETE", f"{physical}/{{device_id}}", "device_id"),
            ("DELETE", f"{registrations}/{{registration_id}}", "registration_id"),
            ("POST", f"{registrations}/revoke?id={{id}}", "id"),
            ("DELETE", f"{registrations}?id={{id}}", "id"),
        )
    ):
        device = await _enrolled(walk, f"laptop-{number}")
        body: dict[str, Any] | None = {} if method == "POST" else None
        values: dict[str, Any] = {parameter: device.device_id}
        await walk.call(method, path, body, action="device.revoked", target="device", **values)


async def _enrolled(walk: Walk, hostname: str, **options: Any) -> SimulatedDevice:
    """Enrolling is recorded as well, by the token that allowed it."""
    world = walk.office.world
    token = await world.token(**options)
    before = await walk.office.last()
    device = await world.device(hostname, token=token)
    [record] = await walk.office.records(before)
    assert (record["action"], record["target"]["id"]) == ("device.enrolled", device.device_id)
    assert record["actor"] == {"kind": "enrollment_token", "id": token.split(".")[1], "name": None}
    assert record["address"] == "192.0.2.7"
    return device


async def _tokens(walk: Walk) -> None:
    made = await walk.call(
        "POST", "/api/v1/tokens", {"role": "read", "name": "x"}, action="api_token.created", target="api_token"
    )
    await walk.call(
        "DELETE", "/api/v1/tokens/{token_id}", action="api_token.revoked", target="api_token", token_id=made.get("id", "")
    )
    await walk.call("POST", "/api/v1/signing-keys/rotate", {}, action="signing_key.rotated", target="signing_key")
    path = "/api/v1/enrollment-tokens"
    made = await walk.call("POST", path, {}, action="enrollment_token.created", target="enrollment_token")
    await walk.call(
        "DELETE",
        "/api/v1/tokens/{token_id}",
        action="enrollment_token.revoked",
        target="enrollment_token",
        token_id=made.get("id", ""),
    )
    path = "/api/v1/service-tokens/{name_or_id}/credential"
    await walk.call("POST", path, {}, action="entry.updated", target="service_tokens", name_or_id="backup")


async def _rules(walk: Walk) -> None:
    [newest] = await walk.office.world.house.store.revisions(before=None, limit=1)
    document = {"groups": [{"name": "one", "include": _EVERYONE}, {"name": "two", "include": _EVERYONE}]}
    await walk.call("POST", "/api/v1/rules/apply", {"document": document}, action="rules.changed")
    path = "/api/v1/revisions/{number}/rollback"
    await walk.call("POST", path, {}, action="rules.changed", number=str(newest.number))


async def test_what_changes_nothing_leaves_no_record(office: Office) -> None:
    admin, before = office.tokens["admin"], await office.last()
    explained = await office.call("POST", "/api/v1/decisions/explain", {"url": "https://wiki.corp.example/"}, token=admin)
    assert explained.status_code == 200
    document = {"groups": [{"name": "one", "include": _EVERYONE}]}
    bodies: list[dict[str, Any]] = [
        {"document": document, "dry_run": True},
        {"document": {}},
        {"document": {"groups": [{"name": "half"}]}},
    ]
    for body in bodies:
        await office.call("POST", "/api/v1/rules/apply", body, token=admin)
    assert (await office.call("DELETE", "/api/v1/tokens/nothing", token=admin)).status_code == 404
    assert await office.last() == before


async def test_the_owner_of_the_socket_is_named_as_that(office: Office) -> None:
    before = await office.last()
    await office.at_the_host("POST", "/api/v1/enrollment-tokens", {})
    [record] = await office.records(before)
    assert (record["actor"], record["address"]) == ({"kind": "host", "id": None, "name": None}, "unix")
