"""Lies about the certificate itself, where the CA has to have signed it directly."""

from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from adversary import arena as checks
from adversary.arena import Arena, told
from adversary.attack import Attack, Outcome
from adversary.forged import CA, FOR_CLIENTS, certify
from adversary.telling import Perform, certificate
from server.odd_certificates import X400_ADDRESS_AS_ALTERNATIVE_NAME
from server.scene import COMMON_NAME
from support.device import Lie
from support.pki import DAY, HOUR, Credential, generate_key, root_authority
from watchword.v1 import posture_pb2 as wire

_WEAK: Final = rsa.generate_private_key(65537, 1024)
_SERIAL: Final = "5CG7654321"


def _namesake(arena: Arena) -> Credential:
    subject = arena.scene.pki.issuing.credential.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return root_authority(str(subject[0].value)).issue(COMMON_NAME)


def _self_signed_in_the_name_of_the_ca(arena: Arena) -> Credential:
    key = generate_key()
    return arena.certificate(key=key, signing_key=key)


def _issued(**options: Any) -> Any:
    return lambda arena: arena.certificate(**options)


def _named(common_name: str, **options: Any) -> Perform:
    """A certificate of the CA under a name that is almost the device's."""
    return certificate(_issued(common_name=common_name, **options), check=checks.BY_HOSTNAME)


def _extended(*extensions: tuple[x509.ExtensionType, bool]) -> Any:
    return lambda arena: certify(arena.scene.pki.issuing.credential, COMMON_NAME, *extensions)


def _huge(arena: Arena) -> Credential:
    names = x509.SubjectAlternativeName([x509.DNSName(f"{number}.corp.example") for number in range(1000)])
    return certify(arena.scene.pki.issuing.credential, COMMON_NAME, FOR_CLIENTS, (names, False), issuers=())


def _by_serial_number(common_name: str | None, *, enrolled: str = "", reported: str | None = None) -> Perform:
    def says(evidence: wire.Evidence) -> None:
        if reported is not None:
            evidence.inventory.serial_number = reported

    return certificate(
        _issued(common_name=common_name),
        check=checks.BY_SERIAL_NUMBER,
        device={"serial_number": enrolled},
        lie=Lie(evidence=says),
    )


def _replaced(change: Any) -> Lie:
    def changed(candidate: wire.CertificateCandidate) -> None:
        candidate.chain[0] = change(candidate.chain[0])

    return Lie(candidate=changed)


async def _nine_candidates(arena: Arena) -> Outcome:
    good = arena.certificate()
    device = await arena.device(checks.LAPTOP, *(arena.certificate(not_before=HOUR) for _ in range(8)), good)
    async with device.attesting() as stream:
        answer = await stream.attest()
    device.found_for = {checks.LAPTOP: (good,)}
    return Outcome(told(answer, device), checks.LAPTOP, [device], [good], honestly=lambda: arena.passes_with(device, good))


async def _reasons_of_two(arena: Arena) -> Outcome:
    """Each of two certificates satisfies half of what is asked; no two make one."""
    halves = (
        arena.certificate("laptop-2.corp.example"),
        arena.scene.pki.web.issue(COMMON_NAME),
    )
    device = await arena.device(checks.BY_HOSTNAME, *halves)
    async with device.attesting() as stream:
        answer = await stream.attest()
    return Outcome(told(answer, device, checks.BY_HOSTNAME), checks.BY_HOSTNAME, [device], halves)


_ANY_USAGE: Final = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False)
_MISMATCH: Final = "common_name_mismatch"

