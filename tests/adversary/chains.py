"""Lies about the way up to the trusted CA, where a check trusts it through intermediates."""

from collections.abc import Callable
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from adversary.arena import CHAIN, OF_THE_ROOT, Arena
from adversary.attack import Attack
from adversary.forged import FOR_CLIENTS, Extension, authority, certify, name_of
from adversary.telling import Perform, certificate
from server.scene import COMMON_NAME
from support.pki import DAY, HOUR, Authority, Credential, root_authority

_WEAK: Final = rsa.generate_private_key(65537, 1024)
_NOT_A_CA: Final[Extension] = (x509.BasicConstraints(ca=False, path_length=None), True)


def _chain(make: Callable[[Arena], Credential]) -> Perform:
    return certificate(make, check=CHAIN)


def _below(*extensions: Extension, **options: Any) -> Callable[[Arena], Credential]:
    """A client certificate of an intermediate that the root did sign, with something wrong with it."""
    return lambda arena: authority(arena.scene.pki.root, "Odd CA", *extensions, **options).issue(COMMON_NAME)


def _constrained(subtree: x509.GeneralName, *names: x509.GeneralName, subject: x509.Name | str = COMMON_NAME) -> Perform:
    """The intermediate may issue below a subtree alone; the certificate is outside of it."""

    def make(arena: Arena) -> Credential:
        issuer = authority(arena.scene.pki.root, "Constrained CA", (x509.NameConstraints([subtree], None), True))
        alternatives = [(x509.SubjectAlternativeName(names), False)] if names else []
        return certify(issuer.credential, subject, FOR_CLIENTS, *alternatives)

    return _chain(make)


def _excluded(arena: Arena) -> Credential:
    excluded = x509.NameConstraints(None, [x509.DNSName("corp.example")])
    issuer = authority(arena.scene.pki.root, "Excluding CA", (excluded, True))
    return issuer.issue(COMMON_NAME, subject_alternative_names=(COMMON_NAME,))


def _with_issuers(credential: Credential, *issuers: bytes) -> Credential:
    return Credential(credential.der, credential.key, issuers=issuers)


def _without_the_intermediate(arena: Arena) -> Credential:
    lower = arena.scene.pki.issuing.issue_authority("Lower CA")
    return _with_issuers(lower.issue(COMMON_NAME), lower.credential.der)


def _signed_by_a_client(arena: Arena) -> Credential:
    client = arena.certificate()
    return certify(client, COMMON_NAME, FOR_CLIENTS)


def _namesake(arena: Arena) -> Credential:
    """Same names, same key identifiers, all the way up; other keys."""
    above, issuing = arena.scene.pki.root.credential.certificate, arena.scene.pki.issuing.credential.certificate
    root = root_authority(_common_name(above))
    identifier = issuing.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    forged = authority(root, _common_name(issuing), (identifier, False))
    return _with_issuers(forged.issue(COMMON_NAME), forged.credential.der, root.credential.der)


def _namesake_beside_the_real_one(arena: Arena) -> Credential:
    """The forged intermediate signs the certificate; the real one, of the same name, stands beside it."""
    forged = _namesake(arena)
    return _with_issuers(forged, *forged.issuers, arena.scene.pki.issuing.credential.der)


def _loop(arena: Arena) -> Credential:
    """Two CAs that certify each other, below nothing."""
    first, second = root_authority("First CA"), root_authority("Second CA")
    return _with_issuers(first.issue(COMMON_NAME), _cross(first, second).der, _cross(second, first).der)


def _loop_below_the_roots_name(arena: Arena) -> Credential:
    """As above, and one of them has the root's name."""
    root = root_authority(_common_name(arena.scene.pki.root.credential.certificate))
    other = root_authority("Other CA")
    return _with_issuers(other.issue(COMMON_NAME), _cross(other, root).der, _cross(root, other).der)


