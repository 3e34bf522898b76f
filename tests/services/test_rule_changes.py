"""Rules that change under stored results and evidence on its way: judged again without the agents, in force when answered."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from services.values import found
from services.world import World
from support.pki import Credential, Pki, root_authority
from support.rules import HOST
from watchword.v1 import posture_pb2 as wire
from watchword_server.core.model.decisions import Standing
from watchword_server.core.posture import standing_of
from watchword_server.errors import ConfigurationError, OverloadedError, StoreUnavailableError

ANOTHER_NAME = {"cn": "somebody-else.corp.example"}


@pytest.fixture
def credential(pki: Pki) -> Credential:
    return pki.issuing.issue("laptop-1.corp.example")


def with_check_input(world: World, **changes: Any) -> dict[str, Any]:
    """The world's rules with a check that is configured differently."""
    (check,) = world.rules["checks"]
    return {**world.rules, "checks": [{**check, "input": {**check["input"], **changes}}]}


async def standing(world: World, device_id: str) -> Standing:
    """How the check stands in memory now."""
    posture = await world.memory.posture(device_id)  # type: ignore[arg-type] # ids are text here
    check = world.house.rules.in_force.current.rules.checks[world.check_id()]
    return standing_of(check, found(posture), world.house.clock.now())


# ---- Stored claims -----------------------------------------------------------------------------------------------------


