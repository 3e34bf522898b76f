"""The flow of an operator: certificate, check, lists, rules, applications; each call of the SDK, right and wrong."""

import re
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from cloudflare import (
    APIStatusError,
    AsyncCloudflare,
    AuthenticationError,
    BadRequestError,
    Cloudflare,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
)
from cloudflare.types.zero_trust.devices.device_input import TeamsDevicesClientCertificateV2InputRequest

from cloudflare_sdk.conftest import Account, token_of
from support.pki import generate_key, key_pem, root_authority

EVERYONE: list[Any] = [{"everyone": {}}]


def told(error: APIStatusError) -> tuple[str, str | None]:
    """The message and the place of the first error."""
    body: Any = error.body
    assert body["success"] is False
    assert body["result"] is None
    first = body["errors"][0]
    assert first["code"] >= 1000
    return first["message"], first.get("source", {}).get("pointer")


def v2(certificate_id: str, **more: object) -> Any:
    return {"certificate_id": certificate_id, "check_private_key": True, "operating_system": "linux", **more}


# ---- Tokens -------------------------------------------------------------------------------------------------------------


def test_a_token_is_verified_both_ways(account: Account, client: Cloudflare) -> None:
    for verified in (client.user.tokens.verify(), client.accounts.tokens.verify(account_id=account.id)):
        assert verified is not None
        assert verified.status == "active"
        assert verified.id == account.token.split(".")[1]


@pytest.mark.parametrize("token", ["nonsense", "wwa.AAAAAAAAAAAAAAAA." + "A" * 43])
def test_a_wrong_token_is_no_authentication(account: Account, token: str) -> None:
    with account.client(token) as client, pytest.raises(AuthenticationError) as caught:
        client.mtls_certificates.list(account_id=account.id)
    assert "watchword token create" in told(caught.value)[0]


def test_an_email_and_a_key_are_no_authentication(account: Account) -> None:
    client = Cloudflare(base_url=account.base_url, api_email="ada@corp.example", api_key="key")
    with client, pytest.raises(AuthenticationError):
        client.mtls_certificates.list(account_id=account.id)


def test_who_may_read_may_not_write(account: Account) -> None:
    with account.client(token_of(account.server, "read")) as reader:
        assert reader.zero_trust.gateway.lists.list(account_id=account.id).result == []
        with pytest.raises(PermissionDeniedError) as caught:
            reader.zero_trust.gateway.lists.create(account_id=account.id, name="hosts", type="DOMAIN")
        assert "`write`" in told(caught.value)[0]


def test_another_account_is_not_permitted(client: Cloudflare, account: Account) -> None:
    with pytest.raises(PermissionDeniedError) as caught:
        client.mtls_certificates.list(account_id="0" * 32)
    assert account.id in told(caught.value)[0]


# ---- Certificates -------------------------------------------------------------------------------------------------------


def test_a_certificate_is_uploaded_listed_and_deleted(account: Account, client: Cloudflare) -> None:
    pem = account.pki.issuing.pem.decode().rstrip("\n")
    made = client.mtls_certificates.create(account_id=account.id, ca=True, certificates=pem, name="device-ca")
    assert made is not None
    certificate = account.pki.issuing.credential.certificate
    assert (made.ca, made.name, made.type) == (True, "device-ca", "custom")
    assert (made.issuer, made.signature) == ("CN=Corp Root CA", "ECDSAWithSHA256")
    assert made.serial_number == str(certificate.serial_number)
    assert made.expires_on == certificate.not_valid_after_utc
    assert (made.certificates or "").strip() == pem.strip()
    assert str(UUID(made.id)) == made.id
    again = client.mtls_certificates.get(str(made.id).replace("-", "").upper(), account_id=account.id)
    assert again is not None
    assert again.id == made.id
    assert [each.id for each in client.mtls_certificates.list(account_id=account.id)] == [made.id]
    assert list(client.mtls_certificates.list(account_id=account.id, type=["gateway_managed"])) == []
    gone = client.mtls_certificates.delete(str(made.id), account_id=account.id)
    assert gone is not None
    assert gone.id == made.id
    with pytest.raises(NotFoundError):
        client.mtls_certificates.get(str(made.id), account_id=account.id)


def test_a_name_that_was_not_given_is_not_told(account: Account, client: Cloudflare) -> None:
    made = client.mtls_certificates.create(account_id=account.id, ca=True, certificates=account.pki.issuing.pem.decode())
    assert made is not None
    assert made.name is None


