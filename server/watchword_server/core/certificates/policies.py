"""Certificate policies (RFC 5280, 6.1), as far as somebody who asks for no policy has to: a path may demand one of itself.

Of the policy tree only its lowest level is kept: it is enough to tell whether the tree is empty, and it cannot grow beyond what
one certificate lists and its issuer maps (the denial of service that RFC 9618 is about).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from watchword_server.core.certificates.der import Element, children, elements
from watchword_server.core.certificates.parsed import UNREADABLE, ParsedCertificate
from watchword_server.core.certificates.refusal import CertificateRefusedError

POLICY_MAPPINGS: Final = ObjectIdentifier("2.5.29.33")
_POLICY_MAPPINGS: Final = bytes.fromhex("551d21")
_POLICIES: Final = bytes.fromhex("551d20")
_ANY: Final = bytes.fromhex("551d2000")  # 2.5.29.32.0
_MAX_POLICIES: Final = 256

_Policy = bytes  # an object identifier as it is encoded


@dataclass(slots=True)
class _State:
    """RFC 5280, 6.1.2. `level`: the policies that are valid so far, each with those that the next certificate may name for it."""

    explicit: int
    mapping: int
    inhibit_any: int
    level: dict[_Policy, frozenset[_Policy]] = field(default_factory=lambda: {_ANY: frozenset({_ANY})})


def check_policies(path: Sequence[ParsedCertificate]) -> None:
    """Whether a path has a policy where it demands one. The client certificate first, the trusted CA last.

    Raises `CertificateRefusedError`: `policy_required`, and `chain_too_complex` for more than 256 policies at once.
    """
    if not any(_demands(certificate) for certificate in path):
        return
    count = len(path) - 1
    state = _State(explicit=count + 1, mapping=count + 1, inhibit_any=count + 1)
    _constrain(state, path[-1])  # RFC 5937, 3.2: what the trusted CA demands, it demands of every path
    for place in range(count - 1, -1, -1):
        certificate, is_last = path[place], place == 0
        counts = is_last or not certificate.is_self_issued
        state.level = _next_level(state, certificate, any_counts=state.inhibit_any > 0 or not counts)
        if len(state.level) > _MAX_POLICIES:
            raise CertificateRefusedError("chain_too_complex", expected=f"at most {_MAX_POLICIES} policies")
        if state.explicit == 0 and not state.level:  # 6.1.3 (f)
            raise _required(certificate)
        if is_last:
            break
        _map(state, certificate)
        if counts:  # 6.1.4 (h)
            state.explicit, state.mapping, state.inhibit_any = (
                max(0, left - 1) for left in (state.explicit, state.mapping, state.inhibit_any)
            )
        _constrain(state, certificate)
    constraints = path[0].extension(x509.PolicyConstraints)
    demanded = constraints is not None and constraints.require_explicit_policy == 0
    if (state.explicit <= 1 or demanded) and not state.level:  # 6.1.5 (a), (b), (g)
        raise _required(path[0])


def _demands(certificate: ParsedCertificate) -> bool:
    """Whether anything in it could make a difference: most certificates demand no policy and map none."""
    if certificate.extension(x509.PolicyConstraints) is not None:
        return True
    # The library does not know policy mappings.
    unknown = certificate.extension(x509.UnrecognizedExtension) is not None
    return unknown and any(extension.oid == POLICY_MAPPINGS for extension in certificate.extensions)


def _next_level(state: _State, certificate: ParsedCertificate, *, any_counts: bool) -> dict[_Policy, frozenset[_Policy]]:
    """RFC 5280, 6.1.3 (d) and (e)."""
    named = _policies(certificate)
    expected = frozenset().union(*state.level.values())
    level = {policy: frozenset({policy}) for policy in named if policy != _ANY and (policy in expected or _ANY in state.level)}
    if _ANY in named and any_counts:
        level.update({policy: frozenset({policy}) for policy in expected if policy not in level})
    return level


def _policies(certificate: ParsedCertificate) -> set[_Policy]:
    value = certificate.outline.extensions.get(_POLICIES)
    if value is None:
        return set()
    try:
        (policies,) = elements(value, 0, len(value))
        identifiers = [_first(children(value, policy)) for policy in children(value, policies)]
    except UNREADABLE as error:
        raise CertificateRefusedError("certificate_malformed", expected="certificate policies") from error
    return {value[identifier.content : identifier.end] for identifier in identifiers}


def _first(parts: Iterable[Element]) -> Element:
    first, *_ = parts
    return first


def _map(state: _State, certificate: ParsedCertificate) -> None:
    """RFC 5280, 6.1.4 (a) and (b)."""
    mapped = _mappings(certificate)
    if any(_ANY in (ours, *theirs) for ours, theirs in mapped.items()):
        raise _required(certificate)
    for ours, theirs in mapped.items():
        if state.mapping == 0:
            state.level.pop(ours, None)
        elif ours in state.level or _ANY in state.level:
            state.level[ours] = frozenset(theirs)


def _mappings(certificate: ParsedCertificate) -> dict[_Policy, set[_Policy]]:
    value = certificate.outline.extensions.get(_POLICY_MAPPINGS)
    found: dict[_Policy, set[_Policy]] = {}
    if value is None:
        return found
    try:
        (mappings,) = elements(value, 0, len(value))
        for mapping in children(value, mappings):
            ours, theirs = (value[identifier.content : identifier.end] for identifier in children(value, mapping))
            found.setdefault(ours, set()).add(theirs)
    except UNREADABLE as error:
        raise CertificateRefusedError("certificate_malformed", expected="policy mappings") from error
    return found


def _constrain(state: _State, certificate: ParsedCertificate) -> None:
    """RFC 5280, 6.1.4 (i) and (j)."""
    constraints = certificate.extension(x509.PolicyConstraints)
    if constraints is not None:
        if constraints.require_explicit_policy is not None:
            state.explicit = min(state.explicit, constraints.require_explicit_policy)
        if constraints.inhibit_policy_mapping is not None:
            state.mapping = min(state.mapping, constraints.inhibit_policy_mapping)
    inhibit = certificate.extension(x509.InhibitAnyPolicy)
    if inhibit is not None:
        state.inhibit_any = min(state.inhibit_any, inhibit.skip_certs)


def _required(certificate: ParsedCertificate) -> CertificateRefusedError:
    return CertificateRefusedError(
        "policy_required",
        expected="a certificate policy that the whole path is issued under",
        received=certificate.subject_text(),
    )
