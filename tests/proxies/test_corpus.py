"""One corpus, one answer: what `decide()` says of a request, every door says of it, asked by the real proxies as shipped.

The corpus is scenario files (`corpus/`, as `watchword rules test` runs them), and `corpus/marks.yaml`: where a proxy refuses a
request by itself, or passes it on as another one. A mark is a claim, too: the proxy has to do just that.
"""

import asyncio
import base64
import json
import ssl
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from ruamel.yaml import YAML

from proxies.test_decisions import KINDS, ProxyKind
from support.device import SimulatedDevice
from support.http_client import ProxyClient, read_response
from support.pki import Credential, Pki, root_authority
from support.processes import wait_until
from support.proxies import ProxySetup
from support.server import WatchwordServer
from support.upstream import Upstream
from watchword.decisions import DecisionClient, Request
from watchword.v1 import posture_pb2 as wire
from watchword_server.core.decide import decide
from watchword_server.core.model.decisions import Decision
from watchword_server.core.model.names import Instant
from watchword_server.rehearsal.running import inputs_of
from watchword_server.rehearsal.running import run as run_scenarios
from watchword_server.rehearsal.scenarios import Scenario, ScenarioFile, load_scenarios

CORPUS: Final = Path(__file__).with_name("corpus")
FILES: Final = ("who-gets-in", "methods", "paths", "hosts")
SECRET: Final = "edge-secret-0123456789abcdef0123456789abcdef"
USERS: Final = {f"{name}": f"{name}'s password" for name in ("alice@corp.example", "bob@corp.example", "eve@guests.example")}
REFUSED: Final = "refused"  # the proxy says no by itself: 400, and nobody is asked