def test_newlines_that_were_escaped_twice_are_understood(account: Account, client: Cloudflare) -> None:
    pem = account.pki.issuing.pem.decode().strip().replace("\n", "\\n")
    assert client.mtls_certificates.create(account_id=account.id, ca=True, certificates=pem) is not None


@pytest.mark.parametrize(
    ("wrong", "pointer", "words"),
    [
        ({"certificates": "junk"}, "/certificates", "BEGIN CERTIFICATE"),
        ({"certificates": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}, "/certificates", "cannot be parsed"),
        ({"ca": False}, "/ca", "upload the CA's"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----"}, "/private_key", "not taken"),
    ],
)
def test_a_certificate_that_is_of_no_use_is_refused(
    account: Account, client: Cloudflare, wrong: dict[str, Any], pointer: str, words: str
) -> None:
    right: dict[str, Any] = {"ca": True, "certificates": account.pki.issuing.pem.decode()}
    with pytest.raises(BadRequestError) as caught:
        client.mtls_certificates.create(account_id=account.id, **(right | wrong))
    message, place = told(caught.value)
    assert place == pointer
    assert words in message


def test_a_private_key_beside_the_certificate_is_refused_and_not_echoed(account: Account, client: Cloudflare) -> None:
    pem = (account.pki.issuing.pem + key_pem(generate_key())).decode()
    with pytest.raises(BadRequestError) as caught:
        client.mtls_certificates.create(account_id=account.id, ca=True, certificates=pem)
    assert "PRIVATE KEY-----\n" not in str(caught.value)


def test_a_certificate_in_use_stays(account: Account, client: Cloudflare, certificate_id: str, posture_id: str) -> None:
    with pytest.raises(ConflictError) as caught:
        client.mtls_certificates.delete(certificate_id, account_id=account.id)
    assert "posture" in told(caught.value)[0] or "managed" in told(caught.value)[0]
    assert caught.value.response.headers["x-should-retry"] == "false"
    (used,) = client.mtls_certificates.associations.get(certificate_id, account_id=account.id)
    assert (used.service, used.status) == ("device_posture", "active")
    client.zero_trust.devices.posture.delete(posture_id, account_id=account.id)
    assert client.mtls_certificates.delete(certificate_id, account_id=account.id) is not None


# ---- Posture rules ------------------------------------------------------------------------------------------------------


def test_a_posture_rule_is_told_as_it_was_sent(account: Account, client: Cloudflare, certificate_id: str) -> None:
    rules = client.zero_trust.devices.posture
    sent: dict[str, Any] = {
        "name": "managed laptop",
        "type": "client_certificate_v2",
        "description": "with our certificate",
        "schedule": "10m",
        "match": [{"platform": "linux"}],
        "input": v2(
            certificate_id,
            cn="${hostname}.corp.example",
            extended_key_usage=["clientAuth"],
            subject_alternative_names=["${serial_number}.corp.example"],
            locations={"paths": ["/etc/corp/client.pem"]},
        ),
    }
    made = rules.create(account_id=account.id, **sent, extra_body={"of_our_own": {"tool": 1}})
    assert made is not None
    body = made.to_dict()
    assert {key: body[key] for key in sent} == sent
    assert "expiration" not in body
    assert body["of_our_own"] == {"tool": 1}
    assert made.enabled is True
    assert isinstance(made.input, TeamsDevicesClientCertificateV2InputRequest)
    got = rules.get(str(made.id), account_id=account.id)
    assert got is not None
    assert got.to_dict() == body
    replaced = rules.update(
        str(made.id), account_id=account.id, name="renamed", type="client_certificate_v2", expiration="", input=v2(certificate_id)
    )
    assert replaced is not None
    assert (replaced.name, replaced.description, replaced.schedule, replaced.expiration) == ("renamed", None, None, "")
    assert [rule.name for rule in rules.list(account_id=account.id)] == ["renamed"]
    gone = rules.delete(str(made.id), account_id=account.id)
    assert gone is not None
    assert gone.id == made.id


def test_the_older_kind_of_check(account: Account, client: Cloudflare, certificate_id: str) -> None:
    made = client.zero_trust.devices.posture.create(
        account_id=account.id,
        name="old",
        type="client_certificate",
        input={"certificate_id": certificate_id, "cn": "laptop.corp.example"},
    )
    assert made is not None
    assert made.type == "client_certificate"


@pytest.mark.parametrize(
    ("wrong", "pointer", "words"),
    [
        ({"type": "disk_encryption", "input": {}}, "/type", "disk_encryption"),
        ({"type": "nonsense"}, "/type", "nonsense"),
        ({"schedule": "10s"}, "/schedule", "1m"),
        ({"match": [{"platform": "ios"}]}, "/match/0/platform", "ios"),
        ({"input": {"certificate_id": "no-such", "operating_system": "linux"}}, "/input/certificate_id", "no-such"),
        ({"input": {"certificate_id": "CA", "cn": "${user}"}}, "/input/cn", "${user}"),
        ({"input": {"certificate_id": "CA", "locations": {"paths": ["relative"]}}}, "/input/locations/paths/0", "relative"),
        ({"name": ""}, "/name", "empty"),
    ],
)
def test_a_posture_rule_that_is_wrong_says_where(
    account: Account, client: Cloudflare, certificate_id: str, wrong: dict[str, Any], pointer: str, words: str
) -> None:
    right: dict[str, Any] = {"name": "check", "type": "client_certificate_v2", "input": v2(certificate_id)}
    sent = right | wrong
    if sent["input"].get("certificate_id") == "CA":
        sent["input"] = sent["input"] | {"certificate_id": certificate_id}
    with pytest.raises(BadRequestError) as caught:
        client.zero_trust.devices.posture.create(account_id=account.id, **sent)
    message, place = told(caught.value)
    assert place == pointer
    assert words in message
    assert list(client.zero_trust.devices.posture.list(account_id=account.id)) == []


# ---- Names, repeats -----------------------------------------------------------------------------------------------------


def test_a_create_that_is_sent_again_makes_no_second_one(account: Account, client: Cloudflare) -> None:
    """The SDK sends a POST again whose answer was lost, and says that it does."""
    lists = client.zero_trust.gateway.lists
    first = lists.create(account_id=account.id, name="hosts", type="DOMAIN")
    with pytest.raises(ConflictError):
        lists.create(account_id=account.id, name="hosts", type="DOMAIN")
    again = lists.create(account_id=account.id, name="hosts", type="DOMAIN", extra_headers={"x-stainless-retry-count": "1"})
    assert first is not None
    assert again is not None
    assert again.id == first.id
    with pytest.raises(ConflictError):  # another one of the name
        lists.create(account_id=account.id, name="hosts", type="IP", extra_headers={"x-stainless-retry-count": "1"})
    assert len(list(lists.list(account_id=account.id))) == 1


# ---- Lists --------------------------------------------------------------------------------------------------------------


def test_a_list_grows_shrinks_and_keeps_its_items(account: Account, client: Cloudflare) -> None:
    lists = client.zero_trust.gateway.lists
    made = lists.create(
        account_id=account.id, name="Wiki hosts", type="DOMAIN", items=[{"value": "a.example"}, {"value": "b.example"}]
    )
    assert made is not None
    list_id = str(made.id)
    kept = lists.update(list_id, account_id=account.id, name="Wiki hosts", description="without items")
    assert kept is not None
    assert (kept.description, kept.count) == ("without items", 2)
    changed = lists.edit(list_id, account_id=account.id, append=[{"value": "c.example"}], remove=["A.example"])
    assert changed is not None
    assert changed.count == 2
    found = [item.value for item in lists.items.list(list_id, account_id=account.id)]
    assert found == ["b.example", "c.example"]
    lists.update(list_id, account_id=account.id, name="Wiki hosts", items=[{"value": "d.example"}])
    assert [item.value for item in lists.items.list(list_id, account_id=account.id)] == ["d.example"]
    with pytest.raises(BadRequestError) as caught:
        lists.edit(list_id, account_id=account.id, append=[{"value": "*.example"}])
    assert "*.example" in told(caught.value)[0]
    lists.delete(list_id, account_id=account.id)
    assert lists.list(account_id=account.id).result == []


# ---- Gateway rules ------------------------------------------------------------------------------------------------------


def test_a_gateway_rule_with_posture_and_a_list(account: Account, client: Cloudflare, posture_id: str) -> None:
    hosts = client.zero_trust.gateway.lists.create(
        account_id=account.id, name="Wiki", type="DOMAIN", items=[{"value": "wiki.corp.example"}]
    )
    assert hosts is not None
    rules = client.zero_trust.gateway.rules
    made = rules.create(
        account_id=account.id,
        name="wiki needs a certificate",
        action="block",
        enabled=True,
        filters=["http"],
        traffic=f"http.request.host in ${hosts.id}",
        device_posture=f'not any(device_posture.checks.passed[*] == "{posture_id}")',
        rule_settings={"block_reason": "enroll your laptop"},
    )
    assert made is not None
    assert (made.precedence, made.identity, made.enabled) == (1000, None, True)
    assert made.rule_settings is not None
    assert made.rule_settings.block_reason == "enroll your laptop"
    second = rules.create(account_id=account.id, name="last", action="allow", filters=["http"])
    assert second is not None
    assert second.precedence > made.precedence
    assert (second.enabled, second.traffic) == (False, "")
    assert [rule.name for rule in rules.list(account_id=account.id)] == ["wiki needs a certificate", "last"]
    replaced = rules.update(str(second.id), account_id=account.id, name="first", action="allow", filters=["http"], precedence=1)
    assert replaced is not None
    assert [rule.name for rule in rules.list(account_id=account.id)] == ["first", "wiki needs a certificate"]
    with pytest.raises(ConflictError):
        client.zero_trust.gateway.lists.delete(str(hosts.id), account_id=account.id)
    rules.delete(str(made.id), account_id=account.id)
    with pytest.raises(NotFoundError):
        rules.get(str(made.id), account_id=account.id)


def test_an_expression_that_is_wrong_says_where(account: Account, client: Cloudflare) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.zero_trust.gateway.rules.create(
            account_id=account.id, name="wrong", action="block", filters=["http"], traffic='http.request.host === "a"'
        )
    message, place = told(caught.value)
    assert place == "/traffic"
    assert re.search(r"\(?1:\d+\)?", message), message


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"action": "isolate", "enabled": True}, "/action"),
        ({"filters": ["dns"], "enabled": True}, "/filters/0"),
        ({"filters": ["http", "l4"]}, "/filters"),
        ({"traffic": "http.request.host in $nowhere"}, "/traffic"),
        ({"enabled": True, "schedule": {"mon": "08:00-12:00"}}, "/schedule"),
        ({"enabled": True, "rule_settings": {"check_session": {"enforce": True}}}, "/rule_settings/check_session/enforce"),
    ],
)
def test_what_is_not_enforced_is_refused(account: Account, client: Cloudflare, wrong: dict[str, Any], pointer: str) -> None:
    right: dict[str, Any] = {"name": "rule", "action": "allow", "filters": ["http"]}
    with pytest.raises(BadRequestError) as caught:
        client.zero_trust.gateway.rules.create(account_id=account.id, **(right | wrong))
    assert told(caught.value)[1] == pointer


