"""What becomes of devices is recorded, by whoever did it; what they prove is not: other logs have that."""

from dataclasses import replace

from audit.conftest import Office
from support.pki import generate_key
from watchword.v1 import posture_pb2 as wire

AGENT = "192.0.2.7"


async def test_evidence_leaves_no_record_and_a_new_key_and_a_goodbye_do(office: Office) -> None:
    world, new_key = office.world, generate_key()
    device = await world.device("laptop-1", world.pki.issuing.issue())
    before = await office.last()
    async with world.ready(device) as stream:
        assert isinstance(await stream.rotate(new_key), wire.KeyPending)
    await world.attest(device)
    assert await office.last() == before
    device = replace(device, key=new_key)
    await world.attest(device)
    async with world.ready(device) as stream:
        await stream.goodbye()
    records = await office.records(before)
    assert [each["action"] for each in records] == ["device.key_rotated", "device.left"]
    posture = (await world.house.store.devices())[0]
    assert records[0]["details"] == {"key_id": posture.device.key.key_id}
    for each in records:
        assert each["actor"] == {"kind": "device", "id": device.device_id, "name": "laptop-1"}
        assert (each["target"]["id"], each["address"]) == (device.device_id, AGENT)


async def test_a_new_key_for_a_known_device_is_recorded_as_that(office: Office) -> None:
    device = await office.world.device("laptop-1")
    token = await office.world.token(device_id=device.device_id)
    before = await office.last()
    await office.world.device("laptop-1", token=token)
    [record] = await office.records(before)
    assert (record["action"], record["target"]["id"]) == ("device.key_replaced", device.device_id)
    assert record["actor"]["id"] == token.split(".")[1]


async def test_an_approval_that_ends_another_device_says_so_of_both(office: Office) -> None:
    old = await office.world.device("old", serial_number="S1")
    new = await office.world.device("new", serial_number="S1", token=await office.world.token(needs_approval=True))
    before = await office.last()
    answer = await office.call("POST", f"/api/v1/devices/{new.device_id}/approve", {}, token=office.tokens["write"])
    assert answer.status_code == 200
    records = await office.records(before)
    assert [(each["action"], each["target"]["id"]) for each in records] == [
        ("device.revoked", old.device_id),
        ("device.approved", new.device_id),
    ]
    assert records[0]["details"] == {"replaced_by": new.device_id}
    assert {each["actor"]["name"] for each in records} == {"the write"}
    assert len({each["revision"] for each in records}) == 1


async def test_several_at_once_are_a_record_each(office: Office) -> None:
    devices = [await office.world.device(name) for name in ("a", "b", "c")]
    before = await office.last()
    path = f"{office.account}/devices/registrations/revoke?" + "&".join(f"id={each.device_id}" for each in devices)
    assert (await office.call("POST", path, {}, token=office.tokens["write"])).status_code == 200
    assert [each["target"]["id"] for each in await office.records(before)] == [each.device_id for each in devices]
