"""Who the user is, by a token of an identity provider's: verified here, whoever sent it; who shows a bad one is nobody."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from services.world import SECRET, World, inlined
from support.pki import Credential, Pki
from support.provider import AUDIENCE, ISSUER, Provider, provider
from support.rules import wiki_rules
from watchword_server.peer import Peer

__all__ = ["provider"]  # a fixture
HEADER: Final = "x-id-token"


@dataclass(slots=True)
class Gate:
    """nginx's door, asked about the wiki by somebody with a proven device."""

    world: World
    pki: Pki
    provider: Provider
    credential: Credential

    async def apply(self, **token: Any) -> None:
        """The caller's `identity.token`; None leaves a key out."""
        document = inlined(wiki_rules(self.pki))
        (caller,) = document["callers"]
        told = {"header": HEADER, "issuer": ISSUER, "audience": AUDIENCE, "jwks_url": self.provider.url, **token}
        caller["identity"] = {"token": {key: value for key, value in told.items() if value is not None}}
        caller["may_assert"] = ["client_certificate", "address"]
        document["gateway_rules"] = [
            {
                "name": "engineers-only",
                "precedence": 1,
                "enabled": True,
                "filters": ["http"],
                "action": "block",
                "traffic": 'http.request.uri.path == "/engineering"',
                "identity": 'not any(identity.groups.name[*] == "engineers")',
            }
        ]
        await self.world.apply(document)

    def token(self, **claims: Any) -> str:
        return self.provider.token(now=float(self.world.house.clock.now()), **claims)

    async def asked(self, *headers: tuple[str, str], path: str = "/") -> tuple[str, str | None]:
        """`allowed` or the reason, and the user that the application learns."""
        metadata: dict[str, tuple[str, ...]] = {
            "x-watchword-caller-secret": (SECRET,),
            "x-original-method": ("GET",),
            "x-original-url": (f"https://wiki.corp.example{path}",),
            "x-client-cert": (self.credential.pem.decode().replace("\n", "%0A").replace("+", "%2B"),),
        }
        for name, value in headers:
            metadata[name] = (*metadata.get(name, ()), value)
        answer = await self.world.house.http_doors.auth_request.answer(Peer("127.0.0.1", metadata=metadata))
        told = "allowed" if answer.status == 200 else str(answer.headers["x-watchword-reason"])
        return told, answer.headers.get("x-watchword-user")


@pytest.fixture
async def gate(tmp_path: Path, provider: Provider) -> AsyncIterator[Gate]:
    pki = Pki.make()
    async with World.open(tmp_path, pki) as world:
        gate = Gate(world, pki, provider, pki.issuing.issue("laptop-1.corp.example"))
        await gate.apply()
        await world.attest(await world.device("laptop-1", gate.credential))
        yield gate


async def test_a_token_that_holds_names_the_user_though_the_caller_may_assert_none(gate: Gate) -> None:
    assert await gate.asked((HEADER, gate.token(email="Ada@Corp.Example"))) == ("allowed", "ada@corp.example")
    assert await gate.asked() == ("fact_unknown", None)
    assert await gate.asked((HEADER, "")) == ("fact_unknown", None)
    assert await gate.asked(("x-authenticated-email", "ada@corp.example")) == ("fact_unknown", None)
    assert await gate.asked((HEADER, gate.token(email="eve@elsewhere.example"))) == ("no_policy_matched", None)


async def test_a_token_that_does_not_hold_denies_whoever_shows_it(gate: Gate) -> None:
    now = float(gate.world.house.clock.now())
    gate.provider.add("two")
    stranger = gate.token(key_id="two")
    del gate.provider.keys["two"]
    assert (await gate.asked((HEADER, gate.token())))[0] == "allowed"
    for wrong in (
        stranger,
        gate.token(aud="another"),
        gate.token(iss="https://elsewhere.example"),
        gate.token(exp=now - 31),
        gate.token(nbf=now + 31),
        gate.token(email=None),
        gate.token(email="two@x.example,three@x.example"),
        gate.token(email=["ada@corp.example"]),
        gate.token(email_verified=False),
        gate.token()[:-4] + "AAAA",
        "nonsense",
    ):
        assert await gate.asked((HEADER, wrong)) == ("token_refused", None), wrong
    assert (await gate.asked((HEADER, gate.token()), (HEADER, gate.token())))[0] == "request_malformed"


async def test_groups_of_a_claim_are_the_users_groups(gate: Gate) -> None:
    await gate.apply(groups_claim="groups")
    path = "/engineering"
    assert (await gate.asked((HEADER, gate.token(groups=["staff", "engineers"])), path=path))[0] == "allowed"
    assert (await gate.asked((HEADER, gate.token(groups=["staff"])), path=path))[0] == "gateway_block"
    assert (await gate.asked((HEADER, gate.token(groups=None)), path=path))[0] == "gateway_block"
    assert (await gate.asked((HEADER, gate.token(groups="engineers")), path=path))[0] == "token_refused"
    await gate.apply()
    assert (await gate.asked((HEADER, gate.token(groups=["engineers"])), path=path))[0] == "gateway_block"


async def test_a_token_may_come_in_a_cookie_or_as_bearer(gate: Gate) -> None:
    await gate.apply(header=None, cookie="CF_Authorization")
    token = gate.token()
    assert (await gate.asked(("cookie", f"a=1; CF_Authorization={token}; b=2")))[0] == "allowed"
    assert (await gate.asked(("cookie", "a=1"), ("cookie", f'CF_Authorization="{token}"')))[0] == "allowed"
    assert (await gate.asked(("cookie", f"cf_authorization={token}")))[0] == "fact_unknown"
    assert (await gate.asked(("cookie", f"CF_Authorization={token}; CF_Authorization={token}")))[0] == "request_malformed"
    await gate.apply(header="Authorization")
    assert (await gate.asked(("authorization", f"Bearer {token}")))[0] == "allowed"
    assert (await gate.asked(("authorization", "Basic YTpi")))[0] == "fact_unknown"


async def test_a_token_that_held_is_remembered_no_longer_than_it_holds(gate: Gate) -> None:
    token = gate.token(exp=float(gate.world.house.clock.now()) + 20)
    for _ in range(3):
        assert (await gate.asked((HEADER, token)))[0] == "allowed"
    assert gate.provider.asked == 1
    gate.world.pass_time(51)  # and the leeway is over
    assert (await gate.asked((HEADER, token)))[0] == "token_refused"


async def test_while_the_provider_never_answered_nobody_is_known(gate: Gate) -> None:
    gate.provider.status = 500
    assert await gate.asked((HEADER, gate.token())) == ("keys_unavailable", None)


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ({"header": None}, "one of `header` and `cookie`"),
        ({"cookie": "x"}, "one of `header` and `cookie`"),
        ({"header": "X-Watchword-User"}, "header of ours"),
        ({"cookie": "a b", "header": None}, "not the name of a cookie"),
        ({"jwks_url": "http://id.corp.example/keys"}, "https"),
        ({"algorithms": ["HS256"]}, "HS256"),
        ({"algorithms": ["none"]}, "none"),
        ({"leeway": "10m"}, "5m"),
        ({"issuer": None}, "issuer"),
    ],
)
async def test_what_would_let_anybody_in_is_refused(gate: Gate, token: dict[str, Any], told: str) -> None:
    with pytest.raises(Exception, match=told):
        await gate.apply(**token)