async def test_a_check_that_asks_for_more_fails_what_is_stored_without_the_agent(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    await world.apply(with_check_input(world, **ANOTHER_NAME))
    assert (await world.ask(credential)).reason == "check_failed"
    stored = await world.stored(device)
    assert stored is not None
    assert (stored.reason, stored.expected["common_name_mismatch"]) == ("common_name_mismatch", "somebody-else.corp.example")
    await world.apply(world.rules)
    assert (await world.ask(credential)).allowed


async def test_judging_again_makes_no_evidence_younger(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    before = await world.stored(device)
    world.pass_time(60)
    await world.apply(with_check_input(world, cn="laptop-1.corp.example"))
    after = await world.stored(device)
    assert before is not None
    assert after is not None
    assert after.check_revision > before.check_revision
    assert after.evaluated_at > before.evaluated_at
    assert (after.evidence_at, after.expires_at) == (before.evidence_at, before.expires_at)


async def test_an_expired_result_is_not_revived_by_judging_again(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    world.pass_time(16 * 60)
    await world.apply(with_check_input(world, cn="laptop-1.corp.example"))
    assert (await world.ask(credential)).reason == "result_expired"


async def test_another_ca_in_the_place_of_the_old_one_fails_what_is_stored_and_the_link_at_the_proxy(
    world: World, credential: Credential
) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    another = root_authority("Another CA")
    rules = {**world.rules, "certificates": [{"name": "corp-device-ca", "pem": another.pem.decode()}]}
    await world.apply(rules)
    stored = await world.stored(device)
    assert stored is not None
    assert stored.reason == "certificate_wrong_issuer"
    assert (await world.ask(credential)).reason == "certificate_wrong_issuer"
    await world.apply(world.rules)
    assert (await world.ask(credential)).allowed


async def test_a_change_that_no_verdict_depends_on_leaves_results_as_they_are(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    before = await world.stored(device)
    application = {**world.rules["applications"][0], "name": "the wiki"}
    await world.apply({**world.rules, "applications": [application]}, prune=True)
    assert await world.stored(device) == before
    assert (await world.ask(credential)).allowed


async def test_a_check_that_asks_for_more_denies_before_that_is_committed(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    held = world.hold("commit_rejudged")
    applying = asyncio.create_task(world.apply(with_check_input(world, **ANOTHER_NAME)))
    await held.reached()
    assert not (await world.ask(credential)).allowed
    held.let_go()
    await applying
    assert (await world.ask(credential)).reason == "check_failed"


@pytest.mark.parametrize("after", [False, True], ids=["not stored yet", "stored, but nobody has heard"])
async def test_a_check_that_asks_for_less_allows_only_after_that_is_committed(
    world: World, credential: Credential, after: bool
) -> None:
    await world.apply(with_check_input(world, **ANOTHER_NAME))
    device = await world.device("laptop-1", credential)
    await world.attest(device, "common_name_mismatch")
    held = world.hold("commit_rejudged", after=after)
    applying = asyncio.create_task(world.apply(world.rules))
    await held.reached()
    assert not (await world.ask(credential)).allowed
    held.let_go()
    await applying
    assert (await world.ask(credential)).allowed, "and at once when the change is in force"


async def test_rules_that_are_in_force_let_no_decision_see_results_of_one_revision_under_rules_of_another(
    world: World, credential: Credential
) -> None:
    """A change that keeps a device passing denies it at no moment: results and rules are swapped together."""
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    seen = []

    async def ask_on() -> None:
        while True:
            seen.append((await world.ask(credential)).reason)
            await asyncio.sleep(0.001)  # leaves the store's threads their time

    asking = asyncio.create_task(ask_on())
    for cn in ("laptop-1.corp.example", "LAPTOP-1.corp.example", "${hostname}.corp.example"):
        await world.apply(with_check_input(world, cn=cn))
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert len(seen) > 10
    assert set(seen) == {""}


# ---- Claims that were not judged again ---------------------------------------------------------------------------------


async def test_a_result_of_another_check_revision_is_no_result_until_it_is_judged_again(
    world: World, credential: Credential
) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    with world.failing("commit_rejudged"), pytest.raises(StoreUnavailableError):
        await world.apply(with_check_input(world, cn="laptop-1.corp.example"))
    assert await standing(world, device.device_id) is Standing.NO_RESULT
    assert (await world.ask(credential)).reason == "no_result", "the change is in force all the same"
    await world.attest(device)
    assert (await world.ask(credential)).allowed


async def test_what_a_crash_left_unjudged_is_judged_when_the_server_starts(
    tmp_path: Path, pki: Pki, credential: Credential
) -> None:
    async with World.open(tmp_path, pki) as world:
        await world.apply(world.rules)
        device = await world.device("laptop-1", credential)
        await world.attest(device)
        with world.failing("commit_rejudged"), pytest.raises(StoreUnavailableError):
            await world.apply(with_check_input(world, cn="laptop-1.corp.example"))
    async with World.open(tmp_path, pki) as world:
        assert await standing(world, device.device_id) is Standing.PASSED
        assert (await world.ask(credential)).allowed


async def test_judging_an_older_claim_again_does_not_lift_a_newer_failure_that_was_not_stored(
    world: World, credential: Credential
) -> None:
    """The store did not take the failing evidence; the older claim that it does hold passes under the new check as well."""
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    async with world.ready(device) as stream:
        device.found = ()
        with world.failing("commit_evidence"):
            assert isinstance(await stream.attest(), wire.Rejected)
        assert (await world.ask(credential)).reason == "check_failed"
        await world.apply(with_check_input(world, cn="laptop-1.corp.example"))
        assert not (await world.ask(credential)).allowed
        device.found = (credential,)
        assert isinstance(await stream.attest(), wire.Ack)
    assert (await world.ask(credential)).allowed


async def test_a_clone_that_ended_does_not_lift_a_newer_failure_that_was_not_stored(world: World, credential: Credential) -> None:
    device, other = await world.device("laptop-1", credential), await world.device("laptop-2", credential)
    await world.attest(device)
    await world.attest(other, "certificate_cloned")
    async with world.ready(device) as stream:
        device.found = ()
        with world.failing("commit_evidence"):
            assert isinstance(await stream.attest(), wire.Rejected)
        other.found = ()
        await world.attest(other, "certificate_not_found")
        assert (await world.ask(credential)).reason == "check_failed"


# ---- Evidence on its way -----------------------------------------------------------------------------------------------


async def test_evidence_that_was_judged_under_the_old_rules_is_judged_again_when_it_arrives(
    world: World, credential: Credential
) -> None:
    device = await world.device("laptop-1", credential)
    async with world.ready(device) as stream:
        held = world.hold("commit_evidence")
        attesting = asyncio.create_task(stream.attest())
        await held.reached()
        await world.apply(with_check_input(world, **ANOTHER_NAME))
        assert not (await world.ask(credential)).allowed
        held.let_go()
        assert isinstance(await attesting, wire.Ack)
        assert (await world.ask(credential)).reason == "check_failed"
        told = await stream.receive_until(wire.CheckSet)
        assert isinstance(told, wire.CheckSet)
        assert told.checks[0].client_certificate.common_name == ANOTHER_NAME["cn"]
    stored = await world.stored(device)
    assert stored is not None
    assert stored.reason == "common_name_mismatch"
    await world.apply(world.rules)
    assert (await world.ask(credential)).allowed


async def test_evidence_that_failed_under_the_old_rules_passes_under_the_new_ones_when_it_arrives(
    world: World, credential: Credential
) -> None:
    await world.apply(with_check_input(world, **ANOTHER_NAME))
    device = await world.device("laptop-1", credential)
    async with world.ready(device) as stream:
        held = world.hold("commit_evidence")
        attesting = asyncio.create_task(stream.attest())
        await held.reached()
        await world.apply(world.rules)
        assert not (await world.ask(credential)).allowed
        held.let_go()
        assert isinstance(await attesting, wire.Ack)
    assert (await world.ask(credential)).allowed


async def test_a_check_that_is_gone_when_its_evidence_arrives_leaves_nothing_behind(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    without = {key: value for key, value in world.rules.items() if key in ("callers", "certificates", "unmatched")}
    async with world.ready(device) as stream:
        held = world.hold("commit_evidence")
        attesting = asyncio.create_task(stream.attest())
        await held.reached()
        await world.apply(without, prune=True)
        held.let_go()
        assert isinstance(await attesting, wire.Ack)
        assert (await world.ask(credential)).reason == "no_application"
        await world.apply(world.rules)
        assert (await world.ask(credential)).reason == "no_result", "a new check, though it has the old one's name"


async def test_agents_are_told_of_a_changed_check_and_only_then(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    async with world.ready(device) as stream:
        await world.apply({**world.rules, "applications": [{**world.rules["applications"][0], "domain": "other.corp.example"}]})
        await world.apply(with_check_input(world, **ANOTHER_NAME))
        told = await stream.receive()
        assert isinstance(told, wire.CheckSet)
        assert [check.client_certificate.common_name for check in told.checks] == [ANOTHER_NAME["cn"]]


# ---- A change that fails half way --------------------------------------------------------------------------------------


async def test_a_refused_document_changes_nothing(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    before = world.house.rules.in_force.current
    with pytest.raises(ConfigurationError):
        await world.apply({**world.rules, "policies": [{"name": "x", "decision": "maybe", "include": [{"everyone": {}}]}]})
    assert world.house.rules.in_force.current is before
    assert (await world.ask(credential)).allowed


async def test_a_change_that_the_store_did_not_take_leaves_the_old_rules_in_force(world: World, credential: Credential) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    with world.failing("commit_rules"), pytest.raises(StoreUnavailableError):
        await world.apply(with_check_input(world, **ANOTHER_NAME))
    assert (await world.ask(credential)).allowed


@pytest.mark.parametrize("failure", [StoreUnavailableError("away"), OverloadedError("full")], ids=lambda error: error.code)
async def test_a_change_that_was_committed_is_in_force_after_the_next_try_at_the_latest(
    world: World, credential: Credential, failure: Exception
) -> None:
    """The store took it and said nothing: applying it again finds nothing to change, and must not stop there."""
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    blocked = {**world.rules, "gateway_rules": [a_block(HOST)]}
    world.hold("commit_rules", after=True, failure=failure).let_go()
    with pytest.raises(type(failure)):
        await world.apply(blocked)
    await world.apply(blocked)
    assert (await world.ask(credential)).reason == "gateway_block"


@pytest.mark.parametrize("failure", [StoreUnavailableError("away"), OverloadedError("full")], ids=lambda error: error.code)
async def test_committed_rules_hold_though_judging_again_failed(world: World, credential: Credential, failure: Exception) -> None:
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    world.hold("claims", failure=failure, times=10).let_go()
    with pytest.raises(type(failure)):
        await world.apply({**with_check_input(world, **ANOTHER_NAME), "gateway_rules": [a_block(HOST)]})
    assert (await world.ask(credential)).reason == "gateway_block"


def a_block(host: str) -> dict[str, Any]:
    """A Gateway rule that shows whether rules are in force, whatever is known of a device."""
    traffic = f'http.request.host == "{host}"'
    return {"name": "block", "enabled": True, "precedence": 10, "filters": ["http"], "action": "block", "traffic": traffic}


async def test_committed_rules_that_a_fault_kept_from_taking_effect_do_so_at_the_next_try(
    world: World, credential: Credential
) -> None:
    """A fault of ours between the commit and the swap: the next change, though it finds nothing to do, must not stop there."""
    device = await world.device("laptop-1", credential)
    await world.attest(device)
    changed = {**with_check_input(world, **ANOTHER_NAME), "gateway_rules": [a_block(HOST)]}
    world.hold("claims", failure=RuntimeError("a fault of ours")).let_go()
    with pytest.raises(RuntimeError):
        await world.apply(changed)
    assert (await world.ask(credential)).allowed, "not in force yet"
    await world.apply(changed)
    assert (await world.ask(credential)).reason == "gateway_block"
