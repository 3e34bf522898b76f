"""OCSP: the operator's responder is asked about the certificates of verified evidence, and its word counts at once."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from services.world import World, inlined
from support.http_server import HttpRequest, HttpResponse, HttpServer
from support.pki import HOUR, Authority, Credential, Pki
from support.processes import Program, free_port
from support.programs import program
from support.rules import wiki_rules
from watchword.v1 import posture_pb2 as wire


@dataclass(slots=True)
class Responder:
    """Answers for one authority; `failing`: with nothing of use."""

    authority: Authority
    known: tuple[Credential, ...]
    revoked: set[int] = field(default_factory=set)
    failing: bool = False
    backdated: float = 0.0  # seconds
    requests: list[ocsp.OCSPRequest] = field(default_factory=list)

    async def answer(self, request: HttpRequest) -> HttpResponse:
        asked = ocsp.load_der_ocsp_request(request.body)
        self.requests.append(asked)
        if self.failing:
            return HttpResponse(status=503)
        now = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=self.backdated)
        is_revoked = asked.serial_number in self.revoked
        response = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=next(each.certificate for each in self.known if each.certificate.serial_number == asked.serial_number),
                issuer=self.authority.credential.certificate,
                algorithm=hashes.SHA1(),
                cert_status=ocsp.OCSPCertStatus.REVOKED if is_revoked else ocsp.OCSPCertStatus.GOOD,
                this_update=now - dt.timedelta(seconds=1),
                next_update=now + 2 * HOUR,
                revocation_time=now - HOUR if is_revoked else None,
                revocation_reason=None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, self.authority.credential.certificate)
            .sign(self.authority.credential.key, hashes.SHA256())
        )
        return HttpResponse(body=response.public_bytes(Encoding.DER))


@asynccontextmanager
async def opened(
    directory: Path, pki: Pki, responder: Responder, *, revocation: str = "require", checks: int = 1
) -> AsyncIterator[World]:
    """`checks`: further ones are the same but for their names."""
    with HttpServer(responder.answer) as web:
        async with World.open(directory, pki) as world:
            world.rules = inlined(wiki_rules(pki, check_input={"revocation": revocation}))
            world.rules["certificates"][0]["ocsp"] = {"url": f"http://{web.address}/"}
            first = world.rules["checks"][0]
            world.rules["checks"] += [{**deepcopy(first), "name": f"{first['name']}-{number}"} for number in range(1, checks)]
            await world.apply(world.rules)
            yield world


async def test_a_responder_s_word_counts_and_is_asked_for_again_when_it_has_aged(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    responder = Responder(pki.issuing, (credential,))
    async with opened(tmp_path, pki, responder) as world:
        device = await world.device("laptop-1", credential)
        await world.attest(device)
        assert [asked.serial_number for asked in responder.requests] == [credential.certificate.serial_number]
        assert (await world.ask(credential)).allowed
        responder.revoked = {credential.certificate.serial_number}
        await world.attest(device)  # what is known is young enough
        assert len(responder.requests) == 1
        world.pass_time(301)
        await world.attest(device, "certificate_revoked")
        assert (await world.ask(credential)).reason == "certificate_revoked"


async def test_a_revocation_that_the_store_did_not_take_is_not_forgotten(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    responder = Responder(pki.issuing, (credential,))
    async with opened(tmp_path, pki, responder, revocation="prefer") as world:
        statuses = world.house.revocation_responses.statuses
        statuses.retry_seconds = 0.01
        world.rules["checks"][0]["input"]["check_private_key"] = False  # else the shared key alone has both judged again
        await world.apply(world.rules)
        first, second = await world.device("laptop-1", credential), await world.device("laptop-2", credential)
        await world.attest(first)
        await world.attest(second)
        responder.revoked = {credential.certificate.serial_number}
        world.pass_time(301)
        with world.failing("claims"):
            await world.attest(first, "certificate_revoked")
        while tasks := tuple(statuses._settling.values()):
            await asyncio.wait(tasks)
        stored = await world.stored(second)
        assert stored is not None
        assert stored.reason == "certificate_revoked"


async def test_a_responder_that_never_answers_holds_evidence_up_for_its_timeout_and_no_longer(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side has enough
        writer.close()
        await writer.wait_closed()

    web = await asyncio.start_server(silence, "127.0.0.1", 0)
    async with web:
        port = web.sockets[0].getsockname()[1]
        for revocation, told in (("prefer", "passed"), ("require", "revocation_unknown")):
            async with World.open(tmp_path / revocation, pki, revocation={"ocsp_timeout_seconds": 0.2}) as world:
                world.rules = inlined(wiki_rules(pki, check_input={"revocation": revocation}))
                world.rules["certificates"][0]["ocsp"] = {"url": f"http://127.0.0.1:{port}/"}
                await world.apply(world.rules)
                device = await world.device("laptop-1", credential)
                await world.attest(device, told)


async def test_two_devices_with_one_certificate_learn_of_its_revocation_together(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    responder = Responder(pki.issuing, (credential,))
    async with opened(tmp_path, pki, responder, revocation="prefer") as world:
        world.rules["checks"][0]["input"]["check_private_key"] = False  # else the shared key alone has both judged again
        await world.apply(world.rules)
        first, second = await world.device("laptop-1", credential), await world.device("laptop-2", credential)
        await world.attest(first)
        await world.attest(second)
        responder.revoked = {credential.certificate.serial_number}
        world.pass_time(301)
        assert (await world.ask(credential)).reason == "unknown_device"
        await world.attest(first, "certificate_revoked")
        stored = await world.stored(second)
        assert stored is not None
        assert stored.reason == "certificate_revoked"
        assert (await world.ask(credential)).reason == "certificate_revoked"


async def test_without_an_answer_judging_goes_on_and_the_responder_is_left_alone(tmp_path: Path, pki: Pki) -> None:
    credential, other = pki.issuing.issue(), pki.web.issue()
    responder = Responder(pki.issuing, (credential,), failing=True)
    async with opened(tmp_path, pki, responder, revocation="prefer") as world:
        device, stranger = await world.device("laptop-1", credential), await world.device("laptop-2", other)
        await world.attest(stranger, "certificate_wrong_issuer")  # nobody is asked about what is not ours
        assert responder.requests == []
        await world.attest(device)
        await world.attest(device)
        assert len(responder.requests) == 1
        world.pass_time(31)
        responder.failing, responder.revoked = False, {credential.certificate.serial_number}
        await world.attest(device, "certificate_revoked")
        responder.failing = True
        world.pass_time(301)
        await world.attest(device, "certificate_revoked")  # silence takes nothing back


async def test_a_revocation_outlives_a_restart_until_a_newer_answer_is_good(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    responder = Responder(pki.issuing, (credential,), revoked={credential.certificate.serial_number})
    responder.backdated = 60
    with HttpServer(responder.answer) as web:
        async with World.open(tmp_path, pki) as world:
            world.rules["certificates"][0]["ocsp"] = {"url": f"http://{web.address}/"}
            await world.apply(world.rules)
            device = await world.device("laptop-1", credential)
            await world.attest(device, "certificate_revoked")
            rules = world.rules
        responder.failing = True
        async with World.open(tmp_path, pki) as world:
            rules["checks"][0]["input"]["cn"] = credential.certificate.subject.rfc4514_string().removeprefix("CN=")
            await world.apply(rules)
            assert responder.requests[1:] == []
            stored = await world.stored(device)
            assert stored is not None
            assert stored.reason == "certificate_revoked"  # judged again, and nobody was asked
            await world.attest(device, "certificate_revoked")
            assert len(responder.requests) == 2
            world.pass_time(31)
            responder.failing, responder.revoked = False, set()
            responder.backdated = 3600  # an answer of before takes nothing back
            await world.attest(device, "certificate_revoked")
            assert len(await world.house.store.ocsp_revocations()) == 1
            world.pass_time(301)
            responder.backdated = -60  # by the house's clock minutes have passed
            await world.attest(device)
            assert await world.house.store.ocsp_revocations() == []


async def test_a_revocation_that_was_not_stored_holds_and_is_stored_when_it_can_be(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    responder = Responder(pki.issuing, (credential,), revoked={credential.certificate.serial_number})
    async with opened(tmp_path, pki, responder, revocation="prefer") as world:
        statuses = world.house.revocation_responses.statuses
        statuses.retry_seconds = 0.01
        device = await world.device("laptop-1", credential)
        with world.failing("commit_ocsp_revocation"):
            await world.attest(device, "certificate_revoked")
            assert await world.house.store.ocsp_revocations() == []
        while tasks := tuple(statuses._settling.values()):
            await asyncio.wait(tasks)
        kept = await world.house.store.ocsp_revocations()
        assert [each.serial_number for each in kept] == [credential.certificate.serial_number]


async def test_a_revocation_goes_with_the_entry_that_named_the_responder(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    responder = Responder(pki.issuing, (credential,), revoked={credential.certificate.serial_number})
    async with opened(tmp_path, pki, responder) as world:
        device = await world.device("laptop-1", credential)
        await world.attest(device, "certificate_revoked")
        statuses = world.house.revocation_responses.statuses
        await world.apply({"certificates": [], "checks": [], "policies": [], "applications": []}, prune=True)
        assert not any(known.responses for known in statuses.in_force.current.issuers.values())
        await statuses.retire(frozenset(world.house.rules.in_force.current.rules.certificates))
        assert await world.house.store.ocsp_revocations() == []


async def test_a_full_memory_of_revocations_lets_none_go(tmp_path: Path, pki: Pki) -> None:
    first, second = pki.issuing.issue(), pki.issuing.issue()
    numbers = {each.certificate.serial_number for each in (first, second)}
    responder = Responder(pki.issuing, (first, second), revoked=numbers)
    async with opened(tmp_path, pki, responder, revocation="prefer") as world:
        world.house.revocation_responses.statuses.max_revoked = 1
        await world.attest(await world.device("laptop-1", first), "certificate_revoked")
        await world.attest(await world.device("laptop-2", second), "certificate_revoked")
        kept = await world.house.store.ocsp_revocations()
        assert [each.serial_number for each in kept] == [first.certificate.serial_number]
        assert (await world.ask(second)).reason == "certificate_revoked"


async def test_nobody_is_asked_about_others_certificates_and_none_hides_the_device_s_own(tmp_path: Path, pki: Pki) -> None:
    others, mine = [pki.issuing.issue() for _ in range(40)], pki.issuing.issue()
    stolen = [Credential(each.der, pki.issuing.issue().key) for each in others]  # the certificates without their keys
    responder = Responder(pki.issuing, (*others, mine), revoked={mine.certificate.serial_number})
    async with opened(tmp_path, pki, responder, revocation="prefer", checks=6) as world:
        names = sorted(check.name for check in world.house.rules.in_force.current.rules.checks.values())
        device = await world.device("laptop-1")
        device.found_for = {name: tuple(stolen[8 * place : 8 * place + 8]) for place, name in enumerate(names[:-1])}
        device.found_for[names[-1]] = (mine,)
        async with world.attesting(device) as stream:
            answer = await stream.settle()
        assert isinstance(answer, wire.Ack)
        told = {result.check_id: result.reason for result in answer.results}
        assert told[world.check_id(names[-1])] == "certificate_revoked"
        assert "passed" not in told.values()
        assert [asked.serial_number for asked in responder.requests] == [mine.certificate.serial_number]


async def test_more_certificates_than_are_asked_about_at_once_are_all_asked_about(tmp_path: Path, pki: Pki) -> None:
    credentials = [pki.issuing.issue() for _ in range(12)]
    numbers = {each.certificate.serial_number for each in credentials}
    responder = Responder(pki.issuing, tuple(credentials), revoked=numbers)
    async with opened(tmp_path, pki, responder, revocation="prefer", checks=12) as world:
        names = sorted(check.name for check in world.house.rules.in_force.current.rules.checks.values())
        device = await world.device("laptop-1", found_for={name: (each,) for name, each in zip(names, credentials, strict=True)})
        await world.attest(device, *["certificate_revoked"] * 12)
        assert {asked.serial_number for asked in responder.requests} == numbers


@pytest.mark.parametrize("revocation", ["prefer", "require"])
async def test_the_next_certificate_of_a_claim_is_asked_about_where_one_is_revoked(
    tmp_path: Path, pki: Pki, revocation: str
) -> None:
    revoked, good, spare = (pki.issuing.issue() for _ in range(3))
    responder = Responder(pki.issuing, (revoked, good, spare), revoked={revoked.certificate.serial_number})
    async with opened(tmp_path, pki, responder, revocation=revocation) as world:
        world.rules["checks"][0]["input"]["check_private_key"] = False  # then what passes is asked about as well
        await world.apply(world.rules)
        await world.attest(await world.device("laptop-1", revoked, good, spare))
        asked = [each.serial_number for each in responder.requests]
        assert asked == [revoked.certificate.serial_number, good.certificate.serial_number]


@pytest.mark.needs_program("openssl")
async def test_a_real_responder_says_good_and_then_revoked(tmp_path: Path, pki: Pki) -> None:
    credential, port = pki.issuing.issue(), free_port()
    pki.issuing.credential.write(tmp_path, "ca")
    number = credential.certificate.serial_number
    serial = number.to_bytes((number.bit_length() + 7) // 8, "big").hex().upper()

    def saying(status: str) -> Program:
        (tmp_path / "index.txt").write_text(f"{status}\t{serial}\tunknown\t/CN=laptop\n")
        options = f"ocsp -port {port} -index index.txt -CA ca.pem -rsigner ca.pem -rkey ca.key -ndays 1"
        responder = Program([program("openssl"), *options.split()], name=f"says-{status[0]}", directory=tmp_path)
        # Not by a connection: it would wait for the request on it for ever.
        responder.wait_until(lambda: "waiting for" in responder.stdout() + responder.stderr(), what="it listens")
        return responder

    async with World.open(tmp_path / "house", pki) as world:
        world.rules = inlined(wiki_rules(pki, check_input={"revocation": "require"}))
        world.rules["certificates"][0]["ocsp"] = {"url": f"http://127.0.0.1:{port}/"}
        await world.apply(world.rules)
        device = await world.device("laptop-1", credential)
        with saying("V\t330101000000Z\t"):
            await world.attest(device)
            assert (await world.ask(credential)).allowed
        world.pass_time(301)
        with saying("R\t330101000000Z\t260101000000Z,keyCompromise"):
            await world.attest(device, "certificate_revoked")
            assert (await world.ask(credential)).reason == "certificate_revoked"
