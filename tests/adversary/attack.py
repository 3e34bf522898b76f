"""What an attack is: its name, who tries what, and the words in which it has to be refused."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from support.device import SimulatedDevice
from support.pki import Credential

if TYPE_CHECKING:
    from adversary.arena import Arena

NO_EFFECT: Final = "no_effect"  # it is not refused, and what it was after does not happen


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attack.

    `told`: the reason or code. `check`: the check it was to pass. `liars` must not pass it, `shown` must not open its
    application, at neither door; `unharmed` is a device that passed before and has to pass still, with its application open.
    `honestly` is the same without the lie and has to pass: proof that the lie alone was refused. None: a device like any other.
    """

    told: str
    check: str
    liars: Sequence[SimulatedDevice] = ()
    shown: Sequence[Credential] = ()
    unharmed: tuple[SimulatedDevice, Credential] | None = None
    honestly: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Attack:
    """One lie. `items` are numbers of `THREATS`; none: it is a lie about certificates, which has none.

    `attacker` says in a sentence what the attacker has and does; `expected` is the reason or code that has to be told.
    """

    name: str
    items: tuple[int, ...]
    attacker: str
    expected: str
    perform: Callable[["Arena"], Awaitable[Outcome]]


THREATS: Final[dict[int, str]] = {
    1: "the length that is signed counts bytes, also of a payload type whose characters take several",
    2: "what was signed as one kind of message is taken as another",
    3: "a message is encoded anew under the signature of the old bytes",
    4: "other bytes are read than were verified",
    5: "the key id of another device stands beside the signature",
    6: "two signatures stand where one belongs",
    7: "an Ed25519 key of small order, for which nobody needs a private key, is enrolled",
    8: "an ECDSA signature is rewritten as (r, n - s), to count as something new",
    9: "a key on another curve, a short RSA key, or another algorithm than the key's",
    10: "nonces come again or can be guessed",
    11: "the nonce of another stream or device is answered",
    12: "a nonce is answered late, or after the next one was sent",
    13: "a sequence number is repeated, skipped or set back",
    14: "evidence is replayed in a new session",
    15: "a nonce of the single-request form is answered at two replicas",
    16: "a late write of an older session lands after a newer one",
    17: "an agent's clock is years off, for a result that lasts longer",
    18: "old facts are signed with a fresh nonce",
    19: "a token for one use is used many times at once",
    20: "tokens are used up by whoever cannot prove a key",
    21: "a new key takes over an existing device or serial number",
    22: "refusals differ, and so tell what was wrong",
    23: "the key of a certificate request is not the proven one",
    24: "a message of an unknown kind gets through",
    25: "somebody without a proof ends a victim's session or makes it look bad",
    26: "a token stands readable in the store or in a log",
    27: "a key is rotated without the signatures of both keys",
    28: "a copied key goes unnoticed",
    42: "a proxy passes a client certificate that nobody verified",
    53: "no result, an expired one, a weak one or a failing verifier lets somebody in",
    54: "a word for how strictly to check that nobody knows is taken as not at all",
    55: "a failure is made good by a later result about something else",
}

NOT_APPLICABLE: Final[dict[int, str]] = {
    15: "there is no single-request form yet, and one process holds every nonce",
    23: "nobody sends certificate requests: agents get no certificates here",
}
