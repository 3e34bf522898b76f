"""The native door of a running server, asked by the client that is shipped: decisions, batches, explanations, watches."""

import asyncio
import contextlib
import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import grpc
import pytest

from server.scene import LAPTOP, Scene, rules
from support.pki import Pki
from support.processes import free_ports
from support.rules import wiki_rules
from watchword.decisions import AsyncDecisionClient, DecisionClient, DecisionClientError, Request
from watchword.v1 import decision_pb2 as wire

SECRET: Final = "a-secret-of-the-gateway-of-40-characters"
OTHER: Final = "a-secret-of-another-one-of-40-characters"
URL: Final = "https://wiki.corp.example/pages/7?q=1"
ADA: Final = "ada@corp.example"


def rule_document(pki: Pki) -> dict[str, Any]:
    document = {**wiki_rules(pki), **rules(pki)}
    (caller,) = document["callers"]
    trusted = {
        **caller,
        "may_assert": ["client_certificate", "identity", "address", "device"],
        "resolvers": ["client_certificate", "device"],
    }
    document["callers"] = [
        {**trusted, "name": "gateway", "authenticate": {"secret_sha256": hashlib.sha256(SECRET.encode()).hexdigest()}},
        {**caller, "name": "other", "authenticate": {"secret_sha256": hashlib.sha256(OTHER.encode()).hexdigest()}},
        {**trusted, "name": "local", "authenticate": {"unix_socket": True}},
    ]
    return document


@pytest.fixture
def client(scene: Scene) -> Iterator[DecisionClient]:
    with DecisionClient(scene.server.endpoints.decisions_grpc, secret=SECRET, timeout_seconds=20) as client:
        yield client


@contextlib.asynccontextmanager
async def watching(scene: Scene, device_id: str) -> AsyncIterator[AsyncIterator[wire.WatchDeviceResponse]]:
    async with AsyncDecisionClient(scene.server.endpoints.decisions_grpc, secret=SECRET) as client:
        stream = client.watch_device(device_id)
        try:
            yield stream
        finally:
            await stream.aclose()  # type: ignore[attr-defined]


async def told(stream: AsyncIterator[wire.WatchDeviceResponse]) -> tuple[wire.DeviceStanding, Mapping[str, str]]:
    async with asyncio.timeout(20):
        seen = await anext(stream)
    return seen.standing, {check.name: check.standing for check in seen.checks}


async def test_a_decision_is_that_of_the_certificate_and_says_all_that_it_rests_on(scene: Scene, client: DecisionClient) -> None:
    credential = scene.certificate()
    device = await scene.enrolled(found_for={LAPTOP: (credential,)})
    await device.attest_once()
    answer = client.decide(Request("GET", URL, client_certificate=credential.der, user_email="Ada@Corp.Example"))
    assert (answer.allowed, answer.reason) == (True, "policy_allow")
    message = answer.message
    assert message is not None
    assert (message.device.id, message.device.identified_by, message.device.binding) == (
        device.device_id,
        "client_certificate",
        "certificate",
    )
    assert [(check.name, check.standing, check.evidence_level) for check in message.checks] == [(LAPTOP, "passed", "proven")]
    assert [(rule.kind, rule.effect) for rule in message.rules][-1] == ("policy", "allow")
    assert answer.valid_seconds is not None
    assert 0 < answer.valid_seconds <= 900
    assert answer.headers["x-watchword-user"] == ADA
    assert set(answer.headers_to_remove).isdisjoint(answer.headers)
    assert {"x-watchword-reason", "cf-access-client-secret"} <= set(answer.headers_to_remove)
    explanation = client.explain(answer.decision_id)
    assert (explanation["decision"], explanation["agrees"]) == ("allow", True)


async def test_a_stated_device_counts_where_the_caller_may_state_it(scene: Scene, client: DecisionClient) -> None:
    device = await scene.enrolled()
    await device.attest_once()
    asked = Request("GET", URL, device_id=device.device_id, user_email=ADA)
    answer = client.decide(asked)
    assert answer.allowed
    assert answer.message is not None
    assert answer.message.device.binding == "stated"
    with DecisionClient(scene.server.endpoints.decisions_grpc, secret=OTHER, timeout_seconds=20) as other:
        assert other.decide(asked).reason == "no_device"
        with pytest.raises(DecisionClientError, match="not_found"):
            other.explain(answer.decision_id)
        with pytest.raises(DecisionClientError, match="caller_not_allowed"):
            next(other.watch_device(device.device_id))


def test_whatever_cannot_be_understood_is_a_denial(client: DecisionClient) -> None:
    for url in (
        "wiki.corp.example/",
        "ftp://wiki.corp.example/",
        "https://wiki.corp.example/#x",
        "https://wiki.corp.example\\/",
        "https://user@wiki.corp.example/",
        "https:///",
        "https://wiki.corp.example/a b",
    ):
        answer = client.decide(Request("GET", url))
        assert (answer.allowed, answer.reason, answer.decision_id) == (False, "request_malformed", ""), url
    for request in (
        Request("get", URL),
        Request("", URL),
        Request("GET", URL, source_address="here"),
        Request("GET", URL, user_email="two@x.example,three@x.example"),
        Request("GET", URL, device_id="d" * 200),
    ):
        assert client.decide(request).reason == "request_malformed", request
    assert client.decide(Request("GET", URL, client_certificate=b"no certificate")).reason == "certificate_malformed"
    assert client.decide(Request("GET", "https://wiki.corp.example?q=1")).reason == "no_device"


