"""Lies about time and order: answers to other challenges, out of sequence, too late, or about what was long ago."""

import time
from collections.abc import Callable
from typing import Any, Final

from adversary.arena import IMPATIENT_SECONDS, LAPTOP, Arena, claimed, told
from adversary.attack import NO_EFFECT, Attack, Outcome
from adversary.telling import Liar, Perform, evidence, fixed
from server.scene import twin
from support.device import Ended, Lie, fields
from support.processes import wait_until
from watchword.v1 import posture_pb2 as wire

_FOREIGN: Final = "evidence_foreign"
_TEN_YEARS_MS: Final = 10 * 366 * 24 * 3600 * 1000
_FIVE_MINUTES_MS: Final = 5 * 60 * 1000


async def _every_challenge_is_new(arena: Arena) -> Outcome:
    device = await arena.device(LAPTOP, credential := arena.certificate())
    nonces: list[bytes] = []
    for _ in range(10):
        async with device.attesting() as stream:
            for _ in range(20):
                challenge = await stream.ask_for_challenge()
                assert isinstance(challenge, wire.Challenge)
                nonces.append(challenge.nonce)
    assert len(set(nonces)) == 200
    assert {len(nonce) for nonce in nonces} == {32}
    ones = sum(int.from_bytes(nonce).bit_count() for nonce in nonces)
    assert abs(ones - 25_600) < 800  # seven standard deviations of 51,200 fair coins
    return Outcome(NO_EFFECT, LAPTOP, [device], [credential], honestly=lambda: arena.passes_with(device, credential))


async def _of_another_device(liar: Liar) -> Lie:
    other = await liar.another()
    assert other.challenge is not None
    return Lie(evidence=fields(nonce=other.challenge.nonce))


async def _of_the_other_stream(liar: Liar) -> Lie:
    other = await liar.second_stream()
    assert other.challenge is not None
    return Lie(evidence=fields(nonce=other.challenge.nonce))


async def _session_of_another_device(liar: Liar) -> Lie:
    other = await liar.another()
    assert other.challenge is not None
    return Lie(evidence=fields(session_id=other.challenge.session_id))


def _earlier_nonce(back: int) -> Callable[[Liar], Any]:
    async def tell(liar: Liar) -> Lie:
        nonces = []
        for _ in range(back):
            nonces.append(liar.challenge.nonce)
            await liar.stream.attest(claims=[])
        return Lie(evidence=fields(nonce=nonces[0]))

    return tell


async def _replaced_nonce(liar: Liar) -> Lie:
    old = liar.challenge.nonce
    await liar.stream.ask_for_challenge()
    return Lie(evidence=fields(nonce=old))


async def _too_late(arena: Arena) -> Outcome:
    """At a server whose challenges get old quickly; an honest device that is late answers the next one."""
    impatient = arena.impatient
    credential = arena.certificate()
    device = impatient.scene.device(found_for={LAPTOP: (credential,)})
    answer: object = None
    for _ in range(20):  # whoever is too slow tries again
        if isinstance(await device.enroll(impatient.scene.token.text), wire.EnrollResult):
            break
    async with device.attesting() as stream:
        received_in = stream.challenge
        assert received_in is not None
        _wait(1.2 * IMPATIENT_SECONDS)
        answer = await stream.attest()
    known = impatient.scene.operators.results(device.device_id)
    assert known == {}
    assert all(not decision.allowed for decision in impatient.decisions(credential, LAPTOP))
    return Outcome(told(answer, device), LAPTOP, shown=[credential])


def _wait(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > until, what="the challenge got old")


def _sequence(number: int) -> Perform:
    return evidence(fixed(Lie(evidence=fields(sequence=number))))


async def _replayed(arena: Arena, *, kept_back: bool) -> Outcome:
    """An envelope from an earlier session: one that was accepted there, or one that was never sent."""
    device = await arena.device(LAPTOP, credential := arena.certificate())
    async with claimed(device) as stream:
        envelope = stream.envelope()
        if not kept_back:
            await stream.send(wire.AttestRequest(envelope=envelope))
            assert told(await stream.answer(), device) == "passed"
            device.found_for = {}
            assert told(await stream.attest(), device) == "certificate_not_found"
    device.found_for = {LAPTOP: (credential,)}
    async with device.attesting() as stream:
        await stream.send(wire.AttestRequest(envelope=envelope))
        answer = await stream.answer()
    return Outcome(told(answer, device), LAPTOP, [device], [credential], honestly=lambda: arena.passes_with(device, credential))


async def _late_write(arena: Arena, *, first: bool) -> Outcome:
    """An older stream brings a pass after a newer one said that the certificate is gone."""
    device = await arena.device(LAPTOP, credential := arena.certificate())
    async with device.attesting() as older:
        if not first:
            assert told(await older.attest(), device) == "passed"
        without = twin(device)
        without.found_for = {}
        async with without.attesting() as newer:
            assert told(await newer.attest(), without) == "certificate_not_found"
        if first:
            answer: object = await older.attest()
        else:  # it is told at once, and whatever it still sends is not read
            answer = await older.receive_until(wire.Closing)
            await older.send(wire.AttestRequest(envelope=older.envelope()))
            assert isinstance(await older.receive(), Ended)
    return Outcome(told(answer, device), LAPTOP, [device], [credential], honestly=lambda: arena.passes_with(device, credential))


