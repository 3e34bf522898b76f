"""Revocation lists take effect: on results that are stored, on results on their way, on certificates at a proxy; and stay."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from services.reading import InProcessReading
from services.world import World, inlined
from support.crls import MINUTE, make_list
from support.pki import HOUR, Pki
from support.rules import wiki_rules
from watchword_server.core.model.names import Instant
from watchword_server.errors import ConflictError, NotFoundError, RevocationReadError, StoreUnavailableError
from watchword_server.ports.revocation import ListSource, StoredRevocationList
from watchword_server.services.revocation import Revocation
from watchword_server.services.revocation_places import KeptList, Slot

CA = "corp-device-ca"


@asynccontextmanager
async def opened(directory: Path, pki: Pki, **check_input: Any) -> AsyncIterator[World]:
    async with World.open(directory, pki) as world:
        lists(world).reading = InProcessReading(directory / "spool")
        world.rules = inlined(wiki_rules(pki, check_input=check_input))
        await world.apply(world.rules)
        yield world


def lists(world: World) -> Revocation:
    return world.house.revocation_sources.revocation


async def upload(world: World, content: bytes, name: str = CA) -> KeptList:
    async def body() -> AsyncIterator[bytes]:
        yield content[:7]
        yield content[7:]

    return await lists(world).upload(name, body())


async def test_a_revoked_certificate_denies_until_it_is_taken_back(tmp_path: Path, pki: Pki) -> None:
    credential, other = pki.issuing.issue(), pki.issuing.issue("other.corp.example")
    async with opened(tmp_path, pki) as world:
        device = await world.device("laptop-1", credential)
        await world.attest(device)
        assert (await world.ask(credential)).allowed
        await upload(world, make_list(pki.issuing, [other], number=1))
        assert (await world.ask(credential)).allowed
        await upload(world, make_list(pki.issuing, [other, credential], number=2))
        stored = await world.stored(device)
        assert stored is not None
        assert (stored.passed, stored.reason) == (False, "certificate_revoked")
        assert (await world.ask(credential)).reason == "certificate_revoked"
        await upload(world, make_list(pki.issuing, [other], number=3))
        stored = await world.stored(device)
        assert stored is not None
        assert stored.passed
        assert (await world.ask(credential)).allowed


async def test_required_knowledge_comes_with_the_first_list_and_ends_with_the_last(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    async with opened(tmp_path, pki, revocation="require") as world:
        device = await world.device("laptop-1", credential)
        await world.attest(device, "revocation_unknown")
        await upload(world, make_list(pki.issuing, number=1, next_update=MINUTE))
        assert (await world.ask(credential)).allowed  # by the evidence there was
        await upload(world, make_list(pki.issuing, number=2, next_update=5 * MINUTE))
        world.pass_time(120)
        assert (await world.ask(credential)).allowed  # what would have ended with the first list does not
        world.pass_time(240)
        assert (await world.ask(credential)).reason == "result_expired"
        await world.attest(device, "revocation_unknown")


async def test_evidence_on_its_way_is_judged_by_the_list_that_came_meanwhile(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    async with opened(tmp_path, pki) as world:
        device = await world.device("laptop-1", credential)
        async with world.ready(device) as stream:
            held = world.hold("commit_evidence")
            work = asyncio.ensure_future(stream.attest())
            await held.reached()
            await upload(world, make_list(pki.issuing, [credential]))
            held.let_go()
            await work
        assert (await world.ask(credential)).reason == "certificate_revoked"
        stored = await world.stored(device)
        assert stored is not None
        assert stored.reason == "certificate_revoked"


async def test_a_revocation_holds_while_it_is_stored_and_if_it_cannot_be(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    async with opened(tmp_path, pki) as world:
        await upload(world, make_list(pki.issuing, number=1))
        content = make_list(pki.issuing, [credential], number=2)  # not earlier: it would be the older one
        device = await world.device("laptop-1", credential)
        await world.attest(device)
        held = world.hold("commit_revocation_list", failure=StoreUnavailableError("no space left on device"))
        work = asyncio.ensure_future(upload(world, content))
        await held.reached()
        assert (await world.ask(credential)).reason == "certificate_revoked"
        stored = await world.stored(device)
        assert stored is not None
        assert stored.reason == "certificate_revoked"
        held.let_go()
        with pytest.raises(StoreUnavailableError):
            await work
        assert (await world.ask(credential)).reason == "certificate_revoked"
        await upload(world, content)  # the same again: now it is stored
        assert [each.sha256 for each in await world.house.store.revocation_lists()] == [hashlib.sha256(content).digest()]
        with world.failing("commit_rejudged"), pytest.raises(StoreUnavailableError):
            await upload(world, make_list(pki.issuing, number=3))
        assert not (await world.ask(credential)).allowed  # taking back widens, and comes after the commit


async def test_a_certificate_at_a_proxy_is_denied_whatever_is_known_of_its_device(tmp_path: Path, pki: Pki) -> None:
    """A check without revocation passes; the TLS certificate is looked at by itself."""
    credential = pki.issuing.issue()
    async with opened(tmp_path, pki, revocation="off") as world:
        device = await world.device("laptop-1", credential)
        await world.attest(device)
        assert (await world.ask(credential)).allowed
        await upload(world, make_list(pki.issuing, [credential]))
        stored = await world.stored(device)
        assert stored is not None
        assert stored.passed
        assert (await world.ask(credential)).reason == "certificate_revoked"


async def test_an_intermediate_that_only_the_device_has_is_found_at_the_proxy_and_can_be_revoked(
    tmp_path: Path, pki: Pki
) -> None:
    between = pki.issuing.issue_authority("Department CA")
    credential, stranger = between.issue(), between.issue("stranger.corp.example")
    async with opened(tmp_path, pki, trust="chain") as world:
        device = await world.device("laptop-1", credential)
        assert (await world.ask(credential)).reason == "certificate_wrong_issuer"
        await world.attest(device)
        assert (await world.ask(credential)).allowed
        assert (await world.ask(stranger)).reason == "certificate_wrong_issuer"  # nobody brought its chain
        await upload(world, make_list(pki.issuing, number=1))
        assert (await world.ask(credential)).allowed
        await upload(world, make_list(pki.issuing, [between.credential], number=2))
        stored = await world.stored(device)
        assert stored is not None
        assert stored.reason == "issuer_revoked"
        assert (await world.ask(credential)).reason == "issuer_revoked"


async def test_a_place_goes_on_telling_what_it_told(tmp_path: Path, pki: Pki) -> None:
    """Otherwise whoever answers there makes revocations go by showing another genuine list."""
    url = "http://pki.corp.example/issuing.crl"
    async with opened(tmp_path, pki) as world:
        reading = cast("InProcessReading", lists(world).reading)
        certificate = {"name": CA, "pem": (pki.issuing.pem + pki.root.pem).decode(), "crl": {"url": url}}
        await world.apply({**world.rules, "certificates": [certificate]})
        slot = Slot(lists(world).certificate(CA).id, ListSource.URL, url)
        reading.served[url] = make_list(pki.issuing, number=3)
        await lists(world).refresh(slot)
        for other in (
            make_list(pki.root, number=4),
            make_list(pki.issuing, number=4, base_number=3),
            make_list(pki.issuing, number=2),
            make_list(pki.issuing, number=3, this_update=-2 * HOUR),
        ):
            reading.served[url] = other
            with pytest.raises(ConflictError):
                await lists(world).refresh(slot)
        [kept] = lists(world).lists(slot.certificate_id)
        assert kept.revocation_list.number == 3


async def test_lists_go_with_the_entry_that_named_their_place(tmp_path: Path, pki: Pki) -> None:
    async with opened(tmp_path, pki) as world:
        await upload(world, make_list(pki.issuing))
        assert len(await world.house.store.revocation_lists()) == 1
        with pytest.raises(NotFoundError):
            await upload(world, make_list(pki.issuing), name="nobody's")
        renamed = {"certificates": [{"name": "another", "pem": pki.web.pem.decode()}]}
        await world.apply({**renamed, "unmatched": "deny"}, prune=True)
        await lists(world).retire()
        assert not await world.house.store.revocation_lists()
        assert not world.house.agents.verifier.revocation.current.issuers
        assert list((tmp_path / "spool").iterdir()) == []


async def test_a_list_that_is_too_long_is_not_read_to_its_end(tmp_path: Path, pki: Pki) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(1024)

    async with opened(tmp_path, pki) as world:
        lists(world).max_list_bytes = 10 * 1024
        with pytest.raises(RevocationReadError, match="at most 10240 bytes"):
            await lists(world).upload(CA, endless())
        assert taken == 11
        assert list(lists(world).inbox.iterdir()) == []


@pytest.mark.parametrize("away", ["claims", "commit_rejudged", "commit_revocation_list"])
async def test_a_store_that_is_away_for_a_moment_delays_no_revocation_for_longer(tmp_path: Path, pki: Pki, away: str) -> None:
    """Nobody brings the list again: what it revokes reaches the stored results as soon as there is a store."""
    credential = pki.issuing.issue()
    async with opened(tmp_path, pki) as world:
        lists(world).retry_seconds = 0.01
        device = await world.device("laptop-1", credential)
        await world.attest(device)
        assert (await world.ask(credential)).allowed
        with world.failing(away), pytest.raises(StoreUnavailableError):
            await upload(world, make_list(pki.issuing, [credential]))
        assert (await world.ask(credential)).reason == "certificate_revoked"
        await settled(world)
        stored = await world.stored(device)
        assert stored is not None
        assert stored.reason == "certificate_revoked"
        assert len(await world.house.store.revocation_lists()) == 1


async def test_what_a_list_takes_back_or_vouches_for_waits_for_the_commit(tmp_path: Path, pki: Pki) -> None:
    """In memory too: a proxy's certificate passes again when the store would say so after a crash."""
    held_back, known = pki.issuing.issue(), pki.issuing.issue("known.corp.example")
    async with opened(tmp_path, pki) as world:
        device = await world.device("laptop-1", held_back)
        await world.attest(device)
        await upload(world, make_list(pki.issuing, [held_back], number=1))
        held = world.hold("commit_revocation_list")
        work = asyncio.ensure_future(upload(world, make_list(pki.issuing, [known], number=2)))
        await held.reached()
        assert (await world.ask(held_back)).reason == "certificate_revoked"
        assert (await world.ask(known)).reason == "certificate_revoked"
        held.let_go()
        await work
        assert (await world.ask(held_back)).allowed
        assert (await world.ask(known)).reason == "certificate_revoked"


