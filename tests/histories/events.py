"""What can happen, as values, and the making of histories from a seed.

An event says what somebody does, never what comes of it: whatever was taken out of a history, the rest of it can still happen.
"""

import random
from dataclasses import dataclass
from typing import Final

from histories.pool import CERTIFICATES, DEVICES
from histories.rules import APPLICATIONS


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate in evidence. `proof`: good, missing, of another key, or over another nonce."""

    certificate: str
    proof: str = "good"


@dataclass(frozen=True, slots=True)
class Attest:
    """A device says what it found. None for a check: it says nothing; an empty tuple: it found nothing.

    `session`: same, new, or older (the one before the newest). `lie`: what is wrong with the envelope. `delay`: seconds between
    the challenge and its answer.
    """

    device: str
    first: tuple[Shown, ...] | None
    second: tuple[Shown, ...] | None
    session: str = "same"
    age: int = 0
    delay: int = 0
    lie: str = ""


@dataclass(frozen=True, slots=True)
class SayGoodbye:
    """A device ends all that it proved. `session`, `lie` and `delay` as above."""

    device: str
    session: str = "same"
    delay: int = 0
    lie: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nobody says anything."""

    seconds: int


@dataclass(frozen=True, slots=True)
class StepWallClock:
    """Somebody sets the clock of the server's machine, forward or back."""

    seconds: int


@dataclass(frozen=True, slots=True)
class ChangeCheck:
    """An operator changes one thing about a check."""

    check: str
    what: str
    value: object


@dataclass(frozen=True, slots=True)
class ChangePolicy:
    """An operator changes what an application asks of evidence."""

    application: str
    max_age: int | None
    level: str | None


@dataclass(frozen=True, slots=True)
class RemoveCa:
    """An operator removes a CA; its checks ask for the other one."""

    name: str


@dataclass(frozen=True, slots=True)
class AddCas:
    """An operator uploads what is missing of the CAs."""


@dataclass(frozen=True, slots=True)
class PublishList:
    """A CA's revocation list arrives; it names those of these certificates that it issued, and holds for some time."""

    ca: str
    names: tuple[str, ...]
    seconds: int


@dataclass(frozen=True, slots=True)
class WithdrawList:
    """An operator removes a CA's list."""

    ca: str


@dataclass(frozen=True, slots=True)
class RevokeDevice:
    """An operator ends a device."""

    device: str


@dataclass(frozen=True, slots=True)
class Break:
    """The next calls of a method of the store fail while one more thing happens, before or after they did their work."""

    method: str
    after: bool
    times: int = 1


@dataclass(frozen=True, slots=True)
class Restart:
    """The server starts anew after some time, on a machine whose clock may have been set meanwhile."""

    seconds: int
    step: int


Event = (
    Attest
    | SayGoodbye
    | Wait
    | StepWallClock
    | ChangeCheck
    | ChangePolicy
    | RemoveCa
    | AddCas
    | PublishList
    | WithdrawList
    | RevokeDevice
    | Break
    | Restart
)


@dataclass(frozen=True, slots=True)
class Step:
    """Something happens, then requests are decided: (certificate or None, application)."""

    event: Event
    asks: tuple[tuple[str | None, str], ...]


History = tuple[Step, ...]

_OWN: Final = {"laptop-a": ("a", "a-short", "both"), "laptop-b": ("b", "b-early"), "laptop-c": ("c-two", "deep")}
_WAITS: Final = (1, 30, 60, 61, 119, 120, 121, 299, 300, 301, 600, 899, 900, 901, 3600)
_CHANGES: Final[dict[str, tuple[object, ...]]] = {
    "ca": ("one", "one", "two"),
    "common_name": (None, None, "laptop-a", "LAPTOP-B", "laptop-c"),
    "usages": ((), ("clientAuth",), ("clientAuth", "emailProtection")),
    "proof": (True, True, False),
    "trust": ("issuer", "chain"),
    "revocation": ("off", "prefer", "require"),
    "on_clone": ("fail", "flag"),
    "schedule": (60, 300, 600),
    "expiration": (120, 300, 900, 900, None),
}
_BROKEN: Final = ("commit_evidence",) * 4 + (
    "commit_rejudged",
    "commit_rejudged",
    "claims",
    "commit_rules",
    "set_device_state",
    "bindings",
    "posture",
)
_USES: Final = {  # what goes through which method of the store
    "commit_evidence": "attest",
    "commit_rejudged": "check",
    "claims": "check",
    "commit_rules": "check",
    "set_device_state": "revoke",
    "bindings": "attest",
    "posture": "attest",
}
_KINDS: Final = {
    "attest": 49,
    "goodbye": 4,
    "wait": 22,
    "clock": 4,
    "check": 7,
    "policy": 2,
    "ca": 1,
    "list": 6,
    "revoke": 2,
    "break": 7,
    "restart": 4,
}
_SHORTEST, _LONGEST = 4, 8