# An outcome: the decision, its reason, the rules that made it, and each check they asked about with its standing.
Outcome = tuple[str, str, tuple[str, ...], tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario with what it comes to, and what each proxy makes of it where that is not the request itself."""

    scenario: Scenario
    expected: Outcome
    marks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Corpus:
    """A server with the corpus's rules and its devices."""

    directory: Path
    pki: Pki
    server: WatchwordServer
    credentials: Mapping[str, Credential]
    files: Sequence[ScenarioFile]

    @property
    def cases(self) -> Iterator[Case]:
        """All of them."""
        marks = YAML(typ="safe").load(CORPUS / "marks.yaml") or {}
        for file in self.files:
            for ran in run_scenarios(file):
                assert not ran.differences, (ran.scenario.name, ran.differences)
                yield Case(ran.scenario, outcome_of(ran.decision), marks.get(ran.scenario.name, {}))

    def credential(self, scenario: Scenario) -> Credential | None:
        """The certificate that the scenario's client has."""
        if scenario.device is not None:
            return self.credentials[scenario.device.id]
        if scenario.certificate is None:
            return None
        return self.credentials["foreign" if scenario.certificate.refused else "stranger"]

    def expected(self, case: Case, seen_as: str | None) -> Outcome:
        """What `decide()` says of the case; of another path where the proxy passes it on as that."""
        if seen_as is None:
            return case.expected
        scenario = case.scenario
        host, _ = _raw(scenario.request.url)
        request = scenario.request.model_copy(update={"url": f"https://{host}{seen_as}"})
        file = self.files[0]
        now, snapshot = Instant(file.now), file.rules.snapshot
        asked, device = inputs_of(scenario.model_copy(update={"request": request}), snapshot.rules, now=now)
        return outcome_of(decide(asked, device, snapshot, now=now))

    def records(self, decision_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """What the decision log tells of these."""
        wanted, path = set(decision_ids), self.server.data / "log" / "decisions.jsonl"
        found: dict[str, Mapping[str, Any]] = {}

        def all_there() -> bool:
            for line in path.read_text().splitlines():
                record = json.loads(line)
                if record["id"] in wanted:
                    found[record["id"]] = record
            return found.keys() == wanted

        wait_until(all_there, what="the decisions are in the log")
        return found


def outcome_of(decision: Decision) -> Outcome:
    checks = tuple((check.name, check.standing.value) for check in decision.checks)
    return decision.outcome.value, decision.reason, tuple(rule.name for rule in decision.rules), checks


def outcome_in(record: Mapping[str, Any]) -> Outcome:
    checks = tuple((check["name"], check["standing"]) for check in record["checks"])
    return record["decision"], record["reason"], tuple(rule["name"] for rule in record["rules"]), checks


@pytest.fixture(scope="module")
def corpus(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    directory = tmp_path_factory.mktemp("corpus")
    for path in CORPUS.glob("*.yaml"):
        (directory / path.name).write_text(path.read_text())
    (directory / "device-ca.pem").write_bytes(pki.issuing.pem)
    (directory / "caller-secret").write_text(SECRET)
    issue = pki.issuing.issue
    credentials = {name: issue(f"{name}.corp.example") for name in ("laptop", "spare", "stolen", "stranger")}
    credentials["foreign"] = root_authority("Somebody Else's CA").issue()
    with WatchwordServer(directory / "data") as server:
        server.apply(directory / "rules.yaml")
        asyncio.run(_devices(server, credentials))
        yield Corpus(directory, pki, server, credentials, [load_scenarios(directory / f"{name}.yaml") for name in FILES])


async def _devices(server: WatchwordServer, credentials: Mapping[str, Credential]) -> None:
    token = server.enrollment_token("--uses", "3")
    for name in ("laptop", "spare", "stolen"):
        device = SimulatedDevice(server.endpoints.agents, hostname=name, found=(credentials[name],))
        assert isinstance(await device.enroll(token), wire.EnrollResult)
        await device.attest_once()
        if name == "spare":
            device.found = ()
            await device.attest_once()
        if name == "stolen":
            server.revoke(device.device_id)


# ---- The corpus itself ----------------------------------------------------------------------------------------------------


def test_the_corpus_is_large_and_a_third_of_it_is_denied(corpus: Corpus) -> None:
    cases = list(corpus.cases)
    counted = Counter(case.expected[0] for case in cases)
    assert len(cases) >= 300
    assert counted["deny"] >= len(cases) / 3
    assert counted["allow"] >= len(cases) / 3
    names = {case.scenario.name for case in cases}
    assert len(names) == len(cases)
    assert (YAML(typ="safe").load(CORPUS / "marks.yaml") or {}).keys() <= names


# ---- The proxies ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a case: the status, the decision's id if one was made, and the target that the application got, if it did."""

    case: Case
    status: int
    decision_id: str | None
    target: str | None


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=kind.name, marks=pytest.mark.needs_program(kind.name.partition("-")[0])) for kind in KINDS]
)
def test_a_proxy_gets_the_answer_of_decide(corpus: Corpus, application: Upstream, kind: ProxyKind) -> None:
    setup = ProxySetup(kind.door(corpus.server), application.address, corpus.pki, caller_secret=SECRET, users=USERS)
    with kind.start(setup) as proxy:
        told = list(_asked(corpus, proxy.client(), application))
    records = corpus.records([each.decision_id for each in told if each.decision_id is not None])
    wrong = [fault for each in told for fault in _faults(corpus, each, kind.name, records)]
    assert wrong == []