async def test_required_knowledge_waits_for_the_commit(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    async with opened(tmp_path, pki, revocation="require") as world:
        device = await world.device("laptop-1", credential)
        await world.attest(device, "revocation_unknown")
        held = world.hold("commit_revocation_list")
        work = asyncio.ensure_future(upload(world, make_list(pki.issuing)))
        await held.reached()
        await world.attest(device, "revocation_unknown")
        held.let_go()
        await work
        assert (await world.ask(credential)).allowed


async def test_who_brought_a_list_may_go_away(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    async with opened(tmp_path, pki) as world:
        device = await world.device("laptop-1", credential)
        await world.attest(device)
        held = world.hold("commit_revocation_list")
        work = asyncio.ensure_future(upload(world, make_list(pki.issuing, [credential])))
        await held.reached()
        work.cancel()
        await asyncio.wait([work])
        held.let_go()
        await settled(world)
        assert len(await world.house.store.revocation_lists()) == 1
        assert (await world.ask(credential)).reason == "certificate_revoked"


async def test_a_pass_that_a_crash_left_behind_ends_at_the_start(tmp_path: Path, pki: Pki) -> None:
    """A list and evidence were committed, and the server was killed before the evidence was judged by the list."""
    credential = pki.issuing.issue()
    async with opened(tmp_path, pki) as world:
        device = await world.device("laptop-1", credential)
        await world.attest(device)
        content = make_list(pki.issuing, [credential])
        stored_list = StoredRevocationList(
            lists(world).certificate(CA).id, ListSource.UPLOAD, "x", hashlib.sha256(content).digest(), len(content), Instant(1.0)
        )
        await world.house.store.commit_revocation_list(stored_list, [content])
        stored = await world.stored(device)
        assert stored is not None
        assert stored.passed
    async with World.open(tmp_path, pki) as world:
        stored = await world.stored(device)
        assert stored is not None
        assert stored.reason == "certificate_revoked"
        assert (await world.ask(credential)).reason == "certificate_revoked"


async def test_rules_that_change_while_a_list_is_on_its_way_do_not_bring_the_old_one_back(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    async with opened(tmp_path, pki) as world:
        await upload(world, make_list(pki.issuing, number=1))
        held = world.hold("commit_revocation_list")
        work = asyncio.ensure_future(upload(world, make_list(pki.issuing, [credential], number=2)))
        await held.reached()
        bundle = {"name": CA, "pem": (pki.issuing.pem + pki.root.pem).decode()}
        await world.apply({**world.rules, "certificates": [bundle]})
        assert (await world.ask(credential)).reason == "certificate_revoked"
        held.let_go()
        await work
        assert [kept.revocation_list.number for kept in lists(world).lists(lists(world).certificate(CA).id)] == [2]


async def settled(world: World) -> None:
    """Until nothing of a list is on its way any more."""
    while tasks := tuple(lists(world)._settling.values()):
        await asyncio.wait(tasks)
