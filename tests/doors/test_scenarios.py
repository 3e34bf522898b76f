"""The scenario files of tests/cases as proxies ask them: each is set up in a server, and both doors answer as `decide` does."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from doors.stage import FACTS_HEADER, SECRET_HEADER, Ask, Told, check_request, nginx_peer, read_answer, read_check_response
from services.world import World
from support.pki import DAY, HOUR, Credential, Pki
from support.rules import IDENTITY_HEADER
from watchword.v1 import posture_pb2 as wire
from watchword_server.core.model.decisions import Decision
from watchword_server.core.model.names import DeviceId
from watchword_server.peer import Peer
from watchword_server.rehearsal.running import Ran, run
from watchword_server.rehearsal.scenarios import RefusedToken, Scenario, ScenarioFile, load_scenarios

CASES: Final = Path(__file__).resolve().parents[1] / "cases"
FILES: Final = {path.parent.name: load_scenarios(path) for path in sorted(CASES.glob("*/scenarios.yaml"))}
ANYBODY: Final = "stage"  # the caller that may assert everything

T = TypeVar("T")


def can_be_staged(scenario: Scenario) -> bool:
    """Whether a simulated device can come to stand as the scenario has it."""
    device, certificate = scenario.device, scenario.certificate
    if certificate is not None and certificate.refused not in {None, "certificate_expired"}:
        return False
    if device is None:
        return True
    ages = {result.age for result in device.results.values()}
    levels = {result.level or device.strength for result in device.results.values() if result.passed}
    return (
        device.proven
        and device.binding == "certificate"
        and device.state != "pending"
        and len(ages) == 1
        and levels <= {"proven"}
    )


STAGED: Final = [
    pytest.param(name, ran, id=f"{name}: {ran.scenario.name}")
    for name, file in FILES.items()
    for ran in run(file)
    if can_be_staged(ran.scenario)
]


def test_nearly_every_scenario_is_staged() -> None:
    assert len(STAGED) > 0.9 * sum(len(file.scenarios) for file in FILES.values())


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Theatre]":
    with Theatre.open(tmp_path_factory.mktemp("theatre")) as theatre:
        yield theatre


@pytest.mark.parametrize(("name", "ran"), STAGED)
def test_both_doors_answer_as_decide_does(theatre: "Theatre", name: str, ran: Ran) -> None:
    world = theatre.world(name)
    ask = theatre.run(set_up(world, ran.scenario))
    through_envoy = theatre.run(envoy(world, ask))
    through_nginx = theatre.run(nginx(world, ask))
    assert told(world, through_envoy) == wanted(ran.decision)
    assert told(world, through_nginx) == wanted(ran.decision)


def wanted(decision: Decision) -> dict[str, Any]:
    return {
        "decision": decision.outcome.value,
        "reason": decision.reason,
        "rules": [(rule.kind, rule.name) for rule in decision.rules],
        "reported": [(rule.kind, rule.name) for rule in decision.reported],
        "checks": [(check.name, check.standing.value) for check in decision.checks],
    }


def told(world: World, answer: Told) -> dict[str, Any]:
    record: Any = world.house.ext_authz.decisions.record(answer.headers["x-watchword-decision-id"])
    assert answer.allowed == (record["decision"] == "allow")
    return {
        "decision": record["decision"],
        "reason": record["reason"],
        "rules": [(rule["kind"], rule["name"]) for rule in record["rules"]],
        "reported": [(rule["kind"], rule["name"]) for rule in record["reported"]],
        "checks": [(check["name"], check["standing"]) for check in record["checks"]],
    }


# ---- The doors ----------------------------------------------------------------------------------------------------------


async def envoy(world: World, ask: Ask) -> Told:
    peer = Peer("127.0.0.1", metadata={SECRET_HEADER: tuple(ask.secrets)})
    return read_check_response(await world.house.ext_authz.check(check_request(ask), peer))


async def nginx(world: World, ask: Ask) -> Told:
    return read_answer(await world.house.http_doors.auth_request.answer(nginx_peer(ask)))


# ---- Setting up -----------------------------------------------------------------------------------------------------------


async def set_up(world: World, scenario: Scenario) -> Ask:
    """Brings the device to where it stands and returns what a proxy would ask."""
    credential = await certificate(world, scenario)
    target = scenario.request.url.split("/", 3)
    headers = list(await service_token(world, scenario.service_token))
    if scenario.all_facts:
        headers.append((FACTS_HEADER, json.dumps(scenario.all_facts)))
    return Ask(
        credential=credential,
        method=scenario.request.method,
        scheme=target[0].removesuffix(":"),
        host=target[2],
        target=f"/{target[3] if len(target) > 3 else ''}",
        address=scenario.request.source_ip or "",
        user=None if scenario.identity is None else scenario.identity.get("email"),
        headers=headers,
        secrets=(secret(scenario.caller or ANYBODY),),
    )


async def certificate(world: World, scenario: Scenario) -> Credential | None:
    """What the client presents; of a device, after it attested."""
    shown = scenario.certificate
    if shown is not None and shown.refused is not None:
        return world.pki.issuing.issue(not_before=-2 * DAY, not_after=-HOUR)
    if scenario.device is None and shown is None:
        return None
    common_name = shown.common_name if shown is not None and shown.common_name is not None else "laptop.corp.example"
    credential = world.pki.issuing.issue(common_name)
    if scenario.device is not None:
        await stand(world, scenario, credential)
    return credential


async def stand(world: World, scenario: Scenario, credential: Credential) -> None:
    """A new device that attests, passing everything once so that the certificate is known to be its own, then as it has to."""
    assert scenario.device is not None
    results = scenario.device.results
    device = await world.device("laptop", credential)
    if scenario.device.owner is not None:
        await world.devices.set_owner(DeviceId(device.device_id), scenario.device.owner.casefold())
    async with world.ready(device) as stream:
        assert device.checks is not None
        checks = [check for check in device.checks.checks if check.name in results]
        assert isinstance(await stream.attest(claims=[stream.claim(check) for check in checks]), wire.Ack)
        device.found_for = {name: () for name, result in results.items() if not result.passed}
        if device.found_for:
            claims = [stream.claim(check) for check in checks]
            assert isinstance(await stream.attest(claims=claims), wire.Ack)
    (age,) = {result.age for result in results.values()}
    world.pass_time(age)
    if scenario.device.state == "revoked":
        await world.devices.revoke(DeviceId(device.device_id))


async def service_token(world: World, name: str | RefusedToken | None) -> list[tuple[str, str]]:
    if name is None:
        return []
    if isinstance(name, RefusedToken):
        return [("CF-Access-Client-Id", "0123456789abcdef.access"), ("CF-Access-Client-Secret", "0" * 64)]
    issued = await world.house.operators.tokens.service_tokens.issue(name)
    return [("CF-Access-Client-Id", issued.client_id), ("CF-Access-Client-Secret", issued.client_secret)]


def secret(caller: str) -> str:
    return f"the-secret-of-{caller}-0123456789abcdef"


class Theatre:
    """A server for each scenario file, with its rules: its CA is one of ours, and its callers show secrets."""

    def __init__(self, directory: Path, runner: asyncio.Runner, exits: contextlib.ExitStack) -> None:
        self._directory = directory
        self._runner = runner
        self._exits = exits
        self._pki = Pki.make()
        self._worlds: dict[str, World] = {}

    @classmethod
    @contextlib.contextmanager
    def open(cls, directory: Path) -> "Iterator[Theatre]":
        with asyncio.Runner() as runner, contextlib.ExitStack() as exits:
            yield cls(directory, runner, exits)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def world(self, name: str) -> World:
        if name not in self._worlds:
            opening = World.open(self._directory / name, self._pki)
            world = self.run(opening.__aenter__())
            self._exits.callback(lambda: self.run(opening.__aexit__(None, None, None)))
            self.run(world.apply(self._document(FILES[name])))
            self._worlds[name] = world
        return self._worlds[name]

    def _document(self, file: ScenarioFile) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(json.dumps(file.rules.files.files[0].text.value))
        for entry in document.get("certificates", []):
            entry["pem"] = self._pki.issuing.pem.decode()
        for caller in document.get("callers", []):
            caller["authenticate"] = {"secret_sha256": hashlib.sha256(secret(caller["name"]).encode()).hexdigest()}
        document.setdefault("callers", []).append(
            {
                "name": ANYBODY,
                "authenticate": {"secret_sha256": hashlib.sha256(secret(ANYBODY).encode()).hexdigest()},
                "may_assert": ["client_certificate", "identity", "address", "facts"],
                "resolvers": ["client_certificate"],
                "identity": {"email_header": IDENTITY_HEADER},
                "facts": {"header": FACTS_HEADER},
            }
        )
        return document
