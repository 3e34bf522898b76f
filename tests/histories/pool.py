"""Keys and certificates of all histories, made once a process; of each what is true of it is known from how it was made."""

import time
from dataclasses import dataclass
from typing import Final

from support.pki import HOUR, Authority, Credential, PrivateKey, generate_key, root_authority
from support.signing import public_key_der

DEVICES: Final = ("laptop-a", "laptop-b", "laptop-c")
SHORT_SECONDS: Final = 1200  # how long some certificates are valid from the start of a history
EARLY_SECONDS: Final = 600  # when others begin to be


@dataclass(frozen=True, slots=True)
class Certificate:
    """A client certificate by those who made it. `root`: the CA at the end of its path, the same as `ca` where it is direct.

    Certificates with one `key` are renewals of one another.
    """

    name: str
    credential: Credential
    ca: str
    root: str
    common_name: str
    usages: frozenset[str]
    valid_from: float
    valid_until: float
    serial_number: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Pool:
    """Everything that exists. `start`: when every history begins, in whole seconds."""

    start: int
    authorities: dict[str, Authority]
    certificates: dict[str, Certificate]
    device_keys: dict[str, PrivateKey]
    wrong_key: PrivateKey

    @classmethod
    def make(cls) -> "Pool":
        """All of it within one second, so that the same seed is the same history in every process."""
        while True:
            start = int(time.time())
            pool = cls._make(start)
            if int(time.time()) == start:
                return pool

    @classmethod
    def _make(cls, start: int) -> "Pool":
        one, two = root_authority("CA One"), root_authority("CA Two")
        under_one = one.issue_authority("CA Under One")
        authorities = {"one": one, "two": two, "under-one": under_one}
        key = {name: generate_key("p256") for name in ("a", "b", "c", "deep", "mail", "other")}
        short = HOUR * SHORT_SECONDS / 3600
        made = [
            ("a", one, "one", one.issue("laptop-a", key=key["a"])),
            ("a-short", one, "one", one.issue("laptop-a", key=key["a"], not_after=short)),
            ("b", one, "one", one.issue("laptop-b", key=key["b"])),
            ("b-early", one, "one", one.issue("laptop-b", key=key["b"], not_before=HOUR * EARLY_SECONDS / 3600)),
            ("c-two", two, "two", two.issue("laptop-c", key=key["c"])),
            ("deep", under_one, "one", under_one.issue("laptop-c", key=key["deep"])),
            ("mail", one, "one", one.issue("laptop-a", key=key["mail"], extended_key_usage=("emailProtection",))),
            ("both", one, "one", one.issue("laptop-a", key=key["other"], extended_key_usage=("clientAuth", "emailProtection"))),
        ]
        usages = {"mail": {"emailProtection"}, "both": {"clientAuth", "emailProtection"}}
        names = {id(authority): name for name, authority in authorities.items()}
        certificates = {}
        for name, authority, root, credential in made:
            parsed = credential.certificate
            certificates[name] = Certificate(
                name=name,
                credential=credential,
                ca=names[id(authority)],
                root=root,
                common_name=_COMMON_NAMES[name],
                usages=frozenset(usages.get(name, {"clientAuth"})),
                valid_from=parsed.not_valid_before_utc.timestamp(),
                valid_until=parsed.not_valid_after_utc.timestamp(),
                serial_number=parsed.serial_number,
                key=public_key_der(credential.key),
            )
        return cls(start, authorities, certificates, {name: generate_key("p256") for name in DEVICES}, generate_key("p256"))


_COMMON_NAMES: Final = {
    "a": "laptop-a",
    "a-short": "laptop-a",
    "b": "laptop-b",
    "b-early": "laptop-b",
    "c-two": "laptop-c",
    "deep": "laptop-c",
    "mail": "laptop-a",
    "both": "laptop-a",
}
CERTIFICATES: Final = tuple(_COMMON_NAMES)