ATTACKS: Final = (
    Attack(
        "another-ca-of-the-same-name",
        (),
        "Made a CA with our CA's name, and a certificate of it.",
        "certificate_signature_invalid",
        certificate(_namesake),
    ),
    Attack(
        "self-signed-in-the-name-of-the-ca",
        (),
        "Signs its certificate itself and writes our CA's name above it.",
        "certificate_signature_invalid",
        certificate(_self_signed_in_the_name_of_the_ca),
    ),
    Attack(
        "self-signed",
        (),
        "Signs its certificate itself.",
        "certificate_wrong_issuer",
        certificate(lambda _: root_authority(COMMON_NAME).credential),
    ),
    Attack(
        "certificate-of-another-uploaded-ca",
        (),
        "Has a certificate of a CA that another check trusts.",
        "certificate_wrong_issuer",
        certificate(lambda arena: arena.authorities.silent.issue(COMMON_NAME)),
    ),
    Attack(
        "certificate-of-the-root-above",
        (),
        "Has a certificate that the root signed directly.",
        "certificate_wrong_issuer",
        certificate(lambda arena: arena.scene.pki.root.issue(COMMON_NAME)),
    ),
    Attack(
        "certificate-of-the-ca-itself",
        (),
        "Shows the CA's certificate, which is public.",
        "certificate_is_the_issuer",
        certificate(lambda arena: arena.scene.pki.issuing.credential),
    ),
    Attack(
        "certificate-for-the-key-of-the-ca",
        (),
        "Shows a client certificate for the CA's own key.",
        "certificate_is_the_issuer",
        certificate(lambda arena: arena.certificate(key=arena.scene.pki.issuing.credential.key)),
    ),
    Attack(
        "certificate-of-a-ca-below",
        (),
        "Shows a CA that our CA certified.",
        "certificate_is_a_ca",
        certificate(lambda arena: arena.scene.pki.issuing.issue_authority("Below CA").credential),
    ),
    Attack(
        "certificate-that-may-sign-certificates",
        (),
        "Has a key usage that lets it sign certificates.",
        "certificate_is_a_ca",
        certificate(_issued(ca=None, key_cert_sign=True)),
    ),
    Attack(
        "expired-certificate",
        (),
        "Kept its certificate beyond its time.",
        "certificate_expired",
        certificate(_issued(not_before=-2 * DAY, not_after=-HOUR)),
    ),
    Attack(
        "certificate-of-tomorrow",
        (),
        "Has a certificate that is not valid yet.",
        "certificate_not_yet_valid",
        certificate(_issued(not_before=HOUR)),
    ),
    Attack(
        "certificate-of-an-expired-ca",
        (),
        "Has a good certificate of a CA whose time is over.",
        "issuer_not_valid_now",
        certificate(lambda arena: arena.authorities.expired.issue(COMMON_NAME), check=checks.OF_AN_EXPIRED_CA),
    ),
    Attack(
        "certificate-of-a-future-ca",
        (),
        "Has a good certificate of a CA whose time has not come.",
        "issuer_not_valid_now",
        certificate(lambda arena: arena.authorities.future.issue(COMMON_NAME), check=checks.OF_A_FUTURE_CA),
    ),
    Attack(
        "unknown-critical-extension",
        (),
        "Has a certificate with a restriction that is not understood.",
        "certificate_extension_not_understood",
        certificate(_issued(unknown_critical_extension=True)),
    ),
    Attack(
        "signed-over-sha1",
        (9,),
        "Has a certificate that was signed over SHA-1.",
        "certificate_algorithm_refused",
        certificate(_issued(sha1=True)),
    ),
    Attack(
        "rsa-1024",
        (9,),
        "Has a certificate for a key that can be broken.",
        "certificate_key_weak",
        certificate(_issued(key=_WEAK)),
    ),
    Attack(
        "key-on-p224",
        (9,),
        "Has a certificate for a key on a curve nobody asked for.",
        "certificate_key_weak",
        certificate(_issued(key="p224")),
    ),
    Attack(
        "certificate-of-version-1",
        (),
        "Has a certificate without extensions, and so without restrictions.",
        "certificate_malformed",
        certificate(_issued(version=1)),
    ),
    Attack(
        "corrupt-certificate-signature",
        (),
        "Changed a bit of the CA's signature.",
        "certificate_signature_invalid",
        certificate(lambda arena: arena.certificate().with_corrupt_signature()),
    ),
    Attack(
        "certificate-with-more-behind-it",
        (4,),
        "Sends a good certificate with a byte behind it.",
        "certificate_malformed",
        certificate(_issued(), lie=_replaced(lambda der: der + b"\x00")),
    ),
    Attack(
        "no-extended-key-usage",
        (),
        "Has a certificate that is not for clients, nor for anything.",
        "extended_key_usage_missing",
        certificate(_issued(extended_key_usage=None)),
    ),
    Attack(
        "extended-key-usage-of-servers",
        (),
        "Shows a web server's certificate.",
        "extended_key_usage_missing",
        certificate(_issued(extended_key_usage=("serverAuth",))),
    ),
    Attack(
        "any-extended-key-usage",
        (),
        "Has a certificate for any usage where one is asked for by name.",
        "extended_key_usage_missing",
        certificate(_extended(_ANY_USAGE)),
    ),
    Attack(
        "common-name-with-more-behind-it",
        (),
        "Has its own domain's name begin with the device's.",
        _MISMATCH,
        _named(COMMON_NAME + ".evil.example"),
    ),
    Attack(
        "common-name-cut-by-a-nul",
        (),
        "Hides the rest of its name behind a zero byte.",
        _MISMATCH,
        _named(COMMON_NAME + "\x00.evil.example"),
    ),
    Attack("common-name-with-a-space-behind-it", (), "Adds a space to the device's name.", _MISMATCH, _named(COMMON_NAME + " ")),
    Attack(
        "common-name-in-cyrillic",
        (),
        "Writes a letter of the device's name in Cyrillic.",
        _MISMATCH,
        _named(COMMON_NAME.replace("a", "\u0430", 1)),
    ),
    Attack(
        "common-name-with-a-long-s",
        (),
        "Writes an s of the device's name as the letter that lower-cases to one.",
        _MISMATCH,
        certificate(_issued(common_name="de\u017fk-1.corp.example"), check=checks.BY_HOSTNAME, device={"hostname": "desk-1"}),
    ),
    Attack(
        "common-name-of-another-device",
        (),
        "Has another device's certificate and key.",
        _MISMATCH,
        _named("laptop-2.corp.example"),
    ),
    Attack(
        "common-name-only-as-alternative-name",
        (),
        "Has the device's name among its alternative names only.",
        _MISMATCH,
        _named("x", subject_alternative_names=(COMMON_NAME,)),
    ),
    Attack(
        "common-name-that-is-the-variable",
        (),
        "Has the variable itself as its name.",
        _MISMATCH,
        _named("${hostname}.corp.example"),
    ),
    Attack(
        "common-name-for-no-hostname",
        (),
        "Says no host name, and has a certificate for the empty one.",
        "hostname_unknown",
        certificate(_issued(common_name=".corp.example"), check=checks.BY_HOSTNAME, device={"hostname": ""}),
    ),
    Attack(
        "serial-number-unknown",
        (),
        "Enrolled without a serial number, and tells one in evidence.",
        "serial_number_unknown",
        _by_serial_number(_SERIAL, reported=_SERIAL),
    ),
    Attack(
        "serial-number-empty",
        (),
        "Enrolled without a serial number, and has a certificate without a name.",
        "serial_number_unknown",
        _by_serial_number(None),
    ),
    Attack(
        "serial-number-of-another-device",
        (21,),
        "Reports the serial number in another device's certificate, whose key it stole.",
        "serial_number_mismatch",
        _by_serial_number("5CG-VICTIM", enrolled="5CG-THIEF", reported="5CG-VICTIM"),
    ),
    Attack(
        "serial-number-in-a-stolen-certificate",
        (21,),
        "Shows another device's certificate under its own serial number.",
        _MISMATCH,
        _by_serial_number("5CG-VICTIM", enrolled="5CG-THIEF-2"),
    ),
    Attack(
        "alternative-name-of-another-device",
        (),
        "Has other alternative names.",
        "subject_alternative_name_mismatch",
        certificate(
            _issued(subject_alternative_names=("laptop-2.corp.example",)),
            check=checks.BY_ALTERNATIVE_NAME,
            device={"serial_number": "5CG-SAN-1"},
        ),
    ),
    Attack(
        "alternative-name-with-a-wildcard",
        (),
        "Has a wildcard where a name is asked for.",
        "subject_alternative_name_mismatch",
        certificate(
            _issued(subject_alternative_names=("*.corp.example",)),
            check=checks.BY_ALTERNATIVE_NAME,
            device={"serial_number": "5CG-SAN-2"},
        ),
    ),
    Attack(
        "alternative-name-the-parser-cannot-read",
        (53,),
        "Has an alternative name of a kind on which the parser gives up.",
        "certificate_malformed",
        certificate(_extended(FOR_CLIENTS, (X400_ADDRESS_AS_ALTERNATIVE_NAME, False))),
    ),
    Attack(
        "basic-constraints-of-a-ca",
        (),
        "Has a client certificate that says it is a CA.",
        "certificate_is_a_ca",
        certificate(_extended(CA, FOR_CLIENTS)),
    ),
    Attack(
        "huge-certificate",
        (),
        "Has a certificate of many kilobytes, to keep the server busy.",
        "certificate_malformed",
        certificate(_huge),
    ),
    Attack("nine-candidates", (), "Sends more candidates than are looked at.", "evidence_malformed", _nine_candidates),
    Attack(
        "two-halves-of-a-certificate",
        (),
        "Has one certificate of the right CA and one of the right name.",
        _MISMATCH,
        _reasons_of_two,
    ),
)
