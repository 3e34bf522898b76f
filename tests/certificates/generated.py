"""Chains by chance: mostly right, each wrong in a few ways; what was done to one is written on it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from certificates.making import DAY, Extension, Made, make, pooled_key, usage
from support.pki import KeyKind

_UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.5"), b"\x05\x00")
_CA_KEYS: tuple[KeyKind, ...] = ("p256", "p256", "p256", "rsa2048", "p384", "ed25519", "p521")
_LEAF_KEYS: tuple[KeyKind, ...] = (
    "p256",
    "p256",
    "p256",
    "p256",
    "p256",
    "rsa2048",
    "rsa2048",
    "ed25519",
    "p384",
    "p521",
    "p224",
)
_USAGES = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}


@dataclass(slots=True)
class _Plan:
    """One certificate before it is made."""

    text: str
    ca: bool
    number: int
    kind: KeyKind
    constraints: x509.BasicConstraints | None
    signs: bool | None  # by key usage; None: none
    extensions: list[Extension] = field(default_factory=list)
    alternative: list[x509.GeneralName] = field(default_factory=list)
    expired: bool = False
    future: bool = False
    forged: bool = False
    issuer_otherwise: bool = False
    same_name_as_issuer: bool = False
    critical_constraints: bool = True


@dataclass(frozen=True, slots=True)
class Case:
    """A chain, the client certificate first, and the trusted CA. `traits`: what is unusual about it."""

    seed: int
    chain: tuple[bytes, ...]
    anchor: bytes
    traits: frozenset[str]


def generate(seed: int) -> Case:
    """The same chain for the same seed, but for keys and serial numbers."""
    chance = random.Random(seed)
    depth = chance.choice((0, 1, 1, 1, 2, 2, 3))
    plans = [_ca(chance, number) for number in range(depth + 1)] + [_leaf(chance)]
    traits = {f"ca:{plan.kind}" for plan in plans[:-1]} | {f"leaf:{plans[-1].kind}"}
    for _ in range(chance.choice((0, 0, 1, 1, 1, 2, 3))):
        plan = chance.choice(plans)
        role = "leaf" if plan is plans[-1] else "anchor" if plan is plans[0] else "between"
        fault = chance.choice(sorted(_FAULTS))
        said = _FAULTS[fault](plan, chance)
        if said is not None:
            traits |= {said, f"{said}:{role}"}
    traits |= _together(plans, chance)
    made = _make(plans)
    chain = made[:0:-1]
    if depth and chance.random() < 0.1:
        chain.remove(chance.choice(chain[1:]))
        traits.add("gap")
    if depth and chance.random() < 0.15 and len(chain) > 1:
        chain.append(_cross(made, plans, chance))
        traits.add("cross")
    if chance.random() < 0.2:
        chain += [chain[-1], made[0]]
    rest = chain[1:]
    chance.shuffle(rest)
    return Case(seed, tuple(one.der for one in (chain[0], *rest)), made[0].der, frozenset(traits))


def _together(plans: list[_Plan], chance: random.Random) -> set[str]:
    """What takes two certificates."""
    traits: set[str] = set()
    upper, lower = plans[-3:-1] if len(plans) > 3 else (None, plans[-2])
    if upper is not None and upper is not plans[0] and chance.random() < 0.1:
        upper.constraints, lower.same_name_as_issuer = x509.BasicConstraints(ca=True, path_length=0), True
        traits |= {"path length", "self-issued", "self-issued:between"}
    present = {type(extension) for plan in plans for extension, _ in plan.extensions}
    if not present & {x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier} and chance.random() < 0.05:
        plans[-1].extensions.append((x509.AuthorityKeyIdentifier(b"x", None, None), False))
        lower.extensions.append((x509.SubjectKeyIdentifier(b"y"), False))
        traits.add("key identifiers")
    return traits


def _ca(chance: random.Random, number: int) -> _Plan:
    plan = _Plan(f"CA {number}", ca=True, number=number, kind=chance.choice(_CA_KEYS), constraints=None, signs=True)
    plan.constraints = x509.BasicConstraints(ca=True, path_length=None)
    return plan


def _leaf(chance: random.Random) -> _Plan:
    plan = _Plan("a device", ca=False, number=10, kind=chance.choice(_LEAF_KEYS), constraints=None, signs=False)
    plan.extensions.append((x509.ExtendedKeyUsage([_USAGES["client"]]), False))
    plan.alternative = [
        x509.DNSName("laptop.corp.example"),
        *chance.sample([x509.RFC822Name("it@corp.example"), x509.UniformResourceIdentifier("https://corp.example/x")], k=1),
    ]
    return plan


def _make(plans: list[_Plan]) -> list[Made]:
    made: list[Made] = []
    for plan in plans:
        made.append(_one(plan, made[-1] if made else None))
    return made


def _one(plan: _Plan, issuer: Made | None) -> Made:
    extensions = [*plan.extensions]
    if plan.constraints is not None:
        extensions.insert(0, (plan.constraints, plan.critical_constraints))
    if plan.signs is not None:
        extensions.append((usage(cert_sign=plan.signs), True))
    if plan.alternative:
        extensions.append((x509.SubjectAlternativeName(plan.alternative), False))
    subject = _name(plan.text)
    if plan.same_name_as_issuer and issuer is not None:
        subject = issuer.subject
    return make(
        subject,
        issuer,
        *extensions,
        key=pooled_key(plan.kind, plan.number),
        not_before=DAY / 2 if plan.future and not plan.expired else -DAY,
        not_after=-DAY / 2 if plan.expired else DAY,
        issuer_name=_otherwise(issuer.subject) if plan.issuer_otherwise and issuer is not None else None,
        signing_key=pooled_key("p256", 99) if plan.forged and issuer is not None else None,
    )


def _cross(made: list[Made], plans: list[_Plan], chance: random.Random) -> Made:
    """Another certificate of a CA between, of the same name and key, that leads nowhere or is expired."""
    place = chance.randrange(1, len(made) - 1)
    twin = _ca(chance, place)
    twin.text, twin.kind, twin.expired = plans[place].text, plans[place].kind, chance.random() < 0.5
    return _one(twin, made[place - 1] if twin.expired else make("Elsewhere", key=pooled_key("p256", 98)))


def _name(text: str) -> x509.Name:
    parts = ((NameOID.ORGANIZATION_NAME, "Corp Example"), (NameOID.COMMON_NAME, text))
    return x509.Name([x509.NameAttribute(kind, part) for kind, part in parts])


def _otherwise(name: x509.Name) -> x509.Name:
    values = {part.oid: part.value for part in name}
    return x509.Name(
        [
            x509.NameAttribute(oid, f" {value}".upper(), _type=_ASN1Type.PrintableString)
            for oid, value in values.items()
            if isinstance(value, str)
        ]
    )


# ---- What may be done to one --------------------------------------------------------------------------------------------

_Fault = Callable[[_Plan, random.Random], str | None]  # what was done; None: nothing


def _set(name: str, *, cas_only: bool = False, **values: object) -> _Fault:
    def fault(plan: _Plan, chance: random.Random) -> str | None:
        if cas_only and not plan.ca:
            return None
        for attribute, value in values.items():
            setattr(plan, attribute, value)
        return name

    return fault


def _extended(name: str, extension: x509.ExtensionType, *, critical: bool) -> _Fault:
    def fault(plan: _Plan, chance: random.Random) -> str | None:
        if any(type(present) is type(extension) for present, _ in plan.extensions):
            return None
        plan.extensions.append((extension, critical))
        return name

    return fault


def _path_length(plan: _Plan, chance: random.Random) -> str | None:
    if plan.constraints is None or not plan.constraints.ca:
        return None
    plan.constraints = x509.BasicConstraints(ca=True, path_length=chance.choice((0, 0, 1)))
    return "path length"


def _extended_key_usage(plan: _Plan, chance: random.Random) -> str | None:
    plan.extensions = [extension for extension in plan.extensions if not isinstance(extension[0], x509.ExtendedKeyUsage)]
    chosen = chance.choice(("client", "server", "any", "none"))
    if chosen != "none":
        plan.extensions.append((x509.ExtendedKeyUsage([_USAGES[chosen]]), chance.random() < 0.5))
    return f"usage {chosen}"


def _constrain(plan: _Plan, chance: random.Random) -> str | None:
    if any(isinstance(present, x509.NameConstraints) for present, _ in plan.extensions):
        return None
    bases: dict[str, tuple[x509.GeneralName, ...]] = {
        "dns": (x509.DNSName("corp.example"), x509.DNSName("evil.example")),
        "mail": (x509.RFC822Name("corp.example"), x509.RFC822Name("evil.example")),
        "uri": (x509.UniformResourceIdentifier("corp.example"), x509.UniformResourceIdentifier("evil.example")),
        "directory": (
            x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Corp Example")])),
            x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "corp  example")])),
            x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Evil")])),
        ),
    }
    form = chance.choice(sorted(bases))
    base = chance.choice(bases[form])
    permitted, excluded = ([base], None) if chance.random() < 0.6 else (None, [base])
    plan.extensions.append((x509.NameConstraints(permitted, excluded), True))
    return f"constraints {form}"


def _policies(plan: _Plan, chance: random.Random) -> str | None:
    if any(isinstance(present, x509.PolicyConstraints) for present, _ in plan.extensions):
        return None
    plan.extensions.append((x509.PolicyConstraints(chance.choice((0, 1)), None), chance.random() < 0.5))
    return "policy demanded"


_FAULTS: dict[str, _Fault] = {
    "alternative": _set("no alternative name", alternative=[]),
    "another key identifier": _extended("key identifiers", x509.AuthorityKeyIdentifier(b"x", None, None), critical=False),
    "constrain": _constrain,
    "expired": _set("expired", expired=True),
    "forged": _set("forged", forged=True),
    "future": _set("future", future=True),
    "issuer otherwise": _set("issuer otherwise", issuer_otherwise=True),
    "key identifier": _extended("key identifiers", x509.SubjectKeyIdentifier(b"y"), critical=False),
    "key usage": _set("no signing usage", cas_only=True, signs=False),
    "leaf signs": _set("signs", signs=True),
    "no constraints": _set("no basic constraints", constraints=None),
    "no key usage": _set("no key usage", signs=None),
    "not a ca": _set("not a CA", constraints=x509.BasicConstraints(ca=False, path_length=None)),
    "not critical": _set("not critical", critical_constraints=False),
    "path length": _path_length,
    "policies": _policies,
    "self issued": _set("self-issued", same_name_as_issuer=True),
    "the key of a CA": _set("key of a CA", number=0, kind="p256"),
    "unknown, critical": _extended("unknown critical", _UNKNOWN, critical=True),
    "unknown, not critical": _extended("unknown", _UNKNOWN, critical=False),
    "usages": _extended_key_usage,
    "a CA": _set("CA", constraints=x509.BasicConstraints(ca=True, path_length=None)),
}