# ---- Access -------------------------------------------------------------------------------------------------------------


def test_an_application_with_policies_of_three_kinds(account: Account, client: Cloudflare, posture_id: str) -> None:
    access = client.zero_trust.access
    posture: Any = {"device_posture": {"integration_uid": posture_id}}
    reusable = access.policies.create(
        account_id=account.id, name="staff", decision="allow", include=EVERYONE, require=[posture], session_duration="24h"
    )
    assert reusable is not None
    assert (reusable.reusable, reusable.session_duration) == (True, "24h")
    policies: Any = [
        {"id": str(reusable.id), "precedence": 2},
        {"name": "nobody from outside", "decision": "deny", "include": EVERYONE, "exclude": [posture], "precedence": 1},
    ]
    app = access.applications.create(
        account_id=account.id,
        name="Wiki",
        type="self_hosted",
        domain="wiki.corp.example",
        session_duration="24h",
        app_launcher_visible=True,
        policies=policies,
    )
    assert app is not None
    found: Any = app
    assert (found.session_duration, found.app_launcher_visible) == ("24h", True)
    assert len(found.aud) == 64
    assert [(policy.name, policy.precedence) for policy in found.policies] == [("nobody from outside", 1), ("staff", 2)]
    scoped = access.applications.policies.create(
        str(found.id), account_id=account.id, extra_body={"name": "late", "decision": "deny", "include": EVERYONE}, precedence=9
    )
    assert scoped is not None
    listed = list(access.applications.policies.list(str(found.id), account_id=account.id))
    assert [policy.name for policy in listed] == ["nobody from outside", "staff", "late"]
    access.applications.policies.update(
        str(scoped.id),
        app_id=str(found.id),
        account_id=account.id,
        extra_body={"name": "later", "decision": "deny", "include": EVERYONE},
    )
    got: Any = access.applications.policies.get(str(scoped.id), app_id=str(found.id), account_id=account.id)
    assert (got.name, got.precedence) == ("later", 9)
    with pytest.raises(ConflictError):
        access.applications.policies.delete(str(reusable.id), app_id=str(found.id), account_id=account.id)
    with pytest.raises(ConflictError):
        access.policies.delete(str(reusable.id), account_id=account.id)
    replaced: Any = access.applications.update(
        str(found.id), account_id=account.id, name="Wiki", type="self_hosted", domain="wiki.corp.example"
    )
    assert [policy.name for policy in replaced.policies] == ["later"]
    access.applications.policies.delete(str(scoped.id), app_id=str(found.id), account_id=account.id)
    assert access.applications.get(str(found.id), account_id=account.id).policies == []  # type: ignore[union-attr]
    access.policies.delete(str(reusable.id), account_id=account.id)
    access.applications.delete(str(found.id), account_id=account.id)
    assert list(access.applications.list(account_id=account.id)) == []