def _faults(corpus: Corpus, told: Told, proxy: str, records: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What is not as the corpus and its marks say."""
    case, mark = told.case, told.case.marks.get(proxy)
    if mark == REFUSED:
        if (told.status, told.decision_id, told.target) != (400, None, None):
            yield f"{case.scenario.name}: not refused: {told.status}, {told.target}"
        return
    if told.decision_id is None:
        yield f"{case.scenario.name}: not asked about: {told.status}"
        return
    record, expected = records[told.decision_id], corpus.expected(case, mark)
    path = mark or _raw(case.scenario.request.url)[1].partition("?")[0]
    if outcome_in(record) != expected:
        yield f"{case.scenario.name}: expected {expected}, got {outcome_in(record)}"
    if record["request"]["path"] != path:
        yield f"{case.scenario.name}: asked about {record['request']['path']}, not {path}"
    if (told.status, told.target is not None) != ((200, True) if expected[0] == "allow" else (403, False)):
        yield f"{case.scenario.name}: {expected[:2]}, and the client got {told.status}, the application {told.target}"
    if told.target is not None and told.target.partition("?")[0] != path:
        yield f"{case.scenario.name}: decided about {path}, and the application got {told.target}"


def _asked(corpus: Corpus, client: ProxyClient, application: Upstream) -> Iterator[Told]:
    """Every case, on a connection for each certificate: opened anew where the proxy has closed it."""
    connections: dict[bytes | None, ssl.SSLSocket] = {}
    for case in corpus.cases:
        request, credential = case.scenario.request, corpus.credential(case.scenario)
        email = case.scenario.email
        assert email is not None
        der = None if credential is None else credential.der
        asking = client.with_credential(credential).with_user(email, USERS[email])
        host, target = _raw(request.url)
        raw = asking.encode(target, (("Host", host), ("Connection", "keep-alive")), method=request.method)
        application.requests.clear()
        for attempt in range(2):
            if der not in connections:
                connections[der] = asking.connect()
            try:
                connections[der].sendall(raw)
                answer = read_response(connections[der], method=request.method)
                break
            except (OSError, ValueError, AssertionError):
                connections.pop(der).close()
                if attempt:
                    raise
        if (answer.value("connection") or "").lower() == "close" or answer.status >= 400:
            connections.pop(der).close()
        got = list(application.requests)
        assert len(got) <= 1
        decision_id = answer.value("x-watchword-decision-id")
        if got:
            [decision_id] = got[0].values("x-watchword-decision-id")
        yield Told(case, answer.status, decision_id, got[0].target if got else None)
    for connection in connections.values():
        connection.close()


def _raw(url: str) -> tuple[str, str]:
    """Host and target as the client writes them."""
    host, slash, rest = url.removeprefix("https://").partition("/")
    return host, f"{slash}{rest}" or "/"


# ---- The doors without a proxy ----------------------------------------------------------------------------------------------


def test_the_native_api_gives_the_answer_of_decide(corpus: Corpus) -> None:
    cases = list(corpus.cases)
    with DecisionClient(corpus.server.endpoints.decisions_grpc, secret=SECRET, timeout_seconds=20) as client:
        answers = [client.decide(_native(corpus, case.scenario)) for case in cases]
        batches = [
            client.decide_batch([_native(corpus, case.scenario) for case in cases[at : at + 200]])
            for at in range(0, len(cases), 200)
        ]
    records = corpus.records([answer.decision_id for answer in answers])
    told = [(answer.allowed, outcome_in(records[answer.decision_id])) for answer in answers]
    assert told == [(case.expected[0] == "allow", case.expected) for case in cases]
    batched = [(answer.allowed, answer.reason) for batch in batches for answer in batch]
    assert batched == [(case.expected[0] == "allow", case.expected[1]) for case in cases]


def _native(corpus: Corpus, scenario: Scenario) -> Request:
    credential = corpus.credential(scenario)
    return Request(
        scenario.request.method,
        scenario.request.url,
        client_certificate=None if credential is None else credential.der,
        source_address=scenario.request.source_ip,
        user_email=scenario.email,
    )


def test_authzen_gives_the_answer_of_decide(corpus: Corpus) -> None:
    cases = list(corpus.cases)
    with httpx.Client(
        base_url=corpus.server.endpoints.decisions_http, headers={"Authorization": f"Bearer {SECRET}"}, timeout=30
    ) as client:
        answers = [client.post("/access/v1/evaluation", json=_question(corpus, case.scenario)).json() for case in cases]
    records = corpus.records([answer["context"]["id"] for answer in answers])
    told = [(answer["decision"], outcome_in(records[answer["context"]["id"]])) for answer in answers]
    assert told == [(case.expected[0] == "allow", case.expected) for case in cases]


def _question(corpus: Corpus, scenario: Scenario) -> dict[str, object]:
    credential = corpus.credential(scenario)
    certificate = {} if credential is None else {"client_certificate": base64.b64encode(credential.der).decode()}
    return {
        "subject": {"type": "user", "id": scenario.email},
        "action": {"name": scenario.request.method},
        "resource": {"type": "route", "id": scenario.request.url},
        "context": {"source_ip": scenario.request.source_ip, **certificate},
    }