def test_a_batch_answers_each_in_its_order(client: DecisionClient) -> None:
    requests = [Request("GET", URL, user_email=ADA), Request("get", URL), Request("GET", "https://other.example/")]
    assert [answer.reason for answer in client.decide_batch(requests)] == ["no_device", "request_malformed", "no_application"]
    assert client.decide_batch([]) == []
    too_many = client.decide_batch([requests[0]] * 257)
    assert [(answer.allowed, answer.reason) for answer in too_many] == [(False, "protocol_violation")] * 257


def test_nobody_learns_anything_without_being_a_caller(scene: Scene) -> None:
    with DecisionClient(scene.server.endpoints.decisions_grpc, secret="x" * 40, timeout_seconds=20) as nobody:
        assert nobody.decide(Request("GET", URL)).reason == "caller_refused"
        assert nobody.decide_batch([Request("GET", URL)])[0].reason == "caller_refused"
        for ask in (lambda: nobody.explain("dcn_1"), lambda: next(nobody.watch_device("dev_1"))):
            with pytest.raises(DecisionClientError, match="caller_refused"):
                ask()


async def test_a_unix_socket_is_its_callers_and_asyncio_asks_alike(scene: Scene) -> None:
    path = scene.server.data / "callers" / "local.grpc.sock"
    async with AsyncDecisionClient(f"unix:{path}", timeout_seconds=20) as client:
        answer = await client.decide(Request("GET", URL))
        assert answer.reason == "no_device"
        assert (await client.explain(answer.decision_id))["reason"] == "no_device"
        assert [each.reason for each in await client.decide_batch([Request("GET", URL)])] == ["no_device"]


def test_a_server_that_is_not_there_or_speaks_nonsense_denies() -> None:
    with DecisionClient(f"127.0.0.1:{free_ports(1)[0]}", secret=SECRET) as client:
        assert client.decide(Request("GET", URL)).reason in {"unavailable", "deadline_exceeded"}
        assert not client.decide_batch([Request("GET", URL)])[0].allowed
    empty = wire.DecideResponse()
    assert empty.decision != wire.DECISION_ALLOW


@pytest.mark.parametrize("target", ["192.0.2.1:7402", "pdp.corp.example:7402", "dns:///127.0.0.1.corp.example:7402"])
def test_a_secret_is_not_sent_in_the_clear(target: str) -> None:
    with pytest.raises(ValueError, match="not sent in the clear"):
        DecisionClient(target, secret=SECRET)
    DecisionClient(target, secret=SECRET, credentials=grpc.ssl_channel_credentials()).close()


async def test_a_watch_tells_each_change_at_once(scene: Scene) -> None:
    device = await scene.enrolled()
    async with watching(scene, device.device_id) as stream, device.attesting() as agent:
        assert await told(stream) == (wire.DEVICE_STANDING_ACTIVE, {LAPTOP: "no_result"})
        await agent.settle()
        assert await told(stream) == (wire.DEVICE_STANDING_ACTIVE, {LAPTOP: "passed"})
        device.found_for[LAPTOP] = ()
        await agent.attest()
        assert await told(stream) == (wire.DEVICE_STANDING_ACTIVE, {LAPTOP: "failed"})
        scene.operators.call("POST", f"/devices/{device.device_id}/lock", {"reason": "lost"})
        assert await told(stream) == (wire.DEVICE_STANDING_LOCKED, {LAPTOP: "failed"})
        scene.operators.call("POST", f"/devices/{device.device_id}/unlock")
        assert await told(stream) == (wire.DEVICE_STANDING_ACTIVE, {LAPTOP: "failed"})
        scene.operators.revoke(device.device_id)
        assert (await told(stream))[0] == wire.DEVICE_STANDING_REVOKED


async def test_a_watch_tells_when_a_result_expires_and_when_the_rules_change(scene: Scene, pki: Pki) -> None:
    document = rule_document(pki)
    document["checks"].append(
        {
            "name": "short",
            "type": "client_certificate_v2",
            "schedule": "1m",
            "expiration": "1m",
            "input": {"certificate_id": "corp-device-ca"},
        }
    )
    scene.operators.apply(document)
    ends_soon = scene.certificate(not_after=dt.timedelta(seconds=3))
    device = await scene.enrolled(found_for={LAPTOP: (scene.certificate(),), "short": (ends_soon,)})
    await device.attest_once()
    async with watching(scene, device.device_id) as stream:
        standing, checks = await told(stream)
        assert checks == {LAPTOP: "passed", "short": "passed"}
        assert await told(stream) == (standing, {LAPTOP: "passed", "short": "result_expired"})
        document["checks"].pop()
        scene.operators.call("POST", "/rules/apply", {"document": document, "prune": True})
        assert await told(stream) == (standing, {LAPTOP: "passed"})


async def test_a_watch_of_nobody_says_so_and_tells_when_there_is_one_no_more(scene: Scene) -> None:
    async with watching(scene, "dev_nobody") as stream:
        assert await told(stream) == (wire.DEVICE_STANDING_UNKNOWN, {})


def test_a_decision_that_only_the_log_has_is_explained_to_who_asked_for_it(scene: Scene, client: DecisionClient) -> None:
    answer = client.decide(Request("GET", URL))
    scene.server.stop()
    scene.server.start()
    with (
        DecisionClient(scene.server.endpoints.decisions_grpc, secret=SECRET, timeout_seconds=20) as own,
        DecisionClient(scene.server.endpoints.decisions_grpc, secret=OTHER, timeout_seconds=20) as other,
    ):
        assert own.explain(answer.decision_id)["reason"] == "no_device"
        with pytest.raises(DecisionClientError, match="not_found"):
            other.explain(answer.decision_id)