def test_groups_are_used_and_kept_while_they_are(account: Account, client: Cloudflare) -> None:
    access = client.zero_trust.access
    group = access.groups.create(
        account_id=account.id, name="staff", include=[{"email_domain": {"domain": "corp.example"}}], is_default=False
    )
    assert group is not None
    policy = access.policies.create(
        account_id=account.id, name="let staff in", decision="allow", include=[{"group": {"id": str(group.id)}}]
    )
    assert policy is not None
    with pytest.raises(ConflictError):
        access.groups.delete(str(group.id), account_id=account.id)
    renamed = access.groups.update(str(group.id), account_id=account.id, name="people", include=EVERYONE)
    assert renamed is not None
    assert renamed.name == "people"
    access.policies.delete(str(policy.id), account_id=account.id)
    access.groups.delete(str(group.id), account_id=account.id)
    assert list(access.groups.list(account_id=account.id)) == []


@pytest.mark.parametrize("wrong", ["approval_required", "isolation_required", "purpose_justification_required"])
def test_a_policy_that_asks_for_more_than_is_enforced_is_refused(account: Account, client: Cloudflare, wrong: str) -> None:
    create: Any = client.zero_trust.access.policies.create
    with pytest.raises(BadRequestError) as caught:
        create(account_id=account.id, name="more", decision="allow", include=EVERYONE, **{wrong: True})
    assert told(caught.value)[1] == f"/{wrong}"
    assert create(account_id=account.id, name="more", decision="allow", include=EVERYONE, **{wrong: False}) is not None


