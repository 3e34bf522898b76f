"""One server with a check and an application for everything that attackers want to pass, and the doors where it would show."""

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import grpc
import httpx

from adversary import authorities
from adversary.attack import Outcome
from adversary.authorities import Authorities
from doors.stage import Ask, check_request, read_check_response
from faults.proxy import SECRET, SECRET_HEADER, USER, Proxy
from faults.servers import UNHURRIED, surprises
from server.operators import EnrollmentToken, Operators
from server.scene import COMMON_NAME, Scene, enroll, verdicts
from support.device import HONEST, AttestStream, Lie, SimulatedDevice
from support.doors import CHECK_METHOD
from support.pki import Credential
from support.rules import IDENTITY_HEADER
from support.server import WatchwordServer
from watchword.envoy import ext_authz_pb2
from watchword.v1 import posture_pb2 as wire

LAPTOP: Final = "managed-laptop"
BY_HOSTNAME: Final = "named-after-the-hostname"
BY_SERIAL_NUMBER: Final = "named-after-the-serial-number"
BY_ALTERNATIVE_NAME: Final = "by-an-alternative-name"
UNPROVEN: Final = "without-a-proof"  # its application demands one
SHORT: Final = "for-a-minute"
YOUNG: Final = "looked-at-just-now"  # its application demands that
OF_AN_EXPIRED_CA: Final = "of-an-expired-ca"
OF_A_FUTURE_CA: Final = "of-a-future-ca"
OF_THE_ROOT: Final = "of-the-root-itself"
CHAIN: Final = "below-the-root"
LISTED: Final = "on-no-list"  # revocation: require
LISTED_CHAIN: Final = "on-no-list-below-the-root"  # as above, trust: chain
STALE_LIST: Final = "of-a-ca-with-an-old-list"  # as above
STAPLED: Final = "of-a-ca-without-a-list"  # as above
PREFERRED: Final = "known-to-be-good-or-not-known"  # revocation: prefer, on the CA of LISTED
_NOBODY_PASSES: Final = frozenset({UNPROVEN, OF_AN_EXPIRED_CA, OF_A_FUTURE_CA, STALE_LIST})

_INPUTS: Final[Mapping[str, Mapping[str, Any]]] = {
    LAPTOP: {"extended_key_usage": ["clientAuth"]},
    BY_HOSTNAME: {"cn": "${hostname}.corp.example"},
    BY_SERIAL_NUMBER: {"cn": "${serial_number}"},
    BY_ALTERNATIVE_NAME: {"subject_alternative_names": ["${hostname}.corp.example", "urn:corp:${serial_number}"]},
    UNPROVEN: {"check_private_key": False},
    SHORT: {},
    YOUNG: {},
    OF_AN_EXPIRED_CA: {"certificate_id": authorities.EXPIRED},
    OF_A_FUTURE_CA: {"certificate_id": authorities.FUTURE},
    OF_THE_ROOT: {"certificate_id": authorities.ROOT},
    CHAIN: {"certificate_id": authorities.ROOT, "trust": "chain", "extended_key_usage": ["clientAuth"]},
    LISTED: {"certificate_id": authorities.LISTED, "revocation": "require"},
    LISTED_CHAIN: {"certificate_id": authorities.LISTED, "revocation": "require", "trust": "chain"},
    STALE_LIST: {"certificate_id": authorities.STALE, "revocation": "require"},
    STAPLED: {"certificate_id": authorities.SILENT, "revocation": "require"},
    PREFERRED: {"certificate_id": authorities.LISTED, "revocation": "prefer"},
}
_DEMANDS: Final[Mapping[str, Mapping[str, str]]] = {UNPROVEN: {"level": "proven"}, YOUNG: {"max_age": "30s"}}


