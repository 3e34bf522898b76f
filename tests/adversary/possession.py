"""Lies about the key: the certificate is good, and whoever shows it does not prove that its key is there."""

from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from adversary import arena as checks
from adversary.arena import LAPTOP, Arena, claimed, told
from adversary.attack import Attack, Outcome
from adversary.telling import Perform
from server.scene import check_named
from support.device import AttestStream, Lie, fields
from support.pki import Credential, PrivateKey, generate_key
from watchword import possession
from watchword.v1 import posture_pb2 as wire

Tell = Callable[[AttestStream, Credential], Lie]
_INVALID: Final = "possession_invalid"


def _rsa() -> PrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _proof(tell: Tell, *, key: Callable[[], PrivateKey] = generate_key) -> Perform:
    """A good certificate, proven with a lie. With an honest proof it passes."""

    async def perform(arena: Arena) -> Outcome:
        credential = arena.certificate(key=key())
        device = await arena.device(LAPTOP, credential)
        async with claimed(device) as stream:
            answer = await stream.attest(tell(stream, credential))
        return Outcome(
            told(answer, device), LAPTOP, [device], [credential], honestly=lambda: arena.passes_with(device, credential)
        )

    return perform


def _always(lie: Lie) -> Tell:
    return lambda _stream, _credential: lie


def _statement(stream: AttestStream, credential: Credential) -> bytes:
    challenge = stream.challenge
    assert challenge is not None
    return possession.statement(
        nonce=challenge.nonce,
        audience=stream.device.audience,
        device_id=stream.device.device_id,
        session_id=challenge.session_id,
        check_id=check_named(stream.device, LAPTOP).id,
        certificate_der=credential.der,
    )


def _signing(make: Callable[[Any, bytes], bytes], **stated: str) -> Tell:
    """The certificate's own key signs the honest statement, in a way of its own."""

    def tell(stream: AttestStream, credential: Credential) -> Lie:
        signature = make(credential.key, _statement(stream, credential))
        return Lie(candidate=fields(possession_signature=signature, **stated))

    return tell


