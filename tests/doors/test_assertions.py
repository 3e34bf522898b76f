"""The signed assertion for the application: on every allow, by a key that is published, about this request and no other."""

import json
from collections.abc import Mapping
from typing import Any

import jwt

from doors.stage import Ask, Stage, nginx_peer
from doors.test_auth_request import call
from watchword_server.doors.decisions_http import DecisionsHttp

HEADER = "x-watchword-assertion"


def claims(stage: Stage, token: str) -> Mapping[str, Any]:
    """As an application verifies it: by the key set we publish, and by nothing else of ours."""
    house = stage.world.house
    app = DecisionsHttp(house.http_doors, lambda: True, house.key_set)
    status, headers, body = stage.run(call(app, path="/.well-known/jwks.json"))
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "application/json", "public, max-age=300")
    key = jwt.PyJWKSet.from_dict(json.loads(body))[jwt.get_unverified_header(token)["kid"]]
    assert jwt.get_unverified_header(token)["typ"] == "watchword-assertion+jwt"
    told: Mapping[str, Any] = jwt.decode(
        token,
        key,
        algorithms=["ES256"],
        audience="https://wiki.corp.example",
        issuer=f"watchword/{house.account_id}",
        options={"verify_exp": False, "verify_iat": False},  # the stage has a clock of its own
    )
    return told


def test_an_allowed_request_leaves_with_an_assertion_and_a_denied_one_with_none(stage: Stage) -> None:
    ask = Ask(stage.credential)
    for told in (stage.nginx(ask), stage.envoy(ask)):
        assert told.allowed
        said = claims(stage, told.headers[HEADER])
        record = stage.record(told)
        assert said["exp"] - said["iat"] == 60
        assert 0 <= stage.world.house.clock.now() - said["iat"] < 31
        assert said["email"] == said["sub"] == record["user_email"]
        assert said["device"] == {"id": stage.device_id, "identified_by": "client_certificate", "binding": "certificate"}
        assert [(check["name"], check["evidence_level"]) for check in said["checks"]] == [("managed-laptop", "proven")]
        application = next(rule for rule in record["rules"] if rule["kind"] == "application")
        assert said["aud"] == [application["id"], "https://wiki.corp.example"]
    assert HEADER not in stage.nginx(Ask()).headers
    denied = stage.envoy(Ask())
    assert (denied.status, HEADER in denied.headers) == (403, False)


def test_it_is_remembered_until_half_its_life_and_for_the_same_results_only(stage: Stage) -> None:
    ask = Ask(stage.credential)
    first = stage.nginx(ask).headers[HEADER]
    assert stage.nginx(ask).headers[HEADER] == first
    stage.world.pass_time(31)
    second = stage.nginx(ask).headers[HEADER]
    assert second != first
    assert claims(stage, second)["iat"] > claims(stage, first)["iat"]


def test_the_key_set_asks_for_nothing_and_holds_no_private_key(stage: Stage) -> None:
    house = stage.world.house
    app = DecisionsHttp(house.http_doors, lambda: True, house.key_set)
    _, _, body = stage.run(call(app, path="/.well-known/jwks.json", peer=nginx_peer(Ask(secrets=()))))
    (key,) = json.loads(body)["keys"]
    assert key.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}