def test_pages_end(account: Account, client: Cloudflare) -> None:
    for number in range(5):
        client.zero_trust.access.groups.create(account_id=account.id, name=f"group {number}", include=EVERYONE)
    found = [group.name for group in client.zero_trust.access.groups.list(account_id=account.id, per_page=2)]
    assert found == [f"group {number}" for number in range(5)]
    assert client.zero_trust.access.groups.list(account_id=account.id, page=9).result == []


# ---- Devices ------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # of the SDK's, about a call that is made in its place
def test_there_is_no_device_yet(account: Account, client: Cloudflare) -> None:
    assert list(client.zero_trust.devices.devices.list(account_id=account.id)) == []
    assert list(client.zero_trust.devices.registrations.list(account_id=account.id)) == []
    with pytest.raises(NotFoundError):
        client.zero_trust.devices.devices.get("dev_none", account_id=account.id)
    with pytest.raises(NotFoundError):
        client.zero_trust.devices.registrations.revoke(account_id=account.id, id=["dev_none"])


# ---- Everything else ----------------------------------------------------------------------------------------------------


async def test_the_asynchronous_client_works_as_well(account: Account) -> None:
    async with AsyncCloudflare(base_url=account.base_url, api_token=account.token) as client:
        made = await client.zero_trust.gateway.lists.create(account_id=account.id, name="hosts", type="DOMAIN")
        assert made is not None
        assert [each.name async for each in client.zero_trust.gateway.lists.list(account_id=account.id)] == ["hosts"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/accounts/{}/nowhere", None, 404),
        ("PATCH", "/accounts/{}/mtls_certificates", b"{}", 405),
        ("POST", "/accounts/{}/devices/posture", b"{nonsense", 400),
        ("POST", "/accounts/{}/devices/posture", b"[]", 400),
        ("POST", "/accounts/{}/devices/posture", b'{"name": 1, "type": "client_certificate"}', 400),
        ("GET", "/accounts/{}/access/apps?page=0", None, 400),
        ("GET", "/zones/1/access/apps", None, 404),
    ],
)
def test_every_failure_has_the_envelope(account: Account, method: str, path: str, body: bytes | None, status: int) -> None:
    url = account.base_url + path.format(account.id)
    headers = {"Authorization": f"Bearer {account.token}", "Content-Type": "application/json"}
    answer = httpx.request(method, url, content=body, headers=headers)
    assert answer.status_code == status
    told_of = answer.json()
    assert (told_of["success"], told_of["result"]) == (False, None)
    assert told_of["errors"][0]["message"]