def host_of(check: str) -> str:
    """The application that demands this check, and nothing else."""
    return f"{check}.apps.example"


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decision door said of a request; `reason` is empty for an allow."""

    door: str
    allowed: bool
    reason: str


@dataclass
class Arena:
    """The server, its doors and its operator; `scene` enrolls devices."""

    scene: Scene
    authorities: Authorities
    directory: Path
    passes: dict[str, int] = field(default_factory=dict)  # by attack: how often somebody passed who must not
    _checks: wire.CheckSet | None = None
    _witness: tuple[SimulatedDevice, Credential] | None = None
    _impatient: "Arena | None" = None
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @classmethod
    @contextlib.contextmanager
    def open(cls, directory: Path, made: Authorities, **limits: float) -> Iterator[Self]:
        """A server of its own, with all rules in force."""
        settings = {**UNHURRIED, **{f"WATCHWORD_LIMITS__{name.upper()}": str(value) for name, value in limits.items()}}
        with contextlib.ExitStack() as closing, WatchwordServer(directory / "data", environment=settings) as server:
            operators = Operators(server.data)
            operators.apply(_rules(made))
            scene = Scene(server, operators, made.pki, operators.enrollment_token(max_uses=100_000))
            arena = cls(scene, made, directory, _closing=closing)
            for name, der in made.lists():
                assert arena.bring_list(name, der) == "", name
            yield arena
            closing.close()
            assert server.program.running, "it did not survive the lies"
            assert surprises(server) == []

    # ---- Who asks ---------------------------------------------------------------------------------------------------------

    @cached_property
    def nginx(self) -> Proxy:
        """A registered proxy at the HTTP listener."""
        return self._closing.enter_context(Proxy(self.scene.server.endpoints.decisions_http, secret=SECRET))

    @cached_property
    def _envoy(self) -> "grpc.UnaryUnaryMultiCallable[ext_authz_pb2.CheckRequest, ext_authz_pb2.CheckResponse]":
        channel = self._closing.enter_context(grpc.insecure_channel(self.scene.server.endpoints.decisions_grpc))
        return channel.unary_unary(
            CHECK_METHOD,
            request_serializer=ext_authz_pb2.CheckRequest.SerializeToString,
            response_deserializer=ext_authz_pb2.CheckResponse.FromString,
        )

    def envoy(self, ask: Ask, *, seconds: float = 20.0) -> Decided:
        """Asks the ext_authz listener."""
        response = self._envoy(check_request(ask), timeout=seconds, metadata=((SECRET_HEADER.lower(), SECRET),))
        told = read_check_response(response)
        return Decided("ext_authz", told.allowed, told.reason)

    def decisions(self, credential: Credential | None, check: str) -> list[Decided]:
        """Both doors about a request for the application of a check, by a client with this certificate."""
        asked = [self.envoy(Ask(credential=credential, host=host_of(check), user=USER))]
        if credential is None or len(credential.der) < 16 * 1024:  # what fits in an HTTP header
            told = self.nginx.ask(credential, host=host_of(check))
            asked.append(Decided("auth_request", told.allowed, told.reason))
        return asked

    def decided(self, credential: Credential | None, check: str) -> str:
        """The reason that both doors gave; empty: both let it in. Fails if they differ."""
        decisions = self.decisions(credential, check)
        assert len({(decision.allowed, decision.reason) for decision in decisions}) == 1, decisions
        return decisions[0].reason

    def operate(self, method: str, path: str, **request: Any) -> httpx.Response:
        """An operator's request as it is, for what is to be refused."""
        transport = httpx.HTTPTransport(uds=str(self.scene.server.data / "operators.sock"))
        with httpx.Client(base_url="http://watchword", transport=transport, timeout=20.0) as client:
            return client.request(method, f"/api/v1{path}", **request)

    def bring_list(self, certificate: str, der: bytes) -> str:
        """An operator brings a CA's revocation list; empty: it was taken, else why not."""
        response = self.operate("POST", f"/certificates/{certificate}/crl", content=der)
        return "" if response.status_code == 200 else json.dumps(response.json())

    # ---- Devices ----------------------------------------------------------------------------------------------------------

    async def device(
        self,
        check: str = LAPTOP,
        *found: Credential,
        also: Sequence[str] = (),
        token: EnrollmentToken | None = None,
        **fields: Any,
    ) -> SimulatedDevice:
        """An enrolled device that has attested nothing yet. It answers for this check, and for those `also` named."""
        device = self.scene.device(found_for={check: found}, **fields)
        await enroll(device, token or self.scene.token)
        device.checks = self.checks(check, *also)
        return device

    def checks(self, *names: str) -> wire.CheckSet | None:
        """What a device knows that answers for these checks alone."""
        known = self._checks
        if known is None:
            return None
        return wire.CheckSet(revision=known.revision, checks=[check for check in known.checks if check.name in names])

    def certificate(self, common_name: str | None = COMMON_NAME, **options: Any) -> Credential:
        """A certificate of the device CA."""
        return self.scene.certificate(common_name, **options)

    async def honest(self, check: str = LAPTOP) -> tuple[SimulatedDevice, Credential]:
        """A new honest device: it passes the check, and with its certificate its application is open."""
        credential, fields = self.authorities.honest(check)
        device = await self.device(check, credential, **fields)
        lie = HONEST
        if check == STAPLED:
            lie = stapled(self.authorities.response(credential))
        await self.passes_with(device, credential, check, lie)
        return device, credential

    async def passes_with(self, device: SimulatedDevice, credential: Credential, check: str = LAPTOP, lie: Lie = HONEST) -> None:
        """The device attests on a stream of its own; fails unless it passes and its application is open."""
        async with device.attesting() as stream:
            if device.checks is None:
                assert isinstance(await stream.settle(), wire.Ack)
            answer = await stream.attest(lie)
        assert verdicts(answer, device)[check] == "passed", answer
        assert self.decided(credential, check) == ""

    async def is_sound(self) -> None:
        """Honest operation: the witness attests and passes, and its application is open."""
        if self._witness is None:
            credential = self.certificate()
            device = await self.device(LAPTOP, credential)
            await self.passes_with(device, credential)
            self._checks, self._witness = device.checks, (device, credential)
            device.checks = self.checks(LAPTOP)
        await self.passes_with(*self._witness)

    def standing(self, device: SimulatedDevice, check: str) -> str:
        """A result as the operator sees it; `absent` if there is none."""
        result = self.scene.operators.results(device.device_id).get(check)
        return "absent" if result is None else str(result["standing"])

    # ---- Judging an attack --------------------------------------------------------------------------------------------------

    def count(self, name: str, outcome: Outcome) -> int:
        """How often the attack got anywhere: let in at a door, or passed as the operator sees it. Remembered in `passes`."""
        decisions = [decision for credential in outcome.shown for decision in self.decisions(credential, outcome.check)]
        let_in = [decision for decision in decisions if decision.allowed]
        passed = [device for device in outcome.liars if self.standing(device, outcome.check) == "passed"]
        self.passes[name] = len(let_in) + len(passed)
        return self.passes[name]

    async def prove_honesty_pays(self, outcome: Outcome) -> None:
        """Fails if the victim came to harm, or if the same without the lie does not pass."""
        if outcome.unharmed is not None:
            device, credential = outcome.unharmed
            assert self.standing(device, outcome.check) == "passed"
            assert self.decided(credential, outcome.check) == ""
        if outcome.honestly is not None:
            await outcome.honestly()
        else:
            await self.honest(LAPTOP if outcome.check in _NOBODY_PASSES else outcome.check)

    @property
    def impatient(self) -> "Arena":
        """Another server, whose challenges are old after `IMPATIENT_SECONDS`."""
        if self._impatient is None:
            other = Arena.open(self.directory / "impatient", self.authorities, challenge_max_age_seconds=IMPATIENT_SECONDS)
            self._impatient = self._closing.enter_context(other)
        return self._impatient