def _cross(subject: Authority, issuer: Authority) -> Credential:
    return issuer.issue_authority(_common_name(subject.credential.certificate), key=subject.credential.key).credential


def _common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _tower(height: int) -> Callable[[Arena], Credential]:
    def make(arena: Arena) -> Credential:
        top = arena.scene.pki.root
        for level in range(height):
            top = top.issue_authority(f"CA of level {level}")
        return top.issue(COMMON_NAME)

    return make


def _two_below_a_lowest(arena: Arena) -> Credential:
    lowest = authority(arena.scene.pki.root, "Lowest CA", basic=(x509.BasicConstraints(ca=True, path_length=0), True))
    return lowest.issue_authority("Lower still").issue(COMMON_NAME)


def _corrupt_intermediate(arena: Arena) -> Credential:
    credential = arena.certificate()
    return _with_issuers(credential, arena.scene.pki.issuing.credential.with_corrupt_signature().der)


def _sha1_intermediate(arena: Arena) -> Credential:
    """`Authority.issue` makes what has a digest of our choice; an intermediate that it makes says that it is a CA."""
    odd = Authority(arena.scene.pki.root.issue("Old CA", ca=True, key_cert_sign=True, sha1=True), is_root=False)
    return odd.issue(COMMON_NAME)


def _version_1_intermediate(arena: Arena) -> Credential:
    odd = Authority(arena.scene.pki.root.issue("Oldest CA", version=1), is_root=False)
    return odd.issue(COMMON_NAME)


def _weak_intermediate(arena: Arena) -> Credential:
    weak = arena.scene.pki.root.issue_authority("Weak CA", key=_WEAK)
    return weak.issue(COMMON_NAME)


_FOR_SERVERS: Final[Extension] = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
_UNKNOWN: Final[Extension] = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.3"), b"\x05\x00"), True)
_POLICY_NEEDED: Final[Extension] = (x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None), True)
_VIOLATED: Final = "name_constraints_violated"
_ELSEWHERE: Final = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Elsewhere")]))