@pytest.mark.parametrize(
    ("field", "pointer"),
    [
        ('"x": "\\ud800"', "/x"),
        ('"x": [{"\\udfff": 1}]', None),
        ('"x": ' + '{"a":' * 40 + "1" + "}" * 40, "/x"),
        ('"name": "\\ud800"', "/name"),
        ('"items": [{"value": 1}]', "/items/0/value"),
        ('"description": 5', "/description"),
    ],
)
def test_what_could_not_be_told_again_is_refused(account: Account, client: Cloudflare, field: str, pointer: str | None) -> None:
    """Kept, it would spoil every listing."""
    headers = {"Authorization": f"Bearer {account.token}", "Content-Type": "application/json"}
    body = '{"name": "hosts", "type": "DOMAIN", ' + field + "}"
    answer = httpx.post(f"{account.base_url}/accounts/{account.id}/gateway/lists", content=body, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0].get("source", {}).get("pointer")) == (400, pointer)
    assert client.zero_trust.gateway.lists.list(account_id=account.id).result == []


def test_a_body_that_is_too_large_or_of_no_length_has_the_envelope_too(account: Account) -> None:
    url = account.base_url + f"/accounts/{account.id}/devices/posture"
    headers = {"Authorization": f"Bearer {account.token}"}
    for content, status in ((b" " * (17 * 1024 * 1024), 413), (iter([b"{}"]), 411)):
        answer = httpx.post(url, content=content, headers=headers)
        assert (answer.status_code, answer.json()["success"]) == (status, False)


def test_the_reference_is_served_to_whoever_has_a_token(account: Account) -> None:
    url = account.base_url + "/openapi.json"
    assert httpx.get(url).status_code == 401
    page = httpx.get(url, headers={"Authorization": f"Bearer {account.token}"}).json()
    paths = page["paths"]
    assert {"/accounts/{account_id}/devices/posture", "/accounts/{account_id}/gateway/rules"} <= paths.keys()
    request = paths["/accounts/{account_id}/access/policies"]["post"]["requestBody"]
    assert request["content"]["application/json"]["schema"]["$ref"].endswith("/PolicyRequest")


def test_the_flow_of_the_documentation(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/api.md, as it is printed but for the address, the token, the account and the expression that blocks."""
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 3
    code = "\n".join(blocks)
    for printed, ours in (
        ("https://watchword.corp.example:7400", account.server.endpoints.operators),
        ("wwa.…", account.token),
        ("0c5a…", account.id),
    ):
        assert printed in code
        code = code.replace(printed, ours)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "issuing-ca.pem").write_bytes(account.pki.issuing.pem)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/api.md", "exec"), names)
    assert names["answer"].json() == {"entries": [], "next": None}
    with account.client() as client:
        assert [rule.name for rule in client.zero_trust.devices.posture.list(account_id=account.id)] == ["managed laptop"]
        assert [rule.enabled for rule in client.zero_trust.gateway.rules.list(account_id=account.id)] == [True]


def test_what_was_changed_is_in_force_when_answered(account: Account, client: Cloudflare, posture_id: str) -> None:
    """Asked through the operators' own API, right after the answer."""
    policies: Any = [{"name": "everybody", "decision": "bypass", "include": EVERYONE}]
    client.zero_trust.access.applications.create(
        account_id=account.id, name="Wiki", type="self_hosted", domain="wiki.corp.example", policies=policies
    )
    explained = httpx.post(
        f"{account.server.endpoints.operators}/api/v1/decisions/explain",
        json={"url": "https://wiki.corp.example/"},
        headers={"Authorization": f"Bearer {account.token}"},
    )
    assert explained.status_code == 200
    assert explained.json()["decision"] == "allow", explained.text


def test_a_root_of_another_name_may_have_the_same_certificate_name_no_second_time(account: Account, client: Cloudflare) -> None:
    other = root_authority("Other").pem.decode()
    client.mtls_certificates.create(account_id=account.id, ca=True, certificates=other, name="ca")
    with pytest.raises(ConflictError) as caught:
        client.mtls_certificates.create(account_id=account.id, ca=True, certificates=account.pki.issuing.pem.decode(), name="ca")
    assert "`ca`" in told(caught.value)[0]
