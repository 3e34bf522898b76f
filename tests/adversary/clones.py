"""A key that is alive twice: with one certificate or several, on one device record or two."""

import os
from collections.abc import Callable
from typing import Final

from adversary.arena import LAPTOP, Arena, told
from adversary.attack import Attack, Outcome
from server.scene import twin
from support.device import Lie, SimulatedDevice
from support.pki import Credential


async def _copied(arena: Arena, copy: Callable[[Arena, Credential], Credential]) -> Outcome:
    """The copy is enrolled with a token of its own; neither passes, until the operator ends it."""
    original = arena.certificate()
    victim = await arena.device(LAPTOP, original)
    await arena.passes_with(victim, original)
    shown = copy(arena, original)
    thief = await arena.device(LAPTOP, shown)
    async with thief.attesting() as stream:
        answer = await stream.attest()

    async def honestly() -> None:
        arena.scene.operators.revoke(thief.device_id)
        assert arena.standing(victim, LAPTOP) == "passed"
        await arena.passes_with(victim, original)

    return Outcome(told(answer, thief), LAPTOP, [thief, victim], [original, shown], honestly=honestly)


async def _picture(arena: Arena) -> Outcome:
    """Who only has the certificate flags nobody."""
    credential = arena.certificate()
    victim = await arena.device(LAPTOP, credential)
    await arena.passes_with(victim, credential)
    thief = await arena.device(LAPTOP, credential)
    async with thief.attesting() as stream:
        answer = await stream.attest(Lie(possession={"nonce": bytes(32)}))
    return Outcome(told(answer, thief), LAPTOP, [thief], unharmed=(victim, credential))


async def _image(arena: Arena, *, then: bool = False) -> Outcome:
    """A copied disk: two machines with one device key, told by their boots."""
    credential = arena.certificate()
    original = await arena.device(LAPTOP, credential)
    await arena.passes_with(original, credential)
    copy = twin(original, boot_id=os.urandom(16))
    await arena.passes_with(copy, credential)  # so far it could be a reboot
    answer = await _settled(original)
    if then:
        answer = await _settled(copy)

    async def honestly() -> None:
        arena.scene.operators.clear_clone(original.device_id)
        await arena.passes_with(original, credential)

    return Outcome(told(answer, original), LAPTOP, [original], [credential], honestly=honestly)


async def _boot_changed(arena: Arena) -> Outcome:
    """A second machine speaks on the stream of the first."""
    credential = arena.certificate()
    device = await arena.device(LAPTOP, credential)
    async with device.attesting() as stream:
        assert told(await stream.attest(), device) == "passed"
        device.boot_id = os.urandom(16)
        answer = await stream.attest()

    async def honestly() -> None:
        arena.scene.operators.clear_clone(device.device_id)
        await arena.passes_with(device, credential)

    return Outcome(told(answer, device), LAPTOP, [device], [credential], honestly=honestly)


async def _settled(device: SimulatedDevice) -> object:
    async with device.attesting() as stream:
        return await stream.attest()


_CLONED: Final = "certificate_cloned"

ATTACKS: Final = (
    Attack(
        "copied-certificate-and-key",
        (28,),
        "Copied certificate and key to a device of its own.",
        _CLONED,
        lambda arena: _copied(arena, lambda _, original: original),
    ),
    Attack(
        "copied-key-with-another-certificate",
        (28,),
        "Copied the key and had another certificate issued for it.",
        _CLONED,
        lambda arena: _copied(arena, lambda _, original: arena.certificate(key=original.key)),
    ),
    Attack(
        "copied-key-with-a-rewritten-certificate",
        (8, 28),
        "Copied the key and rewrote the certificate's signature, for another fingerprint.",
        _CLONED,
        lambda arena: _copied(arena, lambda _, original: original.with_rewritten_signature()),
    ),
    Attack(
        "picture-of-a-certificate",
        (25, 28),
        "Copied a certificate without its key, to have its device flagged.",
        "possession_invalid",
        _picture,
    ),
    Attack("copied-disk", (28,), "Copied a device's disk; the first machine attests again.", "device_key_cloned", _image),
    Attack(
        "copied-disk-once-it-is-noticed",
        (28,),
        "Copied a device's disk, and attests after that was noticed.",
        "device_key_cloned",
        lambda arena: _image(arena, then=True),
    ),
    Attack(
        "second-machine-on-the-stream",
        (28,),
        "Lets a second machine go on with the stream of the first.",
        "device_key_cloned",
        _boot_changed,
    ),
)