ATTACKS: Final = (
    Attack(
        "chain-where-the-issuer-is-asked-for",
        (54,),
        "Shows a chain to a CA that has to sign directly.",
        "certificate_wrong_issuer",
        certificate(lambda arena: arena.certificate(), check=OF_THE_ROOT),
    ),
    Attack(
        "chain-without-an-intermediate", (), "Leaves out a CA between.", "chain_incomplete", _chain(_without_the_intermediate)
    ),
    Attack(
        "certificate-signed-by-a-client",
        (),
        "Signs a certificate with the key of its own client certificate.",
        "issuer_not_a_ca",
        _chain(_signed_by_a_client),
    ),
    Attack(
        "intermediate-that-is-no-ca",
        (),
        "Has a certificate of the root that must not sign, and signs.",
        "issuer_not_a_ca",
        _chain(_below(basic=_NOT_A_CA)),
    ),
    Attack(
        "intermediate-of-version-1",
        (),
        "Has a certificate of the root without extensions, and signs.",
        "issuer_not_a_ca",
        _chain(_version_1_intermediate),
    ),
    Attack(
        "intermediate-of-the-same-name-and-key-id",
        (),
        "Made CAs with the names and key identifiers of ours.",
        "certificate_signature_invalid",
        _chain(_namesake),
    ),
    Attack(
        "forged-intermediate-beside-the-real-one",
        (),
        "As before, with the real intermediate beside the forged one.",
        "certificate_signature_invalid",
        _chain(_namesake_beside_the_real_one),
    ),
    Attack(
        "expired-intermediate",
        (),
        "Has a certificate of an intermediate whose time is over.",
        "issuer_not_valid_now",
        _chain(_below(not_before=-2 * DAY, not_after=-HOUR)),
    ),
    Attack(
        "intermediate-of-tomorrow",
        (),
        "Has a certificate of an intermediate whose time has not come.",
        "issuer_not_valid_now",
        _chain(_below(not_before=HOUR)),
    ),
    Attack(
        "path-length-exceeded",
        (),
        "Has a CA that may have no CA below it, and makes one.",
        "path_length_exceeded",
        _chain(_two_below_a_lowest),
    ),
    Attack(
        "name-outside-the-permitted-domain",
        (),
        "Has a CA for one domain, and issues for another.",
        _VIOLATED,
        _constrained(x509.DNSName("branch.example"), x509.DNSName(COMMON_NAME)),
    ),
    Attack(
        "mailbox-outside-the-permitted-host",
        (),
        "Has a CA for one mail host, and issues for another.",
        _VIOLATED,
        _constrained(x509.RFC822Name("branch.example"), x509.RFC822Name("it@corp.example")),
    ),
    Attack(
        "subject-outside-the-permitted-directory",
        (),
        "Has a CA for one organisation, and issues for another.",
        _VIOLATED,
        _constrained(_ELSEWHERE, subject=name_of(COMMON_NAME, (NameOID.ORGANIZATION_NAME, "Corp"))),
    ),
    Attack("name-in-an-excluded-domain", (), "Has a CA that may not issue for a domain, and does.", _VIOLATED, _chain(_excluded)),
    Attack(
        "intermediate-with-an-unknown-critical-extension",
        (),
        "Has a certificate of an intermediate with a restriction that is not understood.",
        "certificate_extension_not_understood",
        _chain(_below(_UNKNOWN)),
    ),
    Attack(
        "intermediate-signed-over-sha1",
        (9,),
        "Has an intermediate that was signed over SHA-1.",
        "certificate_algorithm_refused",
        _chain(_sha1_intermediate),
    ),
    Attack(
        "intermediate-with-rsa-1024",
        (9,),
        "Broke the short key of an intermediate.",
        "certificate_key_weak",
        _chain(_weak_intermediate),
    ),
    Attack(
        "corrupt-intermediate",
        (),
        "Changed a bit of the intermediate's signature.",
        "certificate_signature_invalid",
        _chain(_corrupt_intermediate),
    ),
    Attack(
        "intermediate-for-servers-only",
        (),
        "Has a certificate of a CA for web servers.",
        "extended_key_usage_missing",
        _chain(_below(_FOR_SERVERS)),
    ),
    Attack(
        "policy-required-and-absent",
        (),
        "Has a certificate without the policy that its CA demands.",
        "policy_required",
        _chain(_below(_POLICY_NEEDED)),
    ),
    Attack("chain-with-a-loop", (), "Sends two CAs that certify each other.", "chain_incomplete", _chain(_loop)),
    Attack(
        "loop-below-the-name-of-the-root",
        (),
        "As before, and one has the root's name.",
        "certificate_signature_invalid",
        _chain(_loop_below_the_roots_name),
    ),
    Attack("chain-of-nine", (), "Sends a path that is longer than any honest one.", "chain_too_long", _chain(_tower(7))),
    Attack(
        "more-certificates-than-a-message-may-hold", (), "Sends a chain without end.", "evidence_malformed", _chain(_tower(9))
    ),
    Attack(
        "intermediate-in-place-of-a-client",
        (),
        "Shows the intermediate, which is public.",
        "certificate_is_a_ca",
        _chain(lambda arena: arena.scene.pki.issuing.credential),
    ),
    Attack(
        "root-in-place-of-a-client",
        (),
        "Shows the root, which is public.",
        "certificate_is_the_issuer",
        _chain(lambda arena: arena.scene.pki.root.credential),
    ),
    Attack(
        "client-certificate-for-the-key-of-the-intermediate",
        (),
        "Has the intermediate's key certified as a client's.",
        "certificate_is_the_issuer",
        _chain(lambda arena: arena.certificate(key=arena.scene.pki.issuing.credential.key)),
    ),
)
