"""What may be allowed at most, said simply: from what everybody did, what the rules ask now, and what the CAs took back.

Nothing is cached and no result is kept: every question goes through all that a device last showed. It leans to allowing: where a
store failed and nobody can say whether something was kept, either is right. It is never asked why something was denied.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from histories.events import Shown
from histories.pool import Certificate, Pool
from histories.rules import APPLICATIONS, CheckRules, PolicyRules, RulesState

_CHALLENGE_SECONDS: Final = 60
_LEAST_CLAIM_AGE: Final = 60


@dataclass(frozen=True, slots=True)
class Said:
    """What a device showed for a check, and when it looked. `sure`: nothing happened since that could blur who proves what."""

    shown: tuple[Shown, ...]
    looked_at: float
    age: float
    sure: bool = False


@dataclass(frozen=True, slots=True)
class ListInForce:
    """A revocation list: the certificates and CAs on it that its CA issued, and until when it holds."""

    names: frozenset[str]
    until: float


@dataclass(slots=True)
class Line:
    """A device's stream, as far as its place in the order of streams goes. `before`: how many streams had shown themselves."""

    device: str
    before: int
    holds: bool = False


@dataclass(slots=True)
class Oracle:
    """Everything that was done. `possible`: the rules that may be in force; more than one only after the store failed."""

    pool: Pool
    time: float
    kept_rules: RulesState = field(default_factory=RulesState)
    possible: list[RulesState] = field(default_factory=lambda: [RulesState()])
    lists: dict[str, ListInForce] = field(default_factory=dict)
    newest: dict[tuple[str, str], tuple[Said, ...]] = field(default_factory=dict)  # first what is kept, then what may be believed
    failing: set[tuple[str, str]] = field(default_factory=set)  # shown to fail, and not kept: it counts until the server restarts
    ended: set[str] = field(default_factory=set)  # devices
    locked: set[str] = field(default_factory=set)  # devices whose end was not kept: as `failing`
    claims: dict[str, int] = field(default_factory=dict)  # how many streams of a device have shown themselves
    longest: dict[str, float] = field(default_factory=dict)  # the longest expiration that a check ever had
    saved: float = 0.0

    def __post_init__(self) -> None:
        self.saved = self.time
        self._remember_expirations()

    # ---- What happens ---------------------------------------------------------------------------------------------------

    def passes_time(self, seconds: float, *, wall: float) -> None:
        """Time that passed; a wall clock that was set forward is believed, one set back is not."""
        self.time = max(self.time + seconds, wall)

    def opens(self, device: str) -> Line:
        """A device says hello; that alone changes nothing."""
        return Line(device, self.claims.get(device, 0))

    def believes(self, line: Line, *, asked_at: float, lie: str) -> bool:
        """Whether evidence may be taken at all: of an active device, by its newest stream, soon after it was asked for."""
        newest = line.holds or line.before == self.claims.get(line.device, 0)
        active = line.device not in self.ended | self.locked
        return not lie and newest and active and self.time - asked_at <= _CHALLENGE_SECONDS

    def took(self, line: Line, said: dict[str, tuple[Shown, ...]], age: float) -> None:
        """Evidence was taken: it is what counts from now on."""
        self._claim(line)
        line.holds = True
        for check, shown in said.items():
            self.newest[line.device, check] = (Said(shown, self.time - age, age, sure=True),)
            self.failing.discard((line.device, check))

    def failed_to_take(self, line: Line, said: dict[str, tuple[Shown, ...]], age: float, *, kept: bool) -> None:
        """The store failed while evidence was committed. What fails counts all the same; what passes, only if it was kept."""
        for check, shown in said.items():
            here = Said(shown, self.time - age, age)
            if not any(self._passes(here, rules.checks[check]) for rules in self.possible):
                self.failing.add((line.device, check))
            if kept:
                self.newest[line.device, check] = (here, *self.newest.get((line.device, check), ()))
        if kept:
            self._claim(line)

    def saw_leave(self, line: Line) -> None:
        """A goodbye was taken: from now on the device has shown nothing."""
        self._claim(line)
        line.holds = True
        self.newest = {key: (self._nothing(),) if key[0] == line.device else said for key, said in self.newest.items()}

    def failed_to_see_leave(self, line: Line, *, kept: bool) -> None:
        """The store failed while a goodbye was committed. What is surely there ends all the same, the rest if it was kept."""
        for key, said in self.newest.items():
            if key[0] == line.device:
                if len(said) == 1:
                    self.failing.add(key)
                if kept:
                    self.newest[key] = (self._nothing(), *said)
        if kept:
            self._claim(line)

    def _nothing(self) -> Said:
        return Said((), self.time, 0)

    def changes_rules(self, change: Callable[[RulesState], RulesState], *, succeeded: bool, kept: bool) -> None:
        """An operator changed the rules; with a failure, what was kept takes effect at once, later, or at the next start."""
        self.blurs()
        if kept:
            self.kept_rules = change(self.kept_rules)
        if succeeded:
            self.possible = [self.kept_rules]
        elif self.kept_rules not in self.possible:
            self.possible.append(self.kept_rules)
        self._remember_expirations()

    def ends_device(self, device: str, *, kept: bool) -> None:
        """An operator revoked a device."""
        self.locked.add(device)
        if kept:
            self.ended.add(device)

    def restarts(self, *, wall: float) -> None:
        """Memory is lost; of time the server knows what it saved and what the clock on the wall says."""
        self.time = max(self.saved, wall)
        self.failing.clear()
        self.locked.clear()
        self.possible = [self.kept_rules]
        self.newest = {key: said[:1] for key, said in self.newest.items()}
        self.blurs()

    def blurs(self) -> None:
        """From now on nobody can say for sure who proves what."""
        self.newest = {key: tuple(replace(one, sure=False) for one in said) for key, said in self.newest.items()}

    def _claim(self, line: Line) -> None:
        if not line.holds:
            self.claims[line.device] = self.claims.get(line.device, 0) + 1

    def _remember_expirations(self) -> None:
        for rules in (*self.possible, self.kept_rules):
            for check, asked in rules.checks.items():
                seconds = float("inf") if asked.expiration is None else float(asked.expiration)
                self.longest[check] = max(self.longest.get(check, 0.0), seconds)

    # ---- What may be ----------------------------------------------------------------------------------------------------

    def may_allow(self, certificate: str | None, application: str) -> bool:
        """Whether anything speaks for a request with this client certificate to this application."""
        return any(self._may_allow(certificate, application, rules) for rules in self.possible)

    def _may_allow(self, name: str | None, application: str, rules: RulesState) -> bool:
        if name is None:
            return False
        certificate = self.pool.certificates[name]
        if certificate.root not in rules.cas or not self._is_valid(certificate) or "clientAuth" not in certificate.usages:
            return False
        if self._is_listed(certificate):
            return False
        if len(self._surely_proven_by(certificate.key)) > 1:
            return False
        check = APPLICATIONS[application]
        return any(
            self._leads_to(device, name) and self._stands(device, check, rules.checks[check], rules.policies[application])
            for device in self.pool.device_keys
            if device not in self.ended | self.locked
        )

    def _leads_to(self, device: str, certificate: str) -> bool:
        """Whether the device proves the certificate's key, by the newest that it said about any check."""
        return any(
            Shown(certificate) in one.shown and self.time < one.looked_at + self.longest[check]
            for (of_device, check), said in self.newest.items()
            for one in said
            if of_device == device
        )

    def _stands(self, device: str, check: str, asked: CheckRules, policy: PolicyRules) -> bool:
        if (device, check) in self.failing or (policy.level == "proven" and not asked.proof):
            return False
        return any(
            self._passes(one, asked) and (policy.max_age is None or self.time - one.looked_at <= policy.max_age)
            for one in self.newest.get((device, check), ())
        )

    def _passes(self, said: Said, asked: CheckRules) -> bool:
        if said.age > max(asked.schedule, _LEAST_CLAIM_AGE):
            return False
        if asked.expiration is not None and self.time >= said.looked_at + asked.expiration:
            return False
        return any(self._is_good(shown, asked) for shown in said.shown)

    def _is_good(self, shown: Shown, asked: CheckRules) -> bool:
        certificate = self.pool.certificates[shown.certificate]
        issued = certificate.ca == asked.ca if asked.trust == "issuer" else certificate.root == asked.ca
        named = asked.common_name is None or asked.common_name.lower() == certificate.common_name
        proven = shown.proof == "good" or not asked.proof
        usable = set(asked.usages) <= certificate.usages
        return (
            issued and named and proven and usable and self._is_valid(certificate) and not self._is_taken_back(certificate, asked)
        )

    def _is_valid(self, certificate: Certificate) -> bool:
        return certificate.valid_from <= self.time <= certificate.valid_until

    def _is_taken_back(self, certificate: Certificate, asked: CheckRules) -> bool:
        if asked.revocation == "off":
            return False
        if asked.revocation == "require" and not all(self._is_current(ca) for ca in {certificate.ca, certificate.root}):
            return True
        return self._is_listed(certificate)

    def _is_current(self, ca: str) -> bool:
        found = self.lists.get(ca)
        return found is not None and self.time < found.until

    def _is_listed(self, certificate: Certificate) -> bool:
        """Whether the newest list of its CA names it, or that of the CA above names its CA. A list that has ended counts too."""
        named = {name for ca in {certificate.ca, certificate.root} if ca in self.lists for name in self.lists[ca].names}
        return certificate.name in named or certificate.ca in named

    def _surely_proven_by(self, key: bytes) -> set[str]:
        """The devices that prove a key beyond doubt: by evidence about which nothing has changed since."""
        (rules,) = self.possible if len(self.possible) == 1 else (None,)
        if rules is None:
            return set()
        return {
            device
            for (device, check), (said, *_) in self.newest.items()
            if said.sure
            and len(said.shown) == 1
            and said.shown[0].proof == "good"
            and self.pool.certificates[said.shown[0].certificate].key == key
            and rules.checks[check].proof
            and device not in self.ended | self.locked
            and self._passes(said, rules.checks[check])
        }
