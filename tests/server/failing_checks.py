"""The checks against which devices fail, each for one condition, and the authorities they name."""

from functools import cache
from typing import Any, Final

from server.scene import rules
from support.pki import DAY, Authority, Pki, root_authority

BY_HOSTNAME: Final = "named-after-the-hostname"
BY_SERIAL_NUMBER: Final = "named-after-the-serial-number"
BY_ALTERNATIVE_NAME: Final = "by-an-alternative-name"
FOR_MAIL: Final = "for-mail-and-clients"
OLD_RSA: Final = "rsa-keys-in-old-stores"
UNPROVEN: Final = "without-a-proof"
EVERY_MINUTE: Final = "every-minute"
OF_AN_EXPIRED_CA: Final = "of-an-expired-ca"
OF_A_FUTURE_CA: Final = "of-a-future-ca"

ALTERNATIVE_NAMES: Final = ("${hostname}.corp.example", "urn:corp:${serial_number}", "it@corp.example")


@cache
def authority(check: str) -> Authority:
    """The authority that a check names instead of the device CA."""
    if check == OF_AN_EXPIRED_CA:
        return root_authority("Expired CA", not_before=-2 * DAY, not_after=-DAY)
    return root_authority("Future CA", not_before=DAY, not_after=2 * DAY)


_AUTHORITIES: Final = (OF_AN_EXPIRED_CA, OF_A_FUTURE_CA)


def rule_document(pki: Pki) -> dict[str, Any]:
    """The rules of a server that has all of them."""
    document = rules(
        pki,
        authorities={f"{check}-certificate": authority(check) for check in _AUTHORITIES},
        checks={
            BY_HOSTNAME: {"cn": "${hostname}.corp.example", "extended_key_usage": ["clientAuth"]},
            BY_SERIAL_NUMBER: {"cn": "${serial_number}"},
            BY_ALTERNATIVE_NAME: {"subject_alternative_names": list(ALTERNATIVE_NAMES)},
            FOR_MAIL: {"extended_key_usage": ["clientAuth", "emailProtection"]},
            OLD_RSA: {"allow_pkcs1": True},
            UNPROVEN: {"check_private_key": False},
            EVERY_MINUTE: {},
            **{check: {"certificate_id": f"{check}-certificate"} for check in _AUTHORITIES},
        },
    )
    for check in document["checks"]:
        if check["name"] == EVERY_MINUTE:
            check["schedule"] = "1m"
    return document
