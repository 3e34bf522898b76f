"""`watchword import cloudflare`: by recorded answers, and from a server of ours, whose decisions the import has to repeat."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cloudflare import Cloudflare

from cloudflare_sdk.conftest import Account, token_of
from files.test_commands import Ran, run
from rehearsal.files import CA
from support.http_server import HttpRequest, HttpResponse, HttpServer
from support.pki import Pki
from support.server import WatchwordServer
from watchword_server.configuration.yaml_text import parse_yaml

RECORDED = json.loads((Path(__file__).parent / "account.json").read_text())
ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "a-token-that-may-read"


@pytest.fixture
def recorded() -> Iterator[str]:
    """An account as its API tells it, page by page; without the token nothing."""

    async def answer(request: HttpRequest) -> HttpResponse:
        parts = urlsplit(request.target)
        path, page = parts.path.removeprefix(f"/client/v4/accounts/{ACCOUNT}/"), parse_qs(parts.query).get("page", ["1"])[0]
        if request.values("Authorization") != [f"Bearer {TOKEN}"]:
            return told({"success": False, "errors": [{"code": 10000, "message": "Authentication error"}], "result": None}, 401)
        result = RECORDED.get(path, RECORDED["items"] if path.endswith("/items") else None)
        if result is None:
            return told({"success": False, "errors": [{"code": 7003, "message": "No route"}], "result": None}, 404)
        pem = json.loads(json.dumps(result).replace("THE CA", CA.replace("\n", "\\n")))
        return told({"success": True, "errors": [], "messages": [], "result": pem if page == "1" else []})

    def told(body: Any, status: int = 200) -> HttpResponse:
        return HttpResponse(status, (("Content-Type", "application/json"),), json.dumps(body).encode())

    with HttpServer(answer) as server:
        yield f"http://{server.address}/client/v4"


def imported(tmp_path: Path, base_url: str, token: str, account: str = ACCOUNT) -> tuple[Ran, Path]:
    (tmp_path / "token").write_text(token + "\n")
    out = tmp_path / "rules"
    arguments = ("--account-id", account, "--base-url", base_url, "--token-file", tmp_path / "token", "--out", out)
    return run("import", "cloudflare", *arguments), out


def test_what_can_be_taken_over_is_and_what_cannot_is_told(recorded: str, tmp_path: Path) -> None:
    ran, out = imported(tmp_path, recorded, TOKEN)
    assert ran.returncode == 3, ran.stderr
    assert ran.stdout.splitlines() == RECORDED["report"]
    assert run("rules", "check", out).returncode == 0
    report = (out / "REPORT.md").read_text()
    assert all(line.partition(": ")[2] in report for line in RECORDED["report"])
    assert TOKEN not in report


def test_nothing_is_wider(recorded: str, tmp_path: Path) -> None:
    _, out = imported(tmp_path, recorded, TOKEN)

    def entries(section: str) -> dict[str, Any]:
        document: Any = parse_yaml((out / f"{section}.yaml").read_text()).value
        return {entry["name"]: entry for entry in document[section]}

    applications, rules = entries("applications"), entries("gateway_rules")
    assert "policies" not in applications["admin"]  # its deny policy is not there: nobody gets in
    assert "policies" not in applications["ssh"]
    assert applications["wiki"]["policies"] == [{"id": "staff", "precedence": 1}]
    assert rules["block the unmanaged"]["action"] == "block"
    assert "device_posture" not in rules["block the unmanaged"]  # of a check that is not there: it blocks them all
    assert (rules["isolate"]["action"], rules["isolate"]["traffic"]) == ("block", "http.conn.src_ip in $buros")
    assert "allow what is not known" not in rules
    assert rules["ads"]["enabled"] is False


def test_a_token_that_is_wrong_and_one_in_the_clear(recorded: str, tmp_path: Path) -> None:
    refused, out = imported(tmp_path, recorded, "wrong")
    assert (refused.returncode, out.exists()) == (1, False)
    assert "Authentication error" in refused.stderr
    assert "wrong" not in refused.stderr.replace("went wrong", "")
    clear, _ = imported(tmp_path, "http://192.0.2.1/client/v4", TOKEN)
    assert (clear.returncode, "not https" in clear.stderr) == (2, True)


# ---- From a server of ours ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Account, WatchwordServer]]:
    directory = tmp_path_factory.mktemp("import")
    with WatchwordServer(directory / "one" / "data") as one, WatchwordServer(directory / "two" / "data") as two:
        yield Account(one, one.endpoints.account_id, token_of(one, "write"), Pki.make()), two


def test_an_import_decides_as_its_source(two_servers: tuple[Account, WatchwordServer], tmp_path: Path) -> None:
    source, target = two_servers
    with source.client() as client:
        fill(client, source)
    ran, out = imported(tmp_path, source.base_url, source.token, source.id)
    assert ran.returncode == 3, ran.stderr
    assert ran.stdout.splitlines() == ["left out: service tokens `all`: the account does not tell them"]
    target.apply(out)
    asked = {"Authorization": f"Bearer {token_of(target, 'read')}"}
    outcomes = set()
    for host in ("wiki", "admin", "open", "nowhere"):
        for email in (None, "ada@corp.example", "bob@other.example"):
            for address in ("192.0.2.7", "198.51.100.7"):
                body = {"url": f"https://{host}.corp.example/secret/x", "email": email, "source_ip": address}
                here = httpx.post(f"{source.server.endpoints.operators}/api/v1/decisions/explain", json=body,
                                  headers={"Authorization": f"Bearer {source.token}"}).json()  # fmt: skip
                there = httpx.post(f"{target.endpoints.operators}/api/v1/decisions/explain", json=body, headers=asked).json()
                assert decided(there) == decided(here), body
                outcomes.add(decided(here))
    assert len(outcomes) >= 4, outcomes  # or the comparison says nothing


def decided(explanation: dict[str, Any]) -> tuple[object, ...]:
    """What was decided, why, and by which rules, by name."""
    return (explanation["decision"], explanation["reason"], tuple(rule["name"] for rule in explanation["rules"]))


def fill(client: Cloudflare, account: Account) -> None:
    """Of everything one, that names the others."""
    access, gateway = client.zero_trust.access, client.zero_trust.gateway
    ca = client.mtls_certificates.create(account_id=account.id, ca=True, name="ca", certificates=account.pki.issuing.pem.decode())
    assert ca is not None
    check = client.zero_trust.devices.posture.create(
        account_id=account.id, name="managed laptop", type="client_certificate_v2", schedule="5m", expiration="",
        input={"certificate_id": str(ca.id), "check_private_key": True, "operating_system": "linux"},
    )  # fmt: skip
    assert check is not None
    items: Any = [{"value": "192.0.2.0/24", "description": "first floor"}]
    office = gateway.lists.create(account_id=account.id, name="Office Networks", type="IP", items=items)
    staff = access.groups.create(account_id=account.id, name="staff", include=[{"email_domain": {"domain": "corp.example"}}])
    assert office is not None
    assert staff is not None
    assert office.id is not None
    assert staff.id is not None
    policy = access.policies.create(
        account_id=account.id, name="staff", decision="allow", include=[{"group": {"id": staff.id}}],
        require=[{"ip_list": {"id": office.id}}],
    )  # fmt: skip
    assert policy is not None
    laptop: Any = {"name": "managed", "decision": "allow", "include": [{"everyone": {}}],
                   "require": [{"device_posture": {"integration_uid": check.id}}]}  # fmt: skip
    applications: list[tuple[str, Any]] = [("wiki", [policy.id]), ("admin", [laptop]), ("open", [
        {"name": "all", "decision": "bypass", "include": [{"everyone": {}}]}])]  # fmt: skip
    for name, policies in applications:
        access.applications.create(
            account_id=account.id, name=name, type="self_hosted", domain=f"{name}.corp.example", policies=policies
        )
    gateway.rules.create(
        account_id=account.id, name="secret pages from the office only", action="block", enabled=True, filters=["http"],
        traffic='http.request.host == "open.corp.example" and not http.conn.src_ip in $' + office.id,
        device_posture=f'not any(device_posture.checks.passed[*] == "{check.id}")',
    )  # fmt: skip
