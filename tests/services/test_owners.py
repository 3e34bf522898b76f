"""Whose a device is: by an operator's word or by the token that enrolled it, and in force as soon as it is said."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from services.world import USER, World
from support.pki import Credential, Pki
from watchword.v1 import posture_pb2 as wire
from watchword_server.__main__ import main
from watchword_server.core.model.names import DeviceId
from watchword_server.errors import ConflictError, NotFoundError


@pytest.fixture
def credential(pki: Pki) -> Credential:
    return pki.issuing.issue()


@pytest.fixture
async def owners(world: World) -> World:
    """The wiki is for those who sit at a laptop of their own."""
    for policy in world.rules["policies"]:
        policy["require"] = [*policy.get("require", []), {"device_owner": {}}]
    await world.apply(world.rules)
    return world


async def test_an_owner_is_let_in_as_soon_as_it_is_said_and_no_longer_than_it_is(owners: World, credential: Credential) -> None:
    device = await owners.device("laptop-1", credential)
    device_id = DeviceId(device.device_id)
    await owners.attest(device)
    assert (await owners.ask(credential)).reason == "fact_unknown"
    await owners.devices.set_owner(device_id, USER)
    assert (await owners.ask(credential)).allowed
    await owners.devices.set_owner(device_id, "somebody@else.example")
    assert (await owners.ask(credential)).reason == "no_policy_matched"
    await owners.devices.set_owner(device_id, None)
    assert (await owners.ask(credential)).reason == "fact_unknown"


async def test_evidence_on_its_way_brings_back_no_owner_of_before(owners: World, credential: Credential) -> None:
    device = await owners.device("laptop-1", credential)
    await owners.devices.set_owner(DeviceId(device.device_id), USER)
    await owners.attest(device)
    held = owners.hold("commit_evidence")
    async with owners.attesting(device) as stream:
        attesting = asyncio.create_task(stream.attest())
        await held.reached()
        await owners.devices.set_owner(DeviceId(device.device_id), None)
        assert (await owners.ask(credential)).reason == "fact_unknown"
        held.let_go()
        assert isinstance(await attesting, wire.Ack)
        assert (await owners.ask(credential)).reason == "fact_unknown"


async def test_a_token_says_whose_the_devices_are(owners: World, credential: Credential) -> None:
    device = await owners.device("laptop-1", credential, token=await owners.token(owner=USER))
    await owners.attest(device)
    assert (await owners.ask(credential)).allowed


@pytest.mark.parametrize(("owner", "after"), [(None, USER), ("bob@corp.example", "bob@corp.example")])
async def test_a_new_key_leaves_the_owner_unless_its_token_says_another(owners: World, owner: str | None, after: str) -> None:
    device = await owners.device("laptop-1", token=await owners.token(owner=USER))
    again = await owners.device("laptop-1", token=await owners.token(device_id=DeviceId(device.device_id), owner=owner))
    assert again.device_id == device.device_id
    posture = await owners.memory.posture(DeviceId(device.device_id))
    assert posture is not None
    assert posture.device.owner == after


async def test_the_same_again_is_no_change(owners: World) -> None:
    device = await owners.device("laptop-1")
    device_id = DeviceId(device.device_id)
    await owners.devices.set_owner(device_id, USER)
    first = await owners.house.store.posture(device_id)
    await owners.devices.set_owner(device_id, USER)
    assert await owners.house.store.posture(device_id) == first


async def test_nobody_owns_a_device_that_is_none_or_revoked(owners: World) -> None:
    device = await owners.device("laptop-1")
    with pytest.raises(NotFoundError):
        await owners.devices.set_owner(DeviceId("dev_nobody"), USER)
    await owners.devices.revoke(DeviceId(device.device_id))
    with pytest.raises(ConflictError, match="revoked"):
        await owners.devices.set_owner(DeviceId(device.device_id), USER)


def test_the_commands_say_so_and_refuse_what_is_no_address(tmp_path: Path) -> None:
    async def prepare() -> str:
        async with World.open(tmp_path, Pki.make()) as world:
            return (await world.device("laptop-1")).device_id

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--data", str(tmp_path / "data")])

    def owner() -> object:
        return json.loads(run("devices", "list", "--json").stdout)[0]["owner"]

    device_id = asyncio.run(prepare())
    assert owner() is None
    said = run("devices", "set-owner", device_id, "Ada@Corp.example")
    assert said.exit_code == 0
    assert said.stderr.endswith(f"\n{device_id} is ada@corp.example's\n")
    assert owner() == "ada@corp.example"
    for wrong in (("set-owner", device_id, "ada"), ("set-owner", device_id, "a @b"), ("set-owner", "dev_nobody", USER)):
        assert run("devices", *wrong).exit_code == 1
    for usage in (("set-owner", device_id), ("set-owner", device_id, USER, "--nobody")):
        assert run("devices", *usage).exit_code == 2
    assert owner() == "ada@corp.example"
    assert run("devices", "set-owner", device_id, "--nobody").exit_code == 0
    assert owner() is None
    assert run("token", "enroll", "--owner", "Bob@corp.example").exit_code == 0
    [token] = [found for found in json.loads(run("token", "list", "--json").stdout) if found.get("owner")]
    assert token["owner"] == "bob@corp.example"
