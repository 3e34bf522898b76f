"""OCSP: the operator's responder is asked about the certificates of verified evidence, and its word counts at once."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from services.world import World, inlined
from support.http_server import HttpRequest, HttpResponse, HttpServer
from support.pki import HOUR, Authority, Credential, Pki
from support.rules import wiki_rules


@dataclass(slots=True)
class Responder:
    """Answers for one authority; `failing`: with nothing of use."""

    authority: Authority
    known: tuple[Credential, ...]
    revoked: set[int] = field(default_factory=set)
    failing: bool = False
    requests: list[ocsp.OCSPRequest] = field(default_factory=list)

    async def answer(self, request: HttpRequest) -> HttpResponse:
        asked = ocsp.load_der_ocsp_request(request.body)
        self.requests.append(asked)
        if self.failing:
            return HttpResponse(status=503)
        now = dt.datetime.now(dt.UTC)
        is_revoked = asked.serial_number in self.revoked
        response = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=next(each.certificate for each in self.known if each.certificate.serial_number == asked.serial_number),
                issuer=self.authority.credential.certificate,
                algorithm=hashes.SHA1(),
                cert_status=ocsp.OCSPCertStatus.REVOKED if is_revoked else ocsp.OCSPCertStatus.GOOD,
                this_update=now - dt.timedelta(seconds=1),
                next_update=now + HOUR,
                revocation_time=now - HOUR if is_revoked else None,
                revocation_reason=None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, self.authority.credential.certificate)
            .sign(self.authority.credential.key, hashes.SHA256())
        )
        return HttpResponse(body=response.public_bytes(Encoding.DER))


@asynccontextmanager
async def opened(directory: Path, pki: Pki, responder: Responder, *, revocation: str = "require") -> AsyncIterator[World]:
    with HttpServer(responder.answer) as web:
        async with World.open(directory, pki) as world:
            world.rules = inlined(wiki_rules(pki, check_input={"revocation": revocation}))
            world.rules["certificates"][0]["ocsp"] = {"url": f"http://{web.address}/"}
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
        responses = world.house.revocation_responses
        responses.retry_seconds = 0.01
        world.rules["checks"][0]["input"]["check_private_key"] = False  # else the shared key alone has both judged again
        await world.apply(world.rules)
        first, second = await world.device("laptop-1", credential), await world.device("laptop-2", credential)
        await world.attest(first)
        await world.attest(second)
        responder.revoked = {credential.certificate.serial_number}
        world.pass_time(301)
        with world.failing("claims"):
            await world.attest(first, "certificate_revoked")
        while tasks := tuple(responses._settling):
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
