"""Name constraints: which names a CA may give to what stands below it (RFC 5280, 4.2.1.10 and 6.1.4 (g)).

DNS names, mailboxes, URIs, addresses and directory names are compared. A constraint that cannot be applied, being of another form
or malformed, refuses a certificate that carries a name of its form and no other. A common name is no DNS name here.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from watchword_server.core.certificates.der import children, elements
from watchword_server.core.certificates.names import canonical_rdns
from watchword_server.core.certificates.parsed import UNREADABLE, ParsedCertificate, plain
from watchword_server.core.certificates.refusal import CertificateRefusedError
from watchword_server.core.certificates.work import Work

_NAME_CONSTRAINTS: Final = bytes.fromhex("551d1e")  # 2.5.29.30
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})?(\.[a-z0-9_]([a-z0-9_-]{0,62})?)*\Z")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class _Mailbox(NamedTuple):
    local: str  # in the case it is written in
    host: str


# A name or a constraint, ready to be compared; None: malformed, or of a form that is not compared.
_Value = str | _Mailbox | _Address | _Network | tuple[bytes, ...] | None


class _Name(NamedTuple):
    form: type[x509.GeneralName]
    value: _Value
    text: str


@dataclass(slots=True)
class _Subtrees:
    """What has accumulated from the trusted CA downwards. Of `permitted`, a name must be within each list that knows its form."""

    work: Work
    permitted: list[dict[type[x509.GeneralName], list[_Value]]] = field(default_factory=list)
    excluded: list[dict[type[x509.GeneralName], list[_Value]]] = field(default_factory=list)


def check_name_constraints(path: Sequence[ParsedCertificate], work: Work) -> None:
    """Whether every name of a path is one that the CAs above it may give. The client certificate first, the trusted CA last.

    Raises `CertificateRefusedError`: `name_constraints_violated`, and what `work` raises.
    """
    if not any(issuer.extension(x509.NameConstraints) for issuer in path[1:]):
        return
    subtrees = _Subtrees(work)
    for place in range(len(path) - 1, -1, -1):
        certificate = path[place]
        # Self-issued ones are how a CA renews its key; the last one counts all the same. The trusted CA is above all constraints.
        if (subtrees.permitted or subtrees.excluded) and (place == 0 or not certificate.is_self_issued):
            _check_names(certificate, subtrees)
        constraints = certificate.extension(x509.NameConstraints)
        if constraints is not None:
            _check_no_distances(certificate)
            if constraints.permitted_subtrees:
                subtrees.permitted.append(_by_form(constraints.permitted_subtrees))
            if constraints.excluded_subtrees:
                subtrees.excluded.append(_by_form(constraints.excluded_subtrees))


def _check_names(certificate: ParsedCertificate, subtrees: _Subtrees) -> None:
    for name in _names(certificate):
        for permitted in subtrees.permitted:
            constraints = permitted.get(name.form)
            subtrees.work.spend(len(constraints or ()))
            if constraints is not None and not any(_is_within(name, constraint) for constraint in constraints):
                raise _violated(certificate, name, "a permitted name")
        for excluded in subtrees.excluded:
            constraints = excluded.get(name.form, [])
            subtrees.work.spend(len(constraints))
            if any(_may_be_within(name, constraint) for constraint in constraints):
                raise _violated(certificate, name, "no excluded name")


def _names(certificate: ParsedCertificate) -> Iterator[_Name]:
    subject = certificate.subject_name
    if subject.rdns:
        yield _name(x509.DirectoryName(subject))
    has_mailbox = False
    for name in certificate.extension(x509.SubjectAlternativeName) or ():
        has_mailbox = has_mailbox or isinstance(name, x509.RFC822Name)
        yield _name(name)
    if not has_mailbox:  # where they stood before there were alternative names
        for attribute in subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
            text = str(attribute.value)
            yield _Name(x509.RFC822Name, _mailbox(text), text)


def _name(name: x509.GeneralName) -> _Name:
    match name:
        case x509.DNSName():
            # A wildcard stands for any one label in its place.
            host = name.value.lower()
            return _Name(x509.DNSName, host if _HOST.match(host.removeprefix("*.")) else None, name.value)
        case x509.RFC822Name():
            return _Name(x509.RFC822Name, _mailbox(name.value), name.value)
        case x509.UniformResourceIdentifier():
            return _Name(x509.UniformResourceIdentifier, _uri_host(name.value), name.value)
        case x509.IPAddress():
            address = name.value if isinstance(name.value, (ipaddress.IPv4Address, ipaddress.IPv6Address)) else None
            return _Name(x509.IPAddress, address, str(name.value))
        case x509.DirectoryName():
            return _Name(x509.DirectoryName, canonical_rdns(name.value), name.value.rfc4514_string())
        case _:
            return _Name(type(name), None, type(name).__name__)


def _by_form(constraints: Sequence[x509.GeneralName]) -> dict[type[x509.GeneralName], list[_Value]]:
    found: dict[type[x509.GeneralName], list[_Value]] = {}
    for constraint in constraints:
        found.setdefault(type(constraint), []).append(_constraint(constraint))
    return found


def _constraint(constraint: x509.GeneralName) -> _Value:
    match constraint:
        case x509.DNSName():  # without a leading dot and without wildcards; empty: every name
            host = constraint.value.lower()
            return host if not host or _HOST.match(host) else None
        case x509.RFC822Name() if "@" in constraint.value:
            return _mailbox(constraint.value)
        case x509.RFC822Name() | x509.UniformResourceIdentifier():  # a host, or with a leading dot all below it
            host = constraint.value.lower()
            return host if not host or _HOST.match(host.removeprefix(".")) else None
        case x509.IPAddress():
            return constraint.value if isinstance(constraint.value, (ipaddress.IPv4Network, ipaddress.IPv6Network)) else None
        case x509.DirectoryName():
            return canonical_rdns(constraint.value)
        case _:
            return None


def _mailbox(text: str) -> _Mailbox | None:
    local, at, host = text.rpartition("@")
    host = host.lower()
    if not at or not local or "@" in local or not local.isprintable() or " " in local or not _HOST.match(host):
        return None
    return _Mailbox(local, host)


def _uri_host(text: str) -> str | None:
    """The host of a URI; None: it has none, or an address, to which constraints cannot be applied (RFC 5280, 4.2.1.10)."""
    try:
        host = urlsplit(text).hostname
    except ValueError:
        return None
    if host is None or not _HOST.match(host) or host.rpartition(".")[2].isdigit():
        return None
    return host


def _may_be_within(name: _Name, constraint: _Value) -> bool:
    """Whether a name may be within an excluded subtree: what cannot be compared may be."""
    if name.value is None or constraint is None:
        return True
    if isinstance(name.value, str) and isinstance(constraint, str) and name.value.startswith("*."):
        base = name.value[2:]
        if constraint.partition(".")[2] == base:  # the one label that the wildcard stands for
            return True
    return _is_within(name, constraint)


def _is_within(name: _Name, constraint: _Value) -> bool:
    match name.value, constraint:
        case (None, _) | (_, None):
            return False
        case str() as host, str() if name.form is x509.DNSName:
            host = host.removeprefix("*.") if host.startswith("*.") else host
            return not constraint or host == constraint or host.endswith("." + constraint)
        case str() as host, str():
            return _is_host_within(host, constraint)
        case _Mailbox() as mailbox, _Mailbox():
            return mailbox == constraint
        case _Mailbox() as mailbox, str():
            return _is_host_within(mailbox.host, constraint)
        case (ipaddress.IPv4Address() | ipaddress.IPv6Address()) as address, (ipaddress.IPv4Network() | ipaddress.IPv6Network()):
            return address.version == constraint.version and address in constraint
        case tuple() as rdns, tuple():
            return rdns[: len(constraint)] == constraint
        case _:
            return False


def _is_host_within(host: str, constraint: str) -> bool:
    # Of mailboxes and URIs: exactly this host, or with a leading dot any below it and not itself.
    return not constraint or (host.endswith(constraint) if constraint.startswith(".") else host == constraint)


def _check_no_distances(certificate: ParsedCertificate) -> None:
    """RFC 5280, 4.2.1.10: a subtree is its base alone, `minimum` is 0 and `maximum` absent. The library passes over them."""
    try:
        value = certificate.outline.extensions[_NAME_CONSTRAINTS]
        (constraints,) = elements(value, 0, len(value))
        for subtrees in children(value, constraints):
            for subtree in children(value, subtrees):
                _ = _only(list(children(value, subtree)))
    except (KeyError, *UNREADABLE) as error:
        raise CertificateRefusedError(
            "name_constraints_violated",
            expected="name constraints without minimum and maximum",
            received=certificate.subject_text(),
        ) from error


def _only(parts: Sequence[object]) -> object:
    (part,) = parts
    return part


def _violated(certificate: ParsedCertificate, name: _Name, expected: str) -> CertificateRefusedError:
    return CertificateRefusedError(
        "name_constraints_violated", expected=expected, received=f"{plain(name.text)} in {certificate.subject_text()}"
    )
