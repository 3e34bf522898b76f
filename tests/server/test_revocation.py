"""Revocation end to end: lists from operators, addresses and files, responders, and what devices and proxies are told."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
from cryptography import x509

from doors.stage import SECRET_HEADER, Ask, check_request, read_check_response
from faults.proxy import Proxy
from server.operators import Operators
from server.scene import LAPTOP, Scene, rules, verdicts
from services.world import SECRET, inlined
from support.crls import make_list
from support.doors import CHECK_METHOD
from support.http_server import HttpRequest, HttpResponse, HttpServer
from support.pki import HOUR, Credential, Pki
from support.revocation import revocation_list
from support.rules import wiki_rules
from support.server import WatchwordServer
from watchword.envoy import ext_authz_pb2

CA = "corp-device-ca"
HOLD, REMOVED = x509.ReasonFlags.certificate_hold, x509.ReasonFlags.remove_from_crl


async def test_a_revoked_certificate_fails_and_passes_again_when_it_is_taken_back(scene: Scene) -> None:
    credential = scene.certificate()
    device = await scene.enrolled(found_for={LAPTOP: (credential,)})
    async with device.attesting() as stream:
        assert verdicts(await stream.settle(), device)[LAPTOP] == "passed"
        scene.operators.upload(CA, make_list(scene.pki.issuing, [credential], number=10))
        stored = scene.operators.results(device.device_id)[LAPTOP]
        assert (stored["standing"], stored["reason"]) == ("failed", "certificate_revoked")
        assert verdicts(await stream.attest(), device)[LAPTOP] == "certificate_revoked"
        scene.operators.upload(CA, make_list(scene.pki.issuing, number=11))
        assert scene.operators.results(device.device_id)[LAPTOP]["standing"] == "passed"
        assert verdicts(await stream.attest(), device)[LAPTOP] == "passed"


async def test_a_list_that_is_not_the_newest_or_not_the_ca_s_is_refused_and_the_old_one_stays(scene: Scene) -> None:
    credential = scene.certificate()
    scene.operators.upload(CA, make_list(scene.pki.issuing, [credential], number=100))
    for content, status, told in (
        (make_list(scene.pki.issuing, number=99), 409, "number 99, and 100 is in force"),
        (make_list(scene.pki.web, number=101), 422, "wrong_issuer"),
        (make_list(scene.pki.issuing, number=101, corrupt=True), 422, "signature"),
        (b"<html>404</html>", 422, "malformed"),
    ):
        answer = scene.operators.attempt("POST", f"/certificates/{CA}/crl", content)
        assert answer.status == status, answer
        assert told in answer.message
    device = await scene.enrolled(found_for={LAPTOP: (credential,)})
    async with device.attesting() as stream:
        assert verdicts(await stream.settle(), device)[LAPTOP] == "certificate_revoked"
    [kept] = scene.operators.certificates()[CA]["lists"]
    assert (kept["number"], kept["entries"], kept["source"], kept["last_error"]) == ("100", 1, "upload", None)


async def test_lists_are_there_after_a_restart(tmp_path: Path, pki: Pki) -> None:
    credential = pki.issuing.issue()
    with WatchwordServer(tmp_path / "data") as server:
        operators = Operators(server.data)
        operators.apply(rules(pki))
        file = tmp_path / "issuing.crl"
        file.write_bytes(make_list(pki.issuing, [credential], number=5, pem=True))
        assert "complete list 5 of" in server.command("certificate", "crl", CA, file).stderr
        server.kill()
        server.start()
        assert operators.numbers() == {CA: ["5"]}
        scene = Scene(server, operators, pki, operators.enrollment_token())
        device = await scene.enrolled(found_for={LAPTOP: (credential,)})
        async with device.attesting() as stream:
            assert verdicts(await stream.settle(), device)[LAPTOP] == "certificate_revoked"


async def test_lists_are_read_from_addresses_and_files_again_and_again(tmp_path: Path, pki: Pki) -> None:
    credential, file = pki.issuing.issue(), tmp_path / "issuing.crl"
    served = [make_list(pki.issuing, number=1)]

    async def answer(request: HttpRequest) -> HttpResponse:
        return HttpResponse(body=served[-1]) if served else HttpResponse(status=503)

    file.write_bytes(make_list(pki.web, number=1, pem=True))
    with HttpServer(answer) as web, WatchwordServer(tmp_path / "data") as server:
        operators = Operators(server.data)
        document = rules(pki, authorities={"web": pki.web})
        document["certificates"][0]["crl"] = {"url": f"http://{web.address}/issuing.crl"}
        document["certificates"][1]["crl"] = {"path": str(file)}
        operators.apply(document)
        scene = Scene(server, operators, pki, operators.enrollment_token())
        await eventually(lambda: operators.numbers() == {CA: ["1"], "web": ["1"]})
        device = await scene.enrolled(found_for={LAPTOP: (credential,)})
        async with device.attesting() as stream:
            assert verdicts(await stream.settle(), device)[LAPTOP] == "passed"
            served.append(make_list(pki.issuing, [credential], number=2))
            operators.call("POST", f"/certificates/{CA}/refresh", {})
            await eventually(lambda: operators.results(device.device_id)[LAPTOP]["reason"] == "certificate_revoked")
        served.append(make_list(pki.issuing, number=1))  # an old one is no way out
        operators.call("POST", f"/certificates/{CA}/refresh", {})
        await eventually(lambda: "number 1, and 2" in (operators.certificates()[CA]["lists"][0]["last_error"] or ""))
        served.clear()
        [place] = operators.call("POST", f"/certificates/{CA}/refresh", {})["places"]
        assert (place["number"], place["error"]) == ("2", "http_status: the server answered 503")
        assert operators.certificates()[CA]["lists"][0]["last_error"] == place["error"]
        told = server.command("certificate", "refresh", CA, check=False)
        assert (told.returncode, told.stderr) == (1, f"{place['place']}: {place['error']}\n")
        file.write_bytes(make_list(pki.web, number=3))
        await eventually(lambda: operators.numbers() == {CA: ["2"], "web": ["3"]})
        document["certificates"][0]["crl"] = {"path": str(file)}  # not its CA's, and the other place is gone
        operators.apply(document)
        await eventually(lambda: operators.numbers() == {CA: [None], "web": ["3"]})


async def test_delta_lists_lift_holds_and_revoke_at_both_doors_of_proxies(tmp_path: Path, pki: Pki) -> None:
    held, other = pki.issuing.issue(), pki.issuing.issue("other.corp.example")
    held_number, other_number = held.certificate.serial_number, other.certificate.serial_number
    with WatchwordServer(tmp_path / "data") as server:
        operators = Operators(server.data)
        operators.apply(inlined(wiki_rules(pki)))
        scene = Scene(server, operators, pki, operators.enrollment_token(max_uses=2))
        for credential in (held, other):
            device = await scene.enrolled(found_for={LAPTOP: (credential,)})
            async with device.attesting() as stream:
                assert verdicts(await stream.settle(), device)[LAPTOP] == "passed"
        for number, base, entries, told in (
            (5, None, {held_number: HOLD}, ("certificate_revoked", "")),
            (6, 5, {held_number: REMOVED}, ("", "")),
            (7, 5, {held_number: REMOVED, other_number: None}, ("", "certificate_revoked")),
            (8, None, {}, ("", "")),  # complete, and newer than all of them
        ):
            made_at = (number - 10) * HOUR  # each strictly newer than the one before
            operators.upload(CA, revocation_list(pki.issuing, entries, number=number, base=base, this_update=made_at))
            assert (at_doors(server, held), at_doors(server, other)) == told
        kept = {(each["number"], each["source"]) for each in operators.certificates()[CA]["lists"]}
        assert kept == {("8", "upload"), ("7", "upload")}
        told_of = [line for line in metrics(server).splitlines() if line.startswith("watchword_revocation_list_")]
        assert len([line for line in told_of if f'certificate="{CA}"' in line]) == len(told_of) == 6, told_of


def metrics(server: WatchwordServer) -> str:
    """What Prometheus reads."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(server.data / "operators.sock")), timeout=20.0) as client:
        return client.get("http://watchword/metrics").text


def at_doors(server: WatchwordServer, credential: Credential) -> str:
    """The reason that both doors gave to a proxy whose client shows this certificate; empty: both let it in."""
    with Proxy(server.endpoints.decisions_http, secret=SECRET) as nginx:
        decided = nginx.ask(credential)
    with grpc.insecure_channel(server.endpoints.decisions_grpc) as channel:
        check = channel.unary_unary(
            CHECK_METHOD,
            request_serializer=ext_authz_pb2.CheckRequest.SerializeToString,
            response_deserializer=ext_authz_pb2.CheckResponse.FromString,
        )
        answer = check(check_request(Ask(credential=credential)), timeout=20.0, metadata=((SECRET_HEADER, SECRET),))
    told = read_check_response(answer)
    assert (told.allowed, told.reason) == (decided.allowed, decided.reason)
    assert decided.allowed == (decided.reason == "")
    return decided.reason


async def eventually(is_so: Callable[[], bool]) -> None:
    """Returns when it is; somebody else works on it."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
