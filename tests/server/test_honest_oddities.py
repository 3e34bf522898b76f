"""What looks odd and is no lie: it is believed, and it wins nothing."""

import datetime as dt
from typing import Any, Final

import pytest

from server.scene import LAPTOP, Scene, passes
from support.device import Lie
from watchword.envelope import key_id
from watchword.v1 import posture_pb2 as wire

_MAX_UINT64: Final = 2**64 - 1
_TEN_YEARS_MS: Final = 10 * 366 * 24 * 3600 * 1000


async def test_the_key_id_beside_a_signature_is_a_hint_and_no_decision(scene: Scene) -> None:
    device, other = await scene.enrolled(), await scene.enrolled()
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        for named in (key_id(other.public_key), "", "x" * 4000, "\x1b[2J"):

            def stated(envelope: wire.SignedEnvelope, named: str = named) -> None:
                envelope.signatures[0].keyid = named

            assert passes(await stream.attest(Lie(envelope=stated)), device)


async def test_the_bytes_that_were_verified_are_the_bytes_that_are_read(scene: Scene) -> None:
    """Fields in another order, and twice: protobuf takes the last one. Signed like that, and read like that."""
    device = await scene.enrolled()

    def odd(payload: bytes) -> bytes:
        return wire.Evidence(sequence=77, device_id="somebody").SerializeToString() + payload

    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        assert passes(await stream.attest(Lie(payload=odd)), device)


async def test_what_a_device_says_of_the_time_changes_nothing(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)
        usual = _lifetime(scene.operators.results(device.device_id)[LAPTOP])
        for wall_time in (-_TEN_YEARS_MS, 0, 2**63 - 1, _TEN_YEARS_MS + 10**12):

            def dated(evidence: wire.Evidence, wall_time: int = wall_time) -> None:
                evidence.boot.wall_time_unix_ms = wall_time
                evidence.boot.uptime_ms = _MAX_UINT64

            assert passes(await stream.attest(Lie(evidence=dated)), device)
            assert _lifetime(scene.operators.results(device.device_id)[LAPTOP]) == pytest.approx(usual, abs=0.01)


async def test_a_claim_about_a_check_nobody_asked_for_is_nobodys_question(scene: Scene) -> None:
    device = await scene.enrolled()
    async with device.attesting() as stream:
        assert passes(await stream.settle(), device)

        def more(evidence: wire.Evidence) -> None:
            evidence.checks.add(check_id="another", client_certificate=wire.ClientCertificateEvidence())

        answer = await stream.attest(Lie(evidence=more))
        assert passes(answer, device)
        assert isinstance(answer, wire.Ack)
        assert len(answer.results) == 1
        assert scene.operators.results(device.device_id).keys() == {LAPTOP}


def _lifetime(result: dict[str, Any]) -> float:
    evaluated, expires = (dt.datetime.fromisoformat(result[name]) for name in ("evaluated_at", "expires_at"))
    return (expires - evaluated).total_seconds()
