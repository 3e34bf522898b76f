"""What a proxy passes without having verified it: over the real ext_authz listener, and at `auth_request` alike."""

from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import rsa

from adversary.arena import CHAIN, LAPTOP, LISTED, OF_THE_ROOT, Arena, host_of
from adversary.attack import Attack, Outcome
from adversary.telling import Perform
from doors.stage import Ask
from faults.proxy import USER
from server.scene import COMMON_NAME
from support.pki import DAY, HOUR, Authority, Credential, root_authority

_WEAK: Final = rsa.generate_private_key(65537, 1024)


def _passes(make: Callable[[Arena], Credential | None], *, check: str = LAPTOP) -> Perform:
    """A client chose the certificate; the proxy did not look at it."""

    async def perform(arena: Arena) -> Outcome:
        credential = make(arena)
        return Outcome(arena.decided(credential, check), check, shown=[] if credential is None else [credential])

    return perform


def _issued(**options: Any) -> Callable[[Arena], Credential]:
    return lambda arena: arena.certificate(**options)


def _in_the_name_of_the_ca(arena: Arena) -> Credential:
    subject = str(arena.scene.pki.issuing.credential.certificate.subject.rfc4514_string()).removeprefix("CN=")
    return root_authority(subject).issue(COMMON_NAME)


async def _garbage(arena: Arena) -> Outcome:
    decided = arena.envoy(Ask(certificate="garbage", host=host_of(LAPTOP), user=USER))
    assert not decided.allowed
    return Outcome(decided.reason, LAPTOP)


async def _of_a_device_for_another_check(arena: Arena) -> Outcome:
    """The device proved a certificate for one check; another of its checks never passed."""
    device, credential = await arena.honest(LAPTOP)
    del device
    return Outcome(arena.decided(credential, OF_THE_ROOT), OF_THE_ROOT, shown=[credential])


async def _renewed(arena: Arena) -> Outcome:
    """The device has another certificate since; who copied the old one, with its key, is nobody any more."""
    device, old = await arena.honest(LAPTOP)
    new = arena.certificate()
    device.found_for = {LAPTOP: (new,)}
    await arena.passes_with(device, new)
    return Outcome(arena.decided(old, LAPTOP), LAPTOP, shown=[old], unharmed=(device, new))


async def _of_a_revoked_intermediate(arena: Arena) -> Outcome:
    revoked = Authority(arena.authorities.revoked_issuing.credential, is_root=False)
    credential = revoked.issue(COMMON_NAME)
    return Outcome(arena.decided(credential, LISTED), LISTED, shown=[credential])


ATTACKS: Final = (
    Attack("proxy-passes-nothing", (42, 53), "Shows no certificate.", "no_device", _passes(lambda _: None)),
    Attack("proxy-passes-garbage", (42,), "Has the proxy pass bytes that are no certificate.", "certificate_malformed", _garbage),
    Attack(
        "proxy-passes-self-signed",
        (42,),
        "Shows a certificate it signed itself.",
        "certificate_wrong_issuer",
        _passes(lambda _: root_authority(COMMON_NAME).credential),
    ),
    Attack(
        "proxy-passes-a-namesake-ca",
        (42,),
        "Shows a certificate of a CA with our CA's name.",
        "certificate_signature_invalid",
        _passes(_in_the_name_of_the_ca),
    ),
    Attack(
        "proxy-passes-another-ca",
        (42,),
        "Shows a certificate of a CA that nobody uploaded.",
        "certificate_wrong_issuer",
        _passes(lambda arena: arena.scene.pki.web.issue(COMMON_NAME)),
    ),
    Attack(
        "proxy-passes-expired",
        (42,),
        "Shows an expired certificate.",
        "certificate_expired",
        _passes(_issued(not_before=-2 * DAY, not_after=-HOUR)),
    ),
    Attack(
        "proxy-passes-tomorrow",
        (42,),
        "Shows a certificate that is not valid yet.",
        "certificate_not_yet_valid",
        _passes(_issued(not_before=HOUR)),
    ),
    Attack(
        "proxy-passes-no-client-usage",
        (42,),
        "Shows a web server's certificate of our CA.",
        "extended_key_usage_missing",
        _passes(_issued(extended_key_usage=("serverAuth",))),
    ),
    Attack(
        "proxy-passes-the-ca",
        (42,),
        "Shows the CA's own certificate.",
        "certificate_is_a_ca",
        _passes(lambda arena: arena.scene.pki.issuing.credential),
    ),
    Attack(
        "proxy-passes-sha1",
        (9, 42),
        "Shows a certificate that was signed over SHA-1.",
        "certificate_algorithm_refused",
        _passes(_issued(sha1=True)),
    ),
    Attack(
        "proxy-passes-rsa-1024",
        (9, 42),
        "Shows a certificate for a key that can be broken.",
        "certificate_key_weak",
        _passes(_issued(key=_WEAK)),
    ),
    Attack(
        "proxy-passes-an-unknown-critical-extension",
        (42,),
        "Shows a certificate with a restriction nobody understands.",
        "certificate_extension_not_understood",
        _passes(_issued(unknown_critical_extension=True)),
    ),
    Attack(
        "proxy-passes-revoked",
        (42,),
        "Shows a revoked certificate.",
        "certificate_revoked",
        _passes(lambda arena: arena.authorities.revoked, check=LISTED),
    ),
    Attack(
        "proxy-passes-a-revoked-intermediate",
        (42,),
        "Shows a certificate of a revoked intermediate.",
        "issuer_revoked",
        _of_a_revoked_intermediate,
    ),
    Attack(
        "proxy-passes-a-certificate-nobody-proved",
        (42, 53),
        "Shows a good certificate that no device has proven.",
        "unknown_device",
        _passes(_issued()),
    ),
    Attack(
        "proxy-passes-a-chain-nobody-proved",
        (42, 53),
        "Shows a certificate of an intermediate that no device has proven.",
        "unknown_device",
        _passes(_issued(), check=CHAIN),
    ),
    Attack(
        "proxy-passes-a-certificate-for-another-check",
        (42, 53),
        "Shows a proven certificate where another check is demanded.",
        "no_result",
        _of_a_device_for_another_check,
    ),
    Attack(
        "proxy-passes-a-replaced-certificate",
        (42,),
        "Shows the certificate that the device had before.",
        "certificate_not_proven",
        _renewed,
    ),
)