def _raw(key: ec.EllipticCurvePrivateKey, statement: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(statement, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _pss(salt_length: int) -> Tell:
    def sign(key: rsa.RSAPrivateKey, statement: bytes) -> bytes:
        return key.sign(statement, padding.PSS(padding.MGF1(hashes.SHA256()), salt_length), hashes.SHA256())

    return _signing(sign)


def _pkcs1(key: rsa.RSAPrivateKey, statement: bytes) -> bytes:
    return key.sign(statement, padding.PKCS1v15(), hashes.SHA256())


def _over_the_nonce(stream: AttestStream, credential: Credential) -> Lie:
    """What any TLS or challenge-response oracle might be made to sign."""
    assert stream.challenge is not None
    assert isinstance(credential.key, ec.EllipticCurvePrivateKey)
    return Lie(candidate=fields(possession_signature=credential.key.sign(stream.challenge.nonce, ec.ECDSA(hashes.SHA256()))))


async def _swapped(arena: Arena) -> Outcome:
    """The proof is made by the attacker's own certificate of our CA; then a stolen certificate is put in its place."""
    own, stolen = arena.certificate("thief.corp.example"), arena.certificate()
    device = await arena.device(LAPTOP, own)

    def swap(candidate: wire.CertificateCandidate) -> None:
        candidate.chain[0] = stolen.der

    async with device.attesting() as stream:
        answer = await stream.attest(Lie(candidate=swap))
    return Outcome(told(answer, device), LAPTOP, [device], [stolen, own], honestly=lambda: arena.passes_with(device, own))


async def _for_another_check(arena: Arena) -> Outcome:
    credential = arena.certificate()
    device = await arena.device(LAPTOP, credential, also=[checks.BY_HOSTNAME])
    async with device.attesting() as stream:
        claims = {claim.check_id: claim for claim in stream.evidence().checks}
        laptop, named = (check_named(device, name).id for name in (LAPTOP, checks.BY_HOSTNAME))
        claims[named].client_certificate.CopyFrom(claims[laptop].client_certificate)
        del claims[laptop]
        answer = await stream.attest(claims=list(claims.values()))
    device.found_for = {checks.BY_HOSTNAME: (credential,)}
    return Outcome(
        told(answer, device, checks.BY_HOSTNAME),
        checks.BY_HOSTNAME,
        [device],
        [credential],
        honestly=lambda: arena.passes_with(device, credential, checks.BY_HOSTNAME),
    )


async def _relayed(arena: Arena) -> Outcome:
    """The thief hands its own challenge to the victim's agent, which signs for itself."""
    credential = arena.certificate()
    victim, thief = await arena.device(LAPTOP, credential), await arena.device()
    async with victim.attesting() as victims, thief.attesting() as stream:
        assert told(await victims.attest(), victim) == "passed"
        relayed = AttestStream(victim, stream._call)
        relayed.challenge = stream.challenge
        answer = await stream.attest(claims=list(relayed.evidence().checks))
    return Outcome(told(answer, thief), LAPTOP, [thief], unharmed=(victim, credential))


async def _good_for_one_challenge(arena: Arena) -> Outcome:
    credential = arena.certificate()
    device = await arena.device(LAPTOP, credential)
    async with device.attesting() as stream:
        claims = list(stream.evidence().checks)
        assert told(await stream.attest(claims=claims), device) == "passed"
        answer = await stream.attest(claims=claims)
    return Outcome(told(answer, device), LAPTOP, [device], [credential], honestly=lambda: arena.passes_with(device, credential))


def _word(word: "wire.PrivateKeyState") -> Tell:
    return _always(Lie(candidate=fields(possession_signature=b"", possession_scheme="", private_key=word)))


def _over(**lies: Any) -> Tell:
    return _always(Lie(possession=lies))


def _scheme(scheme: str) -> Tell:
    return _always(Lie(possession_scheme=scheme))


ATTACKS: Final = (
    Attack(
        "word-that-the-key-is-usable",
        (),
        "Copied a certificate and says that its key is usable.",
        "possession_missing",
        _proof(_word(wire.PRIVATE_KEY_STATE_USABLE)),
    ),
    Attack(
        "proof-by-another-key",
        (),
        "Copied a certificate and signs with a key of its own.",
        _INVALID,
        _proof(_always(Lie(possession_key=generate_key()))),
    ),
    Attack("proof-for-another-nonce", (18,), "Has an old proof.", _INVALID, _proof(_over(nonce=bytes(32)))),
    Attack(
        "proof-for-another-session", (14,), "Has a proof from another session.", _INVALID, _proof(_over(session_id=bytes(16)))
    ),
    Attack(
        "proof-for-another-device",
        (11,),
        "Has a proof that was made for another device.",
        _INVALID,
        _proof(_over(device_id="dev_another")),
    ),
    Attack(
        "proof-for-another-audience",
        (11,),
        "Has a proof that was made for another server.",
        _INVALID,
        _proof(_over(audience="watchword/another")),
    ),
    Attack(
        "proof-for-another-certificate",
        (),
        "Has a proof of the same key for another certificate.",
        _INVALID,
        _proof(_over(certificate_der=b"another")),
    ),
    Attack(
        "proof-over-the-bare-nonce", (2,), "Had the key sign the nonce in another protocol.", _INVALID, _proof(_over_the_nonce)
    ),
    Attack(
        "certificate-swapped-after-the-proof",
        (4,),
        "Proves its own certificate and puts a stolen one in its place.",
        _INVALID,
        _swapped,
    ),
    Attack("proof-for-another-check", (2,), "Moves the proof for one check to another.", _INVALID, _for_another_check),
    Attack("proof-that-a-victim-made", (11,), "Hands its challenge to a victim's agent, which signs.", _INVALID, _relayed),
    Attack("proof-shown-twice", (12,), "Shows the proof for the challenge before.", _INVALID, _good_for_one_challenge),
    Attack("pss-without-salt", (9,), "Signs with RSA-PSS without salt.", _INVALID, _proof(_pss(0), key=_rsa)),
    Attack("pss-with-another-salt", (9,), "Signs with RSA-PSS and a salt of 20 bytes.", _INVALID, _proof(_pss(20), key=_rsa)),
    Attack(
        "pkcs1-where-it-is-not-allowed",
        (9,),
        "Signs with RSA PKCS#1 v1.5 and says so.",
        "possession_scheme_refused",
        _proof(_scheme(possession.RSA_PKCS1_SHA256), key=_rsa),
    ),
    Attack(
        "pkcs1-stated-as-pss",
        (9,),
        "Signs with RSA PKCS#1 v1.5 and says that it is PSS.",
        _INVALID,
        _proof(_signing(_pkcs1), key=_rsa),
    ),
    Attack("ecdsa-in-raw-form", (9,), "Sends the two numbers of the signature side by side.", _INVALID, _proof(_signing(_raw))),
    Attack(
        "ecdsa-over-another-digest",
        (9,),
        "Signs over SHA-384 with a P-256 key.",
        _INVALID,
        _proof(_signing(lambda key, statement: bytes(key.sign(statement, ec.ECDSA(hashes.SHA384()))))),
    ),
    Attack(
        "ecdsa-stated-as-ed25519",
        (9,),
        "States the scheme of another kind of key.",
        "possession_scheme_refused",
        _proof(_scheme(possession.ED25519)),
    ),
    Attack(
        "rsa-stated-as-ecdsa",
        (9,),
        "States the scheme of another kind of key, with RSA.",
        "possession_scheme_refused",
        _proof(_scheme(possession.ECDSA_P256_SHA256), key=_rsa),
    ),
    Attack(
        "scheme-of-no-key",
        (9, 54),
        "States a scheme that stands for no proof at all.",
        "possession_scheme_refused",
        _proof(_scheme("none")),
    ),
)
