"""The links from a request to its device: each is asked, an invalid one denies, two devices deny, the strongest one counts."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from doors.stage import Stage
from services.world import World
from watchword_server.core.model.decisions import Resolution, ResolutionStrength, ResolvedDevice
from watchword_server.core.model.names import DeviceId
from watchword_server.core.rules import Assertion, Caller, Link
from watchword_server.services.connections import Connection
from watchword_server.services.resolving import Presented

TUNNEL = ip_network("100.96.0.0/12")
HERE, THERE = ip_address("100.96.0.7"), ip_address("100.96.0.8")
OUTSIDE = ip_address("192.0.2.7")
NOTHING = Presented()
ALL = {Link.CLIENT_CERTIFICATE, Link.ADDRESS, Link.DEVICE}


def resolved(
    stage: Stage, presented: Presented = NOTHING, *, links: Iterable[Link] = ALL, address: object = HERE, **caller: object
) -> ResolvedDevice:
    """As a caller with these links finds it, that may assert everything."""
    snapshot = stage.world.house.rules.in_force.current
    edge: Caller = replace(snapshot.caller_by_name["edge"], may_assert=frozenset(Assertion), device_networks=(TUNNEL,))
    edge = replace(edge, resolvers=frozenset(links), **caller)  # type: ignore[arg-type]
    resolver = stage.world.house.ext_authz.decisions.resolver
    now = stage.world.house.clock.now()
    return stage.run(resolver.resolve(presented, caller=edge, snapshot=snapshot, now=now, source_ip=address))  # type: ignore[arg-type]


def attests_from(stage: Stage, address: object, device_id: str) -> Connection:
    """A stream of the device, as the door claims it."""
    posture = stage.run(stage.world.memory.posture(DeviceId(device_id)))
    assert posture is not None
    connection = Connection(posture.device, lambda _: None, ip_address(str(address)))
    stage.world.house.connections.claim(connection)
    return connection


def other_device(stage: Stage) -> str:
    async def enrolled(world: World) -> str:
        device = await world.device("laptop-2", stage.credential)
        return device.device_id

    return stage.run(enrolled(stage.world))


def by_certificate(stage: Stage) -> Presented:
    return Presented(certificate_der=stage.credential.der)


def test_each_link_finds_its_device_with_its_strength(stage: Stage) -> None:
    connection = attests_from(stage, HERE, stage.device_id)
    stated = Presented(stated_device=DeviceId(stage.device_id))
    shown = by_certificate(stage)
    everything = replace(shown, stated_device=DeviceId(stage.device_id))
    for presented, links, method, strength in (
        (shown, {Link.CLIENT_CERTIFICATE}, "client_certificate", ResolutionStrength.CERTIFICATE),
        (Presented(), {Link.ADDRESS}, "address", ResolutionStrength.ADDRESS),
        (stated, {Link.DEVICE}, "device", ResolutionStrength.STATED),
        (stated, ALL, "address", ResolutionStrength.ADDRESS),
        (everything, ALL, "client_certificate", ResolutionStrength.CERTIFICATE),
    ):
        found = resolved(stage, presented, links=links)
        assert (found.outcome, found.reason, found.method, found.strength) == (Resolution.FOUND, "found", method, strength)
        assert found.posture is not None
        assert found.posture.device.id == stage.device_id
    stage.world.house.connections.release(connection)


def test_a_link_that_is_not_enabled_or_not_to_be_asserted_is_not_asked(stage: Stage) -> None:
    connection = attests_from(stage, HERE, stage.device_id)
    stated = Presented(stated_device=DeviceId(stage.device_id))
    assert resolved(stage, stated, links={Link.CLIENT_CERTIFICATE}).outcome is Resolution.ABSENT
    nothing: frozenset[Assertion] = frozenset()
    assert resolved(stage, stated, may_assert=nothing).outcome is Resolution.ABSENT
    stage.world.house.connections.release(connection)


def test_an_address_counts_within_the_networks_while_a_stream_comes_from_there(stage: Stage) -> None:
    assert resolved(stage).outcome is Resolution.ABSENT
    connection = attests_from(stage, HERE, stage.device_id)
    outside = attests_from(stage, OUTSIDE, other_device(stage))
    assert resolved(stage).outcome is Resolution.FOUND
    assert resolved(stage, address=OUTSIDE).outcome is Resolution.ABSENT
    assert resolved(stage, address=THERE).outcome is Resolution.ABSENT
    assert resolved(stage, address=None).outcome is Resolution.ABSENT
    moved = attests_from(stage, THERE, stage.device_id)  # a newer stream of the device supersedes the older one
    assert resolved(stage).outcome is Resolution.ABSENT
    assert resolved(stage, address=THERE).outcome is Resolution.FOUND
    stage.world.house.connections.release(connection)  # the older one's end says nothing any more
    assert resolved(stage, address=THERE).outcome is Resolution.FOUND
    for each in (moved, outside):
        stage.world.house.connections.release(each)
    assert resolved(stage, address=THERE).outcome is Resolution.ABSENT


def test_an_address_of_two_devices_denies(stage: Stage) -> None:
    second = other_device(stage)
    connections = [attests_from(stage, HERE, each) for each in (stage.device_id, second)]
    found = resolved(stage)
    assert (found.outcome, found.reason) == (Resolution.INVALID, "device_ambiguous")
    assert set(found.others) == {stage.device_id, second}
    for connection in connections:
        stage.world.house.connections.release(connection)


def test_two_devices_deny_whichever_links_lead_to_them(stage: Stage) -> None:
    second = other_device(stage)
    connection = attests_from(stage, HERE, second)
    for presented in (
        by_certificate(stage),
        Presented(stated_device=DeviceId(stage.device_id)),
        replace(by_certificate(stage), stated_device=DeviceId(second)),
    ):
        found = resolved(stage, presented)
        assert (found.outcome, found.reason, found.posture) == (Resolution.INVALID, "device_conflict", None)
        assert set(found.others) == {stage.device_id, second}
    stage.world.house.connections.release(connection)


def test_an_invalid_link_denies_whatever_a_weaker_one_finds(stage: Stage) -> None:
    connection = attests_from(stage, HERE, stage.device_id)
    found = resolved(stage, Presented(unreadable=True, stated_device=DeviceId(stage.device_id)))
    assert (found.outcome, found.reason) == (Resolution.INVALID, "certificate_malformed")
    unknown = resolved(stage, replace(by_certificate(stage), stated_device=DeviceId("dev_nobody")))
    assert (unknown.outcome, unknown.reason) == (Resolution.INVALID, "unknown_device")
    assert unknown.certificate is not None
    stage.world.house.connections.release(connection)


def test_a_locked_device_is_denied_by_every_link(stage: Stage) -> None:
    connection = attests_from(stage, HERE, stage.device_id)
    device_id = DeviceId(stage.device_id)
    stage.run(stage.world.devices.lock(device_id, "stolen"))
    for presented, links in (
        (by_certificate(stage), {Link.CLIENT_CERTIFICATE}),
        (Presented(), {Link.ADDRESS}),
        (Presented(stated_device=device_id), {Link.DEVICE}),
    ):
        found = resolved(stage, presented, links=links)
        assert (found.outcome, found.reason, found.others) == (Resolution.INVALID, "device_locked", (device_id,))
    stage.run(stage.world.devices.unlock(device_id))
    stage.world.house.connections.release(connection)


@pytest.mark.parametrize("link", [Link.ADDRESS, Link.DEVICE])
def test_a_device_that_waits_for_approval_satisfies_nothing(stage: Stage, link: Link) -> None:
    async def pending(world: World) -> str:
        token = await world.token(needs_approval=True)
        device = await world.device("laptop-3", stage.credential, token=token)
        return device.device_id

    device_id = DeviceId(stage.run(pending(stage.world)))
    connection = attests_from(stage, HERE, device_id)
    found = resolved(stage, Presented(stated_device=device_id), links={link})
    assert (found.outcome, found.reason) == (Resolution.FOUND, "device_pending")
    stage.world.house.connections.release(connection)


def test_the_door_of_the_agents_notes_where_a_stream_comes_from(stage: Stage) -> None:
    async def addresses(world: World) -> list[object]:
        device = await world.device("laptop-4", stage.credential)
        async with world.ready(device) as stream:
            await stream.attest()
            return [each.address for each in world.house.connections if each.device.id == device.device_id]

    assert stage.run(addresses(stage.world)) == [ip_address("192.0.2.7")]
