"""A running server, an operator at its socket, and devices to enroll: what the tests here start from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from grpc import StatusCode

from server.operators import EnrollmentToken, Operators
from support.device import HONEST, Answer, AttestStream, Ended, Lie, SimulatedDevice
from support.pki import Authority, Credential, Pki
from support.server import WatchwordServer
from watchword.v1 import posture_pb2 as wire

LAPTOP: Final = "managed-laptop"  # the check every scene has
DEVICE_CA: Final = "corp-device-ca"
HOSTNAME: Final = "laptop-1"
COMMON_NAME: Final = "laptop-1.corp.example"


def rules(
    pki: Pki,
    *,
    authorities: Mapping[str, Authority] | None = None,
    checks: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """A rule document: the device CA and the check `LAPTOP`; `checks` are further ones by name, with what their input says."""
    inputs: dict[str, Mapping[str, Any]] = {LAPTOP: {"extended_key_usage": ["clientAuth"]}, **(checks or {})}
    return {
        "certificates": [
            {"name": name, "pem": authority.pem.decode()}
            for name, authority in {DEVICE_CA: pki.issuing, **(authorities or {})}.items()
        ],
        "checks": [
            {"name": name, "type": "client_certificate_v2", "input": {"certificate_id": DEVICE_CA, **given}}
            for name, given in inputs.items()
        ],
    }


@dataclass(frozen=True, slots=True)
class Scene:
    """One server. `token` enrolls as many devices as the tests want."""

    server: WatchwordServer
    operators: Operators
    pki: Pki
    token: EnrollmentToken

    def device(self, **fields: Any) -> SimulatedDevice:
        """A device that is not enrolled yet; unless `fields` say otherwise, its certificate for the check `LAPTOP` is good."""
        fields.setdefault("hostname", HOSTNAME)
        if "found" not in fields and "found_for" not in fields:
            fields["found_for"] = {LAPTOP: (self.certificate(),)}
        return SimulatedDevice(self.server.endpoints.agents, **fields)

    async def enrolled(self, **fields: Any) -> SimulatedDevice:
        """An active device."""
        device = self.device(**fields)
        await enroll(device, self.token)
        return device

    def certificate(self, common_name: str | None = COMMON_NAME, **options: Any) -> Credential:
        """A certificate of the device CA."""
        return self.pki.issuing.issue(common_name, **options)

    def knows(self, device: SimulatedDevice) -> object:
        """All that an operator can see of a device, but whether it is connected: the end of a stream is noticed at leisure."""
        known = self.operators.devices()[device.device_id]
        return {**known, "connected": ...}, self.operators.results(device.device_id)


async def enroll(device: SimulatedDevice, token: EnrollmentToken, lie: Lie = HONEST) -> wire.EnrollResult:
    """Enrolls a device, which has to succeed."""
    result = await device.enroll(token.text, lie)
    assert isinstance(result, wire.EnrollResult), f"not enrolled: {result}"
    return result


def twin(device: SimulatedDevice, *, boot_id: bytes | None = None) -> SimulatedDevice:
    """The same device once more: same key, same certificates. What an attacker is who holds all of it, or a second agent.

    On the same machine, unless it says another `boot_id`.
    """
    return replace(device, found_for=dict(device.found_for), boot_id=device.boot_id if boot_id is None else boot_id)


def verdicts(answer: Answer, device: SimulatedDevice) -> dict[str, str]:
    """The reasons of an acknowledgement by the name of the check; `passed` stands for a pass."""
    assert isinstance(answer, wire.Ack), f"not acknowledged: {answer}"
    assert all(result.passed == (result.reason == "passed") for result in answer.results), answer
    assert device.checks is not None
    names = {check.id: check.name for check in device.checks.checks}
    return {names[result.check_id]: result.reason for result in answer.results}


def passes(answer: Answer, device: SimulatedDevice) -> bool:
    """Whether an acknowledgement says that the check `LAPTOP` passed."""
    return verdicts(answer, device)[LAPTOP] == "passed"


def check_named(device: SimulatedDevice, name: str) -> wire.Check:
    """A check the server told the device of."""
    assert device.checks is not None
    [found] = [check for check in device.checks.checks if check.name == name]
    return found


def challenge_of(stream: AttestStream) -> wire.Challenge:
    """The outstanding challenge."""
    assert stream.challenge is not None, f"none is outstanding; received: {stream.received}"
    return stream.challenge


async def closing_of(stream: AttestStream) -> str:
    """The code of the server's last message, after which the stream has to end."""
    closing = await stream.receive()
    assert isinstance(closing, wire.Closing), closing
    assert await stream.receive() == Ended(StatusCode.OK, "")
    return closing.code