def make_history(seed: int) -> History:
    """The history of a seed. It begins with a device that attests as it should: most of what matters comes after that."""
    dice = random.Random(seed)
    shown: list[str] = []
    events: list[Event] = []
    if dice.random() < 0.1:  # where a list is required there is one
        events += [PublishList("one", (), dice.choice((300, 900))), ChangeCheck("first", "revocation", "require")]
    events.append(_attest(dice, shown, honest=True))
    steps = [_step(dice, event, shown) for event in events]
    names, weights = tuple(_KINDS), tuple(_KINDS.values())
    for _ in range(dice.randint(_SHORTEST, _LONGEST) - 1):
        last = steps[-1].event
        if isinstance(last, Break) and dice.random() < 0.7:
            kind = _USES[last.method]
        else:
            (kind,) = dice.choices(names, weights)
        steps.append(_step(dice, _event(dice, kind, shown), shown))
    return tuple(steps)


def _step(dice: random.Random, event: Event, shown: list[str]) -> Step:
    asks = [(_asked_with(dice, shown), dice.choice(tuple(APPLICATIONS))) for _ in range(2)]
    return Step(event, tuple(asks))


def _asked_with(dice: random.Random, shown: list[str]) -> str | None:
    if shown and dice.random() < 0.85:
        return dice.choice(shown[-3:])
    return dice.choice((None, *CERTIFICATES))


def _event(dice: random.Random, kind: str, shown: list[str]) -> Event:  # one branch a kind
    match kind:
        case "attest":
            return _attest(dice, shown)
        case "goodbye":
            odd = dice.random() < 0.15
            return SayGoodbye(
                dice.choice((*DEVICES[:2], *DEVICES)),
                session=dice.choices(("same", "new", "older"), (6, 3, 1))[0],
                delay=0 if not odd else dice.choice((0, 60, 61)),
                lie="" if not odd else dice.choice(("", "other_key", "old_nonce", "other_device")),
            )
        case "wait":
            return Wait(dice.choice(_WAITS))
        case "clock":
            return StepWallClock(dice.choice((-7200, -600, -60, 60, 300, 600, 7200)))
        case "check":
            what = dice.choice(tuple(_CHANGES))
            return ChangeCheck(dice.choice(("first", "first", "second")), what, dice.choice(_CHANGES[what]))
        case "policy":
            return ChangePolicy(
                dice.choice(tuple(APPLICATIONS)), dice.choice((None, 60, 120, 600)), dice.choice((None, "signed", "proven"))
            )
        case "ca":
            return dice.choice((RemoveCa("one"), RemoveCa("two"), AddCas()))
        case "list":
            ca = dice.choice(("one", "one", "one", "two", "under-one"))
            if dice.random() < 0.25:
                return WithdrawList(ca)
            named = [dice.choice(shown[-3:])] if dice.random() < 0.6 else ["under-one"] if dice.random() < 0.2 else []
            return PublishList(ca, tuple(named), dice.choice((60, 300, 900, 86400)))
        case "revoke":
            return RevokeDevice(dice.choice(DEVICES))
        case "break":
            return Break(dice.choice(_BROKEN), dice.random() < 0.5, dice.choice((1, 1, 3)))
        case _:
            return Restart(dice.choice((0, 1, 60, 300)), dice.choice((0, 0, 0, -3600, -60, 600)))


def _attest(dice: random.Random, shown: list[str], *, honest: bool = False) -> Attest:
    device = dice.choice(DEVICES[:2]) if honest else dice.choice(DEVICES)
    own = _OWN[device]
    certificate = own[0] if honest or dice.random() < 0.6 else dice.choice(own)
    if not honest and dice.random() < 0.12:  # somebody else's
        certificate = dice.choice(CERTIFICATES)
    shown.append(certificate)
    good = honest or dice.random() < 0.75
    found: tuple[Shown, ...] = (Shown(certificate),)
    if not good:
        proof = dice.choice(("missing", "other_key", "other_nonce"))
        found = dice.choice(((), (), (Shown(certificate, proof),), (Shown("mail"),), (Shown("mail"), Shown(certificate))))
    second = None if dice.random() < 0.5 else dice.choice((found, found, (Shown(certificate),), ()))
    first = None if second is not None and not honest and dice.random() < 0.15 else found
    odd = not honest and dice.random() < 0.12
    return Attest(
        device,
        first,
        second,
        session=dice.choices(("same", "new", "older"), (6, 3, 1))[0],
        age=0 if honest else dice.choices((0, 30, 60, 61, 299, 301), (8, 1, 1, 1, 1, 1))[0],
        delay=0 if not odd else dice.choice((0, 59, 60, 61, 300)),
        lie="" if not odd else dice.choice(("", "other_key", "old_nonce", "other_device", "replay")),
    )