IMPATIENT_SECONDS: Final = 0.25


def stapled(*responses: bytes) -> Lie:
    """With these OCSP responses beside every certificate."""
    return Lie(candidate=lambda candidate: candidate.ocsp_responses.extend(responses))


def told(answer: object, device: SimulatedDevice, check: str = LAPTOP) -> str:
    """What a server answered to an envelope: the code of a refusal, or the check's reason."""
    match answer:
        case wire.Ack():
            return verdicts(answer, device)[check]
        case wire.Rejected() | wire.Closing():
            return answer.code
        case _:
            return str(getattr(answer, "details", answer))


@contextlib.asynccontextmanager
async def claimed(device: SimulatedDevice) -> AsyncIterator[AttestStream]:
    """A stream that has brought evidence: that there is no certificate."""
    found, device.found_for = device.found_for, {}
    async with device.attesting() as stream:
        assert isinstance(await stream.attest(), wire.Ack)
        device.found_for = found
        yield stream


def _rules(made: Authorities) -> dict[str, Any]:
    checks = [
        {
            "name": name,
            "type": "client_certificate_v2",
            "input": {"certificate_id": authorities.DEVICES, **given},
            **({"schedule": "1m", "expiration": "1m"} if name == SHORT else {}),
        }
        for name, given in _INPUTS.items()
    ]
    policies = [
        {
            "name": f"with-{name}",
            "decision": "allow",
            "include": [{"email_domain": {"domain": "corp.example"}}],
            "require": [{"device_posture": {"integration_uid": name}}],
            **({"evidence": _DEMANDS[name]} if name in _DEMANDS else {}),
        }
        for name in _INPUTS
    ]
    applications = [
        {"name": name, "type": "self_hosted", "domain": host_of(name), "policies": [f"with-{name}"]} for name in _INPUTS
    ]
    caller = {
        "name": "edge",
        "authenticate": {"secret_sha256": hashlib.sha256(SECRET.encode()).hexdigest()},
        "may_assert": ["client_certificate", "identity", "address"],
        "resolvers": ["client_certificate"],
        "identity": {"email_header": IDENTITY_HEADER},
    }
    certificates = [{"name": name, "pem": pem.decode()} for name, pem in made.uploaded().items()]
    return {
        "certificates": certificates,
        "checks": checks,
        "policies": policies,
        "applications": applications,
        "callers": [caller],
        "unmatched": "deny",
    }