async def _clock_of_the_agent(arena: Arena) -> Outcome:
    """The control tells how long an honest result lasts; a liar's lasts no longer."""
    device = await arena.device(LAPTOP, credential := arena.certificate())
    lasting = []
    async with device.attesting() as stream:
        for wall_time in (None, -_TEN_YEARS_MS, _TEN_YEARS_MS + 1_800_000_000_000):

            def dated(evidence: wire.Evidence, wall_time: int | None = wall_time) -> None:
                if wall_time is not None:
                    evidence.boot.wall_time_unix_ms = wall_time
                    evidence.boot.uptime_ms = 2**64 - 1

            answer = await stream.attest(Lie(evidence=dated))
            assert isinstance(answer, wire.Ack)
            [result] = [result for result in answer.results if result.passed]
            lasting.append(result.expires_in_seconds)
    assert max(lasting) - min(lasting) <= 1, lasting
    return Outcome(NO_EFFECT, LAPTOP, unharmed=(device, credential))


ATTACKS: Final = (
    Attack(
        "nonces-come-again", (10,), "Collects challenges, hoping for one it has an answer to.", NO_EFFECT, _every_challenge_is_new
    ),
    Attack(
        "nonce-of-its-own-making",
        (10, 11),
        "Answers a nonce that it chose.",
        _FOREIGN,
        evidence(fixed(Lie(evidence=fields(nonce=bytes(32))))),
    ),
    Attack(
        "nonce-of-another-device", (11,), "Answers the nonce of another device's stream.", _FOREIGN, evidence(_of_another_device)
    ),
    Attack(
        "nonce-of-the-other-stream",
        (11,),
        "Answers the nonce of the device's second stream.",
        _FOREIGN,
        evidence(_of_the_other_stream),
    ),
    Attack("session-of-another-device", (11,), "Names another device's session.", _FOREIGN, evidence(_session_of_another_device)),
    Attack(
        "audience-of-another-server",
        (11,),
        "Relays evidence that was made for another server.",
        _FOREIGN,
        evidence(fixed(Lie(evidence=fields(audience="watchword/another")))),
    ),
    Attack("nonce-answered-late", (12,), "Answers a nonce that has got old.", "challenge_stale", _too_late),
    Attack("previous-nonce", (12,), "Answers the nonce before.", _FOREIGN, evidence(_earlier_nonce(1))),
    Attack(
        "nonce-before-the-previous", (12,), "Answers the nonce before the previous one.", _FOREIGN, evidence(_earlier_nonce(2))
    ),
    Attack(
        "nonce-that-was-replaced", (12,), "Asks for another nonce and answers the old one.", _FOREIGN, evidence(_replaced_nonce)
    ),
    Attack("sequence-repeated", (13,), "Counts its second evidence as the first.", "out_of_sequence", _sequence(1)),
    Attack("sequence-with-a-gap", (13,), "Leaves a number out.", "out_of_sequence", _sequence(3)),
    Attack("sequence-set-back", (13,), "Begins to count anew.", "out_of_sequence", _sequence(0)),
    Attack(
        "accepted-evidence-replayed",
        (14,),
        "Recorded a good envelope and sends it in a new session.",
        _FOREIGN,
        lambda arena: _replayed(arena, kept_back=False),
    ),
    Attack(
        "kept-back-evidence-replayed",
        (14,),
        "Kept a good envelope back and sends it in a new session.",
        _FOREIGN,
        lambda arena: _replayed(arena, kept_back=True),
    ),
    Attack(
        "late-write-of-an-unclaimed-session",
        (16,),
        "Said hello before a newer session said the certificate is gone.",
        "session_superseded",
        lambda arena: _late_write(arena, first=True),
    ),
    Attack(
        "late-write-of-a-superseded-session",
        (16,),
        "Held the session before a newer one said the certificate is gone.",
        "session_superseded",
        lambda arena: _late_write(arena, first=False),
    ),
    Attack(
        "epoch-of-its-own-making",
        (16,),
        "Names an epoch far ahead, to supersede whatever comes.",
        _FOREIGN,
        evidence(fixed(Lie(evidence=fields(epoch=2**64 - 1)))),
    ),
    Attack("clock-years-off", (17,), "Says that it is ten years later, and ten years earlier.", NO_EFFECT, _clock_of_the_agent),
    Attack(
        "old-claim-under-a-fresh-nonce",
        (18,),
        "Signs now what it looked at before the last schedule.",
        "claim_too_old",
        evidence(fixed(Lie(check=fields(age_ms=_FIVE_MINUTES_MS + 1)))),
    ),
    Attack(
        "claim-older-than-time",
        (18,),
        "Says an age that does not fit into a year.",
        "evidence_malformed",
        evidence(fixed(Lie(check=fields(age_ms=2**64 - 1)))),
    ),
)
