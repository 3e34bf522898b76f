"""Device tokens: issued to a device that proves its key, shown with a proof of a client's key, and never more than a name."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from services.world import SECRET, LocalCall, World, inlined
from support.device import Ended, SimulatedDevice
from support.pki import Credential, Pki
from support.rules import IDENTITY_HEADER, wiki_rules
from watchword.envelope import ENROLL_TYPE, TOKEN_TYPE, key_id
from watchword.v1 import posture_pb2 as wire
from watchword_agent.tokens import ProofKey
from watchword_server.core.model.names import DeviceId
from watchword_server.peer import Peer

AUDIENCE: Final = "https://wiki.corp.example"
URL: Final = "https://wiki.corp.example/pages/7"


@dataclass(slots=True)
class Gate:
    """nginx's door, and a device that has attested."""

    world: World
    pki: Pki
    device: SimulatedDevice
    credential: Credential
    key: ProofKey

    async def apply(self, **tokens: Any) -> None:
        document = inlined(wiki_rules(self.pki))
        (caller,) = document["callers"]
        caller["resolvers"] = ["client_certificate", "device_token"]
        caller["device_tokens"] = {"audience": AUDIENCE, **tokens}
        await self.world.apply(document)

    async def issued(self, *, audience: str = AUDIENCE, bound: bool = True, **wrong: Any) -> str | Ended:
        """The token that the device is given, or how the call ended."""
        call = LocalCall(self.world.house.agents.issue_token)
        try:
            await call.send(wire.IssueTokenRequest(device_id=wrong.get("asks_for", self.device.device_id)))
            answer = await call.receive()
            if isinstance(answer, Ended):
                return answer
            challenge = answer.challenge
            told = {
                "device_id": self.device.device_id,
                "key_id": key_id(self.device.public_key),
                "audience": challenge.audience,
                "session_id": challenge.session_id,
                "nonce": challenge.nonce,
                "token_audience": audience,
                "key_thumbprint": self.key.thumbprint if bound else "",
                **wrong.get("says", {}),
            }
            if "waits" in wrong:
                self.world.pass_time(wrong["waits"])
            signer = wrong.get("signer", self.device)
            envelope = signer.seal(wrong.get("payload_type", TOKEN_TYPE), wire.TokenRequest(**told))
            await call.send(wire.IssueTokenRequest(envelope=envelope))
            answer = await call.receive()
            return answer if isinstance(answer, Ended) else str(answer.result.token)
        finally:
            await call.close()

    async def token(self, **options: Any) -> str:
        token = await self.issued(**options)
        assert isinstance(token, str), token
        return token

    async def asked(self, *headers: tuple[str, str], certificate: Credential | None = None, url: str = URL) -> str:
        metadata: dict[str, tuple[str, ...]] = {
            "x-watchword-caller-secret": (SECRET,),
            "x-original-method": ("GET",),
            "x-original-url": (url,),
            IDENTITY_HEADER: ("ada@corp.example",),
        }
        if certificate is not None:
            metadata["x-client-cert"] = (certificate.pem.decode().replace("\n", "%0A").replace("+", "%2B"),)
        for name, value in headers:
            metadata[name] = (*metadata.get(name, ()), value)
        answer = await self.world.house.http_doors.auth_request.answer(Peer("127.0.0.1", metadata=metadata))
        return "allowed" if answer.status == 200 else str(answer.headers["x-watchword-reason"])

    def proof(self, token: str, *, key: Any = None, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A proof that holds, but for what is said otherwise; None leaves a claim out."""
        private = key or self.key.private
        kinds: list[tuple[type, Any, str]] = [
            (ec.EllipticCurvePrivateKey, ECAlgorithm, "ES256"),
            (ed25519.Ed25519PrivateKey, OKPAlgorithm, "EdDSA"),
            (rsa.RSAPrivateKey, RSAAlgorithm, "RS256"),
        ]
        algorithm, name = next((each, name) for kind, each, name in kinds if isinstance(private, kind))
        jwk = {k: v for k, v in algorithm.to_jwk(private.public_key(), as_dict=True).items() if k != "key_ops"}
        told = {
            "jti": base64.b64encode(self.world.house.ext_authz.decisions.fresh_bytes(9)).decode(),
            "htm": "GET",
            "htu": URL,
            "iat": int(self.world.house.clock.now()),
            "ath": base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode(),
            **claims,
        }
        payload = {k: v for k, v in told.items() if v is not None}
        return jwt.encode(payload, private, name, headers={"typ": "dpop+jwt", "jwk": jwk, **(headers or {})})

    async def shown(self, token: str, *proofs: str, **options: Any) -> str:
        return await self.asked(("device-token", token), *(("device-proof", proof) for proof in proofs), **options)


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    pki = Pki.make()
    async with World.open(tmp_path, pki) as world:
        credential = pki.issuing.issue("laptop-1.corp.example")
        device = await world.device("laptop-1", credential)
        gate = Gate(world, pki, device, credential, ProofKey.load_or_create(tmp_path / "client.key"))
        await gate.apply()
        await world.attest(device)
        yield gate


async def test_a_token_with_its_proof_is_the_device_as_strongly_as_a_key_can_bind_it(gate: Gate) -> None:
    token = await gate.token()
    assert await gate.shown(token, gate.proof(token)) == "allowed"
    assert await gate.shown(token, gate.key.proof(token, method="GET", url=URL)) == "allowed"
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims.keys() == {"iss", "aud", "sub", "iat", "exp", "jti", "cnf"}  # who, and nothing of how it stands
    assert (claims["sub"], claims["exp"] - claims["iat"]) == (gate.device.device_id, 300)
    assert await gate.asked() == "no_device"


async def test_a_token_says_nothing_of_how_the_device_stands(gate: Gate) -> None:
    token = await gate.token()
    gate.device.found = ()
    await gate.world.attest(gate.device, "certificate_not_found")
    assert await gate.shown(token, gate.proof(token)) == "check_failed"
    await gate.world.devices.lock(DeviceId(gate.device.device_id), "lost")
    assert await gate.shown(token, gate.proof(token)) == "device_locked"
    assert isinstance(await gate.issued(), Ended)
    await gate.world.devices.unlock(DeviceId(gate.device.device_id))
    await gate.world.devices.revoke(DeviceId(gate.device.device_id))
    assert await gate.shown(token, gate.proof(token)) == "device_revoked"
    assert isinstance(await gate.issued(), Ended)


async def test_a_token_that_does_not_hold_is_refused(gate: Gate) -> None:
    token = await gate.token()
    another = await gate.token(audience="https://elsewhere.example")
    now, claims = gate.world.house.clock.now(), jwt.decode(token, options={"verify_signature": False})
    assertion = gate.world.house.signing_keys.sign(claims, kind="watchword-assertion+jwt", now=now)
    for wrong in (another, assertion, "nonsense", token[:-6] + "AAAAAA"):
        assert await gate.shown(wrong, gate.proof(wrong)) == "device_token_refused", wrong
    assert await gate.shown(f"{token}, {token}") == "request_malformed"
    assert await gate.asked(("device-token", token), ("device-token", token)) == "request_malformed"
    gate.world.pass_time(301)
    assert await gate.shown(token, gate.proof(token)) == "device_token_refused"


async def test_a_proof_that_does_not_hold_is_refused(gate: Gate) -> None:
    """RFC 9449, 4.3, one after the other."""
    token, now = await gate.token(), int(gate.world.house.clock.now())
    used = gate.proof(token)
    assert await gate.shown(token, used) == "allowed"
    stranger = ec.generate_private_key(ec.SECP256R1())
    private = ECAlgorithm.to_jwk(gate.key.private, as_dict=True)
    wrong = {
        "none": (),
        "used before": (used,),
        "of another key": (gate.proof(token, key=stranger),),
        "of an Ed25519 key": (gate.proof(token, key=ed25519.Ed25519PrivateKey.generate()),),
        "of an RSA key": (gate.proof(token, key=rsa.generate_private_key(65537, 2048)),),
        "signed by another key": (gate.proof(token, key=stranger, headers={"jwk": dict(gate.key.jwk)}),),
        "with its private key": (gate.proof(token, headers={"jwk": private}),),
        "of another type": (gate.proof(token, headers={"typ": "JWT"}),),
        "without a key": (gate.proof(token, headers={"jwk": None}),),
        "critical": (gate.proof(token, headers={"crit": ["x"], "x": 1}),),
        "another method": (gate.proof(token, htm="POST"),),
        "another host": (gate.proof(token, htu="https://elsewhere.example/pages/7"),),
        "another path": (gate.proof(token, htu="https://wiki.corp.example/pages/8"),),
        "with a query": (gate.proof(token, htu=f"{URL}?x"),),
        "another scheme": (gate.proof(token, htu=URL.replace("https", "http")),),
        "another token": (gate.proof(token, ath="x" * 43),),
        "no token": (gate.proof(token, ath=None),),
        "old": (gate.proof(token, iat=now - 32),),
        "of tomorrow": (gate.proof(token, iat=now + 32),),
        "without a time": (gate.proof(token, iat=None),),
        "with a time that is none": (gate.proof(token, iat="now"),),
        "without an id": (gate.proof(token, jti=None),),
        "with a long id": (gate.proof(token, jti="x" * 129),),
        "with a secret": (jwt.encode({"jti": "x"}, "s" * 32, "HS256", headers={"typ": "dpop+jwt", "jwk": {"kty": "oct"}}),),
        "nonsense": ("nonsense",),
    }
    for name, proofs in wrong.items():
        assert await gate.shown(token, *proofs) == "device_proof_refused", name
    assert await gate.shown(token, gate.proof(token), gate.proof(token)) == "request_malformed"
    assert await gate.shown(token, gate.proof(token)) == "allowed"


async def test_a_bare_token_counts_where_the_caller_takes_one_and_binds_weakly(gate: Gate) -> None:
    token = await gate.token(bound=False)
    assert await gate.shown(token) == "device_proof_refused"
    await gate.apply(bearer=True)
    assert await gate.shown(token) == "allowed"
    bound = await gate.token()
    assert await gate.shown(bound) == "device_proof_refused"  # who has stolen it has not stolen its key


async def test_it_counts_with_the_certificate_only_if_both_are_one_device(gate: Gate) -> None:
    token = await gate.token()
    assert await gate.shown(token, gate.proof(token), certificate=gate.credential) == "allowed"
    other = gate.pki.issuing.issue("laptop-2.corp.example")
    second = await gate.world.device("laptop-2", other)
    await gate.world.attest(second)
    assert await gate.shown(token, gate.proof(token), certificate=other) == "device_conflict"
    assert await gate.shown("nonsense", certificate=gate.credential) == "device_token_refused"


async def test_only_the_device_s_own_key_gets_a_token_and_all_refusals_look_alike(gate: Gate) -> None:
    other = await gate.world.device("laptop-2", gate.pki.issuing.issue("laptop-2.corp.example"))
    ends = [
        await gate.issued(asks_for="dev_nobody"),
        await gate.issued(signer=other),
        await gate.issued(payload_type=ENROLL_TYPE),
        await gate.issued(asks_for=other.device_id),
        await gate.issued(says={"device_id": other.device_id}),
        await gate.issued(says={"key_id": key_id(other.public_key)}),
        await gate.issued(says={"audience": "another service"}),
        await gate.issued(says={"nonce": b"x" * 32}),
        await gate.issued(says={"session_id": b"x" * 16}),
        await gate.issued(says={"token_audience": ""}),
        await gate.issued(says={"token_audience": "x" * 256}),
        await gate.issued(says={"key_thumbprint": "short"}),
        await gate.issued(waits=61),
    ]
    assert {json.dumps([end.code.name, end.details]) for end in ends if isinstance(end, Ended)} == {
        json.dumps(["PERMISSION_DENIED", "device_not_active"])
    }
    assert len([end for end in ends if isinstance(end, Ended)]) == len(ends)
