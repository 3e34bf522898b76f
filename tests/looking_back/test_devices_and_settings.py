"""Devices and results in pages; the settings in effect."""

from typing import Any

from audit.conftest import Office
from support.pki import Pki


async def test_devices_and_results_come_in_pages_and_each_once(office: Office, pki: Pki) -> None:
    world = office.world
    for number in range(5):
        credential = pki.issuing.issue()
        await world.attest(await world.device(f"laptop-{number}", credential))
    for path, name in (("/api/v1/devices", "devices"), ("/api/v1/results", "results")):
        items: list[dict[str, Any]] = []
        query = "?limit=2"
        for _ in range(3):
            page = (await office.call("GET", path + query, token=office.tokens["read"])).json()
            items += page[name]
            query = f"?limit=2&after={page['next']}"
        assert page["next"] is None
        told = [item["name" if name == "devices" else "device"] for item in items]
        assert told == [f"laptop-{number}" for number in range(5)]
    gone = await office.call("GET", "/api/v1/devices?after=dev_nobody", token=office.tokens["read"])
    assert gone.status_code == 404


async def test_a_lock_is_listed_with_its_reason_and_survives_a_read_from_the_store(office: Office, pki: Pki) -> None:
    device = await office.world.device("laptop-1", pki.issuing.issue())
    at = f"/api/v1/devices/{device.device_id}"
    for body in ({}, {"reason": ""}, {"reason": "a\nb"}, {"reason": "x" * 256}, {"reason": 1}):
        refused = await office.call("POST", f"{at}/lock", body, token=office.tokens["write"])
        assert refused.status_code == 400, body
    locked = await office.call("POST", f"{at}/lock", {"reason": "reported lost"}, token=office.tokens["write"])
    assert locked.status_code == 200
    [listed] = (await office.call("GET", "/api/v1/devices", token=office.tokens["read"])).json()["devices"]
    assert (listed["lock_reason"], listed["state"]) == ("reported lost", "active")
    assert listed["locked_at"]
    assert (await office.call("POST", f"{at}/unlock", {}, token=office.tokens["write"])).status_code == 200
    assert (await office.call("POST", f"{at}/unlock", {}, token=office.tokens["write"])).status_code == 409


async def test_the_settings_in_effect_are_told_to_admins(office: Office) -> None:
    told = (await office.call("GET", "/api/v1/settings", token=office.tokens["admin"])).json()
    settings = office.world.house.settings
    assert told["settings"]["history"]["posture_days"] == settings.history.posture_days
    assert told["account_id"] == office.world.house.account_id
    assert told["set"] == ["cache.load_deadline_seconds"]


async def test_an_enrollment_token_is_bound_to_a_serial_number_or_refused(office: Office) -> None:
    for text in (" ", "\u00e4", "${serial_number}", "a\u0000", ""):
        answer = await office.call("POST", "/api/v1/enrollment-tokens", {"serial_number": text}, token=office.tokens["write"])
        assert answer.status_code == 400, text


async def test_effective_values_of_checks_are_told(office: Office) -> None:
    rules = office.world.rules
    for left_out in ("schedule", "expiration"):
        rules["checks"][0].pop(left_out, None)
    rules["checks"].append({**rules["checks"][0], "name": "never", "schedule": "1h", "expiration": "never"})
    await office.world.apply(rules)
    told = (await office.call("GET", "/api/v1/checks", token=office.tokens["read"])).json()["checks"]
    found = {check["name"]: (check["schedule_seconds"], check["expiration_seconds"]) for check in told}
    assert found == {rules["checks"][0]["name"]: (300, 900), "never": (3600, None)}
    assert all(check["config"]["revocation"] for check in told)
