"""What a proxy passes as the client's certificate: verified here, not believed; and whatever is wrong with it denies."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

from doors.stage import BYPASS_HOST, Ask, Stage, Told
from support.pki import DAY, HOUR, Credential, Pki, generate_key, key_pem, root_authority
from support.rules import HOST


@pytest.fixture(params=["envoy", "nginx"])
def door(request: pytest.FixtureRequest, stage: Stage) -> Callable[[Ask], Told]:
    """One of the two."""
    asked: Callable[[Ask], Told] = getattr(stage, request.param)
    return asked


def der_of_version(credential: Credential, version: int) -> bytes:
    """The same DER with another version number (its signature does not hold any more)."""
    v3 = bytes.fromhex("a003020102")
    assert credential.der.count(v3) == 1
    return credential.der.replace(v3, v3[:-1] + bytes([version]))


def pem(der: bytes, label: str = "CERTIFICATE") -> bytes:
    text = base64.encodebytes(der).decode().strip()
    return f"-----BEGIN {label}-----\n{text}\n-----END {label}-----\n".encode()


# ---- No certificate at all, or nothing that can be read ----------------------------------------------------------------

UNREADABLE: Final = (
    *("garbage", "nginx's empty value", "a dash", "armour without content", "content that is no base64", "base64 without armour"),
    *("DER", "cut off", "escaped twice", "DER that is cut off", "DER with a byte behind", "a NUL inside", "the private key"),
    *("the public key", "PKCS #7", "another label", "more than fits in a header", "version 2", "version 4", "version 99"),
    "an empty SEQUENCE",
)


@pytest.fixture(scope="module")
def unreadable(stage: Stage) -> dict[str, str]:
    """Each as a proxy would pass it."""
    good = stage.credential
    public_key = good.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "garbage": "garbage",
        "nginx's empty value": "(null)",
        "a dash": "-",
        "armour without content": quote("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
        "content that is no base64": quote("-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n"),
        "base64 without armour": quote(base64.b64encode(good.der)),
        "DER": quote(good.der),
        "cut off": quote(good.pem[:-100]),
        "escaped twice": quote(quote(good.pem)),
        "DER that is cut off": quote(pem(good.der[:-1])),
        "DER with a byte behind": quote(pem(good.der + b"\x00")),
        "a NUL inside": quote(good.pem[:100] + b"\x00" + good.pem[100:]),
        "the private key": quote(key_pem(good.key)),
        "the public key": quote(public_key),
        "PKCS #7": quote(pkcs7.serialize_certificates([good.certificate], Encoding.PEM)),
        "another label": quote(pem(good.der, "X509 CRL")),
        "more than fits in a header": quote(good.pem) + "%0A" * 40_000,
        "version 2": quote(pem(der_of_version(good, 1))),
        "version 4": quote(pem(der_of_version(good, 3))),
        "version 99": quote(pem(der_of_version(good, 98))),
        "an empty SEQUENCE": quote(pem(b"\x30\x00")),
    }


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_as_a_certificate_denies_also_where_no_device_is_asked_for(
    stage: Stage, door: Callable[[Ask], Told], unreadable: dict[str, str], name: str
) -> None:
    assert unreadable.keys() == set(UNREADABLE)
    for host in (HOST, BYPASS_HOST):
        told = door(Ask(certificate=unreadable[name], host=host))
        assert (told.allowed, told.reason) == (False, "certificate_malformed")
        record = stage.record(told)["device"]
        assert (record["resolution"], record["id"]) == ("invalid", None)


def test_without_a_certificate_there_is_no_device(stage: Stage, door: Callable[[Ask], Told]) -> None:
    assert door(Ask()).reason == "no_device"
    assert door(Ask(host=BYPASS_HOST)).allowed


def test_the_way_it_is_escaped_does_not_matter(stage: Stage, door: Callable[[Ask], Told]) -> None:
    text = stage.credential.pem.decode()
    for encoded in (quote(text), quote(text, safe=""), quote(text, safe="+/= \n-"), "".join(f"%{ord(c):02x}" for c in text)):
        assert door(Ask(certificate=encoded)).allowed


def test_of_several_certificates_the_first_is_the_clients(stage: Stage, door: Callable[[Ask], Told]) -> None:
    stranger = stage.pki.issuing.issue("stranger")
    assert door(Ask(certificate=quote(stage.credential.pem + stranger.pem))).allowed
    assert door(Ask(certificate=quote(stranger.pem + stage.credential.pem))).reason == "unknown_device"


# ---- Certificates that are wrong in one way ----------------------------------------------------------------------------

WRONG: Final = {
    "of another CA": "certificate_wrong_issuer",
    "of another CA with the same name": "certificate_signature_invalid",
    "of the root above our CA": "certificate_wrong_issuer",
    "of the web's CA": "certificate_wrong_issuer",
    "signed by another key under our CA's name": "certificate_signature_invalid",
    "signed by its own key under our CA's name": "certificate_signature_invalid",
    "with a bit changed": "certificate_signature_invalid",
    "expired": "certificate_expired",
    "not yet valid": "certificate_not_yet_valid",
    "our CA itself": "certificate_is_the_issuer",
    "with our CA's key": "certificate_is_the_issuer",
    "the root": "certificate_wrong_issuer",
    "a CA under ours": "certificate_is_a_ca",
    "by a CA under ours": "certificate_wrong_issuer",
    "that may sign certificates": "certificate_is_a_ca",
    "for servers": "extended_key_usage_missing",
    "for mail": "extended_key_usage_missing",
    "critical and not understood": "certificate_extension_not_understood",
    "version 1": "certificate_malformed",
    "signed over SHA-1": "certificate_algorithm_refused",
    "RSA 1024": "certificate_key_weak",
    "P-224": "certificate_key_weak",
    "Ed448": "certificate_key_weak",
}


@pytest.fixture(scope="module")
def wrong(stage: Stage) -> dict[str, Credential]:
    """Wrong in one way each."""
    pki, issue, good = stage.pki, stage.pki.issuing.issue, stage.credential
    below = pki.issuing.issue_authority("Sub CA")
    return {
        "of another CA": root_authority("Another CA").issue(),
        "of another CA with the same name": root_authority("Corp Device CA").issue(),
        "of the root above our CA": pki.root.issue(),
        "of the web's CA": pki.web.issue(),
        "signed by another key under our CA's name": issue(signing_key=generate_key()),
        "signed by its own key under our CA's name": issue(key=good.key, signing_key=good.key),
        "with a bit changed": good.with_corrupt_signature(),
        "expired": issue(not_before=-DAY, not_after=-HOUR),
        "not yet valid": issue(not_before=HOUR),
        "our CA itself": pki.issuing.credential,
        "with our CA's key": issue(key=pki.issuing.credential.key),
        "the root": pki.root.credential,
        "a CA under ours": below.credential,
        "by a CA under ours": below.issue(),
        "that may sign certificates": issue(ca=False, key_cert_sign=True),
        "for servers": issue(extended_key_usage=("serverAuth",)),
        "for mail": issue(extended_key_usage=("emailProtection",)),
        "critical and not understood": issue(unknown_critical_extension=True),
        "version 1": issue(version=1),
        "signed over SHA-1": issue(sha1=True),
        "RSA 1024": issue(key="rsa1024"),
        "P-224": issue(key="p224"),
        "Ed448": issue(key="ed448"),
    }


@pytest.mark.parametrize("name", WRONG)
def test_a_certificate_that_does_not_verify_denies_with_its_reason_also_where_no_device_is_asked_for(
    stage: Stage, door: Callable[[Ask], Told], wrong: dict[str, Credential], name: str
) -> None:
    assert wrong.keys() == WRONG.keys()
    for host in (HOST, BYPASS_HOST, "nowhere.corp.example"):
        told = door(Ask(wrong[name], host=host))
        assert (told.allowed, told.reason) == (False, WRONG[name])
        assert stage.record(told)["device"]["resolution"] == "invalid"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"extended_key_usage": None},
        {"extended_key_usage": ("clientAuth", "serverAuth")},
        {"key": "rsa2048"},
        {"key": "ed25519"},
    ],
    ids=str,
)
def test_a_good_certificate_that_nobody_proved_is_of_an_unknown_device(
    stage: Stage, door: Callable[[Ask], Told], arguments: dict[str, object]
) -> None:
    unknown = stage.pki.issuing.issue(**arguments)  # type: ignore[arg-type] # keywords of one function
    assert door(Ask(unknown)).reason == "unknown_device"
    assert door(Ask(unknown, host=BYPASS_HOST)).allowed


def test_the_devices_key_in_another_certificate_of_ours_is_not_the_devices_certificate(
    stage: Stage, door: Callable[[Ask], Told]
) -> None:
    assert door(Ask(stage.pki.issuing.issue(key=stage.credential.key))).reason == "unknown_device"


def test_a_certificate_is_verified_again_when_the_clock_has_moved_on(tmp_path: Path) -> None:
    """That it was good a moment ago is remembered, and never for longer than it is valid."""
    pki = Pki.make()
    with Stage.open(tmp_path, pki) as stage:
        short = pki.issuing.issue(not_after=HOUR)
        assert stage.envoy(Ask(short)).reason == "unknown_device"
        assert stage.envoy(Ask(stage.credential)).allowed
        stage.world.pass_time(2 * 3600)
        assert stage.envoy(Ask(short)).reason == "certificate_expired"
        assert stage.envoy(Ask(stage.credential)).reason == "result_expired"
